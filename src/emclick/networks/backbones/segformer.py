"""Mix Transformer (SegFormer's backbone, Xie et al., NeurIPS 2021) with a click embedding into stage 2."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from emclick.networks.base_network import Backbone, BaseNetwork
from emclick.networks.blocks import Normalize
from emclick.networks.heads.mlp import MlpHead

HEADS = (1, 2, 5, 8)
REDUCTIONS = (8, 4, 2, 1)
MLP_RATIO = 4


class DropPath(nn.Module):
    """Drops a residual branch per sample while training (stochastic depth)."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.probability == 0:
            return x
        kept = 1 - self.probability
        return x * x.new_empty(x.shape[0], *[1] * (x.ndim - 1)).bernoulli_(kept) / kept


class PatchEmbedding(nn.Module):
    """Overlapping convolution and LayerNorm: (B, c, H, W) -> tokens (B, h*w, channels) and (h, w)."""

    def __init__(self, channels_in: int, channels: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.projection = nn.Conv2d(channels_in, channels, kernel, stride, kernel // 2)
        self.norm = nn.LayerNorm(channels, eps=1e-5)

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        x = self.projection(x)
        return self.norm(x.flatten(2).transpose(1, 2)), (x.shape[2], x.shape[3])


def _to_map(tokens: Tensor, size_hw: tuple[int, int]) -> Tensor:
    return tokens.transpose(1, 2).unflatten(2, size_hw)


class ReducedAttention(nn.Module):
    """Multi-head attention whose keys and values come from a grid reduced by a strided convolution."""

    def __init__(self, channels: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(channels, channels)
        self.key_value = nn.Linear(channels, 2 * channels)
        self.output = nn.Linear(channels, channels)
        self.reduction = nn.Conv2d(channels, channels, reduction, reduction) if reduction > 1 else None
        self.norm = nn.LayerNorm(channels, eps=1e-5) if reduction > 1 else None

    def forward(self, tokens: Tensor, size_hw: tuple[int, int]) -> Tensor:
        source = tokens
        if self.reduction is not None and self.norm is not None:
            source = self.norm(self.reduction(_to_map(tokens, size_hw)).flatten(2).transpose(1, 2))
        query = self.query(tokens).unflatten(2, (self.heads, -1)).transpose(1, 2)
        key, value = self.key_value(source).unflatten(2, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.output(mixed.transpose(1, 2).flatten(2))


class MixMlp(nn.Module):
    """Linear, depthwise 3x3, exact GELU, linear."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = MLP_RATIO * channels
        self.expand = nn.Linear(channels, hidden)
        self.depthwise = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.project = nn.Linear(hidden, channels)

    def forward(self, tokens: Tensor, size_hw: tuple[int, int]) -> Tensor:
        hidden = self.depthwise(_to_map(self.expand(tokens), size_hw)).flatten(2).transpose(1, 2)
        return self.project(F.gelu(hidden))


class Block(nn.Module):
    """Pre-norm attention and MLP, each with a shortcut and drop path."""

    def __init__(self, channels: int, heads: int, reduction: int, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels, eps=1e-6)
        self.attention = ReducedAttention(channels, heads, reduction)
        self.norm2 = nn.LayerNorm(channels, eps=1e-6)
        self.mlp = MixMlp(channels)
        self.drop_path = DropPath(drop_path)

    def forward(self, tokens: Tensor, size_hw: tuple[int, int]) -> Tensor:
        tokens = tokens + self.drop_path(self.attention(self.norm1(tokens), size_hw))
        return tokens + self.drop_path(self.mlp(self.norm2(tokens), size_hw))


class Stage(nn.Module):
    """Patch embedding, blocks, LayerNorm: one scale."""

    def __init__(
        self, channels_in: int, channels: int, kernel: int, stride: int, heads: int, reduction: int,
        drop_paths: list[float],
    ) -> None:  # fmt: skip
        super().__init__()
        self.embedding = PatchEmbedding(channels_in, channels, kernel, stride)
        self.blocks = nn.ModuleList(Block(channels, heads, reduction, drop) for drop in drop_paths)
        self.norm = nn.LayerNorm(channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        tokens, size_hw = self.embedding(x)
        for block in self.blocks:
            tokens = block(tokens, size_hw)
        return _to_map(self.norm(tokens), size_hw)


class MixTransformer(Backbone):
    """Four scales at 1/4, 1/8, 1/16 and 1/32.

    The click map has its own 7x7 stride-4 embedding, added to stage 1's normalised output on its way into
    stage 2; the head gets stage 1's output without it (METHOD, "SegFormer").

    Args:
        channels: width of each stage.
        depths: blocks of each stage.
        drop_path: rate of the last block, growing linearly from 0.
        click_maps: maps that the click embedding reads.
    """

    strides = (4, 8, 16, 32)

    def __init__(
        self,
        channels: tuple[int, int, int, int],
        depths: tuple[int, int, int, int],
        drop_path: float = 0.1,
        click_maps: int = 1,
    ) -> None:
        super().__init__()
        self.channels = channels
        self.normalize = Normalize()
        rates = [drop_path * block / (sum(depths) - 1) for block in range(sum(depths))]
        kernels, strides, inputs = (7, 3, 3, 3), (4, 2, 2, 2), (3, *channels[:3])
        self.stages = nn.ModuleList(
            Stage(inputs[i], channels[i], kernels[i], strides[i], HEADS[i], REDUCTIONS[i],
                  rates[sum(depths[:i]) : sum(depths[: i + 1])])
            for i in range(4)
        )  # fmt: skip
        self.click_embedding = PatchEmbedding(click_maps, channels[0], 7, 4)
        # The release holds this norm and never applies it; kept so that parameters transfer and counts agree.
        # Without a gradient, or processes that share gradients would wait for its.
        self.unused_norm = nn.LayerNorm(channels[0]).requires_grad_(False)

    def before_click(self, image: Tensor) -> Tensor:
        return self.stages[0](self.normalize(image))

    def around_click(self, opened: Tensor, click_map: Tensor) -> list[Tensor]:
        """Stage 1's output and the same with the click, both at 1/4."""
        return [opened, opened + _to_map(*self.click_embedding(click_map))]

    def beyond_click(self, maps: Sequence[Tensor]) -> list[Tensor]:
        opened, x = maps
        found = [opened]
        for stage in list(self.stages)[1:]:
            x = stage(x)
            found.append(x)
        return found


def segformer_b0(click_maps: int = 1) -> BaseNetwork:
    """MiT-B0 with a 256-channel head."""
    backbone = MixTransformer((32, 64, 160, 256), (2, 2, 2, 2), click_maps=click_maps)
    return BaseNetwork(backbone, MlpHead(backbone.channels, 256))


def segformer_b3(click_maps: int = 1) -> BaseNetwork:
    """MiT-B3 with a 512-channel head."""
    backbone = MixTransformer((64, 128, 320, 512), (3, 4, 18, 3), click_maps=click_maps)
    return BaseNetwork(backbone, MlpHead(backbone.channels, 512))
