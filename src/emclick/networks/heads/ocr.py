"""Object-contextual representations (Yuan et al., ECCV 2020), with the single object of a click model."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from emclick.networks.base_network import BaseOutput, Head
from emclick.networks.blocks import ConvNormAct, upsample_to


class ObjectAttention(nn.Module):
    """Pixels (B, 2k, h, w) read the object vectors (B, 2k, n, 1) through keys of width k."""

    def __init__(self, channels: int, key_width: int) -> None:
        super().__init__()
        self.key_width = key_width
        self.pixel = nn.Sequential(ConvNormAct(channels, key_width), ConvNormAct(key_width, key_width))
        self.object = nn.Sequential(ConvNormAct(channels, key_width), ConvNormAct(key_width, key_width))
        self.down = ConvNormAct(channels, key_width)
        self.up = ConvNormAct(key_width, channels)

    def forward(self, pixels: Tensor, objects: Tensor) -> Tensor:
        query = self.pixel(pixels).flatten(2).transpose(1, 2)
        key = self.object(objects).flatten(2)
        value = self.down(objects).flatten(2).transpose(1, 2)
        weights = torch.softmax(query @ key * self.key_width**-0.5, dim=-1)
        context = (weights @ value).transpose(1, 2)
        return self.up(context.reshape(*context.shape[:2], *pixels.shape[-2:]))


class OcrHead(Head):
    """METHOD, "HRNet+OCR": auxiliary logits, soft object region, object attention, features, coarse logits.

    Args:
        channels: of the backbone's maps, which are brought to the finest scale and concatenated.
        key_width: k of the attention; the features have 2k channels.
    """

    def __init__(self, channels: Sequence[int], key_width: int, dropout: float = 0.05) -> None:
        super().__init__()
        total, width = sum(channels), 2 * key_width
        self.feature_channels, self.channels = width, tuple(channels)
        self.auxiliary = nn.Sequential(ConvNormAct(total, total, bias=True), nn.Conv2d(total, 1, 1))
        self.pixels = ConvNormAct(total, width, 3, bias=True)
        self.attention = ObjectAttention(width, key_width)
        self.fuse = nn.Sequential(ConvNormAct(2 * width, width), nn.Dropout2d(dropout))
        self.predict = nn.Conv2d(width, 1, 1)

    def forward(self, maps: list[Tensor]) -> BaseOutput:
        return self.decode(self.join(maps))

    @staticmethod
    def join(maps: Sequence[Tensor]) -> Tensor:
        """The backbone's maps at the size of the finest: (B, sum(channels), h, w)."""
        size = maps[0].shape[-2:]
        return torch.cat([upsample_to(x, size) for x in maps], 1)

    def decode(self, joined: Tensor) -> BaseOutput:
        """What `join` gave, (B, sum(channels), h, w) -> features and logits."""
        pixels, auxiliary = self.pixels(joined), self.auxiliary(joined)
        region = torch.softmax(auxiliary.flatten(2), dim=-1)
        objects = (region @ pixels.flatten(2).transpose(1, 2)).transpose(1, 2).unsqueeze(-1)
        features = self.fuse(torch.cat([self.attention(pixels, objects), pixels], 1))
        return BaseOutput(features, self.predict(features), auxiliary)
