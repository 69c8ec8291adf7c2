"""The corrector on batches with fewer passes: what training runs, in both modes. The same sums, other roundings.

- What depends on the image or the features alone is computed once per step; a click's maps are written where
  the first layer reads them, as cells of 4x4 pixels, without a frame in between.
- Correlation needs queries at the templates alone and no key map: `q . (K f + b) = (q K) . f + q . b`.
- Attention reads pixels as they lie in memory; on CPUs in float32, whose gradient takes a third of bfloat16's.
- In eval mode (`FrozenCorrector`) norms are folded, once per step, and of the two layers that read image and
  features only the share that a click changes is computed at each click.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emclick.networks.blocks import XConv, resize_maps
from emclick.networks.click_maps import CellMaps
from emclick.networks.correction import STRIDE, CorrectionNetwork, TemplateCorrelation
from emclick.networks.depthwise import autocast_dtype
from emclick.networks.templates import gather_pixels
from emclick.spec import CorrectionSpec

IMAGE_CHANNELS = 3 * STRIDE**2
Layer = Callable[[XConv, Tensor], Tensor]


def run_live(conv: XConv, x: Tensor) -> Tensor:
    """The `Layer` that computes a convolution as it is."""
    return conv(x)


def image_cells(corrector: CorrectionNetwork, images: Tensor) -> Tensor:
    """(B, 3, H, W) in [0, 1] -> (B, 48, H/4, W/4): what the first layer reads of the images."""
    cells = F.pixel_unshuffle(corrector.normalize(images), STRIDE)
    return _as_autocast(cells).contiguous(memory_format=torch.channels_last)


def upsampled_probabilities(logits: Tensor) -> Tensor:
    """(B, 1, h, w) logits -> (B, 4h, 4w) float32 probabilities, upsampled with aligned corners. No gradient."""
    height, width = logits.shape[-2:]
    return resize_maps(logits.detach()[:, 0].float(), (STRIDE * height, STRIDE * width)).sigmoid_()


def correct(
    corrector: CorrectionNetwork, cells: Tensor, features: Tensor, clicks: CellMaps, probabilities: Tensor
) -> Tensor:
    """`CorrectionNetwork.forward` in its present mode, with gradients.

    Args:
        corrector: whose weights.
        cells: (B, 48, h, w) from `image_cells`.
        features: (B, feature_channels, h, w) from the base network.
        clicks: all clicks so far.
        probabilities: (B, H, W) in [0, 1], the mask before.

    Returns:
        Logits (B, 1, h, w).
    """
    own = corrector.input2(corrector.input1(torch.cat([cells, clicks.cells(probabilities)], 1)))
    fused = corrector.fusion(torch.cat([corrector.feature_projection(features), own], 1))
    return decode(corrector, fused, clicks, run_live)


def decode(corrector: CorrectionNetwork, fused: Tensor, clicks: CellMaps, run: Layer) -> Tensor:
    """METHOD's steps 4-7: fused feature (B, C, h, w) -> logits (B, 1, h, w)."""
    spec, merged = corrector.spec, fused
    pixels = fused.permute(0, 2, 3, 1).flatten(1, 2)
    chosen = choose(pixels, fused.shape[-2:], clicks, spec)
    templates = gather_pixels(fused, chosen.flatten(1))  # (B, 2T, C), positive first
    if spec.attention:
        used = templates if spec.attention_negatives else templates[:, : spec.templates]
        merged = _to_map(attend(corrector.attention.attention, pixels, used), fused.shape[-2:])
    if spec.correlation:
        polarities = templates.split(spec.templates, 1)[: 2 if spec.correlation_negatives else 1]
        related = correlate(corrector.correlation, pixels, polarities, fused.shape[-2:], run)
        merged = torch.cat([merged, related], 1)
    return corrector.predict(run(corrector.refine2, run(corrector.refine1, run(corrector.merge, merged))))


@torch.no_grad()
def choose(pixels: Tensor, size_hw: Sequence[int], clicks: CellMaps, spec: CorrectionSpec) -> Tensor:
    """`select_templates` of (B, h * w, C): flat indices (B, 2, T) of positive and negative ones. In float32."""
    scores = 1 - clicks.distances().flatten(2)
    if spec.selection:
        with torch.autocast(pixels.device.type, enabled=False):
            similarity = _similarities(pixels.float(), size_hw, clicks.points)
        positive = (clicks.exists & clicks.positive)[..., None]
        negative = (clicks.exists & ~clicks.positive)[..., None]
        own = torch.stack([(similarity * positive).amax(1), (similarity * negative).amax(1)], 1)
        scores = (own + 1 - own.flip(1)) * scores
    return scores.topk(spec.templates, dim=2).indices


def _similarities(pixels: Tensor, size_hw: Sequence[int], points: Tensor) -> Tensor:
    """Cosine similarity (B, N, h * w) of (B, h * w, C) pixels to those nearest to clicks at (B, N, 2)."""
    height, width = size_hw
    cells = torch.round(points / STRIDE).long()
    nearest = cells[..., 0].clamp(0, height - 1) * width + cells[..., 1].clamp(0, width - 1)
    clicked = pixels.gather(1, nearest[..., None].expand(-1, -1, pixels.shape[2]))
    norms = torch.linalg.vector_norm(pixels, dim=2).clamp_min(1e-12)
    return F.normalize(clicked, dim=2) @ pixels.mT / norms[:, None]


