"""Random scale, crop, flip and colour of training samples, on uint8 arrays.

The crop is a rectangle of source pixels that is cut out first and resized afterwards, so that the cost
depends on the crop and not on the image. Values are those of METHOD, "Training". Nothing here keeps
state: everything random comes from the generator passed in.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from emclick.errors import RecipeError, UnknownNameError

SCALE_BASES = {
    "image": lambda image_hw, crop_hw: 1.0,
    "crop": lambda image_hw, crop_hw: min(crop_hw) / min(image_hw),
}
"""What a scale of 1 stands for: the image's own size, or its short side equal to the crop's short side."""

MAX_ENLARGEMENT = 4.0
"""Crop pixels per image pixel, at most, where the scale is chosen for an object; as in `methods.zoom`."""


@dataclass(frozen=True)
class Augmentation:
    """What is done to a sample.

    Attributes:
        crop_hw: (height, width) of the result, px.
        scale: (low, high) of a uniform factor.
        scale_base: key of `SCALE_BASES`. Published: "image" with 0.75..1.40.
        zoom_probability: chance that the scale is chosen for the object and the window for its box, as zoom-in
            does at inference, instead of for the image.
        zoom: (low, high); the longer side of the object's box is then a uniform value of this range times
            the crop's short side, but the image is not enlarged more than `MAX_ENLARGEMENT` times, and not made
            smaller than the crop.
        initial_probability: chance that the sample starts from a damaged mask of its object (`data.damage`), to be
            corrected, instead of from nothing.
        initial_iou: (low, high) of the damaged mask's IoU.
        flip_probability: chance of a left-right mirror.
        brightness: a uniform value of ±this, in units of 255, is added to all channels.
        contrast: (low, high); pixel values are multiplied by 1 + a uniform value of this range, around 0.
        tone_probability: chance that brightness and contrast (both together) change.
        shift: each channel gets a uniform value of ±this added, in grey levels.
        shift_probability: chance of that.
        padding_target: target value of pixels beyond the image: -1 (ignored; default) or 0 (background,
            as published). The image itself is black there. At inference there are no such pixels, so
            by default nothing is learnt on them and no click falls there.
    """

    crop_hw: tuple[int, int] = (320, 480)
    scale: tuple[float, float] = (0.75, 1.40)
    scale_base: str = "image"
    zoom_probability: float = 0.0
    zoom: tuple[float, float] = (0.5, 1.1)
    initial_probability: float = 0.0
    initial_iou: tuple[float, float] = (0.6, 0.93)
    flip_probability: float = 0.5
    brightness: float = 0.25
    contrast: tuple[float, float] = (-0.15, 0.4)
    tone_probability: float = 0.75
    shift: float = 10.0
    shift_probability: float = 0.75
    padding_target: int = -1

    def __post_init__(self) -> None:
        """Raise `RecipeError` or `UnknownNameError` for a value that cannot be used."""
        if min(self.crop_hw) < 1:
            raise RecipeError(f"crop_hw is {self.crop_hw}; both sides must be at least 1")
        if not 0 < self.scale[0] <= self.scale[1] < math.inf:
            raise RecipeError(f"scale is {self.scale}; give (low, high) with 0 < low <= high")
        if not 0 <= self.zoom_probability <= 1:
            raise RecipeError(f"zoom_probability is {self.zoom_probability}; it must lie in 0..1")
        if not 0 <= self.initial_probability <= 1:
            raise RecipeError(f"initial_probability is {self.initial_probability}; it must lie in 0..1")
        if not 0 < self.initial_iou[0] < self.initial_iou[1] < 1:
            raise RecipeError(f"initial_iou is {self.initial_iou}; give (low, high) with 0 < low < high < 1")
        if not 0 < self.zoom[0] <= self.zoom[1] < math.inf:
            raise RecipeError(f"zoom is {self.zoom}; give (low, high) with 0 < low <= high")
        if self.scale_base not in SCALE_BASES:
            raise UnknownNameError("scale_base", self.scale_base, sorted(SCALE_BASES))
        if self.padding_target not in (-1, 0):
            raise RecipeError(f"padding_target is {self.padding_target}; give -1 (ignored) or 0 (background)")


@dataclass(frozen=True)
class Window:
    """A rectangle of source pixels, which may reach beyond the image: first row and column, then size."""

    top: int
    left: int
    height: int
    width: int

    def inside(self, image_hw: tuple[int, int]) -> tuple[slice, slice]:
        """Rows and columns of the part that lies in an image of size (height, width)."""
        rows = slice(max(self.top, 0), min(self.top + self.height, image_hw[0]))
        columns = slice(max(self.left, 0), min(self.left + self.width, image_hw[1]))
        return rows, columns


def draw_scale(image_hw: tuple[int, int], augmentation: Augmentation, rng: np.random.Generator) -> float:
    """Output pixels per source pixel for an image of size (height, width)."""
    base = SCALE_BASES[augmentation.scale_base](image_hw, augmentation.crop_hw)
    return base * rng.uniform(*augmentation.scale)


def draw_zoom(
    box: Window, image_hw: tuple[int, int], augmentation: Augmentation, rng: np.random.Generator
) -> float:
    """Output pixels per source pixel that show an object of that box at one of the sizes of `zoom`."""
    longer = rng.uniform(*augmentation.zoom) * min(augmentation.crop_hw)
    fills = max(side / own for side, own in zip(augmentation.crop_hw, image_hw))
    return max(min(longer / max(box.height, box.width), MAX_ENLARGEMENT), fills)


def draw_window(
    image_hw: tuple[int, int],
    scale: float,
    crop_hw: tuple[int, int],
    rng: np.random.Generator,
    around: Window | None = None,
) -> Window:
    """A random window that becomes `crop_hw` when resized by `scale` (to the nearest source pixel).

    Along a side where the image is smaller than the window, the image is centred. With `around` only windows
    that contain all of that rectangle are drawn, or along a side where it is larger than the window, only
    windows that lie in it.
    """
    size = [max(1, round(side / scale)) for side in crop_hw]
    start = []
    for axis in range(2):
        slack = image_hw[axis] - size[axis]
        low, high = 0, slack
        if around is not None:
            first = (around.top, around.left)[axis]
            last = first + (around.height, around.width)[axis] - size[axis]
            low, high = max(0, min(first, last)), min(slack, max(first, last))
        start.append(int(rng.integers(low, high + 1)) if slack > 0 else slack // 2)
    return Window(start[0], start[1], size[0], size[1])


def cut_image(
    image: NDArray[np.uint8], window: Window, crop_hw: tuple[int, int], flip: bool = False
) -> NDArray[np.uint8]:
    """The window of `image` (H, W, 3) or (H, W) uint8, resized to `crop_hw`, black beyond the image.

    Averages areas when it shrinks and interpolates linearly when it grows.
    """
    patch = image[window.inside((image.shape[0], image.shape[1]))]
    before_row, before_column = max(-window.top, 0), max(-window.left, 0)
    after_row = window.height - before_row - patch.shape[0]
    after_column = window.width - before_column - patch.shape[1]
    if before_row or before_column or after_row or after_column:
        patch = cv2.copyMakeBorder(
            patch, before_row, after_row, before_column, after_column, cv2.BORDER_CONSTANT, value=(0, 0, 0)
        )
    shrinks = window.height >= crop_hw[0] and window.width >= crop_hw[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    patch = cv2.resize(np.ascontiguousarray(patch), (crop_hw[1], crop_hw[0]), interpolation=method)
    return np.ascontiguousarray(patch[:, ::-1] if flip else patch, np.uint8)


def cut_mask(
    mask: NDArray[np.bool_], window: Window, crop_hw: tuple[int, int], flip: bool = False
) -> NDArray[np.bool_]:
    """The window of a (H, W) bool mask at `crop_hw`: True where at least half of the pixel is covered.

    Binary masks are resampled by coverage and not by nearest neighbour, which would shift edges by up to
    half a source pixel and leave stairs when the crop is enlarged.
    """
    return cut_image(mask.astype(np.uint8) * 255, window, crop_hw, flip) >= 128


def draw_tone(augmentation: Augmentation, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A (256, 3) uint8 table: new value of each grey level in each channel.

    value * (1 + contrast) + brightness * 255, cut to 0..255, then + shift of the channel, cut again: the
    order and the convention of the published pipeline (contrast around black, brightness by maximum).
    """
    gain, offset = 1.0, 0.0
    if rng.random() < augmentation.tone_probability:
        offset = rng.uniform(-augmentation.brightness, augmentation.brightness) * 255.0
        gain = 1.0 + rng.uniform(*augmentation.contrast)
    shift = np.zeros(3)
    if rng.random() < augmentation.shift_probability:
        shift = rng.uniform(-augmentation.shift, augmentation.shift, size=3)
    levels = (np.arange(256.0) * gain + offset).clip(0.0, 255.0)
    return np.rint(levels[:, None] + shift).clip(0, 255).astype(np.uint8)


def apply_tone(image: NDArray[np.uint8], table: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Replace the values of `image` (H, W, 3) uint8 by those of a `draw_tone` table."""
    return np.asarray(cv2.LUT(image, table[None]), np.uint8)
