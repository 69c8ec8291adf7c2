"""What every method refuses, in the same words, and the bounded memories that they keep."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from emclick.clicks import Click, check_click
from emclick.errors import ClickError, ImageTypeError, MaskError

Key = TypeVar("Key")
Value = TypeVar("Value")


def check_image(image: Any) -> None:
    """Raise `ImageTypeError` unless `image` is an (H, W, 3) uint8 array."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.shape[2:] != (3,):
        raise ImageTypeError("a method takes an (H, W, 3) uint8 array; emclick.images.read_image makes one")


def check_mask(mask: Any, image_hw: tuple[int, int]) -> None:
    """Raise `ImageTypeError` unless `mask` is an (H, W) bool array, `MaskError` if the image has another size."""
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
        raise ImageTypeError("a mask must be an (H, W) bool array; emclick.images.read_mask makes one")
    if mask.shape != image_hw:
        raise MaskError(f"mask of shape {mask.shape} for an image of {image_hw} (height, width)")


def check_next(click: Click, image_hw: tuple[int, int], begun: bool) -> Click:
    """The click, with plain numbers.

    Args:
        click: the next one.
        image_hw: (H, W).
        begun: whether there is a mask, or clicks, that it may take something from.

    Raises:
        ClickTypeError: see `check_click`.
        ClickError: it is outside the image, or negative where nothing has begun.
    """
    click = check_click(click.x, click.y, click.positive, image_hw)
    if not click.positive and not begun:
        raise ClickError("the first click must be positive: there is no mask yet to take anything from")
    return click


def remembered(memory: OrderedDict[Key, Value], key: Key, make: Callable[[], Value], kept: int) -> Value:
    """What is kept under `key`, made if it is not there; the `kept` last asked for stay."""
    if key in memory:
        memory.move_to_end(key)
    else:
        memory[key] = make()
        while len(memory) > kept:
            memory.popitem(last=False)
    return memory[key]
