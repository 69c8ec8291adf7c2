"""Which part of the image FocalClick refines: the focus crop (paper, section 3.3), to the pixel as released."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from emclick.geometry import Box

Mask = NDArray[np.bool_]

EXPANSION = 1.4
"""The crop's sides over those of the changed region's box."""

LEAST_AREA_PX = 10
"""A region of fewer pixels counts as the whole image."""

SMALL_CHANGE = 3
"""A changed region with a side under 1/3 of the mask's is too small to go by: the crop then surrounds the click."""

CLICK_REACH = 0.2
"""From the click to the sides of that crop, over the longer side of the mask."""


def focus_box(coarse: Mask, previous: Mask, pixel: tuple[int, int], target: Box) -> Box:
    """The part of the image to refine.

    Round the coarse mask if there was none before, else round the region that changed and holds the click.

    Args:
        coarse: (H, W) bool, the new coarse mask.
        previous: (H, W) bool, the mask before.
        pixel: (row, column) of the click.
        target: the target crop, which the result does not leave.
    """
    rows, columns = _extent(coarse)
    if previous.any():
        change = coarse != previous
        region = region_at(change, pixel)
        changed = _extent(region if region.any() else ~change)
        sides = [stop - start for start, stop in (rows, columns)]
        if any(stop - start < side / SMALL_CHANGE for (start, stop), side in zip(changed, sides)):
            reach = CLICK_REACH * max(sides)
            changed = [(at - reach, at + reach) for at in pixel]
        rows, columns = changed
    top, bottom = _widened(*rows, coarse.shape[0], target.top, target.bottom)
    left, right = _widened(*columns, coarse.shape[1], target.left, target.right)
    return Box(top, left, bottom, right) if top < bottom and left < right else target


def region_at(mask: Mask, pixel: tuple[int, int]) -> Mask:
    """The part of an (H, W) bool mask that holds the pixel (row, column), by 8 neighbours; empty off the mask."""
    levels = mask.astype(np.uint8)
    if mask[pixel]:
        cv2.floodFill(levels, None, (pixel[1], pixel[0]), 2, flags=8)  # type: ignore[call-overload]
    return levels == 2


def _extent(mask: Mask) -> list[tuple[float, float]]:
    """First and last row, first and last column of the mask; of the image (0, H), (0, W) if it is tiny."""
    height, width = mask.shape
    if np.count_nonzero(mask) < LEAST_AREA_PX:
        return [(0, height), (0, width)]
    left, top, across, down = cv2.boundingRect(mask.view(np.uint8))
    return [(top, top + down - 1), (left, left + across - 1)]


def _widened(first: float, last: float, size: int, low: int, high: int) -> tuple[int, int]:
    """Along one axis: start and stop, rounded towards 0 as published, within the image and the target crop."""
    middle, half = 0.5 * (first + last), 0.5 * EXPANSION * (last - first + 1)
    return max(int(middle - half), 0, low), min(int(middle + half), size, high)
