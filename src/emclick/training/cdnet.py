"""CDNet's training: random clicks, one forward, and a loss that makes the latent masks differ (paper, section 3.4)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from emclick.clicks import squared_distances
from emclick.methods.cdnet import WIDE_RADIUS_PX
from emclick.networks.blocks import upsample_to
from emclick.networks.cdnet import CdnetOutput
from emclick.training.losses import normalized_focal_loss
from emclick.training.points import DiskMaps, shown_clicks
from emclick.training.recipe import LossRecipe
from emclick.training.simulate import click_rngs
from emclick.training.step import DeviceBatch, MethodTraining, StepInput, uncompiled

CLICK_WEIGHT, ELSEWHERE_WEIGHT = 1.0, 0.01
"""Of pixels on and off the clicks' disks, in the loss that holds every latent mask to the clicks."""


class Maps(NamedTuple):
    """(B, 2, h, w) disks of radius 5 px; (B, 2, h/8, w/8) those of radius 24 px, made smaller."""

    disks: Tensor
    clicked: Tensor


class CdnetTraining(MethodTraining):
    """One forward with random clicks; `clicks` of the recipe, which counts corrections, is not used.

    `loss.coarse` is the weight of the mask's loss, `loss.auxiliary` of the gate's, `loss.corrected` of the
    diversity loss: published 1, 0.4 and 1.
    """

    def forward(self, given: StepInput) -> dict[str, Tensor]:
        batch = given.batch
        with given.clock.measure("simulate"):
            maps = random_maps(batch, given.seed)
        with given.autocast():
            output = self.network(batch.images, maps.disks, maps.clicked)
        return compute_loss(output, batch.targets, maps.disks, self.recipe.loss)


@uncompiled
@torch.no_grad()
def random_maps(batch: DeviceBatch, seed: int) -> Maps:
    """The maps of the first clicks and random others, by the samples' numbers."""
    height, width = batch.images.shape[-2:]
    disks = DiskMaps(len(batch.images), (height, width))
    wide = np.zeros_like(disks.maps)
    made = shown_clicks(batch, click_rngs(seed, batch.numbers))
    shown = torch.from_numpy(disks.show(made))
    for number, clicks in enumerate(made):
        for polarity in (True, False):
            points = np.array([click[:2] for click in clicks if click.positive is polarity], np.float32)
            nearest = squared_distances(points.reshape(-1, 2), (height, width))
            wide[number, 0 if polarity else 1] = nearest <= WIDE_RADIUS_PX**2
    coarse_hw = (-(-height // 8), -(-width // 8))
    device = batch.images.device
    return Maps(shown.to(device), upsample_to(torch.from_numpy(wide).to(device), coarse_hw))


def compute_loss(
    output: CdnetOutput, targets: Tensor, disks: Tensor, weights: LossRecipe
) -> dict[str, Tensor]:
    """The losses on targets (B, H, W) and disks (B, 2, H, W); "total" is what to differentiate."""
    losses = {
        "mask": normalized_focal_loss(output.mask, targets),
        "gate": normalized_focal_loss(output.gate, targets),
        "diversity": diversity_loss(output.latent, targets, disks),
    }
    total = (
        weights.coarse * losses["mask"]
        + weights.auxiliary * losses["gate"]
        + weights.corrected * losses["diversity"]
    )
    return {**losses, "total": total}


def diversity_loss(latent: Tensor, targets: Tensor, disks: Tensor) -> Tensor:
    """Of each image's K latent masks the nearest is drawn to the target, and all of them to the clicks.

    Args:
        latent: (B, K, h, w) logits.
        targets: (B, H, W) with 1 object, 0 background, -1 ignored.
        disks: (B, 2, H, W) in {0, 1}.

    Returns:
        The mean over images of the smallest normalised focal loss, plus, summed over masks, the cross-entropy
        weighted by `CLICK_WEIGHT` on the disks and `ELSEWHERE_WEIGHT` off them.
    """
    nearest = [
        torch.stack([normalized_focal_loss(one[None, None], target[None]) for one in masks]).min()
        for masks, target in zip(latent, targets)
    ]
    full = upsample_to(latent.float(), targets.shape[-2:])
    wanted = (targets == 1).float()[:, None].expand_as(full)
    pixel = F.binary_cross_entropy_with_logits(full, wanted, reduction="none") * (targets >= 0)[:, None]
    weight = disks.amax(1, keepdim=True) * (CLICK_WEIGHT - ELSEWHERE_WEIGHT) + ELSEWHERE_WEIGHT
    return torch.stack(nearest).mean() + (pixel * weight).sum() / weight.sum()
