"""MobileNetV2 (Sandler et al., CVPR 2018) at output stride 16 with DeepLabv3's ASPP: the base network for CPUs.

Convolutions carry a bias and no norm, as the public 8-bit release they start from has folded it in; padding
is TensorFlow's SAME, so that the pretrained weights mean here what they meant there.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emclick.networks.base_network import Backbone, BaseNetwork
from emclick.networks.blocks import ClickBranch
from emclick.networks.heads.fusion import FusionHead

# (channels out, stride, dilation) of blocks 0-16; block 0 does not expand, the others by 6.
BLOCKS = (
    (16, 1, 1), (24, 2, 1), (24, 1, 1), (32, 2, 1), (32, 1, 1), (32, 1, 1), (64, 2, 1), (64, 1, 1), (64, 1, 1),
    (64, 1, 1), (96, 1, 1), (96, 1, 1), (96, 1, 1), (160, 1, 1), (160, 1, 2), (160, 1, 2), (320, 1, 2),
)  # fmt: skip
STEM_CHANNELS = 32
EXPANSION = 6
ASPP_CHANNELS = 256
TAPS = (2, 5)  # blocks whose outputs serve 1/4 and 1/8


class SameConv(nn.Conv2d):
    """3x3 convolution with TensorFlow's SAME padding: stride 2 pads (0, 1) on an even side, (1, 1) on an odd one."""

    def __init__(
        self, channels_in: int, channels_out: int, stride: int, dilation: int = 1, groups: int = 1
    ) -> None:
        padding = 0 if stride == 2 else dilation
        super().__init__(channels_in, channels_out, 3, stride, padding, dilation, groups)

    def forward(self, input: Tensor) -> Tensor:
        if self.stride[0] == 2:
            height, width = input.shape[-2:]
            input = F.pad(input, (width % 2, 1, height % 2, 1))
        # Two CPU kernels have slow gradients in bf16; both detours compute the same sums. Measured on 2 cores,
        # batch 16 (docs/numbers.md): dilation 2 at 960x12x12 101 -> 6 ms, stride 2 at 96x96x96 150 -> 60 ms.
        if self.training and input.device.type == "cpu" and self.groups > 1:
            if self.dilation[0] == 2:
                return self._by_phases(input)
            if self.stride[0] == 2 and input.dtype == torch.bfloat16:
                with torch.autocast("cpu", enabled=False):
                    return super().forward(input.float()).to(torch.bfloat16)
        return super().forward(input)

    def _by_phases(self, x: Tensor) -> Tensor:
        """A dilation of 2 as a plain convolution on the four phases of even and odd rows and columns."""
        batch, channels, height, width = x.shape
        x = F.pad(x, (0, width % 2, 0, height % 2)).permute(
            0, 2, 3, 1
        )  # channels last: whole pixels are moved
        half = (x.shape[1] // 2, x.shape[2] // 2)
        phases = x.reshape(batch, half[0], 2, half[1], 2, channels).permute(2, 4, 0, 1, 3, 5)
        phases = phases.reshape(4 * batch, *half, channels).permute(0, 3, 1, 2)
        out = F.conv2d(phases, self.weight, self.bias, padding=1, groups=self.groups).permute(0, 2, 3, 1)
        out = out.reshape(2, 2, batch, *half, channels).permute(2, 3, 0, 4, 1, 5)
        out = out.reshape(batch, 2 * half[0], 2 * half[1], channels)[:, :height, :width]
        return out.permute(0, 3, 1, 2)


class InvertedResidual(nn.Module):
    """1x1 expand, 3x3 depthwise, 1x1 project; ReLU6 after the first two; shortcut where shapes allow."""

    def __init__(
        self, channels_in: int, channels_out: int, stride: int, dilation: int, expansion: int
    ) -> None:
        super().__init__()
        hidden = channels_in * expansion
        self.expand = nn.Conv2d(channels_in, hidden, 1) if expansion > 1 else None
        self.depthwise = SameConv(hidden, hidden, stride, dilation, groups=hidden)
        self.project = nn.Conv2d(hidden, channels_out, 1)
        self.shortcut = stride == 1 and channels_in == channels_out

    def forward(self, x: Tensor) -> Tensor:
        hidden = x if self.expand is None else F.relu6(self.expand(x))
        out = self.project(F.relu6(self.depthwise(hidden)))
        return x + out if self.shortcut else out


class ImagePoolingAspp(nn.Module):
    """DeepLabv3's ASPP without atrous branches: image pooling first, then 1x1, then the projection."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels, 1)
        self.image_pooling = nn.Conv2d(channels_in, channels, 1)
        self.project = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = F.relu(self.image_pooling(x.mean((2, 3), keepdim=True)))
        local = F.relu(self.conv(x))
        return F.relu(self.project(torch.cat([pooled.expand(-1, -1, *local.shape[-2:]), local], 1)))


class MobileNetV2(Backbone):
    """24 channels at 1/4, 32 at 1/8, 256 (after the ASPP) at 1/16; the click map is added after the stem."""

    channels = (24, 32, ASPP_CHANNELS)
    strides = (4, 8, 16)

    def __init__(self, click_maps: int = 1) -> None:
        super().__init__()
        self.stem = SameConv(3, STEM_CHANNELS, 2)
        self.click_branch = ClickBranch(STEM_CHANNELS, maps=click_maps)
        inputs = (STEM_CHANNELS, *(channels for channels, _, _ in BLOCKS[:-1]))
        self.blocks = nn.ModuleList(
            InvertedResidual(channels_in, *block, expansion=EXPANSION if number else 1)
            for number, (channels_in, block) in enumerate(zip(inputs, BLOCKS))
        )
        self.aspp = ImagePoolingAspp(BLOCKS[-1][0], ASPP_CHANNELS)

    def before_click(self, image: Tensor) -> Tensor:
        return F.relu6(self.stem(image * 2 - 1))

    def around_click(self, opened: Tensor, click_map: Tensor) -> list[Tensor]:
        """The map at 1/4. Beyond it, padding depends on whether a size is odd."""
        x = opened + self.click_branch(click_map)
        for block in self.blocks[: TAPS[0] + 1]:
            x = block(x)
        return [x]

    def beyond_click(self, maps: Sequence[Tensor]) -> list[Tensor]:
        [x] = found = list(maps)
        for number, block in enumerate(self.blocks[TAPS[0] + 1 :], TAPS[0] + 1):
            x = block(x)
            if number in TAPS:
                found.append(x)
        return [*found, self.aspp(x)]


def mobilenet_v2(click_maps: int = 1) -> BaseNetwork:
    """MobileNetV2 with a 128-channel fusion head."""
    backbone = MobileNetV2(click_maps)
    return BaseNetwork(backbone, FusionHead(backbone.channels, (64, 64, 128), 128))
