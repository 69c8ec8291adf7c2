"""FocalClick's training: a coarse mask after simulated clicks, refined in a random crop (paper, section 4.1).

Crops, trimaps and losses are the release's; clicks are simulated as for RITM, from which the release took them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from emclick.networks.base_network import BaseOutput
from emclick.networks.blocks import upsample_to
from emclick.networks.focalclick import FocalClickNetwork, Refined, crop
from emclick.training.losses import binary_cross_entropy, normalized_focal_loss, weighted_focal_loss
from emclick.training.points import Shown, corrected_clicks
from emclick.training.recipe import ClickRecipe, LossRecipe
from emclick.training.simulate import NextClick
from emclick.training.step import MethodTraining, StepInput, evaluating, uncompiled

_FOCUS_STREAM = 6  # keeps the generators of focus crops apart from those of clicks

WHOLE_BELOW = 3600 / 256**2
"""An object of a smaller share of the crop is always refined as a whole."""

BOUNDARY_PROBABILITY = 0.4
"""How often a larger one is refined at a place on its boundary."""

LEAST_PX = 32
"""Least side of a focus crop round an object."""

SHIFT = 0.3
"""Such a crop is moved by up to this share of its sides."""

TRIMAP_SCALE = 8
"""What a mask loses when it is reduced by this and enlarged again is where the trimap is 1."""

BOUNDARY_WEIGHT = 0.5
"""Share of a refined pixel's weight that only pixels of the trimap have."""


class Clicks(NamedTuple):
    """Simulated clicks of a batch, and the mask before the last.

    points (B, N, 2) float32 (row, column); sides (B, N) float32, 1 positive, -1 negative, 0 none; previous
    (B, 1, h, w) float32 probability.
    """

    points: Tensor
    sides: Tensor
    previous: Tensor


class FocalClickTraining(MethodTraining):
    """FocalClick's.

    Published: 0 to 3 corrections, all as likely (`clicks = { maximum = 3, gamma = 1.0 }`). `loss.coarse` weighs the
    coarse mask, `loss.corrected` the refined one and the trimap each.
    """

    def forward(self, given: StepInput) -> dict[str, Tensor]:
        network, batch = self.network, given.batch
        size_hw = (batch.images.shape[2], batch.images.shape[3])
        with given.autocast():
            with given.clock.measure("simulate"):
                clicks = simulate_clicks(network, given, self.recipe.clicks)
                boxes = focus_boxes(batch.targets, given.seed, batch.numbers)
            output: BaseOutput = network.coarse(batch.images, clicks.previous, clicks.points, clicks.sides)
            shares = boxes / boxes.new_tensor([*size_hw, *size_hw])
            start, stop = boxes[:, None, :2], boxes[:, None, 2:]
            refined: Refined = network.refine(
                crop(batch.images, shares, size_hw),
                (clicks.points - start) * boxes.new_tensor(size_hw) / (stop - start),
                clicks.sides, output.features, output.coarse_logits, shares,
            )  # fmt: skip
        return compute_loss(output, refined, batch.targets, shares, self.recipe.loss)


@uncompiled
@torch.no_grad()
def simulate_clicks(network: FocalClickNetwork, given: StepInput, recipe: ClickRecipe) -> Clicks:
    """The first click and random ones without a mask, then `given.count` on the errors of the coarse mask.

    The network acts as in eval mode.
    """
    images = given.batch.images

    def answer(previous: Tensor, made: Shown) -> Tensor:
        return network.coarse(images, previous, *_as_tensors(made, images.device)).coarse_logits

    with evaluating(network):
        made, previous = corrected_clicks(given, answer, recipe.threshold)
    return Clicks(*_as_tensors(made, images.device), previous)


@uncompiled
def focus_boxes(targets: Tensor, seed: int, numbers: Sequence[int]) -> Tensor:
    """(B, 4) float32 top, left, bottom, right, px: the crops to refine for targets (B, h, w).

    A sample's crop depends on the seed and its number alone.
    """
    boxes = [
        focus_box(target, np.random.default_rng((seed, int(number), _FOCUS_STREAM)))
        for target, number in zip(targets.cpu().numpy(), numbers)
    ]
    return torch.tensor(boxes, dtype=torch.float32, device=targets.device)


