"""A light head: laterals of three scales, fused at the finest."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from emclick.networks.base_network import BaseOutput, Head
from emclick.networks.blocks import ConvNormAct, MixScales, XConv


class FusionHead(Head):
    """1x1 lateral per scale, upsampled and concatenated, 1x1 and two xconv to `width` feature channels."""

    def __init__(self, channels: Sequence[int], laterals: Sequence[int], width: int) -> None:
        super().__init__()
        self.feature_channels = width
        self.laterals = nn.ModuleList(
            ConvNormAct(count, lateral) for count, lateral in zip(channels, laterals)
        )
        self.fuse = nn.Sequential(MixScales(sum(laterals), width), XConv(width, width), XConv(width, width))
        self.predict = nn.Conv2d(width, 1, 1)

    def forward(self, maps: list[Tensor]) -> BaseOutput:
        features = self.fuse([lateral(x) for lateral, x in zip(self.laterals, maps)])
        return BaseOutput(features, self.predict(features), None)
