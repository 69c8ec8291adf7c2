"""Zoom-in: which part of the image a step looks at, and a mask's logits seen in another part.

As in f-BRS and RITM, from the second click on the frame shows the object and its surroundings instead of
the whole image, so that a small object gets as many frame pixels as a large one. Here the base network then
runs once more, for that part, and the mask so far goes along; it runs again only where the part changes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from emclick.clicks import Click
from emclick.geometry import Box, View

Float = NDArray[np.float32]
Mask = NDArray[np.bool_]

EXPANSION = 1.6
"""The part's sides over those of the object's box."""

MAX_ASPECT = 2.0
"""The part's longer side is at most this many times the shorter, unless the image's border says otherwise."""

ASPECT_STEP = 0.25
"""Aspects are brought down to multiples of this: few frame sizes, which a runtime may prepare for."""

WORTHWHILE = 0.85
"""A part is shown only if its shorter side is at most this share of the image's."""

KEEP_OVERLAP = 0.5
"""The part stays as long as it overlaps the wanted one by this much (intersection over union)."""

MAX_ENLARGEMENT = 4
"""Frame pixels per image pixel, at most, as long as the frame is not finer."""

FINER = 1.5
"""The finer frame's sides over those of the first click's."""

FINEST_SIDE = 384
"""Shorter side, px, beyond which no frame is made finer."""

FINE_FROM = 4
"""The click from which on the frame is finer: what three clicks did not get right wants a closer look."""

MASK_CLICKS = 2
"""Clicks before that one that a given mask stands for: what it leaves to do is mostly at its edge."""


class Look(NamedTuple):
    """What a step looks at.

    Attributes:
        box: the part of the image; None for all of it.
        short_side: of the frame, px.
    """

    box: Box | None
    short_side: int

    def view(self, image_hw: tuple[int, int]) -> View:
        """Between the frame and an image of (H, W) pixels."""
        return View.fit(image_hw, self.short_side, self.box)


def frame_side(number: int, short_side: int) -> int:
    """Shorter side of the frame of an object's click `number` (1 for the first), given that of its first."""
    return short_side if number < FINE_FROM else max(short_side, min(round(FINER * short_side), FINEST_SIDE))


def mask_box(mask: Mask) -> Box | None:
    """The box of an (H, W) bool mask; None if it is empty."""
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    return Box(top, left, top + height, left + width) if width else None


def shown_box(view: View, frame_mask: Mask) -> Box | None:
    """The box, in image pixels, of an (h, w) bool mask in the frame of an upright `view`; None if it is empty."""
    found = mask_box(frame_mask)
    if found is None:
        return None
    left, top = view.from_frame(float(found.top), float(found.left))
    right, bottom = view.from_frame(float(found.bottom), float(found.right))
    height, width = view.image_hw
    return Box(
        max(math.floor(top), 0), max(math.floor(left), 0),
        min(math.ceil(bottom), height), min(math.ceil(right), width),
    )  # fmt: skip


def choose_box(
    present: Box | None, mask: Box | None, clicks: Iterable[Click], click: Click | None,
    image_hw: tuple[int, int], short_side: int,
) -> Box | None:  # fmt: skip
    """The part of the image to look at for the next click; None for all of it.

    Args:
        present: the part that the mask was made in; None for all of the image.
        mask: the box of the present mask, which a given mask may have outside the part; None while there is none.
        clicks: those made so far.
        click: the next one if it is known; the part then holds it.
        image_hw: (H, W).
        short_side: shorter side of the frame, px.
    """
    if mask is None:
        return None
    positives = [each for each in clicks if each.positive]
    if click is not None and click.positive:
        positives.append(click)
    hull = _hull(mask, positives, image_hw)
    wanted = _around(hull, image_hw, short_side)
    if click is not None and wanted is not None and not wanted.contains(click.x, click.y):
        wanted = _around(_hull(hull, [click], image_hw), image_hw, short_side)
    if present is None:
        return wanted
    holds = present.covers(mask) and (click is None or present.contains(click.x, click.y))
    whole = Box(0, 0, *image_hw)
    return present if holds and _overlap(present, wanted or whole) >= KEEP_OVERLAP else wanted


def carry_logits(logits: Float, old: View, new: View, outside: float) -> Float:
    """Logits on the grid of one view, sampled on the grid of another view of the same image.

    Args:
        logits: (h/4, w/4) float32 of `old`.
        old: where they come from.
        new: where they go to.
        outside: what lies beyond `old`.

    Returns:
        (h'/4, w'/4) float32. Bilinear between grid samples, which have aligned corners in both.
    """
    (rows, columns), (height, width) = new.grid_hw, logits.shape
    down = _samples(rows, new.seen.top, new.seen.hw[0], old.seen.top, old.seen.hw[0], height)
    across = _samples(columns, new.seen.left, new.seen.hw[1], old.seen.left, old.seen.hw[1], width)
    if new.mirrored:
        across = across[::-1]
    upright = np.ascontiguousarray(logits[:, ::-1]) if old.mirrored else logits
    at_x, at_y = np.meshgrid(across, down)
    carried = cv2.remap(
        upright, at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=outside
    )
    return np.asarray(carried, np.float32)


def _samples(count: int, start: int, size: int, old_start: int, old_size: int, old_count: int) -> Float:
    """Along one axis: positions among `old_count` grid samples of the `count` new ones."""
    pixels = start + np.linspace(0, size - 1, count)
    return ((pixels - old_start) * (old_count - 1) / max(old_size - 1, 1)).astype(np.float32)


def _hull(box: Box, clicks: Iterable[Click], image_hw: tuple[int, int]) -> Box:
    top, left, bottom, right = box
    for click in clicks:
        row, column = click.pixel(image_hw)
        top, left, bottom, right = (
            min(top, row),
            min(left, column),
            max(bottom, row + 1),
            max(right, column + 1),
        )
    return Box(top, left, bottom, right)


def _around(hull: Box, image_hw: tuple[int, int], short_side: int) -> Box | None:
    """The part that shows `hull` with its surroundings; None if that is hardly less than the image."""
    least = short_side / MAX_ENLARGEMENT
    sides = [min(max(EXPANSION * side, least), whole) for side, whole in zip(hull.hw, image_hw)]
    longer = max(sides)
    sides = [min(max(side, longer / MAX_ASPECT), whole) for side, whole in zip(sides, image_hw)]
    aspect = max(1.0, longer / min(sides) // ASPECT_STEP * ASPECT_STEP)
    shorter = math.ceil(longer / aspect)
    height, width = (
        min(math.ceil(shorter * aspect) if side == longer else shorter, whole)
        for side, whole in zip(sides, image_hw)
    )
    if min(height, width) > WORTHWHILE * min(image_hw):
        return None
    middle = (hull.top + hull.bottom) / 2, (hull.left + hull.right) / 2
    top, left = (
        min(max(round(at - side / 2), 0), whole - side)
        for at, side, whole in zip(middle, (height, width), image_hw)
    )
    return Box(top, left, top + height, left + width)


def _overlap(one: Box, other: Box) -> float:
    """Intersection over union."""
    height = min(one.bottom, other.bottom) - max(one.top, other.top)
    width = min(one.right, other.right) - max(one.left, other.left)
    common = max(height, 0) * max(width, 0)
    return common / (math.prod(one.hw) + math.prod(other.hw) - common)
