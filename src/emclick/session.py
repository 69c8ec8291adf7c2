"""A session: one object in one image, its clicks, and their history. What every front end talks to."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from emclick.clicks import Click, check_click
from emclick.errors import ClickError, ClickTypeError, HistoryError, OptionError
from emclick.images import ImageLike, read_image, read_mask
from emclick.methods.base import Method, Options
from emclick.prediction import PackedMask, Prediction

Float = NDArray[np.float32]
Mask = NDArray[np.bool_]
ClickLike = Click | tuple[float, float] | tuple[float, float, bool] | Mapping[str, Any]


class Model(Protocol):
    """What a session needs of a model; `emclick.load()` returns one."""

    @property
    def short_side(self) -> int: ...

    def method(self, options: Options) -> Method[Any, Any]: ...


@dataclass(frozen=True, slots=True)
class _Item:
    """A history item: a state, and all that led to it from the start state, in order."""

    state: Any
    events: tuple[Click | PackedMask, ...] = ()
    ms: float = 0.0


class Session:
    """Clicks on one object. Not safe to be called from two threads at once.

    Every method that changes something either succeeds and adds one history item, or raises and
    leaves the session as it was. `undo` and `redo` restore states exactly, without running a network.

    Args:
        model: from `emclick.load()`.
        image: (H, W, 3) uint8 RGB, or anything else that `emclick.images.read_image` takes. An array is
            not copied: do not write to it while the session lives.
        short_side: shorter side of the frame, px; None for the model's own.
        flip: average with the mirrored frame (twice the time).
        initial_mask: the mask to correct: (H, W), or a path.
        threshold: probability above which a pixel is foreground.
        progressive_merge: with a mask present, a click changes only the connected part it lies in.
        zoom_in: once there is a mask, look at the object and its surroundings instead of the whole image;
            None for the model's own.

    Raises:
        FrameError: the frame is too small for the model, or `short_side` not usable.
        OptionError: another option is not usable.
        MaskError: the initial mask has another size than the image.
        ImageTypeError, ImageValueError, ImageReadError: see `read_image`.
    """

    def __init__(
        self,
        model: Model,
        image: ImageLike,
        *,
        short_side: int | None = None,
        flip: bool = False,
        initial_mask: ImageLike | None = None,
        threshold: float = 0.5,
        progressive_merge: bool = False,
        zoom_in: bool | None = None,
    ) -> None:
        if not callable(getattr(model, "method", None)):
            raise OptionError(f"a session needs a model as emclick.load() returns it, not {model!r:.60}")
        options = Options(
            model.short_side if short_side is None else short_side, flip, threshold, progressive_merge,
            getattr(model, "zoom_in", False) if zoom_in is None else zoom_in,
        )  # fmt: skip
        self._method = model.method(options)
        pixels = read_image(image).view()
        pixels.flags.writeable = False
        self._image: NDArray[np.uint8] = pixels
        mask = None if initial_mask is None else read_mask(initial_mask, pixels.shape[:2])
        opened = self._method.open(pixels)
        self._items = [_Item(self._method.start(opened, mask))]
        self._at = 0
        self._prediction: Prediction | None = None

    @property
    def image(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB, read-only."""
        return self._image

    @property
    def clicks(self) -> tuple[Click, ...]:
        """The clicks behind the current mask, in the order made."""
        return self._items[self._at].state.clicks

    @property
    def prediction(self) -> Prediction:
        """The current prediction; before any click the initial mask, else all background."""
        if self._prediction is None:
            item = self._items[self._at]
            self._prediction = self._method.predict(item.state).timed(item.ms)
        return self._prediction

    @property
    def probability(self) -> Float:
        """(H, W) float32 of the current prediction, read-only."""
        return self.prediction.probability

    @property
    def mask(self) -> Mask:
        """(H, W) bool of the current prediction, read-only."""
        return self.prediction.mask

    @property
    def can_undo(self) -> bool:
        """Whether there is something to undo."""
        return self._at > 0

    @property
    def can_redo(self) -> bool:
        """Whether there is something undone to redo."""
        return self._at + 1 < len(self._items)

    def click(self, x: float, y: float, positive: bool = True) -> Prediction:
        """Add a click at image point (x, y), in pixels from the centre of the top-left pixel.

        Raises:
            ClickTypeError: not numbers, or `positive` not a bool.
            ClickError: outside [-0.5, W - 0.5) x [-0.5, H - 0.5), or a negative first click without a mask.
        """
        return self._extend([check_click(x, y, positive, self._hw)])

    def preview(self, x: float, y: float, positive: bool = True) -> Prediction:
        """What `click` would give. The session stays as it is, what was undone included.

        Raises:
            ClickTypeError, ClickError: as `click`.
        """
        began = time.perf_counter()
        click = check_click(x, y, positive, self._hw)
        _, prediction = self._method.step(self._items[self._at].state, click)
        _ = prediction.mask
        return prediction.timed((time.perf_counter() - began) * 1000)

    def click_many(self, clicks: Iterable[ClickLike]) -> Prediction:
        """Add several clicks as one history item; the result is that of the clicks one by one.

        Args:
            clicks: each a `Click`, (x, y), (x, y, positive), or {"x": ..., "y": ..., "positive": ...}. All
                are checked before the first is applied.

        Raises:
            ClickTypeError, ClickError: as `click`; ClickError too if there are none.
        """
        if isinstance(clicks, (str, bytes, Mapping, Click)) or not isinstance(clicks, Iterable):
            raise ClickTypeError(f"click_many takes a list of clicks, not {type(clicks).__name__}")
        checked = [_to_click(each, self._hw) for each in clicks]
        if not checked:
            raise ClickError("click_many needs at least one click")
        return self._extend(checked)

    def set_mask(self, mask: ImageLike) -> Prediction:
        """Take a brushed mask as it is; the next click corrects it. The clicks stay.

        Raises:
            MaskError, ImageTypeError, ImageReadError: see `emclick.images.read_mask`.
        """
        pixels = read_mask(mask, self._hw)
        return self._extend([PackedMask.pack(pixels)])

    def remove(self, i: int) -> Prediction:
        """Take click `i` of `clicks` out: the result is as if it had never been made (by replay).

        Raises:
            HistoryError: there is no click `i`.
            ClickError: the first click left would be negative without a mask.
        """
        if isinstance(i, (bool, np.bool_)) or not isinstance(i, (int, np.integer)):
            raise ClickTypeError(f"remove takes the number of a click, not {i!r:.40}")
        events = self._items[self._at].events
        places = [place for place, event in enumerate(events) if isinstance(event, Click)]
        if not 0 <= i < len(places):
            have = f"they are numbered 0 to {len(places) - 1}" if places else "there are none"
            raise HistoryError(f"no click {i} to remove: {have}")
        place = places[i]
        base = self._longest_item(events[:place])
        rest = (*events[len(base.events) : place], *events[place + 1 :])
        return self._extend(rest, base)

    def undo(self) -> Prediction:
        """Go back one history item.

        Raises:
            HistoryError: there is nothing to undo.
        """
        if not self.can_undo:
            raise HistoryError("nothing to undo")
        return self._go(self._at - 1)

    def redo(self) -> Prediction:
        """Go forward one history item.

        Raises:
            HistoryError: nothing was undone, or a change since has replaced it.
        """
        if not self.can_redo:
            raise HistoryError("nothing to redo")
        return self._go(self._at + 1)

    def reset(self) -> Prediction:
        """Back to the start, the initial mask included; can be undone."""
        return self._extend((), self._items[0])

    @property
    def _hw(self) -> tuple[int, int]:
        return self._image.shape[0], self._image.shape[1]

    def _longest_item(self, events: tuple[Click | PackedMask, ...]) -> _Item:
        """The stored item that a replay of `events` can start from with least left to do."""
        fitting = (item for item in self._items[: self._at + 1] if item.events == events[: len(item.events)])
        return max(fitting, key=lambda item: len(item.events))

    def _extend(self, events: Iterable[Click | PackedMask], base: _Item | None = None) -> Prediction:
        """Apply `events` to `base` (the current item if None) and add the result as one history item."""
        began = time.perf_counter()
        item = self._items[self._at] if base is None else base
        state, done, prediction = item.state, list(item.events), None
        for event in events:
            if isinstance(event, Click):
                state, prediction = self._method.step(state, event)
            else:
                state, prediction = self._method.set_mask(state, event.unpack()), None
            done.append(event)
        if prediction is None:
            prediction = self._method.predict(state)
        _ = prediction.mask  # part of the time: a click is answered when its mask is there
        ms = (time.perf_counter() - began) * 1000
        prediction = prediction.timed(ms)
        left = replace(self._items[self._at], state=self._method.compact(self._items[self._at].state))
        self._items = [*self._items[: self._at], left, _Item(state, tuple(done), ms)]
        self._at += 1
        self._prediction = prediction
        self._method.get_ready(state)
        return prediction

    def _go(self, at: int) -> Prediction:
        item = self._items[at]
        prediction = self._method.predict(item.state).timed(item.ms)
        _ = prediction.mask
        self._at, self._prediction = at, prediction
        return prediction


def _to_click(item: Any, image_hw: tuple[int, int]) -> Click:
    if isinstance(item, Click):
        return check_click(item.x, item.y, item.positive, image_hw)
    if isinstance(item, Mapping):
        if not {"x", "y"} <= set(item) <= {"x", "y", "positive"}:
            raise ClickError(f"a click has x, y and perhaps positive, not {sorted(map(str, item))}")
        return check_click(item["x"], item["y"], item.get("positive", True), image_hw)
    if isinstance(item, (tuple, list)) or (isinstance(item, np.ndarray) and item.ndim == 1):
        if len(item) not in (2, 3):
            raise ClickError(f"a click is (x, y) or (x, y, positive), not {len(item)} values")
        return check_click(item[0], item[1], item[2] if len(item) == 3 else True, image_hw)
    raise ClickTypeError(f"a click is a Click, (x, y[, positive]) or a dict, not {type(item).__name__}")
