"""ResNet (He et al., CVPR 2016) at output stride 8, as DeepLabV3+ reads it: dilation instead of the last two strides.

ResNet-50 has three 3x3 convolutions for a stem (variant v1s), ResNet-34 the usual 7x7 one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from emclick.networks.base_network import Backbone
from emclick.networks.blocks import ClickBranch, ConvNormAct, Normalize

PLANES = (64, 128, 256, 512)
STRIDES = (1, 2, 1, 1)
DILATIONS = (1, 1, 2, 4)


def conv_norm(
    channels_in: int, channels_out: int, kernel: int = 1, stride: int = 1, dilation: int = 1
) -> nn.Sequential:
    """Convolution without bias, "same" padding for odd kernels, and BatchNorm."""
    padding = dilation * (kernel // 2)
    conv = nn.Conv2d(channels_in, channels_out, kernel, stride, padding, dilation, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels_out))


class Residual(nn.Module):
    """Convolutions with ReLU between them, added to the input, which is projected where shapes differ; ReLU.

    Args:
        channels_in: of the input.
        channels_out: of the output.
        stride: of the whole.
        convs: the convolutions with their norms.
    """

    def __init__(self, channels_in: int, channels_out: int, stride: int, convs: list[nn.Sequential]) -> None:
        super().__init__()
        self.convs = nn.ModuleList(convs)
        plain = stride == 1 and channels_in == channels_out
        self.shortcut = None if plain else conv_norm(channels_in, channels_out, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        out = x
        for conv in self.convs[:-1]:
            out = F.relu(conv(out), inplace=True)
        out = self.convs[-1](out)
        return F.relu_(out + (x if self.shortcut is None else self.shortcut(x)))


def basic(channels_in: int, planes: int, stride: int, first: int, second: int) -> Residual:
    """Two 3x3 convolutions, dilated by `first` and `second`."""
    convs = [
        conv_norm(channels_in, planes, 3, stride, first),
        conv_norm(planes, planes, 3, dilation=second),
    ]
    return Residual(channels_in, planes, stride, convs)


def bottleneck(channels_in: int, planes: int, stride: int, first: int, second: int) -> Residual:
    """1x1, 3x3 dilated by `first`, 1x1 to four times the planes; `second` is not used."""
    convs = [
        conv_norm(channels_in, planes),
        conv_norm(planes, planes, 3, stride, first),
        conv_norm(planes, 4 * planes),
    ]
    return Residual(channels_in, 4 * planes, stride, convs)


@dataclass(frozen=True)
class Kind:
    """A depth.

    Attributes:
        bottleneck: blocks of three convolutions, else of two.
        blocks: per stage.
        deep_stem: three 3x3 convolutions instead of one of 7x7.
    """

    bottleneck: bool
    blocks: tuple[int, ...]
    deep_stem: bool


KINDS = {
    "resnet34": Kind(False, (3, 4, 6, 3), False),
    "resnet50": Kind(True, (3, 4, 6, 3), True),
}


class ResNet(Backbone):
    """Maps after each stage, at 1/4, 1/8, 1/8 and 1/8.

    Args:
        kind: what to build.
        click_maps: that many click maps are added after the stem; 0 for none.
        normalize: the input is RGB in [0, 1]; else it is taken as it comes.
    """

    strides = (4, 8, 8, 8)

    def __init__(self, kind: Kind, click_maps: int = 1, *, normalize: bool = True) -> None:
        super().__init__()
        self.channels = tuple((4 if kind.bottleneck else 1) * planes for planes in PLANES)
        self.normalize = Normalize() if normalize else nn.Identity()
        stem = (3, 64, 64, 128) if kind.deep_stem else (3, 64)
        self.stem = nn.Sequential(
            *(
                ConvNormAct(own, following, 3 if kind.deep_stem else 7, 1 if number else 2)
                for number, (own, following) in enumerate(pairwise(stem))
            )
        )
        self.click_branch = ClickBranch(stem[-1], maps=click_maps) if click_maps else None
        block = bottleneck if kind.bottleneck else basic
        inputs = (stem[-1], *self.channels)
        stages: list[nn.Module] = []
        for number, count in enumerate(kind.blocks):
            planes, dilation = PLANES[number], DILATIONS[number]
            # the first block of a stage still sees the spacing of the one before
            stage = [block(inputs[number], planes, STRIDES[number], max(1, dilation // 2), dilation)]
            stage += [block(self.channels[number], planes, 1, dilation, dilation) for _ in range(count - 1)]
            stages.append(nn.Sequential(*stage))
        self.stages = nn.ModuleList(stages)

    def before_click(self, image: Tensor) -> Tensor:
        return self.stem(self.normalize(image))

    def after_click(self, opened: Tensor, click_map: Tensor | None = None) -> list[Tensor]:
        """What `before_click` gave, and (B, click_maps, H, W), or None without a click branch -> four maps."""
        x = opened
        if self.click_branch is not None and click_map is not None:
            x = x + self.click_branch(click_map)
        x = F.max_pool2d(x, 3, 2, 1)
        maps: list[Tensor] = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps


RESNETS = {name: partial(ResNet, kind) for name, kind in KINDS.items()}
