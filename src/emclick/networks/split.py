"""A network made ready to run: the same sums with each thing done once. What the runtimes run and export writes.

Six parts, by what they depend on, each for a batch of one:

- `ImagePart`: the image. Once per image, before any click.
- `AroundPart`: the first click, near it. Once per object, on the cells near the click.
- `FirstPart`: the first click. Once per object.
- `MaskPart`: the mask before. Once behind every answer.
- `FusePart`: the clicks so far. Once behind every answer, and at a click on the cells near it.
- `CorrectionPart`: everything else that a click changes.

Exact steps, in real arithmetic equal to `EmcNetwork` (rounding differs):

- BatchNorm is folded into the convolution before it.
- The corrector's first layer of the image, clicks and mask, and its first layer of the cached features, are
  linear up to their ReLU. The image's share (all biases included) and the features' share are summed maps that
  are kept; what a click changes is added before the ReLU.
- A click's disk changes the fused feature near it alone: the rest of it waits, made, for the next click, and with it
  what is computed of each of its pixels alone, the attention's queries and the norms.
- Query and key of the correlation are linear: `q . (K f + b) = (q K) . f + q . b`, so that Q is needed at the
  templates alone and the key map not at all.
- A 1x1 convolution over scales that were brought to one size is done at each scale's own size.
- The first click's map is binary: the click branch is a convolution of it and one of ones (see `ClickBranch`), which is
  the image's.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emclick.clicks import DISK_CHANNELS
from emclick.networks.blocks import to_cells, to_maps
from emclick.networks.correction import STRIDE
from emclick.networks.fold import FoldedClickBranch, InParts, RestEmpty, conv_of, fold, linear_of
from emclick.networks.model import EmcNetwork
from emclick.networks.templates import in_float32
from emclick.spec import CorrectionSpec

IMAGE_CHANNELS = 3 * STRIDE**2


class ImagePart(nn.Module):
    """What depends on the image alone."""

    def __init__(self, base: Any, corrector: Any) -> None:
        super().__init__()
        self.backbone = base.backbone
        self.normalize = corrector.normalize
        self.sums = RestEmpty(corrector.input1, IMAGE_CHANNELS)  # of disks and previous mask nothing yet

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """What is kept of an image.

        Args:
            image: (1, 3, H, W) RGB in [0, 1].

        Returns:
            The backbone's tensor before the click, channels last; image sums (1, H/4, W/4, C); how logits are
            upsampled, see `upsampled_cells`: rows (4, H/4, H/4) and columns (4, W/4, W/4); and what `AroundPart` would
            make of the whole frame without a click.
        """
        opened = self.backbone.before_click(image)
        branch = getattr(self.backbone, "click_branch", None)
        if isinstance(branch, FoldedClickBranch):
            opened = opened + branch.unclicked(image[:, :1])
        sums = self.sums(F.pixel_unshuffle(self.normalize(image), STRIDE))
        rows, columns = upsampling(sums.shape[1], image), upsampling(sums.shape[2], image).transpose(1, 2)
        around = self.backbone.around_click(opened, torch.zeros_like(image[:, :1]))
        return to_cells(opened), sums, rows, columns, *map(to_cells, around)


class AroundPart(nn.Module):
    """The layers of the base network that feel a click near it alone, on the whole frame or on some cells of it."""

    def __init__(self, base: Any) -> None:
        super().__init__()
        self.backbone = base.backbone

    def forward(self, opened: Tensor, click_map: Tensor) -> tuple[Tensor, ...]:
        """Of (a, b) cells what was before the click, and its disk map (1, 1, 4a, 4b) -> one map or more.

        All channels last but the disk map's, at the scales of the backbone; right `emclick.near.AROUND.cells` cells
        away from cells that were left out.
        """
        return tuple(map(to_cells, self.backbone.around_click(to_maps(opened), click_map)))


class FirstPart(nn.Module):
    """The rest of the base network, and the features' share of the corrector."""

    def __init__(self, base: Any, corrector: Any) -> None:
        super().__init__()
        self.base = base
        self.projection = corrector.feature_projection
        self.sums = RestEmpty(
            corrector.fusion[0], corrector.spec.width
        )  # of the corrector's own maps nothing yet

    def forward(self, *around: Tensor) -> tuple[Tensor, Tensor]:
        """The maps of `AroundPart`, of all cells -> coarse logits (1, 1, h, w), feature sums (1, h, w, C)."""
        output = self.base.head(self.base.backbone.beyond_click(list(map(to_maps, around))))
        return output.coarse_logits, self.sums(self.projection(output.features))


