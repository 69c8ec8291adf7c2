"""Clicks, and the maps by which a network sees them.

Source: METHOD, "Click encodings". A `Click` speaks (x, y) in image pixels; everything below `ClickMaps`
speaks (row, column) in the frame.
"""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from emclick.errors import ClickError, ClickTypeError
from emclick.geometry import GRID, GridSampler

Float = NDArray[np.float32]

RADIUS_PX = 5
"""Radius of a click's disk, in frame pixels."""

_CHANNELS = 2 * GRID**2  # of a cell, in the disk maps
_REACH = 2  # cells on either side that the first layer's two 3x3 convolutions read
_NO_POINTS = np.zeros((0, 2), np.float32)
PATCH_CELLS = math.ceil((2 * RADIUS_PX + GRID) / GRID) + 2 * _REACH
"""Side of the square of cells in which the network's first layer can feel a disk."""


@dataclass(frozen=True, slots=True)
class Click:
    """A point on the object (positive) or off it (negative).

    Attributes:
        x: image pixels from the centre of the leftmost column, in [-0.5, W - 0.5).
        y: image pixels from the centre of the top row, in [-0.5, H - 0.5).
        positive: True where the object is.
    """

    x: float
    y: float
    positive: bool = True

    def pixel(self, image_hw: tuple[int, int]) -> tuple[int, int]:
        """(row, column) of the image pixel that the click lies in."""
        row, column = math.floor(self.y + 0.5), math.floor(self.x + 0.5)
        # y + 0.5 may round up to H for the last float below H - 0.5
        return min(row, image_hw[0] - 1), min(column, image_hw[1] - 1)


