"""SegFormer's all-MLP head (Xie et al., NeurIPS 2021)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from emclick.networks.base_network import BaseOutput, Head
from emclick.networks.blocks import ConvNormAct, upsample_to


class MlpHead(Head):
    """A linear layer per scale to `width`, upsampled with `align_corners=False`, fused coarse to fine."""

    def __init__(self, channels: Sequence[int], width: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.feature_channels = width
        self.linear = nn.ModuleList(nn.Conv2d(count, width, 1) for count in channels)
        self.fuse = nn.Sequential(ConvNormAct(len(channels) * width, width), nn.Dropout2d(dropout))
        self.predict = nn.Conv2d(width, 1, 1)

    def forward(self, maps: list[Tensor]) -> BaseOutput:
        size = maps[0].shape[-2:]
        scaled = [upsample_to(linear(x), size, align_corners=False) for linear, x in zip(self.linear, maps)]
        features = self.fuse(torch.cat(scaled[::-1], 1))
        return BaseOutput(features, self.predict(features), None)
