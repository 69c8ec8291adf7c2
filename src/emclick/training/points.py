"""Clicks of methods that show every click to their network (RITM and those after it; Sofiiuk et al., ICIP 2022, and its
release): those made before any mask was seen, those on the network's own errors, and the disk maps of all."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emclick.clicks import disk_maps
from emclick.networks.blocks import upsample_to
from emclick.training.simulate import NextClick, click_rngs, next_clicks, number_of_clicks
from emclick.training.step import DeviceBatch, StepInput

Shown = list[list[NextClick]]
"""The clicks of each sample, in the order made."""

POINTS = 24
"""At most so many clicks of either polarity are made at once."""

POINTS_GAMMA = 0.8
"""n of them with probability proportional to this to the power of n."""

ERODED_PX, ERODED_SHARE, ERODED_LEAST = 3, 0.9, 10
"""Positive clicks keep this far from the object's edge, in this share of the samples, if so many pixels are left."""

BORDER_SHARE = 0.5
"""Of the negative clicks; these lie near the object, the others anywhere beside it."""

BORDER_WIDTH = 0.1
"""Of the object: width of the band round it over the square root of its area."""


def random_points(
    target: NDArray[np.int8], rng: np.random.Generator, most: int = POINTS, gamma: float = POINTS_GAMMA
) -> list[NextClick]:
    """Clicks beside the first one, positive and negative, all at random places.

    Unlike published, the negative ones that should lie on other objects lie anywhere beside this one, since a
    sample holds one object; the release does the same where there is no other.

    Args:
        target: (h, w) 1 object, 0 background, -1 ignored (never clicked).
        rng: draws all.
        most: of either polarity, the first click included.
        gamma: n of them with probability proportional to `gamma` to the power of n.
    """
    positives = number_of_clicks(rng, most - 1, gamma)
    negatives = number_of_clicks(rng, most, gamma)
    mask, background = target == 1, target == 0
    inner = _eroded(mask) if rng.random() < ERODED_SHARE else mask
    border = _dilated(mask, math.ceil(BORDER_WIDTH * math.sqrt(np.count_nonzero(mask)))) & background
    at_border = int(rng.binomial(negatives, BORDER_SHARE))
    drawn = ((inner, positives, True), (border, at_border, False), (background, negatives - at_border, False))
    return [
        NextClick(*place, positive) for area, count, positive in drawn for place in _places(area, count, rng)
    ]


def shown_clicks(
    batch: DeviceBatch, rngs: Sequence[np.random.Generator], most: int = POINTS, gamma: float = POINTS_GAMMA
) -> Shown:
    """Each sample's first click, and random ones beside it; `most` and `gamma` as in `random_points`."""
    return [
        [NextClick(int(row), int(column), True), *random_points(target, rng, most, gamma)]
        for (row, column), target, rng in zip(batch.first_clicks.tolist(), batch.targets.cpu().numpy(), rngs)
    ]


def corrected_clicks(
    given: StepInput, answer: Callable[[Tensor, Shown], Tensor], threshold: float
) -> tuple[Shown, Tensor]:
    """The clicks shown at first without a mask, then `given.count` on the errors of the network's answers.

    Args:
        given: batch, count, and what seeds the clicks.
        answer: (previous mask (B, 1, h, w) float32 probability, clicks) -> logits (B, 1, ...), without gradient.
        threshold: of `next_clicks`.

    Returns:
        The clicks, and the mask before the last of them: all zero if there was none.
    """
    images, targets = given.batch.images, given.batch.targets.cpu().numpy()
    rngs = click_rngs(given.seed, given.batch.numbers)
    made = shown_clicks(given.batch, rngs)
    previous = torch.zeros_like(images[:, :1])
    with ThreadPoolExecutor(given.threads) as pool:
        share = pool.map if given.threads > 1 else map
        for _ in range(given.count):
            logits = answer(previous, made)
            previous = torch.sigmoid(upsample_to(logits.float(), images.shape[-2:]))
            found = next_clicks(previous[:, 0].cpu().numpy(), targets, rngs, threshold, share, deeper=True)
            for clicks, click in zip(made, found):
                if click is not None:
                    clicks.append(click)
    return made, previous


class DiskMaps:
    """The disks of the clicks of B frames, filled click by click.

    Attributes:
        maps: (B, 2, h, w) float32 in {0, 1}; positive, then negative.
    """

    def __init__(self, batch: int, frame_hw: tuple[int, int]) -> None:
        self.maps = np.zeros((batch, 2, *frame_hw), np.float32)
        self._shown = [0] * batch

    def show(self, made: Shown) -> NDArray[np.float32]:
        """The maps with all of `made`, of which those shown before are the first."""
        for number, clicks in enumerate(made):
            for click in clicks[self._shown[number] :]:
                self.add(number, *click)
            self._shown[number] = len(clicks)
        return self.maps

    def add(self, number: int, row: float, column: float, positive: bool) -> None:
        """A click at (row, column) of frame `number`."""
        top, left = max(0, math.floor(row) - 5), max(0, math.floor(column) - 5)
        window = self.maps[
            number, 0 if positive else 1, top : math.floor(row) + 7, left : math.floor(column) + 7
        ]
        point = np.array([(row - top, column - left)], np.float32)
        np.maximum(window, disk_maps(point, np.array([True]), window.shape)[0], out=window)


def _eroded(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    # what lies beyond the frame does not erode
    eroded = cv2.erode(mask.view(np.uint8), _square(ERODED_PX)).view(np.bool_)
    return eroded if np.count_nonzero(eroded) > ERODED_LEAST else mask


def _dilated(mask: NDArray[np.bool_], by_px: int) -> NDArray[np.bool_]:
    return cv2.dilate(mask.view(np.uint8), _square(by_px)).view(np.bool_)


def _square(reach_px: int) -> NDArray[np.uint8]:
    return np.ones((2 * reach_px + 1, 2 * reach_px + 1), np.uint8)


def _places(area: NDArray[np.bool_], count: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """(row, column) of `count` pixels of `area`, each drawn from all; none if there are none."""
    pixels = np.flatnonzero(area) if count else np.empty(0, np.intp)
    if not pixels.size:
        return []
    rows, columns = np.divmod(pixels[rng.integers(pixels.size, size=count)], area.shape[1])
    return list(zip(rows.tolist(), columns.tolist()))
