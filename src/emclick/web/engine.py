"""The model at work: sessions of the objects in use, rebuilt from the project's history where they are not at hand.

A session is the only truth about what a click does. Sessions and pictures are a bounded memory: one that is dropped
is made again, by the same clicks, when it is next needed. Undo and redo do not come here: the project holds every
mask. A session follows when a click comes.
"""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emclick.annotations.model import Rle
from emclick.clicks import Click
from emclick.errors import HistoryError, ImageReadError
from emclick.prediction import Prediction
from emclick.session import Model, Session
from emclick.web.gate import Gate
from emclick.web.prepared import Picture, Pixels, Prepared, read_picture
from emclick.web.records import Item

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Work:
    """An object, as the engine is asked to work on it.

    Attributes:
        id: of the object.
        picture: it is on.
        initial: the mask it started from, or None.
        threshold: its own at present.
        items: of its history, up to the present one; asked for when they are needed.
    """

    id: str
    picture: Picture
    initial: Rle | None
    threshold: float
    items: Callable[[], Sequence[Item]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a step led to.

    Attributes:
        mask: (H, W) bool, read-only.
        clicks: behind it.
    """

    mask: Mask
    clicks: tuple[Click, ...]


def _points(payload: Mapping[str, Any]) -> list[Click]:
    return [Click(each["x"], each["y"], each["positive"]) for each in payload["clicks"]]


STEPS: dict[str, Callable[[Session, Mapping[str, Any], Rle | None], Prediction]] = {
    "click": lambda session, payload, _: session.click(payload["x"], payload["y"], payload["positive"]),
    "batch": lambda session, payload, _: session.click_many(_points(payload)),
    "remove": lambda session, payload, _: session.remove(payload["n"]),
    "mask": lambda session, _, rle: session.set_mask(_decoded(rle)),
    "reset": lambda session, _, __: session.reset(),
}
"""Kind of history item -> what it does to a session, given its payload and the mask after it."""

THRESHOLD_KIND = "threshold"
"""The kind of history item that is no step of a session: the same steps, cut at another probability."""


@dataclass
class _Live:
    """A session, and the history items that it has gone through; `at` of them are behind its present state."""

    session: Session
    picture: Picture
    threshold: float
    trail: list[int] = field(default_factory=list)
    at: int = 0


class Engine:
    """Runs one model for many objects.

    Args:
        model: from `emclick.load()`.
        sessions: how many are kept.
        pictures: how many are kept in memory.
        picture_bytes: how large these may be together; two are kept however large.
        unreadable: called with a picture that cannot be read, and the error, before that is raised.
    """

    def __init__(
        self, model: Model, *, sessions: int = 16, pictures: int = 8, picture_bytes: int = 512 << 20,
        unreadable: Callable[[Picture, ImageReadError], object] = lambda *_: None,
    ) -> None:  # fmt: skip
        self.gate = Gate()
        self._model = model
        self._unreadable = unreadable
        self._sessions: OrderedDict[str, _Live] = OrderedDict()
        self._pictures: OrderedDict[tuple[str, str], Future[Prepared]] = OrderedDict()
        self._limits = (sessions, pictures, picture_bytes)
        self._lock = threading.Lock()
        self._wanted: list[Picture] = []
        self._wake = threading.Condition(self._lock)
        self._closed = False
        self._worker: threading.Thread | None = None
        # Where the part of the image that is looked at hangs on the mask, every step hangs on the threshold.
        self._steps_hang_on_threshold = bool(getattr(model, "zoom_in", False))

    def step(self, work: Work, kind: str, payload: Mapping[str, Any]) -> Outcome:
        """Take the object's session to its present state and one step on. Once that is stored, call `stored`;
        a step that is not is taken back when the session is next used.

        Not to be called for one object from two threads at once.

        Raises:
            ClickError, HistoryError, MaskError: see `Session`.
            ImageReadError, FrameError, ImageChangedError: the image cannot be used.
        """
        live = self._ready(work)
        if kind == THRESHOLD_KIND:
            prediction = live.session.prediction
        else:
            with self.gate.held():
                prediction = STEPS[kind](live.session, payload, None)
            live.trail[live.at :] = []
            live.at += 1
        return Outcome(self._cut(live, prediction, work.threshold), live.session.clicks)

    def preview(self, work: Work, click: Click) -> Outcome | None:
        """What `step` would answer to a click; None, at once, if the model or the image is not at hand."""
        if self._busy(work.picture):
            return None
        live = self._ready(work)
        with self.gate.held_now() as mine:
            if not mine:
                return None
            prediction = live.session.preview(click.x, click.y, click.positive)
        return Outcome(self._cut(live, prediction, work.threshold), (*live.session.clicks, click))

    def preview_new(self, picture: Picture, click: Click) -> Outcome | None:
        """What a new object's first click would give, as `preview`; nothing of it is kept."""
        if self._busy(picture):
            return None
        prepared = self._prepared(picture)
        with self.gate.held_now() as mine:
            if not mine:
                return None
            session = Session(prepared, prepared.pixels)
            prediction = session.preview(click.x, click.y, click.positive)
        return Outcome(prediction.mask, (click,))

    def stored(self, object_id: str, item: int) -> None:
        """The last step of the object is now history item `item`."""
        with self._lock:
            live = self._sessions.get(object_id)
            if live is not None and live.at == len(live.trail) + 1:
                live.trail.append(item)

    def forget(self, object_id: str) -> None:
        """Drop the object's session, if there is one."""
        with self._lock:
            self._sessions.pop(object_id, None)

    def pixels(self, picture: Picture) -> Pixels | None:
        """(H, W, 3) uint8 if the picture is in memory."""
        with self._lock:
            held = self._pictures.get((picture.id, picture.version))
        return held.result().pixels if held is not None and held.done() and not held.exception() else None

    def prepare(self, pictures: Iterable[Picture]) -> None:
        """Read these and get the model ready for them, in the background; what was asked for before is dropped."""
        with self._lock:
            self._wanted = list(pictures)
            if self._worker is None and not self._closed:
                self._worker = threading.Thread(
                    target=self._prepare_behind, name="emclick-prepare", daemon=True
                )
                self._worker.start()
            self._wake.notify()

    def close(self) -> None:
        """Drop everything and stop the background work."""
        with self._lock:
            self._closed = True
            self._wanted.clear()
            self._sessions.clear()
            self._pictures.clear()
            self._wake.notify()

    def _busy(self, picture: Picture) -> bool:
        """Whether the image is not in memory, or the model at work."""
        with self._lock:
            held = self._pictures.get((picture.id, picture.version))
        return held is None or not held.done() or self.gate.taken

    # --- sessions ------------------------------------------------------------------------------------------

    def _ready(self, work: Work) -> _Live:
        """The object's session in its present state."""
        with self._lock:
            live = self._sessions.get(work.id)
            if live is not None:
                self._sessions.move_to_end(work.id)
        moved = live is not None and live.threshold != work.threshold and self._steps_hang_on_threshold
        if live is None or moved or live.picture != work.picture:
            live = self._start(work)
        try:
            self._follow(live, [each for each in work.items() if each.kind != THRESHOLD_KIND])
        except BaseException:
            self.forget(work.id)
            raise
        return live

    def _start(self, work: Work) -> _Live:
        prepared = self._prepared(work.picture)
        mask = None if work.initial is None else work.initial.decode()
        session = Session(prepared, prepared.pixels, initial_mask=mask, threshold=work.threshold)
        live = _Live(session, work.picture, work.threshold)
        with self._lock:
            self._sessions[work.id] = live
            while len(self._sessions) > self._limits[0]:
                self._sessions.popitem(last=False)
        return live

    def _follow(self, live: _Live, items: Sequence[Item]) -> None:
        """Bring a session to the state after `items`: back to what it shares with them, then on."""
        same = 0
        for mine, theirs in zip(live.trail, items):
            if mine != theirs.id:
                break
            same += 1
        while live.at > same:
            live.session.undo()
            live.at -= 1
        while live.at < same:
            live.session.redo()
            live.at += 1
        for item in items[same:]:
            live.trail[live.at :] = []
            with self.gate.held():  # for each: clicks of others come in between
                STEPS.get(item.kind, STEPS["mask"])(live.session, item.payload, item.rle)
            live.trail.append(item.id)
            live.at += 1

    def _cut(self, live: _Live, prediction: Prediction, threshold: float) -> Mask:
        if live.threshold == threshold:
            return prediction.mask
        return replace(prediction, threshold=threshold).mask

    # --- pictures ------------------------------------------------------------------------------------------

    def _prepared(self, picture: Picture) -> Prepared:
        key = (picture.id, picture.version)
        with self._lock:
            held = self._pictures.get(key)
            if held is None:
                mine = self._pictures[key] = Future()
            else:
                mine = None
                self._pictures.move_to_end(key)
        if mine is None:
            assert held is not None
            return held.result()  # another thread reads it
        try:
            prepared = Prepared(self._model, read_picture(picture))
        except BaseException as error:
            with self._lock:
                self._pictures.pop(key, None)
            mine.set_exception(error)
            if isinstance(error, ImageReadError):
                self._unreadable(picture, error)
            raise
        mine.set_result(prepared)
        self._drop_pictures(key)
        return prepared

    def _drop_pictures(self, keep: tuple[str, str]) -> None:
        """Drop the pictures used longest ago, and the sessions on them."""
        _, most, most_bytes = self._limits
        with self._lock:
            done = [
                (key, each.result())
                for key, each in self._pictures.items()
                if each.done() and not each.exception()
            ]
            total = sum(prepared.pixels.nbytes for _, prepared in done)
            for key, prepared in done:
                if key == keep or (
                    len(self._pictures) <= most and (total <= most_bytes or len(self._pictures) <= 2)
                ):
                    continue
                del self._pictures[key]
                total -= prepared.pixels.nbytes
                for object_id in [each for each, live in self._sessions.items() if live.picture.id == key[0]]:
                    del self._sessions[object_id]

    def _prepare_behind(self) -> None:
        while True:
            with self._lock:
                while not self._wanted and not self._closed:
                    self._wake.wait()
                if self._closed:
                    return
                picture = self._wanted.pop(0)
            with contextlib.suppress(Exception):  # whoever clicks on it is told
                prepared = self._prepared(picture)
                with self.gate.held(background=True):
                    prepared.start()


def _decoded(rle: Rle | None) -> Mask:
    if rle is None:
        raise HistoryError("a history item without its mask")
    return rle.decode()
