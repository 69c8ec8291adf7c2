"""RITM's network: a base network that reads the previous mask and the disks of all clicks (paper, section 3)."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from emclick.methods.ritm_spec import RitmSpec
from emclick.networks.backbones import BASES
from emclick.networks.base_network import BaseOutput
from emclick.networks.fold import fold

CLICK_MAPS = 3
"""Previous mask, positive disks, negative disks, in this order."""


class RitmNetwork(nn.Module):
    """One forward answers one click.

    Args:
        spec: which base network.

    Raises:
        UnknownNameError: no base network of that name.
    """

    def __init__(self, spec: RitmSpec) -> None:
        super().__init__()
        self.spec = spec
        self.base = BASES[spec.base](click_maps=CLICK_MAPS)

    def forward(self, image: Tensor, maps: Tensor) -> BaseOutput:
        """(B, 3, H, W) RGB in [0, 1] and maps (B, 3, H, W) in [0, 1] -> logits (B, 1, ceil(H/4), ceil(W/4))."""
        return self.base(image, maps)

    def open(self, image: Tensor) -> Tensor:
        """What depends on the image alone; may run before the click."""
        return self.base.backbone.before_click(image)

    def answer(self, opened: Tensor, maps: Tensor) -> Tensor:
        """What `open` gave, and the maps -> the mask's logits (B, 1, ceil(H/4), ceil(W/4))."""
        return self.base.head(self.base.backbone.after_click(opened, maps)).coarse_logits

    def for_inference(self) -> RitmNetwork:
        """This network in eval mode, changed in place into a faster one with the same sums (to rounding)."""
        fold(self.base)
        # a third faster on CPUs (docs/methods/ritm.md)
        return cast(RitmNetwork, cast(Any, self).to(memory_format=torch.channels_last))
