"""Figures of an evaluation, from the IoU after each click: NoC, failures, mIoU at k clicks, stability.

A *curve* is the IoU of one object after click 1, 2, ...; curves may end early (`--stop-at`), and the last
value then stands for the clicks that were not made.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from emclick.errors import MaskError

MAX_CLICKS = 20
THRESHOLDS = (0.80, 0.85, 0.90, 0.95)
WORSE_BY = 0.01
"""A click that lowers the IoU by more than this made it worse (1 point)."""

Curve = Sequence[float] | NDArray[np.floating]


def iou(truth: NDArray[np.integer], guess: NDArray[np.bool_]) -> float:
    """Intersection over union of the guess and the object, over pixels that are not ignored.

    Args:
        truth: (H, W) integer; 1 object, 0 background, -1 ignored.
        guess: (H, W) bool.

    Returns:
        In [0, 1]; 1 where both are empty.

    Raises:
        MaskError: the shapes differ.
    """
    if truth.shape != guess.shape:
        raise MaskError(f"truth and guess must be of one size, not {truth.shape} and {guess.shape}")
    guess = guess & (truth != -1)
    wanted = truth == 1
    union = np.count_nonzero(guess | wanted)
    return int(np.count_nonzero(guess & wanted)) / int(union) if union else 1.0


def first_crossing(curve: Curve, threshold: float) -> int | None:
    """The number of the first click (from 1) whose IoU reaches `threshold`, None if there is none.

    Compared in float32, as published: 0.8999999762 reaches 0.90.
    """
    reached = np.asarray(curve, np.float32) >= np.float32(threshold)
    return int(reached.argmax()) + 1 if reached.any() else None


def clicks_needed(curve: Curve, threshold: float, max_clicks: int = MAX_CLICKS) -> int:
    """Clicks to reach `threshold`; `max_clicks` if that many do not."""
    crossing = first_crossing(curve[:max_clicks], threshold)
    return max_clicks if crossing is None else crossing


def noc(curves: Sequence[Curve], threshold: float, max_clicks: int = MAX_CLICKS) -> float:
    """Mean number of clicks to reach `threshold`, an object that never does counting `max_clicks`."""
    return float(np.mean([clicks_needed(curve, threshold, max_clicks) for curve in curves]))


def at_limit(curves: Sequence[Curve], threshold: float, max_clicks: int = MAX_CLICKS) -> int:
    """The published ">=20" column: objects that need `max_clicks` or never reach `threshold`."""
    return sum(clicks_needed(curve, threshold, max_clicks) >= max_clicks for curve in curves)


def nof(curves: Sequence[Curve], threshold: float, max_clicks: int = MAX_CLICKS) -> int:
    """True failures: objects that `max_clicks` clicks do not bring to `threshold`."""
    return sum(first_crossing(curve[:max_clicks], threshold) is None for curve in curves)


def padded(curve: Curve, length: int = MAX_CLICKS) -> NDArray[np.float64]:
    """(length,) float64: the curve, cut or continued with its last value."""
    values = np.asarray(curve, np.float64)[:length]
    return np.pad(values, (0, length - len(values)), mode="edge")


def mean_iou(curves: Sequence[Curve], max_clicks: int = MAX_CLICKS) -> NDArray[np.float64]:
    """(max_clicks,) float64, the mean IoU over the objects after click 1, 2, ... (mIoU@k at index k-1)."""
    return np.mean([padded(curve, max_clicks) for curve in curves], axis=0)


def worse_clicks(
    curves: Sequence[Curve], starts: Sequence[float | None] | None = None, worse_by: float = WORSE_BY
) -> float:
    """Share of all clicks that lowered their object's IoU by more than `worse_by`, 0 if there is none.

    Args:
        curves: IoU after each click made, per object.
        starts: IoU of the mask that an object started from; None for one that started from nothing, whose first
            click cannot lower it. None for no masks at all.
        worse_by: IoU in 0..1.
    """
    clicks = sum(len(curve) for curve in curves)
    before = [0.0 if start is None else start for start in starts or [None] * len(curves)]
    worse = sum(
        int((np.diff(np.asarray([start, *curve], np.float64)) < -worse_by).sum())
        for start, curve in zip(before, curves, strict=True)
    )
    return worse / clicks if clicks else 0.0
