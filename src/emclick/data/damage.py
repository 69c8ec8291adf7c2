"""Masks to correct: the truth with the faults that masks of other origin have, at a stated IoU, seeded.

What remains is a mask with an IoU between `LOW` and `HIGH`: its edge too tight or too wide, all of it shifted,
parts cut off, parts of the surroundings added, or several of these.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from emclick.data.sample import Sample, Source
from emclick.errors import MaskError
from emclick.evaluation.noc import iou

LOW, HIGH = 0.75, 0.85
MOST_FAULTS = 3
_TRIES = 20
_HALVINGS = 12

Mask = NDArray[np.bool_]
Fault = Callable[[Mask, float], Mask]
"""(mask, strength from 0, none, to 1) -> mask; drawn once, then given the strength that the IoU wants."""


def damage(truth: NDArray[np.int8], rng: np.random.Generator, low: float = LOW, high: float = HIGH) -> Mask:
    """A faulty mask of an object.

    Args:
        truth: (H, W) int8; 1 object, 0 background, -1 ignored (which faults may cover).
        rng: decides on the faults.
        low, high: the IoU to reach, 0 < low < high < 1.

    Returns:
        (H, W) bool with an IoU in `low`..`high`, which objects of a few pixels may miss.

    Raises:
        MaskError: the object has no pixels.
    """
    whole = truth == 1
    if not whole.any():
        raise MaskError("an object without pixels cannot be damaged")
    for _ in range(_TRIES):
        wanted = rng.uniform(low + 0.1 * (high - low), high - 0.1 * (high - low))
        kinds = rng.choice(len(_FAULTS), rng.integers(1, MOST_FAULTS + 1), replace=False)
        faults = [_FAULTS[kind](whole, rng) for kind in kinds]
        mask = _at_iou(truth, whole, faults, wanted)
        if mask is not None and low <= iou(truth, mask) <= high:
            return mask
    return _cut(truth, rng, (low + high) / 2)


def _at_iou(truth: NDArray[np.int8], whole: Mask, faults: Sequence[Fault], wanted: float) -> Mask | None:
    """The faults at the strength that brings the IoU to about `wanted`; None if none does."""
    weak, strong = 0.0, 1.0
    for _ in range(_HALVINGS):
        strength = (weak + strong) / 2
        mask = whole
        for fault in faults:
            mask = fault(mask, strength)
        found = iou(truth, mask)
        if abs(found - wanted) < 0.02:
            return mask
        weak, strong = (strength, strong) if found > wanted else (weak, strength)
    return None


def _cut(truth: NDArray[np.int8], rng: np.random.Generator, wanted: float) -> Mask:
    """The object without what lies furthest in a random direction: possible for any object."""
    rows, columns = np.nonzero(truth == 1)
    angle = rng.uniform(0, 2 * np.pi)
    kept = np.argsort(rows * np.sin(angle) + columns * np.cos(angle))[: max(1, round(wanted * len(rows)))]
    mask = np.zeros(truth.shape, np.bool_)
    mask[rows[kept], columns[kept]] = True
    return mask


def _size(mask: Mask) -> float:
    """Side of a square of the mask's area, px."""
    return float(np.sqrt(np.count_nonzero(mask)))


def _disk(radius: float) -> NDArray[np.uint8]:
    reach = int(np.ceil(radius))
    rows, columns = np.ogrid[-reach : reach + 1, -reach : reach + 1]
    return (rows**2 + columns**2 <= radius**2).astype(np.uint8)


def _grown(whole: Mask, rng: np.random.Generator) -> Fault:
    """An edge too wide, or too tight."""
    outward, most = rng.random() < 0.5, 0.3 * _size(whole)
    change = cv2.dilate if outward else cv2.erode
    # what lies beyond the image's border is neither object nor background
    return lambda mask, strength: change(mask.astype(np.uint8), _disk(strength * most)).astype(np.bool_)


def _shifted(whole: Mask, rng: np.random.Generator) -> Fault:
    angle, most = rng.uniform(0, 2 * np.pi), _size(whole)

    def shift(mask: Mask, strength: float) -> Mask:
        move = np.array([[1, 0, 0], [0, 1, 0]], np.float32)
        move[:, 2] = np.round(strength * most * np.array([np.cos(angle), np.sin(angle)]))
        height, width = mask.shape
        moved = cv2.warpAffine(mask.astype(np.uint8), move, (width, height), flags=cv2.INTER_NEAREST)
        return moved.astype(np.bool_)

    return shift


def _blobs(whole: Mask, rng: np.random.Generator) -> list[tuple[tuple[int, int], tuple[float, float], float]]:
    """Ellipses at the object's edge: centre (x, y), half axes in px at full strength, angle in degrees."""
    edge = whole & ~cv2.erode(whole.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=0).astype(
        np.bool_
    )
    rows, columns = np.nonzero(edge)
    blobs = []
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(len(rows)))
        axes = rng.uniform(0.2, 0.7, 2) * _size(whole)
        blobs.append(((int(columns[at]), int(rows[at])), tuple(axes), float(rng.uniform(0, 180))))
    return blobs


def _painted(whole: Mask, rng: np.random.Generator, value: int) -> Fault:
    blobs = _blobs(whole, rng)

    def paint(mask: Mask, strength: float) -> Mask:
        painted = mask.astype(np.uint8)
        for centre, axes, angle in blobs:
            half = tuple(round(strength * axis) for axis in axes)
            cv2.ellipse(painted, centre, half, angle, 0, 360, value, cv2.FILLED)
        return painted.astype(np.bool_)

    return paint


def _dropped(whole: Mask, rng: np.random.Generator) -> Fault:
    return _painted(whole, rng, 0)


def _added(whole: Mask, rng: np.random.Generator) -> Fault:
    return _painted(whole, rng, 1)


_FAULTS = (_grown, _shifted, _dropped, _added)


@dataclass(frozen=True)
class DamagedSource:
    """A dataset whose objects come with damaged masks of theirs as initial masks.

    Args:
        source: the dataset.
        seed: with the object's name, of its faults: they depend on nothing else.
    """

    source: Source
    seed: int = 0

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def keys(self) -> Sequence[str]:
        return self.source.keys

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Sample:
        sample = self.source[index]
        objects = [
            replace(each, initial_mask=damage(sample.target(each), self._rng(f"{sample.key}#{each.id}")))
            for each in sample.objects
        ]
        return replace(sample, objects=objects)

    def _rng(self, name: str) -> np.random.Generator:
        return np.random.default_rng((self.seed, zlib.crc32(name.encode())))
