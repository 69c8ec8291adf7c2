"""RITM's training: random clicks, some corrections of the network's own masks, one forward (paper, section 3.2)."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from emclick.networks.base_network import BaseOutput
from emclick.networks.ritm import RitmNetwork
from emclick.training.losses import binary_cross_entropy, normalized_focal_loss
from emclick.training.points import DiskMaps, Shown, corrected_clicks
from emclick.training.recipe import ClickRecipe, LossRecipe
from emclick.training.step import MethodTraining, StepInput, evaluating, uncompiled


class RitmTraining(MethodTraining):
    """Each batch: the first click and random ones without a mask, then as many corrections as the loop has drawn.

    Published: 0 to 3 corrections, all as likely, which a recipe writes as `clicks = { maximum = 3, gamma = 1.0 }`;
    without any the previous mask is empty. `loss.coarse` is the weight of the mask's loss; there is no `corrected`.
    """

    def forward(self, given: StepInput) -> dict[str, Tensor]:
        with given.autocast():
            with given.clock.measure("simulate"):
                maps = simulate_maps(self.network, given, self.recipe.clicks)
            output = self.network(given.batch.images, maps)
        return compute_loss(output, given.batch.targets, self.recipe.loss)


@uncompiled
@torch.no_grad()
def simulate_maps(network: RitmNetwork, given: StepInput, recipe: ClickRecipe) -> Tensor:
    """What the network reads besides the image: mask before the last click, and disks of all clicks.

    The network acts as in eval mode.

    Returns:
        (B, 3, h, w) float32 in [0, 1]: previous mask, positive, negative disks.
    """
    images = given.batch.images
    disks = DiskMaps(len(images), (images.shape[2], images.shape[3]))

    def maps_with(previous: Tensor, made: Shown) -> Tensor:
        return torch.cat([previous, torch.from_numpy(disks.show(made)).to(images.device)], 1)

    opened = cache(network.open)
    with evaluating(network):
        made, previous = corrected_clicks(
            given, lambda *shown: network.answer(opened(images), maps_with(*shown)), recipe.threshold
        )
    return maps_with(previous, made)


def compute_loss(output: BaseOutput, targets: Tensor, weights: LossRecipe) -> dict[str, Tensor]:
    """The losses on targets (B, H, W); "total" is what to differentiate."""
    losses = {"mask": normalized_focal_loss(output.coarse_logits, targets)}
    total = weights.coarse * losses["mask"]
    if output.auxiliary_logits is not None:
        losses["auxiliary"] = binary_cross_entropy(output.auxiliary_logits, targets)
        total = total + weights.auxiliary * losses["auxiliary"]
    return {**losses, "total": total}
