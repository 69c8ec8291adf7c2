"""The mask correction network: 0.1 M parameters that update the mask at every click (paper, sec. 3.2-3.4)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emclick.networks.blocks import ConvNormAct, Normalize, XConv, upsample_to
from emclick.networks.templates import gather_pixels, select_templates
from emclick.spec import CorrectionSpec

STRIDE = 4


@dataclass(frozen=True)
class ClickInput:
    """The clicks so far, as the corrector reads them, for B frames (H, W) and N clicks (padded).

    Attributes:
        points: (B, N, 2) float (row, column) in the frame.
        positive: (B, N) bool.
        exists: (B, N) bool, False for padding.
        disks: (B, 2, H, W) disk maps, positive then negative.
        distances: (B, 2, H/4, W/4) distance maps, positive then negative.
    """

    points: Tensor
    positive: Tensor
    exists: Tensor
    disks: Tensor
    distances: Tensor


class TemplateAttention(nn.Module):
    """Click-guided self-attention: every pixel asks the templates; residual, no norm (METHOD, step 6)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)

    def forward(self, features: Tensor, templates: Tensor) -> Tensor:
        """(B, C, h, w) and templates (B, K, C) -> (B, C, h, w)."""
        pixels = features.flatten(2).transpose(1, 2)
        update = self.attention(pixels, templates, templates, need_weights=False)[0]
        return features + update.transpose(1, 2).reshape(features.shape)


class TemplateCorrelation(nn.Module):
    """Click-guided correlation: templates as 1x1 kernels over the image (METHOD, step 5)."""

    def __init__(self, width: int, templates: int, negatives: bool) -> None:
        super().__init__()
        self.query = nn.Conv2d(width, width, 1)
        self.key = nn.Conv2d(width, width, 1)
        self.refine = XConv(templates, templates)  # shared by both polarities
        self.fuse = XConv(templates * (2 if negatives else 1), width)

    def forward(self, features: Tensor, templates: tuple[Tensor, ...]) -> Tensor:
        """(B, C, h, w) and per polarity flat indices (B, T) -> (B, C, h, w)."""
        query, key = self.query(features), self.key(features)
        maps = [
            self.refine((gather_pixels(query, indices) @ key.flatten(2)).unflatten(2, key.shape[-2:]))
            for indices in templates
        ]
        return self.fuse(torch.cat(maps, 1))


class CorrectionNetwork(nn.Module):
    """Image, clicks, previous mask and cached features in; new logits at 1/4 resolution out.

    Args:
        feature_channels: channels of the base network's cached features.
        spec: width, templates and ablations.
    """

    def __init__(self, feature_channels: int, spec: CorrectionSpec) -> None:
        super().__init__()
        self.spec = spec
        width = spec.width
        self.normalize = Normalize()
        self.input1 = XConv(6 * STRIDE**2, width)
        self.input2 = XConv(width, width)
        self.feature_projection = ConvNormAct(feature_channels, width, bias=True)
        self.fusion = nn.Sequential(XConv(2 * width, width), XConv(width, width))
        if spec.correlation:
            self.correlation = TemplateCorrelation(width, spec.templates, spec.correlation_negatives)
        if spec.attention:
            self.attention = TemplateAttention(width, spec.heads)
        self.merge = XConv(width * (2 if spec.correlation else 1), width)
        self.refine1 = XConv(width, width)
        self.refine2 = XConv(width, width)
        self.predict = nn.Conv2d(width, 1, 3, padding=1)

    def fuse(self, image: Tensor, features: Tensor, disks: Tensor, previous_logits: Tensor) -> Tensor:
        """The fused feature F (B, C, H/4, W/4) of METHOD's steps 1-3."""
        previous = torch.sigmoid(upsample_to(previous_logits, image.shape[-2:]))
        stacked = torch.cat([self.normalize(image), disks, previous], 1)
        own = self.input2(self.input1(F.pixel_unshuffle(stacked, STRIDE)))
        return self.fusion(torch.cat([self.feature_projection(features), own], 1))

    def choose(self, fused: Tensor, clicks: ClickInput) -> tuple[Tensor, Tensor]:
        """Flat indices (B, T) of the positive and negative templates on the fused feature."""
        return select_templates(
            fused, clicks.points, clicks.positive, clicks.exists, clicks.distances, self.spec.templates,
            use_similarity=self.spec.selection,
        )  # fmt: skip

    def decode(self, fused: Tensor, templates: tuple[Tensor, Tensor]) -> Tensor:
        """METHOD's steps 5-7: fused feature and templates -> logits (B, 1, H/4, W/4)."""
        spec, merged = self.spec, fused
        if spec.attention:
            used = templates if spec.attention_negatives else templates[:1]
            merged = self.attention(fused, gather_pixels(fused, torch.cat(used, 1)))
        if spec.correlation:
            used = templates if spec.correlation_negatives else templates[:1]
            merged = torch.cat([merged, self.correlation(fused, used)], 1)
        return self.predict(self.refine2(self.refine1(self.merge(merged))))

    def forward(self, image: Tensor, features: Tensor, clicks: ClickInput, previous_logits: Tensor) -> Tensor:
        """One correction.

        Args:
            image: (B, 3, H, W) RGB in [0, 1]; H and W multiples of 4, H*W/16 at least the template count.
            features: (B, feature_channels, H/4, W/4) from the base network.
            clicks: all clicks so far.
            previous_logits: (B, 1, H/4, W/4).

        Returns:
            Logits (B, 1, H/4, W/4).
        """
        fused = self.fuse(image, features, clicks.disks, previous_logits)
        return self.decode(fused, self.choose(fused, clicks))
