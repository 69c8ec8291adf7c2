"""The robot user: where the next click goes, given a mask and the truth (METHOD, "Evaluation")."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from emclick.errors import MaskError

RobotClick = tuple[int, int, bool]
"""(x, y, positive): a pixel of the image, and whether it lies on the object."""


def next_click(
    truth: NDArray[np.integer], guess: NDArray[np.bool_], clicked: NDArray[np.bool_] | None = None
) -> RobotClick | None:
    """The centre of the larger error: the pixel of a wrong area farthest from that area's edge.

    The two areas are the object's pixels that the guess misses and the background's that it covers; ignored
    pixels belong to neither, and the image's border counts as an edge. Distances are exact Euclidean. The
    click is positive only if the missed area's maximum is strictly the larger one; among equal maxima the
    first in row-major order is taken.

    Args:
        truth: (H, W) integer; 1 object, 0 background, -1 ignored.
        guess: (H, W) bool, the present mask.
        clicked: (H, W) bool, pixels clicked before, never clicked again; None if there are none.

    Returns:
        (x, y, positive), or None when no wrong pixel is left that was not clicked before.

    Raises:
        MaskError: the shapes differ.
    """
    if truth.shape != guess.shape or truth.ndim != 2:
        raise MaskError(f"truth and guess must be two masks of one size, not {truth.shape} and {guess.shape}")
    missed = _depth((truth == 1) & ~guess, clicked)
    covered = _depth((truth == 0) & guess, clicked)
    positive = bool(missed.max(initial=0) > covered.max(initial=0))
    depth = missed if positive else covered
    if depth.max(initial=0) == 0:
        return None
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    return int(x), int(y), positive


def _depth(area: NDArray[np.bool_], clicked: NDArray[np.bool_] | None) -> NDArray[np.int64]:
    """(H, W) int64 squared distance of each pixel of `area` to the nearest outside it, 0 where clicked."""
    depth = np.zeros(area.shape, np.int64)
    # The area's bounding box with a ring of zeros holds the nearest outside pixel of every pixel in it.
    x, y, width, height = cv2.boundingRect(area.view(np.uint8))
    if width == 0:
        return depth
    box = np.s_[y : y + height, x : x + width]
    padded = np.pad(area[box], 1).view(np.uint8)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    # OpenCV's float32 distances differ in the last bit between machines, which would break ties at random.
    depth[box] = np.rint(np.square(distance, dtype=np.float64))
    if clicked is not None:
        depth[clicked] = 0
    return depth
