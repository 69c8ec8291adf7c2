"""Losses on logits, with label -1 ignored (METHOD, "Training")."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from emclick.networks.blocks import resize_maps


def normalized_focal_loss(logits: Tensor, target: Tensor, alpha: float = 0.5, gamma: float = 2.0) -> Tensor:
    """Normalised focal loss (Sofiiuk et al., 2019), mean over valid pixels of each image, then over images.

    `p_t = 1 - |y - p|`, `beta = (1 - p_t)^gamma`, scaled per image by `n_valid / sum(beta)` (no gradient);
    the loss of a pixel is `-alpha * beta * log(p_t)`.

    Args:
        logits: (B, 1, h, w).
        target: (B, H, W) with 1 object, 0 background, -1 ignored; logits are brought to (H, W), bilinear,
            aligned corners.

    Returns:
        A scalar; 0 where no pixel is valid.
    """
    pixel, valid = _focal(_to_target(logits, target), target, alpha, gamma)
    return (pixel.sum((1, 2)) / valid.sum((1, 2)).clamp_min(1)).mean()


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


def _focal(logits: Tensor, target: Tensor, alpha: float, gamma: float) -> tuple[Tensor, Tensor]:
    """Per pixel: the normalised focal loss, 0 where it is not valid, and 1 where it is. All (B, H, W)."""
    valid = (target >= 0).float()
    signed = logits * (2.0 * (target == 1) - 1.0)
    beta = torch.sigmoid(-signed) ** gamma * valid
    scale = (valid.sum((1, 2)) / beta.sum((1, 2)).clamp_min(1e-6)).detach()
    return -alpha * beta * scale[:, None, None] * F.logsigmoid(signed), valid


def _to_target(logits: Tensor, target: Tensor) -> Tensor:
    return resize_maps(logits[:, 0].float(), target.shape[-2:])
