"""Clicks, and the maps by which a network sees them.

Source: METHOD, "Click encodings". A `Click` speaks (x, y) in image pixels; everything below `ClickMaps`
speaks (row, column) in the frame.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from emclick.errors import ClickError, ClickTypeError
from emclick.geometry import GRID, GridSampler

Float = NDArray[np.float32]

RADIUS_PX = 5
"""Radius of a click's disk, in frame pixels."""

DISK_CHANNELS = 2 * GRID**2
"""Of a cell, in the disk maps."""
_SQUARED_RADIUS = np.float32(RADIUS_PX**2)
DISK_CELLS = math.ceil((2 * RADIUS_PX + GRID) / GRID)
"""At most so many rows, and columns, of cells hold a disk."""


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
        np.minimum(nearest, _squared_distance(row, column, *map(_whole, frame_hw)), out=nearest)
    return nearest


def _squared_distance(row: np.float32, column: np.float32, rows: Float, columns: Float) -> Float:
    """(R, C) float32 from (row, column) to each of the `rows` and `columns`."""
    down, across = rows - row, columns - column
    return np.square(down, out=down)[:, None] + np.square(across, out=across)


@lru_cache(maxsize=16)
def _whole(size: int) -> Float:
    """0.0, 1.0, ... below `size`."""
    return np.arange(size, dtype=np.float32)


def _disk(
    row: np.float32, column: np.float32, frame_hw: tuple[int, int]
) -> tuple[slice, slice, NDArray[np.bool_]]:
    """The frame's rows and columns that a disk may touch, and which of their pixels it does."""
    rows, columns = (
        slice(
            first := max(0, math.floor(at) - RADIUS_PX), max(first, min(size, math.ceil(at) + RADIUS_PX + 1))
        )
        for at, size in zip((row, column), frame_hw)
    )
    return rows, columns, _in_disk(row, column, rows, columns, frame_hw)


def _in_disk(
    row: np.float32, column: np.float32, rows: slice, columns: slice, frame_hw: tuple[int, int]
) -> NDArray[np.bool_]:
    height, width = frame_hw
    return _squared_distance(row, column, _whole(height)[rows], _whole(width)[columns]) <= _SQUARED_RADIUS


@dataclass(frozen=True, slots=True, eq=False)
class DiskPatch:
    """What one click adds to the disk maps, and no click of its polarity before it.

    Attributes:
        pixels: where it makes the flat (h/4, w/4, 32) map of both polarities 1.
        rows, columns: the cells that these are in, and perhaps some more: at most `DISK_CELLS` of each.
    """

    pixels: NDArray[np.intp]
    rows: slice
    columns: slice


def disk_cells(
    patches: Iterable[DiskPatch], grid_hw: tuple[int, int], cells: tuple[slice, slice] | None = None
) -> Float:
    """(rows, columns, 32) float32 in {0, 1}: the map that `patches` make, or its rows and columns `cells` alone.

    1 within `RADIUS_PX` of a positive (0-15), a negative click (16-31): channel
    `16 * negative + 4 * (row % 4) + column % 4` of cell (row // 4, column // 4), which is the full resolution in the
    layout that the correction network reads (pixel unshuffle, channels last).
    """
    if cells is None:
        maps = np.zeros((*grid_hw, DISK_CHANNELS), np.float32)
        for patch in patches:
            maps.reshape(-1)[patch.pixels] = 1
        return maps
    rows, columns = cells
    maps = np.zeros((rows.stop - rows.start, columns.stop - columns.start, DISK_CHANNELS), np.float32)
    for patch in patches:
        if _apart(patch.rows, rows) or _apart(patch.columns, columns):
            continue
        row, rest = np.divmod(patch.pixels, grid_hw[1] * DISK_CHANNELS)
        column, channel = np.divmod(rest, DISK_CHANNELS)
        inside = (row >= rows.start) & (row < rows.stop) & (column >= columns.start) & (column < columns.stop)
        maps[row[inside] - rows.start, column[inside] - columns.start, channel[inside]] = 1
    return maps


def _apart(one: slice, other: slice) -> bool:
    return one.stop <= other.start or other.stop <= one.start


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


class _Plan:
    """What the maps of all clicks in a frame have in common: made once, since a click is waited for.

    Attributes:
        sampler: reduces maps to the grid.
        rows, columns: float32, where it reads.
        row_places, column_places: (h,), (w,); their sum is where a pixel is in the flat map of `ClickMaps.disks`.
        diagonal: of the frame, px.
    """

    def __init__(self, frame_hw: tuple[int, int]) -> None:
        self.sampler = GridSampler(frame_hw)
        self.rows, self.columns = (
            each.astype(np.float32) for each in (self.sampler.rows, self.sampler.columns)
        )
        rows, columns = (np.arange(size) for size in frame_hw)
        line = self.sampler.grid_hw[1] * DISK_CHANNELS
        self.row_places = rows // GRID * line + rows % GRID * GRID
        self.column_places = columns // GRID * DISK_CHANNELS + columns % GRID
        self.diagonal = np.float32(math.sqrt(frame_hw[0] ** 2 + frame_hw[1] ** 2))


