"""Losses on logits, with label -1 ignored (METHOD, "Training")."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from emclick.networks.blocks import resize_maps

EDGE_PX = 4
"""Pixels at most so far from a pixel of the other kind, along rows and along columns, lie at the object's edge: about
what one value of the output, at 1/4, shows."""


def normalized_focal_loss(
    logits: Tensor, target: Tensor, alpha: float = 0.5, gamma: float = 2.0, weight: Tensor | None = None
) -> Tensor:
    """Normalised focal loss (Sofiiuk et al., 2019), mean over valid pixels of each image, then over images.

    `p_t = 1 - |y - p|`, `beta = (1 - p_t)^gamma`, scaled per image by `n_valid / sum(beta)` (no gradient);
    the loss of a pixel is `-alpha * beta * log(p_t)`.

    Args:
        logits: (B, 1, h, w).
        target: (B, H, W) with 1 object, 0 background, -1 ignored; logits are brought to (H, W), bilinear,
            aligned corners.
        weight: (B, H, W), of each pixel in its image's mean; None weighs all the same.

    Returns:
        A scalar; 0 where no pixel is valid.
    """
    pixel, valid = _focal(_to_target(logits, target), target, alpha, gamma)
    share = valid if weight is None else valid * weight
    return ((pixel * share).sum((1, 2)) / share.sum((1, 2)).clamp_min(1)).mean()


def weighted_focal_loss(
    logits: Tensor, target: Tensor, weight: Tensor, alpha: float = 0.5, gamma: float = 2.0
) -> Tensor:
    """`normalized_focal_loss` per pixel, averaged over the batch by `weight` (B, H, W)."""
    pixel, valid = _focal(_to_target(logits, target), target, alpha, gamma)
    return (pixel * weight).sum() / (weight * valid).sum().clamp_min(1e-6)


def binary_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy, mean over valid pixels of each image, then over images; arguments as above."""
    logits = _to_target(logits, target)
    valid = (target >= 0).float()
    pixel = F.binary_cross_entropy_with_logits(logits, (target == 1).float(), reduction="none") * valid
    return (pixel.sum((1, 2)) / valid.sum((1, 2)).clamp_min(1)).mean()


def pixel_weights(target: Tensor, before: Tensor, edge: float, kept: float) -> Tensor | None:
    """What each pixel counts in the loss of a corrected mask: 1, more at the edge and where the mask was right.

    Args:
        target: (B, H, W) as above.
        before: (B, H, W) probabilities before the click.
        edge: added within `EDGE_PX` of the object's edge.
        kept: added where the mask before (above 0.5) was right, so that a click does not undo what is good.

    Returns:
        (B, H, W) float32; None if nothing is added.
    """
    if not edge and not kept:
        return None
    inside, outside = target == 1, target == 0
    weight = torch.ones_like(before)
    if edge:
        weight = weight + edge * (_spread(inside) * _spread(outside))
    return weight + kept * torch.where(before > 0.5, inside, outside) if kept else weight


def _spread(mask: Tensor) -> Tensor:
    """(B, H, W) float32: 1 within `EDGE_PX` of the mask, else 0; rows first, then columns, which is the cheaper way."""
    side = 2 * EDGE_PX + 1
    rows = F.max_pool2d(mask.float(), (side, 1), 1, (EDGE_PX, 0))
    return F.max_pool2d(rows, (1, side), 1, (0, EDGE_PX))


def _focal(logits: Tensor, target: Tensor, alpha: float, gamma: float) -> tuple[Tensor, Tensor]:
    """Per pixel: the normalised focal loss, 0 where it is not valid, and 1 where it is. All (B, H, W)."""
    valid = (target >= 0).float()
    signed = logits * (2.0 * (target == 1) - 1.0)
    beta = torch.sigmoid(-signed) ** gamma * valid
    scale = (valid.sum((1, 2)) / beta.sum((1, 2)).clamp_min(1e-6)).detach()
    return -alpha * beta * scale[:, None, None] * F.logsigmoid(signed), valid


def _to_target(logits: Tensor, target: Tensor) -> Tensor:
    return resize_maps(logits[:, 0].float(), target.shape[-2:])