def _coordinate(value: object, name: str, size: int) -> float:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Real):
        raise ClickTypeError(f"click {name} must be a number, not {type(value).__name__} {value!r:.40}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ClickError(f"click {name} must be finite, not {number}")
    if not -0.5 <= number < size - 0.5:
        raise ClickError(
            f"click {name}={number:g} is outside the image: {name} goes from -0.5 to below {size - 0.5:g}"
        )
    return number


def check_click(x: object, y: object, positive: object, image_hw: tuple[int, int]) -> Click:
    """A `Click` of Python numbers that lies inside an image of (H, W) pixels.

    Raises:
        ClickTypeError: `x` or `y` is not a real number (a bool is none), or `positive` not a bool.
        ClickError: `x` or `y` is not finite, or outside [-0.5, W - 0.5) or [-0.5, H - 0.5).
    """
    if not isinstance(positive, (bool, np.bool_)):
        raise ClickTypeError(f"click positive must be True or False, not {positive!r:.40}")
    return Click(_coordinate(x, "x", image_hw[1]), _coordinate(y, "y", image_hw[0]), bool(positive))


def squared_distances(points: Float, frame_hw: tuple[int, int]) -> Float:
    """Squared distance from each frame pixel's integer index to the nearest of `points`.

    Args:
        points: (N, 2) float32, (row, column).
        frame_hw: (h, w).

    Returns:
        (h, w) float32 in px², infinite where N is 0.
    """
    nearest = np.full(frame_hw, np.inf, np.float32)
    for row, column in np.asarray(points, np.float32).reshape(-1, 2):
        np.minimum(nearest, _squared_distance(row, column, *map(np.arange, frame_hw)), out=nearest)
    return nearest


def _squared_distance(row: np.float32, column: np.float32, rows: NDArray, columns: NDArray) -> Float:
    """(R, C) float32 from (row, column) to each of the whole `rows` and `columns`."""
    down, across = rows.astype(np.float32) - row, columns.astype(np.float32) - column
    return np.square(down)[:, None] + np.square(across)


@dataclass(frozen=True, slots=True, eq=False)
class DiskPatch:
    """What one click adds to the disk maps, and no click of its polarity before it.

    Attributes:
        pixels: where it makes the flat (h/4, w/4, 32) map of both polarities 1.
        top, left: the first of the cells that can feel it in the network's first layer.
        hw: how many these are, `PATCH_CELLS` or fewer in a smaller map.
        grid_hw: (h/4, w/4).
    """

    pixels: NDArray[np.intp]
    top: int
    left: int
    hw: tuple[int, int]
    grid_hw: tuple[int, int]

    @classmethod
    def of(cls, pixels: NDArray[np.intp], grid_hw: tuple[int, int]) -> DiskPatch:
        """The patch of at least one pixel of a disk."""
        height, width = (min(PATCH_CELLS, size) for size in grid_hw)
        rows, columns = np.divmod(pixels // _CHANNELS, grid_hw[1])
        top, left = (
            min(max(int(at.min()) - _REACH, 0), size - side)
            for at, side, size in zip((rows, columns), (height, width), grid_hw)
        )
        return cls(pixels, top, left, (height, width), grid_hw)

    def cells(self) -> Float:
        """(rows, columns, 32) float32 in {0, 1}: the patch's cells of a map of `pixels` alone."""
        cells = np.zeros((*self.hw, _CHANNELS), np.float32)
        rows, columns = np.divmod(self.pixels // _CHANNELS, self.grid_hw[1])
        cells[rows - self.top, columns - self.left, self.pixels % _CHANNELS] = 1
        return cells


@dataclass(frozen=True, slots=True, eq=False)
class _PolarityMaps:
    """Of the clicks of one polarity.

    Attributes:
        nearest: (R, C) float32 px², squared distance to the nearest click where the sampler reads.
        distances: (h/4, w/4) float32, the distance map.
        points: (N, 2) float32, (row, column) of the clicks in the order made.
    """

    nearest: Float
    distances: Float
    points: Float


@lru_cache(maxsize=8)
def _sampler(frame_hw: tuple[int, int]) -> GridSampler:
    return GridSampler(frame_hw)


@dataclass(frozen=True, slots=True, eq=False)
class ClickMaps:
    """The maps of the clicks so far; a value. A click more costs the same however many there were.

    Attributes:
        frame_hw: (h, w) of the frame, multiples of 4.
        positive: None while there is no positive click.
        negative: likewise.
        patches: what `disks` is made of, in the order made. Maps with a click more hold the same and perhaps another.
    """

    frame_hw: tuple[int, int]
    positive: _PolarityMaps | None = None
    negative: _PolarityMaps | None = None
    patches: tuple[DiskPatch, ...] = ()

    @classmethod
    def of(cls, points: Float, positive: NDArray[np.bool_], frame_hw: tuple[int, int]) -> ClickMaps:
        """Maps of (N, 2) float32 (row, column) `points` with (N,) bool polarity, from scratch."""
        maps = cls(frame_hw)
        for point, polarity in zip(np.asarray(points, np.float32).reshape(-1, 2), positive):
            maps = maps.add(point, bool(polarity))
        return maps

    def add(self, point: Float, positive: bool) -> ClickMaps:
        """Maps with one click more, (row, column) float32; those of the other polarity are shared."""
        row, column = np.asarray(point, np.float32)
        old = self.positive if positive else self.negative
        new = self._with(old, row, column)
        pixels = self._disk(positive, row, column, _NO_POINTS if old is None else old.points)
        patches = (*self.patches, DiskPatch.of(pixels, self._grid_hw)) if len(pixels) else self.patches
        if positive:
            return ClickMaps(self.frame_hw, new, self.negative, patches)
        return ClickMaps(self.frame_hw, self.positive, new, patches)

    def disks(self) -> Float:
        """(h/4, w/4, 32) float32 in {0, 1}: within `RADIUS_PX` of a positive (0-15), a negative click (16-31).

        Channel `16 * negative + 4 * (row % 4) + column % 4` of cell (row // 4, column // 4): the full
        resolution in the layout that the correction network reads (pixel unshuffle, channels last).
        """
        maps = np.zeros((*self._grid_hw, _CHANNELS), np.float32)
        for patch in self.patches:
            maps.reshape(-1)[patch.pixels] = 1
        return maps

    def distances(self) -> Float:
        """(2, h/4, w/4) float32: distance over the frame's diagonal, constant where there is no click."""
        constant = np.full(self._grid_hw, np.float32(1) / self._diagonal, np.float32)
        return np.stack(
            [constant if each is None else each.distances for each in (self.positive, self.negative)]
        )

    @property
    def _grid_hw(self) -> tuple[int, int]:
        return self.frame_hw[0] // GRID, self.frame_hw[1] // GRID

    @property
    def _diagonal(self) -> np.float32:
        return np.float32(math.sqrt(self.frame_hw[0] ** 2 + self.frame_hw[1] ** 2))

    def _with(self, old: _PolarityMaps | None, row: np.float32, column: np.float32) -> _PolarityMaps:
        sampler = _sampler(self.frame_hw)
        nearest = _squared_distance(row, column, sampler.rows, sampler.columns)
        if old is not None:
            np.minimum(nearest, old.nearest, out=nearest)
        distances = sampler.reduce(np.divide(np.sqrt(nearest), self._diagonal))
        points = np.vstack([_NO_POINTS if old is None else old.points, (row, column)])
        return _PolarityMaps(nearest, distances, points)

    def _disk(self, positive: bool, row: np.float32, column: np.float32, before: Float) -> NDArray[np.intp]:
        """Where a click makes the flat map of `disks` 1 that the clicks `before`, (N, 2), left 0."""
        reach = [
            np.arange(max(0, math.floor(at) - RADIUS_PX), min(size, math.ceil(at) + RADIUS_PX + 1))
            for at, size in zip((row, column), self.frame_hw)
        ]
        radius = np.float32(RADIUS_PX**2)
        new = _squared_distance(row, column, *reach) <= radius
        for other in before[np.abs(before - (row, column)).max(axis=1) <= 2 * RADIUS_PX]:
            new &= _squared_distance(*other, *reach) > radius
        inside = np.nonzero(new)
        rows, columns = (indices[found] for indices, found in zip(reach, inside))
        cell = rows // GRID * self._grid_hw[1] + columns // GRID
        channel = rows % GRID * GRID + columns % GRID
        return (2 * cell + (not positive)) * GRID**2 + channel


def disk_maps(points: Float, positive: NDArray[np.bool_], frame_hw: tuple[int, int]) -> Float:
    """(2, h, w) float32 in {0, 1}: 1 where a positive (0), a negative (1) click is within `RADIUS_PX`.

    Args:
        points: (N, 2) float32, (row, column) in the frame; N may be 0.
        positive: (N,) bool.
        frame_hw: (h, w).
    """
    points = np.asarray(points, np.float32).reshape(-1, 2)
    squared = [squared_distances(points[chosen], frame_hw) for chosen in (positive, ~positive)]
    return (np.stack(squared) <= np.float32(RADIUS_PX**2)).astype(np.float32)


def distance_maps(points: Float, positive: NDArray[np.bool_], frame_hw: tuple[int, int]) -> Float:
    """(2, h/4, w/4) float32: distance to the nearest positive (0), negative (1) click over the diagonal.

    `sqrt(d) / sqrt(h² + w²)` with d the squared distance in px² from the pixel's integer index, 1 for a
    polarity without clicks, resized to 1/4 with aligned corners. Arguments as for `disk_maps`.
    """
    return ClickMaps.of(points, positive, frame_hw).distances()