class MaskPart(nn.Module):
    """The mask's share of the corrector's first layer."""

    def __init__(self, corrector: Any) -> None:
        super().__init__()
        before = IMAGE_CHANNELS + DISK_CHANNELS
        self.share = corrector.input1.share(before, before + STRIDE**2)

    def forward(self, image_sums: Tensor, rows: Tensor, columns: Tensor, previous_logits: Tensor) -> Tensor:
        """`image_sums`, `rows` and `columns` of `ImagePart`, logits (1, 1, h, w) of the mask before -> (1, h, w, C)."""
        share = to_cells(self.share(torch.sigmoid(upsampled_cells(previous_logits, rows, columns))))
        # row by row: maps OpenVINO would add in the convolution, and then turn in four times the time of all else
        return (image_sums.flatten(0, 2) + share.flatten(0, 2)).reshape(image_sums.shape)


class FusePart(nn.Module):
    """The corrector up to its fused feature, and what is made of each of its pixels: of all cells or of some.

    It reads what is at most `emclick.near.FUSED.cells` cells away, so that a click changes the fused feature near it
    alone.
    """

    def __init__(self, corrector: Any) -> None:
        super().__init__()
        width = corrector.spec.width
        self.disks = corrector.input1.share(IMAGE_CHANNELS, IMAGE_CHANNELS + DISK_CHANNELS)
        self.own2 = corrector.input2
        self.own3 = corrector.fusion[0].share(width, 2 * width)
        self.fusion = corrector.fusion[1]
        # without attention what stands for its queries is not read
        self.query = query_of(corrector.attention.attention) if corrector.spec.attention else nn.Identity()

    def forward(
        self, disks: Tensor, mask_sums: Tensor, feature_sums: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The fused feature F of (a, b) of the (h, w) cells.

        Args:
            disks: (1, a, b, 32) disk maps, see `emclick.clicks.ClickMaps.disks`.
            mask_sums: (1, a, b, C) from `MaskPart`.
            feature_sums: (1, a, b, C) from `FirstPart`.

        Returns:
            F (1, a, b, C), the attention's scaled queries (1, a, b, C), and 1 / |F| of each pixel (1, a, b).
        """
        first = F.relu(to_maps(mask_sums) + self.disks(to_maps(disks)))
        fused = self.fusion(F.relu(to_maps(feature_sums) + self.own3(self.own2(first))))
        with in_float32(fused):
            # a power, not a quotient: OpenVINO would compute that in bfloat16
            inverse = norms(fused.float()).clamp_min(1e-12).pow(-1)
        return to_cells(fused), to_cells(self.query(fused)), inverse


class CorrectionPart(nn.Module):
    """The rest of the corrector: from the fused feature to logits."""

    def __init__(self, corrector: Any) -> None:
        super().__init__()
        spec: CorrectionSpec = corrector.spec
        self.spec = spec
        width = spec.width
        if spec.attention:
            self.attention = SplitAttention(corrector.attention.attention)
        if spec.correlation:
            self.correlation = SplitCorrelation(corrector.correlation, spec)
        self.merge = InParts(corrector.merge, [width] * (2 if spec.correlation else 1))
        self.refine1, self.refine2 = corrector.refine1, corrector.refine2
        self.predict = NarrowConv(corrector.predict)

    def choose(
        self, pixels: Tensor, inverse_norms: Tensor, size_hw: Sequence[int], points: Tensor, positive: Tensor,
        distances: Tensor,
    ) -> Tensor:  # fmt: skip
        """Indices (2, T) of the positive and negative templates among (h * w, C) pixels; see `select_templates`."""
        near = 1 - distances.flatten(2)[0]
        if self.spec.selection:
            height, width = size_hw
            # integers at once: a place in the map has more digits than bfloat16
            cells = torch.round(points.flatten(0, 1) / STRIDE).long()
            rows, columns = cells[:, 0].clamp(0, height - 1), cells[:, 1].clamp(0, width - 1)
            with in_float32(pixels):
                exact, inverse = pixels.float(), inverse_norms.flatten()
                places = rows * width + columns
                clicked = exact.index_select(0, places) * inverse.index_select(0, places)[:, None]
                of_each = torch.stack([positive, 1 - positive])[:, :, None] * clicked  # (2, N, C)
                own = (of_each @ exact.t()).amax(1) * inverse
            near = (own + 1 - own.flip(0)) * near
        return near.topk(self.spec.templates, dim=1).indices

    def forward(
        self,
        fused: Tensor,
        query: Tensor,
        inverse_norms: Tensor,
        distances: Tensor,
        points: Tensor,
        positive: Tensor,
    ) -> Tensor:
        """One correction of one frame (H, W), h = H/4, w = W/4, N clicks.

        Args:
            fused: (1, h, w, C) from `FusePart`.
            query: (1, h, w, C) likewise.
            inverse_norms: (1, h, w) likewise.
            distances: (1, 2, h, w) distance maps, positive then negative.
            points: (1, N, 2) (row, column) in the frame.
            positive: (N,) 1.0 for a positive click, 0.0 for a negative one.

        Returns:
            Logits (1, 1, h, w).
        """
        spec = self.spec
        size_hw = fused.shape[1:3]
        pixels = fused.reshape(-1, fused.shape[3])
        chosen = self.choose(pixels, inverse_norms, size_hw, points, positive, distances).flatten()
        templates = pixels.index_select(0, chosen)  # (2T, C), positive first
        maps = [to_maps(fused)]
        if spec.attention:
            used = templates if spec.attention_negatives else templates[: spec.templates]
            maps = [self.attention(maps[0], query.flatten(0, 2), used)]
        if spec.correlation:
            maps.append(self.correlation(pixels, templates, size_hw))
        return self.predict(self.refine2(self.refine1(self.merge(maps))))


class NarrowConv(nn.Module):
    """A 3x3 convolution to one channel as nine products and a sum of shifted maps: kernels for it are slow."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        kernel = conv.weight[0]  # (C, 3, 3)
        self.products = conv_of(kernel.flatten(1).t()[:, :, None, None])
        self.shifts = conv_of(torch.eye(9).view(1, 9, 3, 3), conv.bias, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.shifts(self.products(x))


def norms(maps: Tensor) -> Tensor:
    """(1, C, h, w) -> (1, h, w)."""
    if torch.onnx.is_in_onnx_export():
        # one operator, in all threads; the exporter would take the root of a sum of powers
        return torch.onnx.ops.symbolic(
            "ReduceL2", [maps, torch.tensor([1])], {"keepdims": 0}, dtype=maps.dtype,
            shape=(maps.shape[0], *maps.shape[2:]), version=18,
        )  # fmt: skip
    return torch.linalg.vector_norm(maps, dim=1)


def to_map(pixels: Tensor, size_hw: Sequence[int]) -> Tensor:
    """(h * w, C) -> (1, C, h, w)."""
    return to_maps(pixels.reshape(1, *size_hw, pixels.shape[1]))


def upsampled_cells(logits: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """(1, 1, h, w) -> (1, 16, a, b): upsampled by 4 with aligned corners, channel `4 * row + column` of a cell.

    Two products with matrices of interpolation weights: cheaper than a resize here.

    Args:
        logits: to be upsampled.
        rows: (4, a, h), of `upsampling` of h.
        columns: (4, w, b), of `upsampling` of w, each transposed.
    """
    height, width = rows.shape[1], columns.shape[2]
    lines = rows.reshape(-1, rows.shape[2]) @ logits[0, 0]  # (4a, w)
    return (lines.reshape(STRIDE, 1, height, columns.shape[1]) @ columns).reshape(1, STRIDE**2, height, width)


def upsampling(size: int, like: Tensor) -> Tensor:
    """(4, size, size): [k, i, j] is the weight of sample j in sample 4 i + k of four times as many, corners aligned."""
    samples = torch.arange(size, device=like.device, dtype=torch.float32)
    finer = STRIDE * samples + torch.arange(STRIDE, device=like.device, dtype=torch.float32)[:, None]
    place = finer * ((size - 1) / (STRIDE * size - 1))
    return (1 - (place[..., None] - samples).abs()).clamp_min(0).to(like.dtype)


def query_of(attention: Any) -> nn.Conv2d:
    """The query's projection of an `nn.MultiheadAttention`, with the scale of the products in it."""
    width = attention.embed_dim
    scale = (width // attention.num_heads) ** -0.5
    weight = attention.in_proj_weight[:width, :, None, None]
    return conv_of(weight * scale, attention.in_proj_bias[:width] * scale)


class SplitAttention(nn.Module):
    """`TemplateAttention` of queries that are made already."""

    def __init__(self, attention: Any) -> None:
        super().__init__()
        width, self.heads = attention.embed_dim, attention.num_heads
        self.key_value = linear_of(attention.in_proj_weight[width:], attention.in_proj_bias[width:])
        self.output = conv_of(attention.out_proj.weight[:, :, None, None], attention.out_proj.bias)

    def forward(self, fused: Tensor, query: Tensor, templates: Tensor) -> Tensor:
        """(1, C, h, w), queries (P, C) of `query_of` and templates (K, C) -> (1, C, h, w)."""
        key, value = self.key_value(templates).chunk(2, 1)
        if torch.onnx.is_in_onnx_export():
            # one operator instead of eight: runtimes keep the (heads, P, K) weights out of memory
            mixed = torch.onnx.ops.symbolic(
                "com.microsoft::MultiHeadAttention", [query[None], key[None], value[None]],
                {"num_heads": self.heads, "scale": 1.0}, dtype=query.dtype, shape=query[None].shape, version=1,
            ).squeeze(0)  # fmt: skip
        else:
            q, k, v = (
                each.unflatten(1, (self.heads, -1)).transpose(0, 1)[None] for each in (query, key, value)
            )
            mixed = F.scaled_dot_product_attention(q, k, v, scale=1.0)[0].transpose(0, 1).flatten(1)
        return fused + self.output(to_map(mixed, fused.shape[-2:]))


class SplitCorrelation(nn.Module):
    """`TemplateCorrelation` without a query map or a key map."""

    def __init__(self, correlation: Any, spec: CorrectionSpec) -> None:
        super().__init__()
        self.count = spec.templates
        self.polarities = 2 if spec.correlation_negatives else 1
        self.query = linear_of(correlation.query.weight.flatten(1), correlation.query.bias)
        self.key = nn.Parameter(correlation.key.weight.detach().flatten(1).clone())
        self.key_bias = nn.Parameter(correlation.key.bias.detach()[:, None].clone())
        self.refine = correlation.refine.repeated(self.polarities)
        self.fuse = correlation.fuse

    def forward(self, pixels: Tensor, templates: Tensor, size_hw: Sequence[int]) -> Tensor:
        """(P, C) and (2T, C) -> (1, C, h, w)."""
        query = self.query(templates[: self.polarities * self.count])
        maps = pixels @ (query @ self.key).t() + (query @ self.key_bias).t()
        return self.fuse(self.refine(to_map(maps, size_hw)))


class SplitNetwork(NamedTuple):
    """The parts, in eval mode."""

    image: ImagePart
    around: AroundPart
    first: FirstPart
    mask: MaskPart
    fuse: FusePart
    correction: CorrectionPart


def split(network: EmcNetwork) -> SplitNetwork:
    """`network` made ready to run. It is not changed; the parts hold copies."""
    folded: Any = fold(copy.deepcopy(network).eval().requires_grad_(False))
    parts = SplitNetwork(
        ImagePart(folded.base, folded.corrector),
        AroundPart(folded.base),
        FirstPart(folded.base, folded.corrector),
        MaskPart(folded.corrector),
        FusePart(folded.corrector),
        CorrectionPart(folded.corrector),
    )
    for part in parts:
        part.eval().requires_grad_(False)
    return parts
