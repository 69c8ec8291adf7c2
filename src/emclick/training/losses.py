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
    logits = _to_target(logits, target)
    valid = (target >= 0).float()
    signed = logits * (2.0 * (target == 1) - 1.0)
    beta = torch.sigmoid(-signed) ** gamma * valid
    count = valid.sum((1, 2))
    scale = (count / beta.sum((1, 2)).clamp_min(1e-6)).detach()
    pixel = -alpha * beta * scale[:, None, None] * F.logsigmoid(signed)
    return (pixel.sum((1, 2)) / count.clamp_min(1)).mean()


def binary_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy, mean over valid pixels of each image, then over images; arguments as above."""
    logits = _to_target(logits, target)
    valid = (target >= 0).float()
    pixel = F.binary_cross_entropy_with_logits(logits, (target == 1).float(), reduction="none") * valid
    return (pixel.sum((1, 2)) / valid.sum((1, 2)).clamp_min(1)).mean()


def _to_target(logits: Tensor, target: Tensor) -> Tensor:
    return resize_maps(logits[:, 0].float(), target.shape[-2:])