def attend(attention: nn.MultiheadAttention, pixels: Tensor, templates: Tensor) -> Tensor:
    """`TemplateAttention` of (B, P, C) and (B, K, C) -> (B, P, C)."""
    width, heads = attention.embed_dim, attention.num_heads
    weight, bias = attention.in_proj_weight, attention.in_proj_bias
    query = F.linear(pixels, weight[:width], bias[:width])
    key, value = F.linear(templates, weight[width:], bias[width:]).chunk(2, 2)
    query, key, value = (each.unflatten(2, (heads, -1)).transpose(1, 2) for each in (query, key, value))
    if query.device.type == "cpu" and query.dtype is torch.bfloat16 and torch.is_grad_enabled():
        with torch.autocast("cpu", enabled=False):
            mixed = F.scaled_dot_product_attention(query.float(), key.float(), value.float())
    else:
        mixed = F.scaled_dot_product_attention(query, key, value)
    return pixels + attention.out_proj(mixed.transpose(1, 2).flatten(2))


def correlate(
    correlation: TemplateCorrelation, pixels: Tensor, polarities: Sequence[Tensor], size_hw: Sequence[int],
    run: Layer,
) -> Tensor:  # fmt: skip
    """`TemplateCorrelation` of (B, P, C) and, per polarity, templates (B, T, C) -> (B, C, h, w)."""
    query, key = correlation.query, correlation.key
    assert query.bias is not None
    assert key.bias is not None
    maps = []
    for templates in polarities:
        asked = F.linear(templates, query.weight.flatten(1), query.bias)
        kernel, offset = asked @ key.weight.flatten(1), asked @ key.bias
        related = torch.baddbmm(offset[:, None].to(pixels.dtype), pixels, kernel.mT)
        maps.append(run(correlation.refine, _to_map(related, size_hw)))
    return run(correlation.fuse, torch.cat(maps, 1))


@dataclass(frozen=True)
class Folded:
    """An `XConv` in eval mode as three convolutions: (weight, bias) of each."""

    depthwise1: tuple[Tensor, Tensor]
    depthwise2: tuple[Tensor, Tensor]
    pointwise: tuple[Tensor, Tensor]

    @classmethod
    def of(cls, conv: XConv) -> Folded:
        """With both norms folded in, in the dtype that autocast computes in."""
        assert conv.depthwise2.bias is not None
        parts = (
            fold_norm(conv.depthwise1, conv.norm1),
            (conv.depthwise2.weight, conv.depthwise2.bias),
            fold_norm(conv.pointwise, conv.norm2),
        )
        return cls(*((_as_autocast(weight), _as_autocast(bias)) for weight, bias in parts))

    def sums(self, x: Tensor, start: int = 0) -> Tensor:
        """What input channels `start` and following, as many as `x` has, add before the ReLU.

        The pointwise bias is in the share that starts at 0, so that the shares of all channels add up to all.
        """
        count = x.shape[1]
        part = slice(start, start + count)
        for weight, bias in (self.depthwise1, self.depthwise2):
            x = F.conv2d(x, weight[part], bias[part], padding=1, groups=count)
        weight, bias = self.pointwise
        return F.conv2d(x, weight[:, part], None if start else bias)

    def __call__(self, x: Tensor) -> Tensor:
        return F.relu_(self.sums(x))


def fold_norm(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weight and bias of `conv` followed by `norm` in eval mode."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    bias = norm.bias - norm.running_mean * scale
    return conv.weight * scale[:, None, None, None], bias if conv.bias is None else bias + conv.bias * scale


class FrozenCorrector:
    """The corrector in eval mode, on one batch of images and features; no gradients.

    Weights are read when it is made, and not again. Made and called under the same autocast.

    Args:
        corrector: whose weights; its mode does not matter and is left alone.
        cells: (B, 48, h, w) from `image_cells`.
        features: (B, feature_channels, h, w) from the base network.
    """

    @torch.no_grad()
    def __init__(self, corrector: CorrectionNetwork, cells: Tensor, features: Tensor) -> None:
        self.corrector = corrector
        self.folded = {
            module: Folded.of(module) for module in corrector.modules() if isinstance(module, XConv)
        }
        self.image_sums = self.folded[corrector.input1].sums(cells)
        self.feature_sums = self.folded[self._fusion(0)].sums(self._projected(features))

    def _fusion(self, number: int) -> XConv:
        module = self.corrector.fusion[number]
        assert isinstance(module, XConv)
        return module

    def _projected(self, features: Tensor) -> Tensor:
        conv, norm = list(self.corrector.feature_projection)[:2]
        assert isinstance(conv, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        return F.relu_(F.conv2d(features, *fold_norm(conv, norm)))

    @torch.no_grad()
    def correct(self, clicks: CellMaps, probabilities: Tensor) -> Tensor:
        """All clicks so far and the mask before, (B, H, W) in [0, 1] -> logits (B, 1, h, w)."""
        changed = self.folded[self.corrector.input1].sums(clicks.cells(probabilities), IMAGE_CHANNELS)
        own = self.folded[self.corrector.input2](changed.add_(self.image_sums).relu_())
        width = self.corrector.spec.width
        fused = self.folded[self._fusion(0)].sums(own, width).add_(self.feature_sums).relu_()
        fused = self.folded[self._fusion(1)](fused)
        return decode(self.corrector, fused, clicks, lambda conv, x: self.folded[conv](x))


def _to_map(pixels: Tensor, size_hw: Sequence[int]) -> Tensor:
    return pixels.unflatten(1, size_hw).permute(0, 3, 1, 2)


def _as_autocast(x: Tensor) -> Tensor:
    return x.to(autocast_dtype(x.device.type) or x.dtype)
