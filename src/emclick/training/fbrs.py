"""f-BRS's training: all clicks at random places, none made on a mask of its own (paper, section 4)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from emclick.networks.fbrs import distance_maps
from emclick.training.losses import binary_cross_entropy, normalized_focal_loss
from emclick.training.points import shown_clicks
from emclick.training.simulate import click_rngs
from emclick.training.step import DeviceBatch, MethodTraining, StepInput, uncompiled

POINTS, POINTS_GAMMA = 10, 0.7
"""At most so many of either polarity, n with probability proportional to the second to the power of n."""


class FbrsTraining(MethodTraining):
    """One forward with random clicks; `clicks` of the recipe, which counts corrections, is not used.

    `loss.coarse` is the weight of the mask's loss, `loss.auxiliary` that of OCR's auxiliary mask, which only HRNet has.
    """

    def forward(self, given: StepInput) -> dict[str, Tensor]:
        batch, weights = given.batch, self.recipe.loss
        with given.clock.measure("simulate"):
            maps = random_distance_maps(batch, given.seed)
        with given.autocast():
            output = self.network(batch.images, maps)
        losses = {"mask": normalized_focal_loss(output.coarse_logits, batch.targets)}
        total = weights.coarse * losses["mask"]
        if output.auxiliary_logits is not None:
            losses["auxiliary"] = binary_cross_entropy(output.auxiliary_logits, batch.targets)
            total = total + weights.auxiliary * losses["auxiliary"]
        return {**losses, "total": total}


@uncompiled
@torch.no_grad()
def random_distance_maps(batch: DeviceBatch, seed: int) -> Tensor:
    """(B, 2, h, w): `distance_maps` of the first clicks and random others, by the samples' numbers."""
    clicks = shown_clicks(batch, click_rngs(seed, batch.numbers), POINTS, POINTS_GAMMA)
    count = max(map(len, clicks))
    points = np.zeros((len(clicks), count, 2), np.float32)
    positive, exists = np.zeros((2, len(clicks), count), np.bool_)
    for number, own in enumerate(clicks):
        points[number, : len(own)] = [(click.row, click.column) for click in own]
        positive[number, : len(own)] = [click.positive for click in own]
        exists[number, : len(own)] = True
    device, (height, width) = batch.images.device, batch.images.shape[-2:]
    shown, polarity, given = (torch.from_numpy(array).to(device) for array in (points, positive, exists))
    return distance_maps(shown, polarity, given, (height, width))
