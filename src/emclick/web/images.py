"""Images in the project: what the folder holds, and the history of what was done to each image's objects.

An image's history has items of three kinds: objects made, objects deleted, objects' fields set. Clicks are in the
objects' own histories.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from emclick.annotations.model import Rle
from emclick.errors import HistoryError
from emclick.web import objects
from emclick.web.database import Database, Transaction
from emclick.web.errors import ImageChangedError, NotFoundError, RequestError, StaleError
from emclick.web.labels import add_labels
from emclick.web.library import FoundFile
from emclick.web.records import IMAGE_COLUMNS, Guard, ImageState, NewItem, image_state

UNRECORDED = frozenset({"visible", "locked"})
"""Fields whose change is no step of an image's history: how one looks at it, not what it is."""

Measured = tuple[str, tuple[int, int] | None, str | None]
"""An image's id, (H, W) if it can be read, and otherwise why not."""


class Images:
    """The images of a project."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self, status: str | None = None) -> list[ImageState]:
        """Those whose file is there, in the folder's order."""
        rows = self._database.read(
            f"{IMAGE_COLUMNS} WHERE present AND (? IS NULL OR status = ?) ORDER BY place", status, status
        )
        return [image_state(row) for row in rows]

    def with_objects(self) -> list[ImageState]:
        """Those whose file is there, and those that have objects."""
        return [
            image_state(row)
            for row in self._database.read(f"{IMAGE_COLUMNS} WHERE present OR objects ORDER BY place")
        ]

    def get(self, image_id: str) -> ImageState:
        """One image.

        Raises:
            NotFoundError: it is not there.
        """
        rows = self._database.read(f"{IMAGE_COLUMNS} WHERE id = ?", image_id)
        if not rows:
            raise NotFoundError(f"there is no image {image_id}")
        return image_state(rows[0])

    def after(self, image_id: str) -> ImageState | None:
        """The one that follows in the folder's order."""
        sql = f"""{IMAGE_COLUMNS} WHERE present AND place > (SELECT place FROM image WHERE id = ?)
                  ORDER BY place LIMIT 1"""
        rows = self._database.read(sql, image_id)
        return image_state(rows[0]) if rows else None

    def counts(self) -> dict[str, int]:
        """Images per status."""
        found = self._database.read("SELECT status, count(*) AS n FROM image WHERE present GROUP BY status")
        return {"todo": 0, "work": 0, "done": 0, **{row["status"]: row["n"] for row in found}}

    def changed_since(self, seq: int) -> tuple[int, list[str], list[str], list[str]]:
        """The last change's number, and ids changed after `seq`: of images, of objects, of objects now deleted."""
        (last,) = self._database.read("SELECT seq FROM counter")
        images = self._database.read("SELECT id FROM image WHERE seq > ? AND present", seq)
        found = self._database.read("SELECT id, deleted FROM object WHERE seq > ?", seq)
        kept, deleted = ([row["id"] for row in found if row["deleted"] == gone] for gone in (0, 1))
        return int(last["seq"]), [row["id"] for row in images], kept, deleted

    def take_in(self, files: Sequence[FoundFile], measure: Callable[[tuple[str, str]], Measured]) -> None:
        """Make the list of images that of the folder: new ones added, changed ones to be read again, others kept.

        Args:
            files: what the folder holds.
            measure: (id, name) -> size, asked at once of changed images that have objects: these must still fit.
        """
        known = {
            row["name"]: (row["id"], row["place"], row["present"], row["mtime_ns"], row["bytes"])
            for row in self._database.read("SELECT * FROM image")
        }
        wanted = {file.name: (place, 1, file.mtime_ns, file.bytes) for place, file in enumerate(files)}
        new = [name for name in wanted if name not in known]
        moved = [name for name, values in wanted.items() if name in known and known[name][1:] != values]
        gone = [name for name, values in known.items() if name not in wanted and values[2]]
        if not (new or moved or gone):
            return
        changed = {name for name in moved if known[name][3:] != wanted[name][2:]}
        used = self._database.read("SELECT id, name FROM image WHERE id IN (SELECT image FROM object)")
        measured = [measure((row["id"], row["name"])) for row in used if row["name"] in changed]
        with self._database.write() as tx:
            tx.many(
                "INSERT INTO image (id, name, place, mtime_ns, bytes, seq) VALUES (?, ?, ?, ?, ?, ?)",
                [(secrets.token_hex(5), name, wanted[name][0], *wanted[name][2:], tx.seq) for name in new],
            )
            tx.many(
                "UPDATE image SET place = ?, present = ?, mtime_ns = ?, bytes = ?, seq = ? WHERE name = ?",
                [(*wanted[name], tx.seq, name) for name in moved],
            )
            tx.many(
                """UPDATE image SET problem = NULL, width =
                   CASE WHEN EXISTS (SELECT 1 FROM object WHERE image = image.id) THEN width END WHERE name = ?""",
                [(name,) for name in changed],
            )
            _set_sizes(tx, measured)
            tx.many("UPDATE image SET present = 0, seq = ? WHERE name = ?", [(tx.seq, name) for name in gone])

    def unread(self) -> list[tuple[str, str]]:
        """(id, name) of those whose size is to be read."""
        rows = self._database.read(
            "SELECT id, name FROM image WHERE present AND width IS NULL AND problem IS NULL ORDER BY place"
        )
        return [(row["id"], row["name"]) for row in rows]

    def set_sizes(self, found: Iterable[Measured]) -> None:
        """Store sizes and problems. An image with objects keeps its size; another one is its problem."""
        with self._database.write() as tx:
            _set_sizes(tx, found)

    def set_problem(self, image_id: str, problem: str) -> None:
        """Store why the pixels of an image cannot be read. As with sizes, only one with objects keeps its size."""
        with self._database.write() as tx:
            if tx.one("SELECT 1 FROM image WHERE id = ? AND problem IS NULL", image_id) is None:
                return
            tx.run(
                """UPDATE image SET problem = ?, seq = ?, width =
                   CASE WHEN EXISTS (SELECT 1 FROM object WHERE image = image.id) THEN width END WHERE id = ?""",
                problem,
                tx.seq,
                image_id,
            )

    def set_status(self, image_id: str, status: str, guard: Guard) -> None:
        """Set "todo", "work" or "done"; no step of the history. With a key that was used before, nothing happens."""
        with self._database.write() as tx:
            if _answered(tx, image_id, guard):
                return
            _image(tx, image_id, guard)
            tx.run("UPDATE image SET status = ?, seq = ? WHERE id = ?", status, tx.seq, image_id)
            objects.remember(tx, image_id, guard, {})

    def make_objects(
        self, image_id: str, wanted: Sequence[tuple[str, str | None, Rle | None]], guard: Guard, *,
        finished: bool = False, labels: Sequence[str] = (),
    ) -> list[str]:  # fmt: skip
        """New objects, one step of the image's history; returns their ids.

        Args:
            image_id: of the image.
            wanted: (label, color, initial mask) of each.
            guard: key and seq, if the client sent them.
            finished: whether nobody works on them any more.
            labels: to be in the project's list before the objects' own.

        Raises:
            NotFoundError, StaleError, StorageError: as elsewhere.
            RequestError: the key was used for another kind of change.
        """
        return self._make(image_id, [(*each, None) for each in wanted], guard, finished, labels)

    def make_object(
        self, image_id: str, label: str, color: str | None, initial: Rle | None, first: tuple[str, NewItem],
        guard: Guard,
    ) -> str:  # fmt: skip
        """A new object; `first` is its id and the first item of its history. Returns its id: another one if the key
        was used before.

        Raises:
            NotFoundError, StaleError, StorageError, RequestError: see `make_objects`.
        """
        return self._make(image_id, [(label, color, initial, first)], guard)[0]

    def _make(
        self, image_id: str, wanted: Sequence[tuple[str, str | None, Rle | None, tuple[str, NewItem] | None]],
        guard: Guard, finished: bool = False, labels: Sequence[str] = (),
    ) -> list[str]:  # fmt: skip
        with self._database.write() as tx:
            known = tx.one("SELECT answer FROM request WHERE scope = ? AND key = ?", image_id, guard.key)
            if known is not None:
                return made_with(json.loads(known["answer"]))
            state = _image(tx, image_id, guard)
            add_labels(tx, [*labels, *(label for label, *_ in wanted)])
            made = []
            for label, color, initial, first in wanted:
                made.append(objects.insert(tx, image_id, label, color, initial, first and first[0], finished))
                if first is not None:
                    objects.insert_item(tx, first[0], 1, first[1])
            _record(tx, state, "made", {"objects": made})
            objects.remember(tx, image_id, guard, {"objects": made})
            return made

    def delete_object(self, object_id: str, guard: Guard) -> str:
        """Take an object away, so that `undo` brings it back with its history; returns its image's id."""
        with self._database.write() as tx:
            if _answered(tx, object_id, guard):
                row = tx.one("SELECT image FROM object WHERE id = ?", object_id)
                if row is not None:
                    return row["image"]
            before = objects.checked(tx, object_id, guard)
            objects.set_fields(tx, object_id, {"deleted": 1})
            _record(tx, _image(tx, before.image, Guard()), "deleted", {"objects": [object_id]})
            objects.remember(tx, object_id, guard, {})
            return before.image

    def set_fields(self, object_id: str, fields: Mapping[str, Any], guard: Guard) -> None:
        """Set `objects.FIELDS` of an object; a step of the image's history unless it is in `UNRECORDED`."""
        with self._database.write() as tx:
            if _answered(tx, object_id, guard):
                return
            before = objects.checked(tx, object_id, guard)
            add_labels(tx, [fields.get("label", "")])
            objects.set_fields(tx, object_id, fields)
            recorded = [
                name for name in fields if name not in UNRECORDED and getattr(before, name) != fields[name]
            ]
            if recorded:
                change = {
                    "objects": [object_id],
                    "before": {name: getattr(before, name) for name in recorded},
                    "after": {name: fields[name] for name in recorded},
                }
                _record(tx, _image(tx, before.image, Guard()), "set", change)
            objects.touched(tx, object_id, guard, {})

    def move(self, image_id: str, by: int, guard: Guard) -> ImageState:
        """Undo (-1) or redo (+1) a step of the image's history.

        Raises:
            HistoryError: there is none.
            NotFoundError, StaleError, StorageError: as elsewhere.
        """
        with self._database.write() as tx:
            if _answered(tx, image_id, guard):
                return _image(tx, image_id, Guard())
            state = _image(tx, image_id, guard)
            n = state.position + (1 if by > 0 else 0)
            row = tx.one("SELECT kind, payload FROM image_item WHERE image = ? AND n = ?", image_id, n)
            if row is None or not 0 <= state.position + by <= state.top:
                raise HistoryError("nothing to undo" if by < 0 else "nothing to redo")
            payload = json.loads(row["payload"])
            fields = _STEPS[row["kind"]](payload)[by > 0]
            for object_id in payload["objects"]:
                objects.set_fields(tx, object_id, fields)
            tx.run("UPDATE image SET position = position + ?, seq = ? WHERE id = ?", by, tx.seq, image_id)
            objects.remember(tx, image_id, guard, {})
            return _image(tx, image_id, Guard())


