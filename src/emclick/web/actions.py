"""What a user does to an object, from request to stored answer.

One at a time per object: look up the key, look at the seq, run the model where it is needed, store, answer.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from emclick.annotations.model import Rle
from emclick.clicks import Click, check_click
from emclick.errors import ClickError, ImageReadError
from emclick.web.cleaning import CLEANERS, changed_box
from emclick.web.engine import THRESHOLD_KIND, Engine, Outcome, Work
from emclick.web.errors import ImageChangedError, RequestError
from emclick.web.images import made_with
from emclick.web.objects import check_seq, new_id
from emclick.web.prepared import Picture
from emclick.web.records import THRESHOLD, Box, Guard, ImageState, NewItem, ObjectState
from emclick.web.store import Project

_LOCKS = 64


@dataclass(frozen=True, slots=True)
class Changed:
    """An object after a change.

    Attributes:
        state: the object.
        box: (x, y, w, h) of what changed on the picture.
        ms: milliseconds from the request to the stored answer.
    """

    state: ObjectState
    box: Box
    ms: float


Make = Callable[[ObjectState], "NewItem | None"]


class Actions:
    """Changes of objects, over a project and the engine."""

    def __init__(self, project: Project, engine: Engine) -> None:
        self._project = project
        self._engine = engine
        self._locks = [threading.Lock() for _ in range(_LOCKS)]

    def make(
        self, image_id: str, label: str, color: str | None, rle: Any, clicks: Sequence[Click], guard: Guard
    ) -> tuple[ObjectState, float]:  # fmt: skip
        """A new object, with the mask that it starts from (or None) and clicks made on it, stored as one change.

        Returns:
            The object, and milliseconds.
        """
        began = time.perf_counter()
        made = self.made_before(image_id, guard)
        if not made:
            picture = self.picture(self._project.images.get(image_id))
            initial = None if rle is None else Rle.from_json(rle, picture.image_hw)
            if clicks:
                made = [self._make_clicked(picture, label, color, initial, clicks, guard)]
            else:
                made = self._project.images.make_objects(image_id, [(label, color, initial)], guard)
        return self._project.objects.get(made[0]), _ms(began)

    def made_before(self, image_id: str, guard: Guard) -> list[str]:
        """The objects that a change of the same key has made."""
        answered = self._project.objects.answered(image_id, guard.key)
        return [] if answered is None else made_with(answered.answer)

    def click(self, object_id: str, click: Click, guard: Guard) -> Changed:
        """Add a click."""
        return self._stepped(object_id, guard, "click", _clicked, [click])

    def click_many(self, object_id: str, clicks: Sequence[Click], guard: Guard) -> Changed:
        """Add clicks as one history item."""
        return self._stepped(object_id, guard, "batch", _batched, clicks)

    def remove(self, object_id: str, n: int, guard: Guard) -> Changed:
        """Take click `n` out, as if it had never been made."""
        return self._stepped(object_id, guard, "remove", lambda _: {"n": n})

    def set_threshold(self, object_id: str, threshold: float, guard: Guard) -> Changed:
        """Cut the probability elsewhere. Several in a row are one history item."""

        def make(state: ObjectState) -> NewItem | None:
            if threshold == state.threshold:
                return None
            outcome = self._engine.step(self._work(state, threshold), THRESHOLD_KIND, {})
            return NewItem(THRESHOLD_KIND, {}, Rle.encode(outcome.mask), state.clicks, threshold)

        return self._changed(object_id, guard, make, merge=True)

    def set_mask(self, object_id: str, rle: Any, kind: str, guard: Guard) -> Changed:
        """Take a mask as it is, `kind` saying where it is from; the clicks stay and the next one corrects it."""

        def make(state: ObjectState) -> NewItem | None:
            return _given("mask", {"kind": kind}, Rle.from_json(rle, state.image_hw), state)

        return self._changed(object_id, guard, make)

    def clean(self, object_id: str, op: str, area: int, guard: Guard) -> Changed:
        """One of `CLEANERS`, or "avoid": take away what the image's other objects cover, finished or locked."""

        def make(state: ObjectState) -> NewItem | None:
            mask = state.rle.decode()
            cleaned = mask & ~self._others(state) if op == "avoid" else CLEANERS[op](mask, area)
            if np.array_equal(mask, cleaned):
                return None
            return _given("clean", {"op": op, "area": area}, Rle.encode(cleaned), state)

        return self._changed(object_id, guard, make)

    def reset(self, object_id: str, guard: Guard) -> Changed:
        """Back to the start, the initial mask included; can be undone."""

        def make(state: ObjectState) -> NewItem | None:
            if state.position == 0:
                return None
            start = state.initial or Rle.empty(state.image_hw)
            return NewItem("reset", {}, start, (), state.threshold)

        return self._changed(object_id, guard, make)

    def move(self, object_id: str, by: int, guard: Guard) -> Changed:
        """Undo (-1) or redo (+1) one history item. No network runs."""
        began = time.perf_counter()
        with self._lock(object_id):
            again = self._again(object_id, guard)
            if again is not None:
                return again
            before = self._project.objects.get(object_id)
            after = self._project.objects.move(object_id, by, guard, {})
            return Changed(after, changed_box(before.rle, after.rle), _ms(began))

    def preview(self, object_id: str, click: Click) -> tuple[Rle, float] | None:
        """The mask that a click would give, and milliseconds; None if the model or the object is busy."""
        began = time.perf_counter()
        lock = self._lock(object_id)
        if not lock.acquire(blocking=False):
            return None
        try:
            state = self._project.objects.get(object_id)
            _inside(click, state.image_hw)
            outcome = self._engine.preview(self._work(state), click)
        finally:
            lock.release()
        return None if outcome is None else (Rle.encode(outcome.mask), _ms(began))

    def preview_new(self, image_id: str, click: Click) -> tuple[Rle, float] | None:
        """The mask of an object that would begin with a click, and milliseconds; None if the model is busy."""
        began = time.perf_counter()
        picture = self.picture(self._project.images.get(image_id))
        _inside(click, picture.image_hw)
        outcome = self._engine.preview_new(picture, click)
        return None if outcome is None else (Rle.encode(outcome.mask), _ms(began))

    def picture(self, image: ImageState) -> Picture:
        """An image as the engine takes it.

        Raises:
            ImageReadError: it cannot be read.
            ImageChangedError: its file is gone, or no longer fits its objects.
        """
        image = self._project.measured(image.id)
        if not image.present:
            raise ImageChangedError(f"the file {image.name} is gone from the folder: put it back")
        if image.problem is not None and image.width:  # it could be read once, and has objects
            raise ImageChangedError(image.problem)
        if not image.width:
            raise ImageReadError(image.problem or f"{image.name} cannot be read")
        return Picture(image.id, image.version, self._project.image_path(image), image.image_hw)

    # --- the one way of changing ---------------------------------------------------------------------------

    def _stepped(
        self, object_id: str, guard: Guard, kind: str, payload: Callable[[Any], Mapping[str, Any]],
        clicks: Sequence[Click] = (),
    ) -> Changed:  # fmt: skip
        def make(state: ObjectState) -> NewItem:
            for each in clicks:
                _inside(each, state.image_hw)
            what = payload(clicks)
            outcome = self._engine.step(self._work(state), kind, what)
            return _reached(kind, what, outcome, state.threshold)

        return self._changed(object_id, guard, make)

    def _make_clicked(
        self, picture: Picture, label: str, color: str | None, initial: Rle | None, clicks: Sequence[Click],
        guard: Guard,
    ) -> str:  # fmt: skip
        for each in clicks:
            _inside(each, picture.image_hw)
        ours = new_id()
        kind, payload = ("click", _clicked(clicks)) if len(clicks) == 1 else ("batch", _batched(clicks))
        try:
            outcome = self._engine.step(Work(ours, picture, initial, THRESHOLD, list), kind, payload)
            first = ours, _reached(kind, payload, outcome, THRESHOLD)
            made = self._project.images.make_object(picture.id, label, color, initial, first, guard)
        except BaseException:
            self._engine.forget(ours)
            raise
        if made != ours:  # the same change came twice at once, and the other one was first
            self._engine.forget(ours)
            return made
        state = self._project.objects.get(made)
        if state.item is not None:
            self._engine.stored(made, state.item[0])
        return made

    def _changed(self, object_id: str, guard: Guard, make: Make, *, merge: bool = False) -> Changed:
        began = time.perf_counter()
        with self._lock(object_id):
            again = self._again(object_id, guard)
            if again is not None:
                return again
            before = self._project.objects.get(object_id)
            check_seq(before, guard)
            new = make(before)
            if new is None:
                return Changed(before, (0, 0, 0, 0), _ms(began))
            box = changed_box(before.rle, new.rle)
            answer = {"box": box, "ms": _ms(began)}
            after = self._project.objects.add_item(object_id, new, guard, answer, merge=merge)
            if new.kind in _OF_THE_MODEL and after.item is not None:
                self._engine.stored(object_id, after.item[0])
            return Changed(after, box, _ms(began))

    def _again(self, object_id: str, guard: Guard) -> Changed | None:
        """The answer to a change that was made before, with the object as it is now."""
        answered = self._project.objects.answered(object_id, guard.key)
        if answered is None:
            return None
        state = self._project.objects.get(object_id)
        height, width = state.image_hw
        moved_on = answered.seq != state.seq or "box" not in answered.answer
        x, y, w, h = (0, 0, width, height) if moved_on else answered.answer["box"]
        return Changed(state, (x, y, w, h), answered.answer.get("ms", 0.0))

    def _work(self, state: ObjectState, threshold: float | None = None) -> Work:
        return Work(
            state.id,
            self.picture(self._project.images.get(state.image)),
            state.initial,
            state.threshold if threshold is None else threshold,
            lambda: self._project.objects.items(state.id, state.position),
        )

    def _others(self, state: ObjectState) -> np.ndarray[Any, np.dtype[np.bool_]]:
        covered = np.zeros(state.image_hw, np.bool_)
        for each in self._project.objects.of_image(state.image):
            if (each.finished or each.locked) and each.id != state.id:
                covered |= each.rle.decode()
        return covered

    def _lock(self, object_id: str) -> threading.Lock:
        return self._locks[hash(object_id) % _LOCKS]


_OF_THE_MODEL = frozenset({"click", "batch", "remove"})


def _clicked(clicks: Sequence[Click]) -> dict[str, Any]:
    return _as_json(clicks[0])


def _batched(clicks: Sequence[Click]) -> dict[str, Any]:
    return {"clicks": [_as_json(each) for each in clicks]}


def _as_json(click: Click) -> dict[str, Any]:
    return {"x": click.x, "y": click.y, "positive": click.positive}


def _reached(kind: str, payload: Mapping[str, Any], outcome: Outcome, threshold: float) -> NewItem:
    return NewItem(kind, payload, Rle.encode(outcome.mask), outcome.clicks, threshold)


def _given(kind: str, payload: Mapping[str, Any], rle: Rle, state: ObjectState) -> NewItem:
    return NewItem(kind, payload, rle, state.clicks, state.threshold)


def _inside(click: Click, image_hw: tuple[int, int]) -> None:
    try:
        check_click(click.x, click.y, click.positive, image_hw)
    except ClickError as error:
        raise RequestError(422, "click_outside", str(error)) from error


def _ms(began: float) -> float:
    return round((time.perf_counter() - began) * 1000, 2)
