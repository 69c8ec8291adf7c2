"""Rows of the project as values."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from emclick.annotations.model import Rle
from emclick.clicks import Click

Box = tuple[int, int, int, int]
"""(x, y, w, h) in image pixels; all 0 for nothing."""

THRESHOLD = 0.5
"""Of an object whose threshold nobody has moved."""


@dataclass(frozen=True, slots=True)
class ImageState:
    """An image as stored.

    Attributes:
        id: opaque.
        name: path below the folder, parts separated by "/".
        width, height: in pixels, as displayed; 0 while not read, or not readable.
        version: changes with the file.
        problem: why the image cannot be used, or None.
        status: "todo", "work" or "done".
        objects: how many there are.
        seq: number of the last change to it or to one of its objects.
        position, top: place in its history, and the history's length.
        present: whether the file is there.
    """

    id: str
    name: str
    width: int
    height: int
    version: str
    problem: str | None
    status: str
    objects: int
    seq: int
    position: int
    top: int
    present: bool

    @property
    def image_hw(self) -> tuple[int, int]:
        return self.height, self.width


@dataclass(frozen=True, slots=True)
class Label:
    """A label: its name on objects, colour ("#rrggbb") and key on the keyboard."""

    id: int
    name: str
    color: str
    key: str | None


@dataclass(frozen=True, slots=True)
class ObjectState:
    """An object at its present place in its history.

    Attributes:
        id, image: opaque ids.
        image_hw: (H, W).
        label, color, visible, locked, finished, order: as the user set them; order sorts, first drawn first.
        seq: number of the last change.
        position, top: place in its history, and the history's length.
        item: id and kind of the present history item; None at the start.
        clicks: behind the mask, in the order made.
        rle: the mask.
        initial: the mask it started from, or None.
        threshold: the mask was made with.
    """

    id: str
    image: str
    image_hw: tuple[int, int]
    label: str
    color: str | None
    visible: bool
    locked: bool
    finished: bool
    order: float
    seq: int
    position: int
    top: int
    item: tuple[int, str] | None
    clicks: tuple[Click, ...]
    rle: Rle
    initial: Rle | None
    threshold: float


@dataclass(frozen=True, slots=True)
class Item:
    """A history item of an object: what was done."""

    id: int
    kind: str
    payload: Mapping[str, Any]
    rle: Rle


@dataclass(frozen=True, slots=True)
class NewItem:
    """A history item to be stored: what was done, and what it led to."""

    kind: str
    payload: Mapping[str, Any]
    rle: Rle
    clicks: tuple[Click, ...]
    threshold: float


@dataclass(frozen=True, slots=True)
class Guard:
    """What a client sends with a change so that it happens once, and to what the client saw.

    Attributes:
        key: made by the client; a second change with it is not applied.
        seq: the last one the client saw.
    """

    key: str | None = None
    seq: int | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """What was answered to a key: the change's number, and what cannot be read from the state."""

    seq: int
    answer: Mapping[str, Any]


@lru_cache(maxsize=64)
def empty_rle(image_hw: tuple[int, int]) -> Rle:
    """The RLE of a mask without object pixels."""
    return Rle.empty(image_hw)


def dump_clicks(clicks: tuple[Click, ...]) -> str:
    """Clicks as the project stores them."""
    return json.dumps([[each.x, each.y, each.positive] for each in clicks], separators=(",", ":"))


def load_clicks(text: str) -> tuple[Click, ...]:
    """The reverse of `dump_clicks`."""
    return tuple(Click(x, y, positive) for x, y, positive in json.loads(text))


IMAGE_COLUMNS = """
SELECT id, name, coalesce(width, 0), coalesce(height, 0), mtime_ns, bytes, problem, status,
(SELECT count(*) FROM object WHERE object.image = image.id AND NOT deleted) AS objects, seq, position, top, present
FROM image
"""


def image_state(row: sqlite3.Row) -> ImageState:
    """From a row of `IMAGE_COLUMNS`."""
    # by place, not by name: lists have thousands
    image_id, name, width, height, mtime_ns, size, problem, status, objects, seq, position, top, present = row
    version = f"{mtime_ns:x}-{size:x}"
    return ImageState(
        image_id, name, width, height, version, problem, status, objects, seq, position, top, bool(present)
    )


OBJECT_COLUMNS = """
SELECT object.*, image.width, image.height, item.id AS item_id, item.kind, item.counts, item.clicks, item.threshold
FROM object JOIN image ON image.id = object.image
LEFT JOIN item ON item.object = object.id AND item.n = object.position
"""


def object_state(row: sqlite3.Row) -> ObjectState:
    """From a row of `OBJECT_COLUMNS`."""
    image_hw = (row["height"], row["width"])
    initial = None if row["initial"] is None else Rle(image_hw, row["initial"])
    started = row["item_id"] is None
    return ObjectState(
        row["id"], row["image"], image_hw, row["label"], row["color"], bool(row["visible"]), bool(row["locked"]),
        bool(row["finished"]), row["place"], row["seq"], row["position"], row["top"],
        None if started else (row["item_id"], row["kind"]),
        () if started else load_clicks(row["clicks"]),
        (initial or empty_rle(image_hw)) if started else Rle(image_hw, row["counts"]),
        initial,
        THRESHOLD if started else row["threshold"],
    )  # fmt: skip