_plan = lru_cache(maxsize=8)(_Plan)


@dataclass(frozen=True, slots=True, eq=False)
class ClickMaps:
    """The maps of the clicks so far; a value. A click more costs the same however many there were.

    Attributes:
        frame_hw: (h, w) of the frame, multiples of 4.
        positive: None while there is no positive click.
        negative: likewise.
        patches: what `disks` is made of, in the order made. Maps with a click more hold the same and perhaps another.
        earlier: how many of them are of clicks before the last.
    """

    frame_hw: tuple[int, int]
    positive: _PolarityMaps | None = None
    negative: _PolarityMaps | None = None
    patches: tuple[DiskPatch, ...] = ()
    earlier: int = 0

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
        plan, old = _plan(self.frame_hw), self.positive if positive else self.negative
        nearest = _squared_distance(row, column, plan.rows, plan.columns)
        place = np.array([[row, column]])
        if old is not None:
            np.minimum(nearest, old.nearest, out=nearest)
        distances = np.sqrt(nearest)
        distances /= plan.diagonal
        new = _PolarityMaps(
            nearest,
            plan.sampler.reduce(distances),
            place if old is None else np.concatenate([old.points, place]),
        )
        patch = self._patch(row, column, positive, None if old is None else old.points)
        patches = self.patches if patch is None else (*self.patches, patch)
        both = (new, self.negative) if positive else (self.positive, new)
        return ClickMaps(self.frame_hw, *both, patches, len(self.patches))

    def disks(self) -> Float:
        """(h/4, w/4, 32) float32 in {0, 1}, see `disk_cells`."""
        return disk_cells(self.patches, self.grid_hw)

    def distances(self) -> Float:
        """(2, h/4, w/4) float32: distance over the frame's diagonal, constant where there is no click."""
        maps = np.empty((2, *self.grid_hw), np.float32)
        for each, its in zip(maps, (self.positive, self.negative)):
            each[:] = np.float32(1) / _plan(self.frame_hw).diagonal if its is None else its.distances
        return maps

    @property
    def grid_hw(self) -> tuple[int, int]:
        """(h/4, w/4)."""
        return self.frame_hw[0] // GRID, self.frame_hw[1] // GRID

    def _patch(
        self, row: np.float32, column: np.float32, positive: bool, before: Float | None
    ) -> DiskPatch | None:
        """What a click adds that the clicks `before` of its polarity, (row, column) each, left 0; None if nothing."""
        rows, columns, new = _disk(row, column, self.frame_hw)
        if before is not None:
            for other_row, other_column in before[
                (np.abs(before - (row, column)) <= 2 * RADIUS_PX).all(axis=1)
            ]:
                new &= ~_in_disk(other_row, other_column, rows, columns, self.frame_hw)
        plan = _plan(self.frame_hw)
        pixels = (plan.row_places[rows, None] + plan.column_places[columns])[new]
        if not pixels.size:
            return None
        if not positive:
            pixels += GRID**2
        touched = (slice(reach.start // GRID, -(-reach.stop // GRID)) for reach in (rows, columns))
        return DiskPatch(pixels, *touched)


def disk_maps(points: Float, positive: NDArray[np.bool_], frame_hw: tuple[int, int]) -> Float:
    """(2, h, w) float32 in {0, 1}: 1 where a positive (0), a negative (1) click is within `RADIUS_PX`.

    Args:
        points: (N, 2) float32, (row, column) in the frame; N may be 0.
        positive: (N,) bool.
        frame_hw: (h, w).
    """
    maps = np.zeros((2, *frame_hw), np.float32)
    for (row, column), polarity in zip(np.asarray(points, np.float32).reshape(-1, 2), positive):
        rows, columns, inside = _disk(row, column, frame_hw)
        maps[0 if polarity else 1, rows, columns][inside] = 1
    return maps


def distance_maps(points: Float, positive: NDArray[np.bool_], frame_hw: tuple[int, int]) -> Float:
    """(2, h/4, w/4) float32: distance to the nearest positive (0), negative (1) click over the diagonal.

    `sqrt(d) / sqrt(h² + w²)` with d the squared distance in px² from the pixel's integer index, 1 for a
    polarity without clicks, resized to 1/4 with aligned corners. Arguments as for `disk_maps`.
    """
    return ClickMaps.of(points, positive, frame_hw).distances()
