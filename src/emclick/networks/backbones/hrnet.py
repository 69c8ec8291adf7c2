"""HRNet (Wang et al., TPAMI 2020) with the click map added after the first stem ReLU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from emclick.networks.base_network import Backbone, BaseNetwork
from emclick.networks.blocks import ClickBranch, ConvNormAct, Normalize, upsample_to
from emclick.networks.heads.ocr import OcrHead


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = ConvNormAct(channels, channels, 3)
        self.conv2 = ConvNormAct(channels, channels, 3, act=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv2(self.conv1(x)) + x)


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 (expansion 4) with a shortcut, projected where the channels change."""

    def __init__(self, channels_in: int, channels: int = 64) -> None:
        super().__init__()
        channels_out = 4 * channels
        self.conv1 = ConvNormAct(channels_in, channels)
        self.conv2 = ConvNormAct(channels, channels, 3)
        self.conv3 = ConvNormAct(channels, channels_out, act=False)
        self.shortcut = (
            ConvNormAct(channels_in, channels_out, act=False)
            if channels_in != channels_out
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv3(self.conv2(self.conv1(x))) + self.shortcut(x))


def _exchange_path(source: int, target: int, widths: tuple[int, ...]) -> nn.Module:
    """From scale `source` to scale `target`: 1x1 up (resized later), 3x3 stride 2 chain down."""
    if source == target:
        return nn.Identity()
    if source > target:
        return ConvNormAct(widths[source], widths[target], act=False)
    steps = [ConvNormAct(widths[source], widths[source], 3, 2) for _ in range(target - source - 1)]
    return nn.Sequential(*steps, ConvNormAct(widths[source], widths[target], 3, 2, act=False))


class ExchangeModule(nn.Module):
    """Parallel branches of BasicBlocks, then every scale receives from every other."""

    def __init__(self, widths: tuple[int, ...], blocks: int) -> None:
        super().__init__()
        scales = range(len(widths))
        self.branches = nn.ModuleList(
            nn.Sequential(*(BasicBlock(width) for _ in range(blocks))) for width in widths
        )
        self.exchange = nn.ModuleList(
            nn.ModuleList(_exchange_path(source, target, widths) for source in scales) for target in scales
        )

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        maps = [branch(x) for branch, x in zip(self.branches, maps)]
        mixed = []
        for paths, own in zip(self.exchange, maps):
            received = [
                upsample_to(path(x), own.shape[-2:]) for path, x in zip(cast(nn.ModuleList, paths), maps)
            ]
            total = received[0]
            for other in received[1:]:
                total = total + other
            mixed.append(F.relu(total))
        return mixed


class HRNet(Backbone):
    """Four scales at 1/4, 1/8, 1/16 and 1/32 with widths w, 2w, 4w and 8w.

    Args:
        width: w.
        modules: exchange modules in stages 2, 3 and 4.
        blocks: BasicBlocks per branch.
        bottlenecks: Bottleneck blocks in stage 1.
        click_maps: maps that the click branch reads; 0 for no branch.
        normalize: the input is RGB in [0, 1]; else it is taken as it comes.
    """

    strides = (4, 8, 16, 32)

    def __init__(
        self,
        width: int,
        modules: tuple[int, int, int],
        blocks: int,
        bottlenecks: int,
        click_maps: int = 1,
        *,
        normalize: bool = True,
    ) -> None:
        super().__init__()
        widths = (width, 2 * width, 4 * width, 8 * width)
        self.channels = widths
        self.normalize = Normalize() if normalize else nn.Identity()
        self.stem1 = ConvNormAct(3, 64, 3, 2)
        self.click_branch = ClickBranch(64, maps=click_maps) if click_maps else None
        self.stem2 = ConvNormAct(64, 64, 3, 2)
        self.stage1 = nn.Sequential(*(Bottleneck(64 if i == 0 else 256) for i in range(bottlenecks)))
        self.transition1 = nn.ModuleList([ConvNormAct(256, widths[0], 3), ConvNormAct(256, widths[1], 3, 2)])
        self.transition2 = ConvNormAct(widths[1], widths[2], 3, 2)
        self.transition3 = ConvNormAct(widths[2], widths[3], 3, 2)
        self.stage2, self.stage3, self.stage4 = (
            nn.Sequential(*(ExchangeModule(widths[:scales], blocks) for _ in range(count)))
            for scales, count in zip((2, 3, 4), modules)
        )

    def before_click(self, image: Tensor) -> Tensor:
        return self.stem1(self.normalize(image))

    def around_click(self, opened: Tensor, click_map: Tensor | None = None) -> list[Tensor]:
        """What `before_click` gave, and (B, click_maps, H, W), or None without a click branch -> maps at 1/4 and 1/8.

        They feel a click two cells further than there are bottlenecks.
        """
        x = opened
        if self.click_branch is not None and click_map is not None:
            x = x + self.click_branch(click_map)
        x = self.stage1(self.stem2(x))
        return [transition(x) for transition in self.transition1]

    def beyond_click(self, maps: Sequence[Tensor]) -> list[Tensor]:
        maps = self.stage2(list(maps))
        maps = self.stage3([*maps, self.transition2(maps[-1])])
        return self.stage4([*maps, self.transition3(maps[-1])])


def hrnet18s(click_maps: int = 1, *, normalize: bool = True) -> BaseNetwork:
    """HRNet-W18-small-v2 with OCR 48: 96 feature channels."""
    backbone = HRNet(18, (1, 3, 2), blocks=2, bottlenecks=2, click_maps=click_maps, normalize=normalize)
    return BaseNetwork(backbone, OcrHead(backbone.channels, 48))


def hrnet18(click_maps: int = 1, *, normalize: bool = True) -> BaseNetwork:
    """HRNet-W18 with OCR 64: 128 feature channels."""
    backbone = HRNet(18, (1, 4, 3), blocks=4, bottlenecks=4, click_maps=click_maps, normalize=normalize)
    return BaseNetwork(backbone, OcrHead(backbone.channels, 64))


def hrnet32(click_maps: int = 1, *, normalize: bool = True) -> BaseNetwork:
    """HRNet-W32 with OCR 128: 256 feature channels."""
    backbone = HRNet(32, (1, 4, 3), blocks=4, bottlenecks=4, click_maps=click_maps, normalize=normalize)
    return BaseNetwork(backbone, OcrHead(backbone.channels, 128))
