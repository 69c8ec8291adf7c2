"""The base (first-click) network: a backbone that takes the click map, and a head that gives features and mask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

# Layers that give the same in training and in eval mode. What is not in here may draw or keep statistics.
STEADY = (nn.Conv2d, nn.Linear, nn.LayerNorm, nn.GroupNorm, nn.ReLU, nn.ReLU6, nn.GELU, nn.Identity)


class BaseOutput(NamedTuple):
    """What the first click gives: cached features, coarse logits, and auxiliary logits for the loss (or None).

    All at 1/4 of the frame: (B, feature_channels, h, w), (B, 1, h, w), (B, 1, h, w).
    """

    features: Tensor
    coarse_logits: Tensor
    auxiliary_logits: Tensor | None


class Backbone(nn.Module):
    """Contract of a backbone: RGB in [0, 1] and click maps in, one feature map per scale out.

    EMC gives one map, the first click's disk; methods that show all clicks and the previous mask give more.

    A backbone gives `before_click` and `after_click`; or, if its first layers after the click look no further than
    `emclick.near.AROUND`, in place of the second `around_click` and `beyond_click`. What the first of these makes of a
    frame is then made before the click, and at the click near it alone.

    Attributes:
        channels: channels of each output.
        strides: frame pixels per output pixel, finest first; an output has ceil(size / stride) pixels a side.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def same_in_training(self) -> bool:
        """Whether training and eval mode give the same maps, to rounding, so that one forward serves both.

        True where every innermost layer is known to; a backbone that acts by mode elsewhere overrides this.
        """
        innermost = (module for module in self.modules() if not any(True for _ in module.children()))
        return all(isinstance(module, STEADY) for module in innermost)

    def before_click(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1], H and W multiples of 4 -> what depends on the image alone; may run early."""
        raise NotImplementedError

    def after_click(self, opened: Tensor, click_map: Tensor) -> list[Tensor]:
        """What `before_click` gave, and a click map (B, 1, H, W) -> feature maps, finest first."""
        return self.beyond_click(self.around_click(opened, click_map))

    def around_click(self, opened: Tensor, click_map: Tensor) -> list[Tensor]:
        """What `before_click` gave, and a click map (B, 1, H, W) -> maps of at most 8 frame pixels per pixel.

        Each feels a click at most `emclick.near.AROUND.cells` cells of 4x4 frame pixels from its disk.
        """
        return [opened, click_map]

    def beyond_click(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """What `around_click` gave -> feature maps, finest first."""
        opened, click_map = maps
        return self.after_click(opened, click_map)

    def forward(self, image: Tensor, click_map: Tensor) -> list[Tensor]:
        """(B, 3, H, W) in [0, 1] and (B, 1, H, W), H and W multiples of 4 -> feature maps, finest first."""
        return self.after_click(self.before_click(image), click_map)


class Head(nn.Module):
    """Contract of a head: the backbone's maps in, `BaseOutput` at the finest scale out.

    Attributes:
        feature_channels: channels of the cached features.
    """

    feature_channels: int

    def forward(self, maps: list[Tensor]) -> BaseOutput:
        raise NotImplementedError


class BaseNetwork(nn.Module):
    """Backbone and head; run once per object, on its first click."""

    def __init__(self, backbone: Backbone, head: Head) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    @property
    def feature_channels(self) -> int:
        return self.head.feature_channels

    def forward(self, image: Tensor, click_map: Tensor) -> BaseOutput:
        """(B, 3, H, W) RGB in [0, 1] and the first click's disk map (B, 1, H, W)."""
        return self.head(self.backbone(image, click_map))
