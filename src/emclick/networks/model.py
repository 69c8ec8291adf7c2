"""The whole network: base network and mask correction, as one module with one state dict."""

from __future__ import annotations

from torch import Tensor, nn

from emclick.networks.backbones import BASES
from emclick.networks.base_network import BaseOutput
from emclick.networks.correction import ClickInput, CorrectionNetwork
from emclick.spec import ModelSpec


class EmcNetwork(nn.Module):
    """Base network (`first`) and corrector (`correct`) of one model.

    Args:
        spec: which base network, and the corrector's width, templates and ablations.

    Raises:
        UnknownNameError: no base network of that name.
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        self.base = BASES[spec.base]()
        self.corrector = CorrectionNetwork(self.base.feature_channels, spec.correction)

    def first(self, image: Tensor, click_map: Tensor) -> BaseOutput:
        """Base network on (B, 3, H, W) RGB in [0, 1] and the first click's disk map (B, 1, H, W)."""
        return self.base(image, click_map)

    def correct(self, image: Tensor, features: Tensor, clicks: ClickInput, previous_logits: Tensor) -> Tensor:
        """Mask correction; returns logits (B, 1, H/4, W/4). See `CorrectionNetwork.forward`."""
        return self.corrector(image, features, clicks, previous_logits)
