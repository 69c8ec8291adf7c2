"""What a user asks of a mask before finishing an object."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from emclick.annotations.model import Rle
from emclick.web.records import Box

Mask = NDArray[np.bool_]


def largest_part(mask: Mask, _: int = 0) -> Mask:
    """The largest part of (H, W) bool; parts hang together by 8 neighbours."""
    labels, areas = _parts(mask, 8)
    return labels == 1 + int(areas.argmax()) if areas.size else mask.copy()


def fill_holes(mask: Mask, area: int = 0) -> Mask:
    """(H, W) bool with its holes filled: all of them, or those of at most `area` pixels."""
    padded = np.pad(~mask, 1, constant_values=True)  # what is outside hangs together around the border
    labels, areas = _parts(padded, 4)
    hole = np.concatenate(([False], areas <= (area or mask.size)))
    hole[labels[0, 0]] = False
    return mask | hole[labels[1:-1, 1:-1]]


def drop_small(mask: Mask, area: int) -> Mask:
    """(H, W) bool without its parts of fewer than `area` pixels."""
    labels, areas = _parts(mask, 8)
    return np.concatenate(([False], areas >= area))[labels]


CLEANERS: dict[str, Callable[[Mask, int], Mask]] = {
    "largest": largest_part, "fill": fill_holes, "min_area": drop_small,
}  # fmt: skip
"""Name of the operation -> (mask, area in pixels, 0 for none) -> mask."""


def _parts(mask: Mask, connectivity: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Part numbers from 1 on (0 where `mask` is False), and the parts' areas in pixels."""
    level = np.ascontiguousarray(mask).view(np.uint8)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(level, connectivity=connectivity)
    return labels.astype(np.int32, copy=False), stats[1:, cv2.CC_STAT_AREA].astype(np.int32)


def changed_box(before: Rle, after: Rle) -> Box:
    """(x, y, w, h) of the pixels in which two masks of one size differ; all 0 for none.

    Worked out on the runs: a photograph has a thousand times fewer of them than pixels.
    """
    if before.counts == after.counts:
        return 0, 0, 0, 0
    # where exactly one of the two changes sides, down the columns: there their difference does
    places, times = np.unique(np.concatenate([_edges(before), _edges(after)]), return_counts=True)
    height, width = before.size_hw
    edges = places[times % 2 == 1]
    if edges.size % 2:
        edges = np.append(edges, height * width)
    first, last = edges[0::2], edges[1::2] - 1
    left, right = int(first[0]) // height, int(last[-1]) // height
    if (first // height != last // height).any():  # a run that goes on in the next column
        return left, 0, right - left + 1, height
    top, bottom = int((first % height).min()), int((last % height).max())
    return left, top, right - left + 1, bottom - top + 1


def _edges(rle: Rle) -> NDArray[np.int64]:
    return np.cumsum(rle.runs())[:-1]
