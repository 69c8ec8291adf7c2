"""One training step of EMC: simulated clicks without gradient, then one forward with it (METHOD, "Training")."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emclick.data.training_set import Batch
from emclick.networks.click_maps import ClickMaps
from emclick.networks.correction import ClickInput
from emclick.networks.model import EmcNetwork
from emclick.training.losses import binary_cross_entropy, normalized_focal_loss
from emclick.training.recipe import ClickRecipe, LossRecipe
from emclick.training.simulate import click_rngs, next_clicks

Autocast = Callable[[], contextlib.AbstractContextManager[object]]


@dataclass(frozen=True)
class DeviceBatch:
    """A batch on the training device.

    Attributes:
        images: (B, 3, h, w) float32 in [0, 1].
        targets: (B, h, w) int8 in {1, 0, -1}.
        first_clicks: (B, 2) float32 (row, column).
        numbers: the samples' numbers, which seed their simulated clicks.
    """

    images: Tensor
    targets: Tensor
    first_clicks: Tensor
    numbers: tuple[int, ...]

    @classmethod
    def move(cls, batch: Batch, device: torch.device) -> DeviceBatch:
        """Take a batch of uint8 images to the device."""
        images = batch.images.to(device, non_blocking=True).permute(0, 3, 1, 2).float() / 255
        return cls(
            images.contiguous(memory_format=torch.channels_last),
            batch.targets.to(device, non_blocking=True),
            batch.first_clicks.to(device, non_blocking=True).float(),
            tuple(batch.numbers.tolist()),
        )


class TrainingForward(nn.Module):
    """Base network and corrector in one forward, so that gradients can be shared between processes."""

    def __init__(self, network: EmcNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, images: Tensor, click_map: Tensor, clicks: ClickInput, previous: Tensor | None
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """Coarse, auxiliary and corrected logits; without `previous` the coarse logits are the mask before."""
        base = self.network.first(images, click_map)
        before = base.coarse_logits.detach() if previous is None else previous
        corrected = self.network.correct(images, base.features, clicks, before)
        return base.coarse_logits, base.auxiliary_logits, corrected


@torch.no_grad()
def simulate_clicks(
    network: EmcNetwork, batch: DeviceBatch, count: int, recipe: ClickRecipe, seed: int, autocast: Autocast,
) -> tuple[ClickMaps, Tensor | None]:  # fmt: skip
    """The first click and `count` simulated ones, each placed on the errors of the correction before it.

    The network runs in eval mode and is left in the mode it was in. Features are computed once.

    Returns:
        The clicks, and the logits before the last click, (B, 1, h/4, w/4) float32, None for `count` 0.
    """
    size = len(batch.images)
    device = batch.images.device
    maps = ClickMaps(size, batch.images.shape[-2:], device)
    everyone = torch.ones(size, dtype=torch.bool, device=device)
    maps.add(batch.first_clicks, everyone, everyone)
    if count == 0:
        return maps, None
    training = network.training
    network.eval()
    rngs = click_rngs(seed, batch.numbers)
    targets = batch.targets.cpu().numpy()
    with autocast():
        base = network.first(batch.images, maps.first_click_map())
        logits = base.coarse_logits.float()
        for _ in range(count):
            logits = network.correct(batch.images, base.features, maps.input(), logits).float()
            full = F.interpolate(logits, size=batch.images.shape[-2:], mode="bilinear", align_corners=True)
            found = next_clicks(
                torch.sigmoid(full)[:, 0].cpu().numpy(), targets, rngs, threshold=recipe.threshold
            )
            maps.add(
                torch.tensor(
                    [(c.row, c.column) if c else (0, 0) for c in found], dtype=torch.float32, device=device
                ),
                torch.tensor([bool(c and c.positive) for c in found], device=device),
                torch.tensor([c is not None for c in found], device=device),
            )
    network.train(training)
    return maps, logits


def compute_loss(
    forward: nn.Module, batch: DeviceBatch, maps: ClickMaps, previous: Tensor | None, weights: LossRecipe,
    autocast: Autocast,
) -> dict[str, Tensor]:  # fmt: skip
    """Training-mode forward and the losses; "total" is what to differentiate."""
    with autocast():
        coarse, auxiliary, corrected = forward(batch.images, maps.first_click_map(), maps.input(), previous)
    losses = {
        "coarse": normalized_focal_loss(coarse, batch.targets),
        "corrected": normalized_focal_loss(corrected, batch.targets),
    }
    total = weights.coarse * losses["coarse"] + weights.corrected * losses["corrected"]
    if auxiliary is not None:
        losses["auxiliary"] = binary_cross_entropy(auxiliary, batch.targets)
        total = total + weights.auxiliary * losses["auxiliary"]
    return {**losses, "total": total}
