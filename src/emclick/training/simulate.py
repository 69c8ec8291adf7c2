"""Simulated further clicks on batches of arrays (METHOD, "Training").

Where METHOD leaves a choice, this follows what the published training does: the polarity is drawn with
probability proportional to the largest distance of each error area; the place is uniform among pixels of
that polarity's area whose distance exceeds half of the larger of the *two* maxima. If the drawn polarity is
the lesser one and nothing in it is that deep, no click is made in this round. Distances are the 5x5
approximation, as published.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from emclick.data.objects import edge_distance
from emclick.errors import MaskError, OptionError

_CLICK_STREAM = 1  # keeps the generators of clicks apart from those of `MixedSet`, which use (seed, n)


class NextClick(NamedTuple):
    """A simulated click: pixel (row, column) and polarity."""

    row: int
    column: int
    positive: bool


def number_of_clicks(rng: np.random.Generator, max_clicks: int = 23, gamma: float = 0.8) -> int:
    """How many clicks follow the first one: n in 0..max_clicks with probability proportional to gamma**n.

    Raises:
        OptionError: `max_clicks` is negative or `gamma` is not above 0.
    """
    if max_clicks < 0 or not gamma > 0:
        raise OptionError(f"max_clicks {max_clicks} must be >= 0 and gamma {gamma} > 0")
    weights = gamma ** np.arange(max_clicks + 1)
    return int(rng.choice(max_clicks + 1, p=weights / weights.sum()))


def click_rngs(seed: int, numbers: Sequence[int]) -> list[np.random.Generator]:
    """One generator per training sample, by its number, so that clicks do not depend on the batching."""
    return [np.random.default_rng((seed, int(n), _CLICK_STREAM)) for n in numbers]


def next_click(
    probability: NDArray[np.floating],
    target: NDArray[np.int8],
    rng: np.random.Generator,
    threshold: float = 0.49,
    deeper: bool = False,
    stray: float = 0.0,
) -> NextClick | None:
    """A click on an error of a prediction, or None: no error, or the drawn polarity has no deep pixel.

    Args:
        probability: (h, w) predicted foreground probability.
        target: (h, w) 1 object, 0 background, -1 ignored (never clicked, and outside every error area).
        rng: draws the polarity, then the place.
        threshold: object pixels below it are false negatives, background pixels above it false positives.
        deeper: the polarity is not drawn but that of the deeper error (RITM and those after it).
        stray: chance that the place is any pixel of that polarity's error area instead of a deep one, as people's
            clicks are.

    Raises:
        MaskError: the two arrays differ in shape.
    """
    if probability.shape != target.shape:
        raise MaskError(f"probability {probability.shape} and target {target.shape} differ in shape")
    missed, missed_corner = _error_distance((target == 1) & (probability < threshold))
    added, added_corner = _error_distance((target == 0) & (probability > threshold))
    missed_max, added_max = float(missed.max(initial=0.0)), float(added.max(initial=0.0))
    if missed_max + added_max == 0.0:
        return None
    share = 0.5 if deeper else float(rng.random())  # of the two depths, one after the other
    positive = share * (missed_max + added_max) < missed_max
    distance, (top, left) = (missed, missed_corner) if positive else (added, added_corner)
    strays = stray > 0.0 and rng.random() < stray
    places = np.flatnonzero(distance > (0.0 if strays else max(missed_max, added_max) / 2.0))
    if not places.size:
        return None
    row, column = divmod(int(places[rng.integers(places.size)]), distance.shape[1])
    return NextClick(top + row, left + column, positive)


def next_clicks(
    probabilities: NDArray[np.floating],
    targets: NDArray[np.int8],
    rngs: Sequence[np.random.Generator],
    threshold: float = 0.49,
    share: Callable[..., Iterable[NextClick | None]] = map,
    deeper: bool = False,
    stray: float = 0.0,
) -> list[NextClick | None]:
    """`next_click` for each of B samples, each with its own generator.

    Args:
        probabilities: (B, h, w).
        targets: (B, h, w) int8.
        rngs: B generators, see `click_rngs`.
        threshold: as in `next_click`.
        share: `map`, or that of a pool of threads; the result does not depend on it.
        deeper, stray: as in `next_click`.

    Raises:
        MaskError: the three do not have the same B, or the arrays differ in shape.
    """
    if not len(probabilities) == len(targets) == len(rngs):
        counts = f"{len(probabilities)} probabilities, {len(targets)} targets, {len(rngs)} generators"
        raise MaskError(f"{counts}: give one of each per sample")

    def one(i: int) -> NextClick | None:
        return next_click(probabilities[i], targets[i], rngs[i], threshold, deeper, stray)

    return list(share(one, range(len(targets))))


def _error_distance(area: NDArray[np.bool_]) -> tuple[NDArray[np.float32], tuple[int, int]]:
    """Distance transform of the bounding box of an error area, and the box's (row, column).

    The box is enough: everything beyond it is outside the area, which is what the padding of
    `edge_distance` says.
    """
    left, top, width, height = cv2.boundingRect(area.view(np.uint8))
    if width == 0:
        return np.zeros((0, 1), np.float32), (0, 0)
    return edge_distance(area[top : top + height, left : left + width], exact=False), (top, left)
