"""An image with the model ready for it, shared by all the objects on it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emclick.background import Background
from emclick.clicks import Click
from emclick.images import read_image
from emclick.methods.base import Method, Options
from emclick.prediction import Prediction
from emclick.session import Model, Session
from emclick.web.errors import ImageChangedError

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Picture:
    """An image file, as the engine is asked for it.

    Attributes:
        id: of the image.
        version: changes with the file.
        path: of the file.
        image_hw: (H, W) that it must have.
    """

    id: str
    version: str
    path: Path
    image_hw: tuple[int, int]


class Prepared:
    """An image, and a model whose sessions on it share what depends on the image alone."""

    def __init__(self, model: Model, pixels: Pixels) -> None:
        self.pixels = pixels
        self._model = model
        self._opened: dict[Options, Any] = {}
        self._lock = threading.Lock()

    @property
    def short_side(self) -> int:
        return self._model.short_side

    @property
    def zoom_in(self) -> bool:
        return bool(getattr(self._model, "zoom_in", False))

    def method(self, options: Options) -> Method[Any, Any]:
        return _Sharing(self._model.method(options), self)

    def start(self) -> None:
        """Have the image ready for a first click before this returns."""
        Session(self, self.pixels)
        for opened in list(self._opened.values()):
            for background in _found(opened, Background):
                background.result()

    def opened(self, method: Method[Any, Any], image: Pixels) -> Any:
        """What `method.open(image)` gives: made once, but with memories of its own."""
        key = replace(method.options, threshold=0.5)  # which opening does not look at
        if not np.shares_memory(image, self.pixels):
            return method.open(image)
        with self._lock:
            known = self._opened.get(key)
            if known is None:
                known = self._opened[key] = method.open(image)
        return _with_own_memories(known)


class _Sharing(Method[Any, Any]):
    """A method that opens its image by way of `Prepared`, and is otherwise the one it is made of."""

    def __init__(self, method: Method[Any, Any], prepared: Prepared) -> None:
        self.options = method.options
        self._method = method
        self._prepared = prepared

    def open(self, image: Pixels) -> Any:
        return self._prepared.opened(self._method, image)

    def start(self, opened: Any, initial_mask: Mask | None = None) -> Any:
        return self._method.start(opened, initial_mask)

    def step(self, state: Any, click: Click) -> tuple[Any, Prediction]:
        return self._method.step(state, click)

    def set_mask(self, state: Any, mask: Mask) -> Any:
        return self._method.set_mask(state, mask)

    def predict(self, state: Any) -> Prediction:
        return self._method.predict(state)

    def compact(self, state: Any) -> Any:
        return self._method.compact(state)

    def get_ready(self, state: Any) -> None:
        self._method.get_ready(state)


def _found(value: Any, kind: type) -> list[Any]:
    """Parts of a dataclass, and of those in it, that are of a kind."""
    if isinstance(value, kind):
        return [value]
    if not is_dataclass(value) or isinstance(value, type):
        return []
    return [part for each in fields(value) for part in _found(getattr(value, each.name), kind)]


def _with_own_memories(opened: Any) -> Any:
    """A copy of an opened image whose memories of results (ordered dicts, bounded) start empty: what one object
    remembers must not push out what another does."""
    if not is_dataclass(opened) or isinstance(opened, type):
        return opened
    changed = {}
    for each in fields(opened):
        value = getattr(opened, each.name)
        if isinstance(value, OrderedDict):
            changed[each.name] = OrderedDict()
        elif is_dataclass(value) and not isinstance(value, Background):
            changed[each.name] = _with_own_memories(value)
    return replace(opened, **changed) if changed else opened


def read_picture(picture: Picture) -> Pixels:
    """(H, W, 3) uint8.

    Raises:
        ImageReadError: it cannot be read.
        ImageChangedError: it has another size than it must have.
    """
    pixels = read_image(picture.path)
    if pixels.shape[:2] != picture.image_hw:
        height, width, _ = pixels.shape
        raise ImageChangedError.by_size(picture.path.name, (height, width), picture.image_hw)
    return pixels
