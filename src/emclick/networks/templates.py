"""Template selection: which pixels stand for the object and which for the background (paper, sec. 3.3)."""

from __future__ import annotations

import contextlib

import torch
import torch.nn.functional as F
from torch import Tensor


def click_features(features: Tensor, points: Tensor, stride: int = 4) -> Tensor:
    """Features at the clicks' nearest grid pixel.

    Args:
        features: (B, C, h, w).
        points: (B, N, 2) float, (row, column) in the frame.
        stride: frame pixels per grid pixel; `points / stride` is rounded half to even and clamped to the grid.

    Returns:
        (B, N, C).
    """
    height, width = features.shape[-2:]
    cells = torch.round(points / stride)
    rows = cells[..., 0].clamp(0, height - 1).long()
    columns = cells[..., 1].clamp(0, width - 1).long()
    return gather_pixels(features, rows * width + columns)


def gather_pixels(features: Tensor, indices: Tensor) -> Tensor:
    """(B, C, h, w) at flat pixel `indices` (B, K) -> (B, K, C)."""
    flat = features.flatten(2)
    index = indices[:, None, :].expand(-1, flat.shape[1], -1)
    return flat.gather(2, index).transpose(1, 2)


def in_float32(like: Tensor) -> contextlib.AbstractContextManager[object]:
    """A context without autocast on the tensor's device: templates are ranked by differences that bf16 rounds away."""
    kind = like.device.type
    # asked, so that an exporter does not see the context
    if not (torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)):
        return contextlib.nullcontext()
    return torch.autocast(kind, enabled=False)


@torch.no_grad()
def template_scores(
    features: Tensor, points: Tensor, positive: Tensor, exists: Tensor, distances: Tensor,
    *, use_similarity: bool = True,
) -> Tensor:  # fmt: skip
    """How well each pixel stands for the object and for the background.

    With s+ and s- the largest cosine similarity of a pixel to any positive or negative click (0 where there
    is none) and d+ and d- the distance maps, the scores are `(s+ + 1 - s-) * (1 - d+)` and
    `(s- + 1 - s+) * (1 - d-)` (METHOD, "Template selection").

    Args:
        features: (B, C, h, w) fused feature, not negative.
        points: (B, N, 2) (row, column) in the frame.
        positive: (B, N) bool, polarity of each click.
        exists: (B, N) bool, False for padding.
        distances: (B, 2, h, w), positive then negative, in [0, 1].
        use_similarity: False ranks by distance alone (the ablation without template selection).

    Returns:
        (B, 2, h * w) float32, positive then negative.
    """
    near = 1 - distances.flatten(2).float()
    if not use_similarity:
        return near
    with in_float32(features):
        unit = F.normalize(features.detach().float(), dim=1)
        similarity = click_features(unit, points.float()) @ unit.flatten(2)
    s_positive = (similarity * (exists & positive)[..., None]).amax(1)
    s_negative = (similarity * (exists & ~positive)[..., None]).amax(1)
    return torch.stack([s_positive + 1 - s_negative, s_negative + 1 - s_positive], 1) * near


def select_templates(
    features: Tensor, points: Tensor, positive: Tensor, exists: Tensor, distances: Tensor, count: int,
    *, use_similarity: bool = True,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The `count` best pixels per polarity by `template_scores`, best first. No gradient.

    Args:
        count: templates per polarity, at most h * w.
        others: as for `template_scores`.

    Returns:
        Flat pixel indices (B, count) int64 of the positive and of the negative templates.
    """
    scores = template_scores(features, points, positive, exists, distances, use_similarity=use_similarity)
    best_positive, best_negative = scores.topk(count, dim=2).indices.unbind(1)
    return best_positive, best_negative