def made_with(answer: Mapping[str, Any]) -> list[str]:
    """The objects that were made by the change that was answered so.

    Raises:
        RequestError: it was another kind of change.
    """
    if not answer.get("objects"):
        raise RequestError(409, "key_used", "this key was used for another change: make a new one")
    return list(answer["objects"])


# kind -> payload -> what to set on its objects to (undo it, do it)
_STEPS: dict[str, Any] = {
    "made": lambda payload: ({"deleted": 1}, {"deleted": 0}),
    "deleted": lambda payload: ({"deleted": 0}, {"deleted": 1}),
    "set": lambda payload: (payload["before"], payload["after"]),
}


def _image(tx: Transaction, image_id: str, guard: Guard) -> ImageState:
    row = tx.one(f"{IMAGE_COLUMNS} WHERE id = ?", image_id)
    if row is None:
        raise NotFoundError(f"there is no image {image_id}")
    state = image_state(row)
    if guard.seq is not None and guard.seq != state.seq:
        raise StaleError(f"image {image_id} has changed elsewhere (seq {state.seq}, not {guard.seq})")
    return state


def _set_sizes(tx: Transaction, found: Iterable[Measured]) -> None:
    for image_id, image_hw, problem in found:
        used = tx.one(
            """SELECT name, height, width FROM image
               WHERE id = ? AND width IS NOT NULL AND EXISTS (SELECT 1 FROM object WHERE image = image.id)""",
            image_id,
        )
        if image_hw is not None and used is None:
            tx.run("UPDATE image SET height = ?, width = ? WHERE id = ?", *image_hw, image_id)
        elif image_hw is not None and used is not None and image_hw != (used["height"], used["width"]):
            problem = str(ImageChangedError.by_size(used["name"], image_hw, (used["height"], used["width"])))
        tx.run("UPDATE image SET problem = ?, seq = ? WHERE id = ?", problem, tx.seq, image_id)


def _answered(tx: Transaction, scope: str, guard: Guard) -> bool:
    """Whether the guard's key was used before."""
    return guard.key is not None and bool(
        tx.one("SELECT 1 FROM request WHERE scope = ? AND key = ?", scope, guard.key)
    )


def _record(tx: Transaction, state: ImageState, kind: str, payload: Mapping[str, Any]) -> None:
    """Add a step to the image's history. Objects that only an undone step had made are gone for good."""
    lost = tx.all("SELECT kind, payload FROM image_item WHERE image = ? AND n > ?", state.id, state.position)
    objects.forget(
        tx, [each for row in lost if row["kind"] == "made" for each in json.loads(row["payload"])["objects"]]
    )
    tx.run("DELETE FROM image_item WHERE image = ? AND n > ?", state.id, state.position)
    n = state.position + 1
    tx.run(
        "INSERT INTO image_item (image, n, kind, payload) VALUES (?, ?, ?, ?)",
        state.id,
        n,
        kind,
        json.dumps(payload),
    )
    tx.run("UPDATE image SET position = ?, top = ?, seq = ? WHERE id = ?", n, n, tx.seq, state.id)
