"""Zoom-in as f-BRS published it and RITM kept it: the part round the object, its longer side of a fixed size.

Sources: Sofiiuk et al., CVPR 2020, section 4.3; Sofiiuk et al., ICIP 2022, and the defaults of their releases.
`methods.zoom` is EMC's own zoom-in, which sets out from this one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from emclick.clicks import Click
from emclick.geometry import Box, View

PROBABILITY = 0.5
"""The object's box is that of the probabilities above this, whatever threshold the mask is shown at."""


@dataclass(frozen=True, slots=True)
class RoiRule:
    """When and how to zoom in.

    Attributes:
        skip_clicks: the first clicks see the whole image.
        expansion: the part's sides over those of the object's box.
        least_px: sides are at least this many image pixels, as far as the image goes.
        keep_overlap: the part stays while its overlap with the wanted one is at least this.
    """

    skip_clicks: int = 1
    expansion: float = 1.4
    least_px: int = 200
    keep_overlap: float = 0.5


def choose_roi(
    present: Box | None, mask: Box | None, clicks: Iterable[Click], image_hw: tuple[int, int], rule: RoiRule
) -> Box | None:
    """The part of the image that the network sees for the last of `clicks`; None for all of it.

    Args:
        present: the part seen at the click before; None for all of the image.
        mask: the box of the mask before the last click; None if it is empty.
        clicks: all, the one to be answered included.
        image_hw: (H, W).
        rule: see `RoiRule`.
    """
    made = list(clicks)
    if mask is None or len(made) <= rule.skip_clicks:
        return None
    pixels = [click.pixel(image_hw) for click in made if click.positive]
    wanted = _around(_hull(mask, pixels), image_hw, rule)
    if present is None:
        return wanted
    # a mask that was given may lie anywhere; of a click the last row and column count as outside, as published
    inside = present.covers(mask) and all(
        present.top <= row < present.bottom - 1 and present.left <= column < present.right - 1
        for row, column in pixels
    )
    return present if inside and _overlap(wanted, present) >= rule.keep_overlap else wanted


def fit_longer(image_hw: tuple[int, int], longer_px: int, box: Box | None = None) -> View:
    """The view whose longer frame side is `longer_px`, in proportion; sides are any whole numbers above 0."""
    height, width = image_hw if box is None else box.hw
    scale = longer_px / max(height, width)
    frame_hw = (max(1, round(height * scale)), max(1, round(width * scale)))
    return View((int(image_hw[0]), int(image_hw[1])), frame_hw, box=box)


def fit_at_most(image_hw: tuple[int, int], longer_px: int) -> View:
    """All of the image at its own size, or with its longer side `longer_px` if that is less."""
    longer = max(image_hw)
    return fit_longer(image_hw, min(longer, longer_px))


def _hull(box: Box, pixels: Iterable[tuple[int, int]]) -> Box:
    top, left, bottom, right = box
    for row, column in pixels:
        top, bottom = min(top, row), max(bottom, row + 1)
        left, right = min(left, column), max(right, column + 1)
    return Box(top, left, bottom, right)


def _around(hull: Box, image_hw: tuple[int, int], rule: RoiRule) -> Box:
    (top, bottom), (left, right) = (
        _expanded(start, stop, size, rule)
        for start, stop, size in ((hull.top, hull.bottom, image_hw[0]), (hull.left, hull.right, image_hw[1]))
    )
    return Box(top, left, bottom, right)


def _expanded(start: int, stop: int, size: int, rule: RoiRule) -> tuple[int, int]:
    """Along one axis, within the image; first and last pixel are rounded, half to even, as published."""
    middle = 0.5 * (start + stop - 1)
    half = 0.5 * max(rule.expansion * (stop - start), rule.least_px)
    return max(0, round(middle - half)), min(size - 1, round(middle + half)) + 1


def _overlap(one: Box, other: Box) -> float:
    """Overlap over hull along each axis, multiplied."""
    return _share(one.top, one.bottom, other.top, other.bottom) * _share(
        one.left, one.right, other.left, other.right
    )


def _share(start: int, stop: int, other_start: int, other_stop: int) -> float:
    common = max(0, min(stop, other_stop) - max(start, other_start))
    return common / (max(stop, other_stop) - min(start, other_start))
