"""Clicks, and the maps by which a network sees them.

Source: METHOD, "Click encodings". A `Click` speaks (x, y) in image pixels; everything below `ClickMaps`
speaks (row, column) in the frame.
"""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emclick.errors import ClickError, ClickTypeError
from emclick.geometry import GRID, resize_bilinear

Float = NDArray[np.float32]

RADIUS_PX = 5
"""Radius of a click's disk, in frame pixels."""


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
        np.minimum(nearest, _squared_distance(row, column, frame_hw), out=nearest)
    return nearest


def _squared_distance(row: np.float32, column: np.float32, frame_hw: tuple[int, int]) -> Float:
    down = np.arange(frame_hw[0], dtype=np.float32) - row
    across = np.arange(frame_hw[1], dtype=np.float32) - column
    return np.square(down)[:, None] + np.square(across)


@dataclass(frozen=True, slots=True, eq=False)
class ClickMaps:
    """Squared distances to the nearest click, from which disks and distance maps follow; a value.

    Attributes:
        frame_hw: (h, w) of the frame.
        positive: (h, w) float32 in px², or None while there is no positive click.
        negative: likewise.
    """

    frame_hw: tuple[int, int]
    positive: Float | None = None
    negative: Float | None = None

    @classmethod
    def of(cls, points: Float, positive: NDArray[np.bool_], frame_hw: tuple[int, int]) -> ClickMaps:
        """Maps of (N, 2) float32 (row, column) `points` with (N,) bool polarity, from scratch."""
        points = np.asarray(points, np.float32).reshape(-1, 2)
        chosen = np.asarray(positive, np.bool_)
        parts = (points[chosen], points[~chosen])
        near = [squared_distances(part, frame_hw) if len(part) else None for part in parts]
        return cls(frame_hw, near[0], near[1])

    def add(self, point: Float, positive: bool) -> ClickMaps:
        """Maps with one click more, (row, column) float32: equal bit for bit to `of` over all clicks."""
        row, column = np.asarray(point, np.float32)
        new = _squared_distance(row, column, self.frame_hw)
        old = self.positive if positive else self.negative
        if old is not None:
            np.minimum(new, old, out=new)
        if positive:
            return ClickMaps(self.frame_hw, new, self.negative)
        return ClickMaps(self.frame_hw, self.positive, new)

    def disks(self, radius: float = RADIUS_PX) -> Float:
        """(2, h, w) float32 in {0, 1}: within `radius` px of a positive, of a negative click."""
        maps = np.zeros((2, *self.frame_hw), np.float32)
        for out, squared in zip(maps, (self.positive, self.negative)):
            if squared is not None:
                np.less_equal(squared, np.float32(radius * radius), out=out, casting="unsafe")
        return maps

    def distances(self) -> Float:
        """(2, h/4, w/4) float32: distance over the frame's diagonal, constant where there is no click."""
        height, width = self.frame_hw
        diagonal = np.float32(math.sqrt(height * height + width * width))
        grid_hw = (height // GRID, width // GRID)
        maps = np.empty((2, *grid_hw), np.float32)
        for out, squared in zip(maps, (self.positive, self.negative)):
            if squared is None:
                out[...] = np.float32(1) / diagonal
            else:
                out[...] = resize_bilinear(squared, grid_hw, lambda near: np.divide(np.sqrt(near), diagonal))
        return maps


def disk_maps(
    points: Float, positive: NDArray[np.bool_], frame_hw: tuple[int, int], radius: float = RADIUS_PX
) -> Float:
    """(2, h, w) float32 in {0, 1}: 1 where a positive (0), a negative (1) click is within `radius` px.

    Args:
        points: (N, 2) float32, (row, column) in the frame; N may be 0.
        positive: (N,) bool.
        frame_hw: (h, w).
        radius: px, inclusive.
    """
    return ClickMaps.of(points, positive, frame_hw).disks(radius)


def distance_maps(points: Float, positive: NDArray[np.bool_], frame_hw: tuple[int, int]) -> Float:
    """(2, h/4, w/4) float32: distance to the nearest positive (0), negative (1) click over the diagonal.

    `sqrt(d) / sqrt(h² + w²)` with d the squared distance in px² from the pixel's integer index, 1 for a
    polarity without clicks, resized to 1/4 with aligned corners. Arguments as for `disk_maps`.
    """
    return ClickMaps.of(points, positive, frame_hw).distances()
