"""Modules in eval mode replaced by faster ones with the same sums: norms folded, scales mixed where they are."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from emclick.networks.base_network import BaseOutput, Head
from emclick.networks.blocks import (
    ClickBranch,
    ConvNormAct,
    MixScales,
    XConv,
    resizing,
    to_cells,
    to_maps,
    upsample_to,
)
from emclick.networks.heads.mlp import MlpHead
from emclick.networks.heads.ocr import OcrHead


def conv_of(weight: Tensor, bias: Tensor | None = None, **options: Any) -> nn.Conv2d:
    """A convolution with these weights (out, in / groups, k, k); `options` as of `nn.Conv2d`."""
    channels_in = weight.shape[1] * options.get("groups", 1)
    conv = nn.Conv2d(
        channels_in, len(weight), cast(Any, tuple(weight.shape[2:])), bias=bias is not None, **options
    )
    conv.weight = nn.Parameter(weight.detach().clone())
    if bias is not None:
        conv.bias = nn.Parameter(bias.detach().clone())
    return conv


def linear_of(weight: Tensor, bias: Tensor | None = None) -> nn.Linear:
    """A linear layer with these weights (out, in)."""
    linear = nn.Linear(weight.shape[1], len(weight), bias=bias is not None)
    linear.weight = nn.Parameter(weight.detach().clone())
    if bias is not None:
        linear.bias = nn.Parameter(bias.detach().clone())
    return linear


class FoldedXConv(nn.Module):
    """`XConv` in eval mode with both norms folded; the sums before the ReLU are available."""

    def __init__(self, conv: XConv) -> None:
        super().__init__()
        self.depthwise1 = fuse_conv_bn_eval(conv.depthwise1, conv.norm1)
        self.depthwise2 = copy.deepcopy(conv.depthwise2)
        self.pointwise = fuse_conv_bn_eval(conv.pointwise, conv.norm2)

    def sums(self, x: Tensor) -> Tensor:
        """Everything but the ReLU."""
        return self.pointwise(self.depthwise2(self.depthwise1(x)))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.sums(x))

    def share(self, start: int, stop: int, bias: bool = False) -> nn.Sequential:
        """What input channels `start` to `stop` add to `sums`.

        Without `bias` the same convolutions without any; with it the depthwise ones have theirs, and the
        pointwise one too if the channels are the first: the shares of all channels then add up to `sums`.
        """
        depthwise = (
            conv_of(
                conv.weight[start:stop],
                cast(Tensor, conv.bias)[start:stop] if bias else None,
                padding=1,
                groups=stop - start,
            )
            for conv in (self.depthwise1, self.depthwise2)
        )
        mixed = conv_of(
            self.pointwise.weight[:, start:stop], self.pointwise.bias if bias and not start else None
        )
        return nn.Sequential(*depthwise, mixed)

    def repeated(self, times: int) -> FoldedXConv:
        """One that does to each of `times` groups of channels what this does to its channels."""
        other = copy.deepcopy(self)
        for name in ("depthwise1", "depthwise2", "pointwise"):
            conv = getattr(self, name)
            weight, bias = (torch.cat([each] * times) for each in (conv.weight, conv.bias))
            repeated = conv_of(weight, bias, padding=conv.padding, groups=conv.groups * times)
            setattr(other, name, repeated)
        return other


class InParts(nn.Module):
    """A `FoldedXConv` of concatenated maps that are never concatenated."""

    def __init__(self, conv: FoldedXConv, channels: Sequence[int]) -> None:
        super().__init__()
        ends = list(itertools.accumulate(channels))
        starts = [0, *ends[:-1]]
        self.shares = nn.ModuleList(conv.share(*each, bias=True) for each in zip(starts, ends))

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        first, *others = self.shares
        total = first(maps[0])
        for share, each in zip(others, maps[1:]):
            total = total + share(each)
        return F.relu(total)


class RestEmpty(nn.Module):
    """The sums of a `FoldedXConv` whose channels from `count` on are zero, given the others.

    Of the empty channels the biases are left, which lose a share at the border, where the second depthwise
    convolution pads with zeros: a convolution of ones.
    """

    def __init__(self, conv: FoldedXConv, count: int) -> None:
        super().__init__()
        self.own = conv.share(0, count, bias=True)
        mix = conv.pointwise.weight[:, count:, 0, 0]
        bias1, bias2 = (
            cast(Tensor, depthwise.bias)[count:] for depthwise in (conv.depthwise1, conv.depthwise2)
        )
        kernel = torch.einsum("oc,c,cij->ijo", mix, bias1, conv.depthwise2.weight[count:, 0])
        self.kernel = nn.Parameter(kernel)  # (3, 3, out)
        self.bias = nn.Parameter(mix @ bias2)

    def forward(self, x: Tensor) -> Tensor:
        """(1, count, h, w) -> cells (1, h, w, out)."""
        rows, columns = (inside(size, x) for size in x.shape[2:])
        # as products: kernels for a convolution of one channel are slow
        rest = (rows @ (columns @ self.kernel).flatten(1)).unflatten(1, (-1, len(self.bias))) + self.bias
        own = to_cells(self.own(x))
        return (own.flatten(0, 2) + rest.flatten(0, 1)).reshape(own.shape)  # by rows: see `split.MaskPart`


def inside(size: int, like: Tensor) -> Tensor:
    """(size, 3): [i, k] is 1 where i + k - 1 is one of `size` places, else 0."""
    places = torch.arange(size, device=like.device, dtype=torch.float32)[:, None]
    places = places + torch.arange(3, device=like.device, dtype=torch.float32)
    return ((places > 0) & (places < size + 1)).to(like.dtype)


class FoldedClickBranch(nn.Module):
    """`ClickBranch` on a binary map as two convolutions: of the map, and of ones, which does not need a click."""

    def __init__(self, branch: ClickBranch) -> None:
        super().__init__()
        kernel, bias = branch.binary_kernel()
        scale = branch.scale.abs()
        clicked, always = (kernel * scale).split(1, 1)
        self.clicked = conv_of(clicked, stride=2, padding=1)
        self.always = conv_of(always, bias * scale, stride=2, padding=1)

    def unclicked(self, click_map: Tensor) -> Tensor:
        """What the branch makes of a map of this size without a click."""
        return self.always(torch.ones_like(click_map))

    def forward(self, click_map: Tensor) -> Tensor:
        """What the click adds to that."""
        return self.clicked(click_map)


def folded_branch(branch: ClickBranch) -> nn.Module:
    """A faster one for a single, binary map; one of several maps stays as it is."""
    return FoldedClickBranch(branch) if branch.expand.in_channels == 1 else branch


def folded_conv(module: ConvNormAct) -> nn.Sequential:
    """A `ConvNormAct` in eval mode as convolution and ReLU, or convolution alone."""
    return nn.Sequential(_fused(module), *list(module)[2:])


def _fused(module: ConvNormAct) -> nn.Conv2d:
    return fuse_conv_bn_eval(cast(nn.Conv2d, module[0]), cast(nn.BatchNorm2d, module[1]))


def folded_mix(module: ConvNormAct) -> MixScales:
    """A `MixScales` in eval mode without its norm, from one or from a 1x1 `ConvNormAct`."""
    mix = MixScales(1, 1)
    mix[0], mix[1] = _fused(module), nn.Identity()
    return mix


class FoldedMlpHead(Head):
    """`MlpHead` with the linear layer of each scale, and its share of the layer that mixes them, as one."""

    def __init__(self, head: MlpHead) -> None:
        super().__init__()
        self.feature_channels = head.feature_channels
        self.mix, self.predict = folded_mix(cast(ConvNormAct, head.fuse[0])), head.predict
        self.mix.align_corners = False
        conv, linears = cast(nn.Conv2d, self.mix[0]), [cast(nn.Conv2d, each) for each in head.linear]
        # the head concatenates coarse to fine
        shares = conv.weight.flatten(1).split([each.out_channels for each in linears], 1)[::-1]
        weights = [share @ linear.weight.flatten(1) for share, linear in zip(shares, linears)]
        offsets = [share @ cast(Tensor, linear.bias) for share, linear in zip(shares, linears)]
        bias = torch.stack([cast(Tensor, conv.bias), *offsets]).sum(0)
        self.mix[0] = conv_of(torch.cat(weights, 1)[:, :, None, None], bias)

    def forward(self, maps: list[Tensor]) -> BaseOutput:
        features = self.mix(maps)
        return BaseOutput(features, self.predict(features), None)


class UpsampledConv(nn.Module):
    """A 3x3 convolution of maps brought to the size of the finest and concatenated, and ReLU.

    Of the coarser ones none is brought there: a map meets each place of the kernel at its own size, and one matrix
    product along each axis upsamples, shifts and adds what that gave. For maps of an eighth of the size and 144
    channels these are a twentieth of the multiply-adds.

    Args:
        conv: the convolution, padded by 1.
        channels: of the maps, finest first. The first two are convolved as they would be.
    """

    def __init__(self, conv: nn.Conv2d, channels: Sequence[int]) -> None:
        super().__init__()
        first, second, *others = conv.weight.split(list(channels), 1)
        self.fine = conv_of(torch.cat([first, second], 1), conv.bias, padding=1)
        self.coarse = nn.ModuleList(linear_of(each.permute(2, 3, 0, 1).flatten(0, 2)) for each in others)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """(B, c_i, h_i, w_i), finest first -> cells (B, h_0, w_0, out)."""
        fine, second, *others = maps
        size_hw = fine.shape[-2:]
        own = to_cells(self.fine(torch.cat([fine, upsample_to(second, size_hw)], 1)))
        total = own.flatten(0, 2)
        for linear, each in zip(self.coarse, others):
            total = total + self._share(linear, each, size_hw).flatten(0, 2)
        return F.relu(total).reshape(own.shape)

    @staticmethod
    def _share(linear: nn.Module, maps: Tensor, size_hw: Sequence[int]) -> Tensor:
        """What (B, c, p, q) adds, (B, h, w, out)."""
        down, across = (shifted(target, size, maps) for target, size in zip(size_hw, maps.shape[2:]))
        places = linear(to_cells(maps)).unflatten(3, (3, 3, -1)).permute(0, 3, 1, 4, 2, 5)
        lines = down @ places.reshape(maps.shape[0], down.shape[1], -1)  # of (3, p, 3, q, out)
        return across @ lines.reshape(maps.shape[0], down.shape[0], across.shape[1], -1)


def shifted(target: int, size: int, like: Tensor) -> Tensor:
    """(target, 3 size): [i, k size + j] is the weight of sample j in upsampled sample i + k - 1, 0 outside."""
    padded = F.pad(resizing(size, target, like), (0, 0, 1, 1))
    return torch.cat([padded[k : k + target] for k in range(3)], 1)


class FoldedOcrHead(Head):
    """`OcrHead` whose layers meet each scale at its own size.

    Among a single object all attention goes to that, whatever the pixel asks: the context is one vector.
    """

    def __init__(self, head: OcrHead) -> None:
        super().__init__()
        self.feature_channels = head.feature_channels
        self.auxiliary = nn.Sequential(folded_mix(cast(ConvNormAct, head.auxiliary[0])), head.auxiliary[1])
        self.pixels = UpsampledConv(_fused(head.pixels), head.channels)
        self.context = nn.Sequential(fold(head.attention.down), fold(head.attention.up))
        fuse = _fused(cast(ConvNormAct, head.fuse[0]))
        of_context, of_pixels = fuse.weight.chunk(2, 1)
        self.of_context, self.of_pixels = conv_of(of_context, fuse.bias), conv_of(of_pixels)
        self.predict = head.predict

    def forward(self, maps: list[Tensor]) -> BaseOutput:
        cells, auxiliary = self.pixels(maps), self.auxiliary(maps)
        region = torch.softmax(auxiliary.flatten(2), dim=-1)  # (1, 1, P)
        found = (region @ cells.flatten(1, 2)).transpose(1, 2).unsqueeze(3)
        features = F.relu(self.of_pixels(to_maps(cells)) + self.of_context(self.context(found)))
        return BaseOutput(features, self.predict(features), auxiliary)


FOLDED: dict[type[nn.Module], Callable[[Any], nn.Module]] = {
    XConv: FoldedXConv,
    ClickBranch: folded_branch,
    ConvNormAct: folded_conv,
    MixScales: folded_mix,
    MlpHead: FoldedMlpHead,
    OcrHead: FoldedOcrHead,
}
"""Modules that have a faster equal in eval mode. What is not in here stays as it is."""


def fold(module: nn.Module) -> nn.Module:
    """`module` in eval mode with all within it that is in `FOLDED` replaced, in place; itself or its replacement."""
    if type(module) in FOLDED:
        return FOLDED[type(module)](module)
    for name, child in module.named_children():
        setattr(module, name, fold(child))
    return module