def focus_box(target: NDArray[np.int8], rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Top, left, bottom, right of a crop round the largest part of the object, or on its boundary.

    Args:
        target: (h, w) 1 object, 0 background, -1 ignored.
        rng: draws which of the two, and the place.
    """
    mask = (target == 1).astype(np.uint8)
    small = np.count_nonzero(mask) < WHOLE_BELOW * mask.size
    axes = _whole(mask, rng) if small or rng.random() >= BOUNDARY_PROBABILITY else _on_boundary(mask, rng)
    (top, bottom), (left, right) = axes
    return top, left, bottom, right


def trimap(targets: Tensor) -> Tensor:
    """(B, h, w) targets -> (B, 1, h, w) float32: 1 near where a mask of 1/8 of the size cannot follow the outline."""
    mask = (targets == 1).float()[:, None]
    size_hw = mask.shape[-2:]
    small = upsample_to(mask, [max(1, side // TRIMAP_SCALE) for side in size_hw], align_corners=False)
    back = upsample_to((small > 0.5).float(), size_hw, align_corners=False)
    lost = (mask != (back > 0.5).float()).float()
    return F.max_pool2d(lost, 5, stride=1, padding=2)  # two dilations by 3x3


def compute_loss(
    output: BaseOutput, refined: Refined, targets: Tensor, shares: Tensor, weights: LossRecipe
) -> dict[str, Tensor]:
    """The losses on targets (B, h, w), the refiner's in the boxes `shares` (B, 4) of them; "total" is the sum."""
    size_hw = (targets.shape[-2], targets.shape[-1])
    planes = torch.cat([(targets == 1)[:, None].float(), (targets >= 0)[:, None].float(), trimap(targets)], 1)
    mask, valid, unsure = crop(planes, shares, size_hw).unbind(1)
    focus = (mask > 0.5).to(targets.dtype).masked_fill(valid < 0.999, -1)
    boundary = (unsure > 0.5).to(targets.dtype).masked_fill(valid < 0.999, -1)
    weight = BOUNDARY_WEIGHT * (boundary == 1).float() + 1 - BOUNDARY_WEIGHT
    losses = {
        "coarse": normalized_focal_loss(output.coarse_logits, targets),
        "refined": weighted_focal_loss(refined.logits(), focus, weight),
        "trimap": binary_cross_entropy(refined.trimap, boundary),
    }
    total = weights.coarse * losses["coarse"] + weights.corrected * (losses["refined"] + losses["trimap"])
    if output.auxiliary_logits is not None:
        losses["auxiliary"] = binary_cross_entropy(output.auxiliary_logits, targets)
        total = total + weights.auxiliary * losses["auxiliary"]
    return {**losses, "total": total}


Axis = tuple[int, int]


def _whole(mask: NDArray[np.uint8], rng: np.random.Generator) -> tuple[Axis, Axis]:
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask)
    largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax()) if len(stats) > 1 else 0
    left, top, width, height = (int(value) for value in stats[largest, : cv2.CC_STAT_AREA])
    ratio = int(rng.integers(11, 17)) / 10
    return (
        _moved(top, height, mask.shape[0], ratio, rng),
        _moved(left, width, mask.shape[1], ratio, rng),
    )


def _moved(first: int, length: int, size: int, ratio: float, rng: np.random.Generator) -> Axis:
    middle, side = first + 0.5 * (length - 1), max(ratio * length, LEAST_PX)
    most = int(SHIFT * side)
    shift = int(rng.integers(-most, most + 1))
    return max(0, int(middle - 0.5 * side) + shift), min(size, int(middle + 0.5 * side) + shift)


def _on_boundary(mask: NDArray[np.uint8], rng: np.random.Generator) -> tuple[Axis, Axis]:
    sides = [int(size / (int(rng.integers(15, 40)) / 10)) for size in mask.shape]
    ring = (cv2.dilate(mask, np.ones((5, 5), np.uint8)) == 1) & (mask == 0)
    inner = np.zeros_like(ring)  # where the crop would not leave the image
    inner[tuple(slice(side // 2, size - side // 2) for side, size in zip(sides, mask.shape))] = True
    places = np.argwhere(ring & inner) if (ring & inner).any() else np.argwhere(ring)
    if not len(places):
        return (0, mask.shape[0]), (0, mask.shape[1])
    place = places[rng.integers(len(places))]
    starts = [
        int(np.clip(at - side // 2, 0, size - side)) for at, side, size in zip(place, sides, mask.shape)
    ]
    rows, columns = ((start, start + side) for start, side in zip(starts, sides))
    return rows, columns


def _as_tensors(made: Sequence[Sequence[NextClick]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Points (B, N, 2) and sides (B, N), filled up with none."""
    most = max(map(len, made))
    points, sides = torch.zeros(len(made), most, 2), torch.zeros(len(made), most)
    for number, clicks in enumerate(made):
        points[number, : len(clicks)] = torch.tensor([(click.row, click.column) for click in clicks])
        sides[number, : len(clicks)] = torch.tensor([1.0 if click.positive else -1.0 for click in clicks])
    return points.to(device), sides.to(device)
