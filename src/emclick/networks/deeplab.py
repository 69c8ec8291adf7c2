"""DeepLabV3+ (Chen et al., ECCV 2018) over a ResNet, as the releases of f-BRS and CDNet build it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emclick.networks.blocks import upsample_to
from emclick.networks.resnet import ResNet

SKIP_CHANNELS = 32
RATES = (12, 24, 36)


class SeparableConv(nn.Sequential):
    """Depthwise 3x3, 1x1, BatchNorm, ReLU; no bias."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(
            nn.Conv2d(channels_in, channels_in, 3, padding=1, groups=channels_in, bias=False),
            nn.Conv2d(channels_in, channels_out, 1, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(),
        )


def separable_head(widths: Sequence[int], channels_out: int) -> nn.Sequential:
    """`SeparableConv` from each of `widths` to the next, then 1x1 to `channels_out`."""
    layers = [SeparableConv(own, following) for own, following in pairwise(widths)]
    return nn.Sequential(*layers, nn.Conv2d(widths[-1], channels_out, 1))


def _conv_norm_relu(channels_in: int, channels_out: int, kernel: int = 1, rate: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(
        channels_in, channels_out, kernel, padding=rate * (kernel // 2), dilation=rate, bias=False
    )
    return nn.Sequential(conv, nn.BatchNorm2d(channels_out), nn.ReLU())


class Aspp(nn.Module):
    """1x1, three dilated 3x3 and image pooling side by side, then 1x1 and dropout."""

    def __init__(self, channels_in: int, channels: int, dropout: float) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            [
                _conv_norm_relu(channels_in, channels),
                *(_conv_norm_relu(channels_in, channels, 3, rate) for rate in RATES),
            ]
        )
        self.image_pooling = _conv_norm_relu(channels_in, channels)
        self.project = _conv_norm_relu((len(RATES) + 2) * channels, channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.image_pooling(F.adaptive_avg_pool2d(x, 1)).expand(-1, -1, *x.shape[-2:])
        return self.dropout(self.project(torch.cat([*(branch(x) for branch in self.branches), pooled], 1)))


class DeepLab(nn.Module):
    """Backbone, ASPP, skip connection and decoder, in steps, since methods put something between them.

    Args:
        backbone: a ResNet.
        width: channels of ASPP and decoder.
        dropout: after the ASPP.
    """

    def __init__(self, backbone: ResNet, width: int, dropout: float = 0.2) -> None:
        super().__init__()
        self.backbone = backbone
        self.skip = _conv_norm_relu(backbone.channels[0], SKIP_CHANNELS)
        self.aspp = Aspp(backbone.channels[-1], width, dropout)
        self.decoder = separable_head((width + SKIP_CHANNELS, width, width), width)

    def encode(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """The backbone's maps -> (B, width, h/8, w/8) of the ASPP, (B, 32, h/4, w/4) of the skip connection."""
        return self.aspp(maps[-1]), self.skip(maps[0])

    @staticmethod
    def join(context: Tensor, skip: Tensor) -> Tensor:
        """Both, in this order, at the size of `skip`: (B, width + 32, h/4, w/4)."""
        return torch.cat([upsample_to(context, skip.shape[-2:]), skip], 1)

    def decode(self, joined: Tensor) -> Tensor:
        """(B, width + 32, h/4, w/4) -> (B, width, h/4, w/4)."""
        return self.decoder(joined)
