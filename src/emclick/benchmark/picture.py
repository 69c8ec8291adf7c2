"""A picture to click on, of any size and always the same: smooth areas, edges and grain, as photographs have."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from emclick.clicks import Click

_TILE = 256

POINTS = ((0.5, 0.5), (0.4, 0.62), (0.15, 0.8))
"""(row, column) of three clicks, in shares of the sides; the first two are positive, the last negative."""


def photograph(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """(height, width, 3) uint8 RGB; the largest of its ellipses lies in the middle."""
    random = np.random.default_rng(seed)
    smooth = random.integers(40, 200, (6, 8, 3)).astype(np.uint8)
    image = np.empty((height, width, 3), np.uint8)
    cv2.resize(smooth, (width, height), dst=image, interpolation=cv2.INTER_LINEAR)
    places = [(0.5, 0.5, 0.25, 0.3, 20.0)] + [
        (*random.uniform(0, 1, 2), *random.uniform(0.02, 0.12, 2), random.uniform(0, 180)) for _ in range(12)
    ]
    for x, y, across, down, angle in reversed(places):
        colour = [int(each) for each in random.integers(20, 220, 3)]
        centre, axes = (int(x * width), int(y * height)), (int(across * width) + 1, int(down * height) + 1)
        cv2.ellipse(image, centre, axes, angle, 0, 360, colour, cv2.FILLED, cv2.LINE_AA)
    grain = random.integers(0, 24, (_TILE, _TILE, 3)).astype(np.uint8)
    strip = np.tile(grain, (1, -(-width // _TILE), 1))[:, :width]
    for top in range(0, height, _TILE):  # by strips: a second picture would count in the peak memory
        rows = image[top : top + _TILE]
        cv2.add(rows, strip[: len(rows)], dst=rows)
    return image


def frame_clicks(side: int) -> list[Click]:
    """The clicks of `POINTS` on a picture of `side` x `side` px."""
    return [Click(column * side, row * side, number < 2) for number, (row, column) in enumerate(POINTS)]


def size_of(megapixels: float) -> tuple[int, int]:
    """(height, width) of a 4:3 picture."""
    width = round((megapixels * 1e6 * 4 / 3) ** 0.5)
    return round(width * 3 / 4), width
