"""Small parts that several networks share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emclick.networks.depthwise import depthwise_conv

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Normalize(nn.Module):
    """(image - mean) / std per channel for RGB in [0, 1]; nothing to learn, nothing in the state dict."""

    def __init__(self, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)
        self.mean: Tensor
        self.std: Tensor

    def forward(self, image: Tensor) -> Tensor:
        return (image - self.mean) / self.std


class ConvNormAct(nn.Sequential):
    """Convolution with "same" padding for odd kernels, BatchNorm, ReLU (or none)."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int = 1,
        stride: int = 1,
        *,
        bias: bool = False,
        act: bool = True,
    ) -> None:
        layers: list[nn.Module] = [
            nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, bias=bias),
            nn.BatchNorm2d(channels_out),
        ]
        if act:
            layers.append(nn.ReLU(inplace=True))
        super().__init__(*layers)


class XConv(nn.Module):
    """Depthwise 3x3, BN, depthwise 3x3, 1x1, BN, ReLU; every convolution with bias (METHOD, `xconv`)."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.depthwise1 = nn.Conv2d(channels_in, channels_in, 3, padding=1, groups=channels_in)
        self.norm1 = nn.BatchNorm2d(channels_in)
        self.depthwise2 = nn.Conv2d(channels_in, channels_in, 3, padding=1, groups=channels_in)
        self.pointwise = nn.Conv2d(channels_in, channels_out, 1)
        self.norm2 = nn.BatchNorm2d(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            x = depthwise_conv(self.depthwise2, self.norm1(depthwise_conv(self.depthwise1, x)))
            return F.relu_(self.norm2(self.pointwise(x)))
        x = self.depthwise2(self.norm1(self.depthwise1(x)))
        return F.relu(self.norm2(self.pointwise(x)))


class ClickBranch(nn.Module):
    """Brings click maps (B, maps, H, W) to (B, channels, H/2, W/2), to be added after a stride-2 stem.

    METHOD, "HRNet+OCR": 1x1 to 16, LeakyReLU 0.2, 3x3 stride 2, times |scale|, scale starting at 0.05.

    Args:
        channels: of the stem.
        hidden: channels between the two convolutions.
        maps: 1, the first click's disk, or more, which need not be binary.
    """

    def __init__(self, channels: int, hidden: int = 16, maps: int = 1) -> None:
        super().__init__()
        self.expand = nn.Conv2d(maps, hidden, 1)
        self.down = nn.Conv2d(hidden, channels, 3, stride=2, padding=1)
        self.scale = nn.Parameter(torch.tensor([0.05]))

    def forward(self, click_map: Tensor) -> Tensor:
        """(B, maps, H, W); a single map holds 0 and 1 alone."""
        if self.training and self.expand.in_channels == 1:
            return self._binary(click_map)
        return self.down(F.leaky_relu(self.expand(click_map), 0.2)) * self.scale.abs()

    def binary_kernel(self) -> tuple[Tensor, Tensor]:
        """For a single map: kernel (channels, 2, 3, 3) over the map and a map of ones, and bias, before the scale.

        On a binary map the LeakyReLU takes two values per channel, so the two convolutions are one, of the map
        and of a map of ones (which differs from a bias at the border).
        """
        assert self.expand.bias is not None
        assert self.down.bias is not None
        off = F.leaky_relu(self.expand.bias, 0.2)
        on = F.leaky_relu(self.expand.weight.flatten() + self.expand.bias, 0.2)
        return torch.einsum(
            "ochw,ck->okhw", self.down.weight, torch.stack([on - off, off], 1)
        ), self.down.bias

    def _binary(self, click_map: Tensor) -> Tensor:
        """The same sums in less than half the time (docs/log.md); the scale multiplies the kernel, not the map."""
        kernel, bias = self.binary_kernel()
        scale = self.scale.abs()
        both = torch.cat([click_map, torch.ones_like(click_map)], 1)
        return F.conv2d(both, kernel * scale, bias * scale, stride=2, padding=1)


def to_cells(maps: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, h, w, C)."""
    return maps.permute(0, 2, 3, 1)


def to_maps(cells: Tensor) -> Tensor:
    """(B, h, w, C) -> (B, C, h, w)."""
    return cells.permute(0, 3, 1, 2)


def upsample_to(x: Tensor, size_hw: Sequence[int], align_corners: bool = True) -> Tensor:
    """Bilinear resize to (H, W); the method aligns corners everywhere but in SegFormer's head."""
    if list(x.shape[-2:]) == list(size_hw):
        return x
    return F.interpolate(x, size=list(size_hw), mode="bilinear", align_corners=align_corners)


def resize_maps(x: Tensor, size_hw: Sequence[int]) -> Tensor:
    """(B, h, w) float32 -> (B, H, W): `upsample_to` as two products, whose gradient is a tenth of the cost on CPUs."""
    rows, columns = (resizing(own, size, x) for own, size in zip(x.shape[-2:], size_hw))
    with torch.autocast(x.device.type, enabled=False):
        return rows @ x @ columns.t()


def resizing(size: int, target: int, like: Tensor) -> Tensor:
    """(target, size): [i, j] is the weight of sample j in sample i of the result, corners aligned."""
    places = torch.arange(target, dtype=torch.float64) * ((size - 1) / max(target - 1, 1))
    weights = 1 - (places[:, None] - torch.arange(size, dtype=torch.float64)).abs()
    return weights.clamp_min(0).to(like)


class MixScales(ConvNormAct):
    """A 1x1 `ConvNormAct` of maps of several scales, brought to the finest and concatenated.

    The same sums at a fraction of the cost: a 1x1 convolution and a resize of each channel may change places,
    so each map meets its slice of the kernel at its own scale.
    """

    align_corners = True

    def forward(self, input: Sequence[Tensor]) -> Tensor:
        """(B, c_i, h_i, w_i), the finest first, c_i adding up to `channels_in` -> (B, channels_out, h_0, w_0)."""
        conv, *rest = self
        assert isinstance(conv, nn.Conv2d)
        shares = conv.weight.split([each.shape[1] for each in input], 1)
        total = F.conv2d(input[0], shares[0], conv.bias)
        for each, share in zip(input[1:], shares[1:]):
            total = total + upsample_to(F.conv2d(each, share), total.shape[-2:], self.align_corners)
        for layer in rest:
            total = layer(total)
        return total
