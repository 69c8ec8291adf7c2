"""Objects and their histories in the project. Nothing here knows a model: masks come in as RLE."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from emclick.annotations.model import Rle
from emclick.errors import HistoryError
from emclick.web.database import Database, Transaction
from emclick.web.errors import NotFoundError, StaleError
from emclick.web.records import (
    OBJECT_COLUMNS,
    Answered,
    Guard,
    Item,
    NewItem,
    ObjectState,
    dump_clicks,
    object_state,
)

FIELDS = {"label": "label", "color": "color", "visible": "visible", "locked": "locked", "finished": "finished",
          "order": "place"}  # fmt: skip
"""What a user sets on an object -> its column."""


class Objects:
    """The objects of a project."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, object_id: str) -> ObjectState:
        """An object that is there.

        Raises:
            NotFoundError: it is not, or is deleted.
        """
        rows = self._database.read(f"{OBJECT_COLUMNS} WHERE object.id = ? AND NOT deleted", object_id)
        if not rows:
            raise NotFoundError(f"there is no object {object_id}")
        return object_state(rows[0])

    def of_image(self, image_id: str) -> list[ObjectState]:
        """The objects of an image, first drawn first."""
        sql = f"{OBJECT_COLUMNS} WHERE object.image = ? AND NOT deleted ORDER BY object.place, object.rowid"
        return [object_state(row) for row in self._database.read(sql, image_id)]

    def items(self, object_id: str, position: int) -> list[Item]:
        """History items 1 to `position`."""
        sql = """SELECT item.*, image.height, image.width FROM item JOIN object ON object.id = item.object
                 JOIN image ON image.id = object.image WHERE item.object = ? AND n <= ? ORDER BY n"""
        return [
            Item(row["id"], row["kind"], json.loads(row["payload"]), Rle((row["height"], row["width"]), row["counts"]))
            for row in self._database.read(sql, object_id, position)
        ]  # fmt: skip

    def answered(self, scope: str, key: str | None) -> Answered | None:
        """What was answered to `key` before, if it was."""
        if key is None:
            return None
        rows = self._database.read("SELECT seq, answer FROM request WHERE scope = ? AND key = ?", scope, key)
        return Answered(rows[0]["seq"], json.loads(rows[0]["answer"])) if rows else None

    def add_item(
        self, object_id: str, new: NewItem, guard: Guard, answer: Mapping[str, Any], *, merge: bool = False
    ) -> ObjectState:
        """Store a history item after the present one; what was undone is gone.

        Args:
            object_id: of the object.
            new: the item.
            guard: key and seq, if the client sent them.
            answer: kept for whoever sends the same key again.
            merge: take the place of the present item if that is the last and of the same kind.

        Raises:
            NotFoundError, StaleError: see `get` and `Guard`.
            StorageError: it could not be stored.
        """
        with self._database.write() as tx:
            state = checked(tx, object_id, guard)
            n = state.position + 1
            if merge and state.item is not None and state.item[1] == new.kind and state.position == state.top:
                n = state.position
            tx.run("DELETE FROM item WHERE object = ? AND n >= ?", object_id, n)
            insert_item(tx, object_id, n, new)
            return touched(tx, object_id, guard, answer)

    def move(self, object_id: str, by: int, guard: Guard, answer: Mapping[str, Any]) -> ObjectState:
        """Go back (-1) or forward (+1) one history item.

        Raises:
            HistoryError: there is none.
            NotFoundError, StaleError, StorageError: as `add_item`.
        """
        with self._database.write() as tx:
            state = checked(tx, object_id, guard)
            if not 0 <= state.position + by <= state.top:
                raise HistoryError("nothing to undo" if by < 0 else "nothing to redo")
            tx.run("UPDATE object SET position = position + ? WHERE id = ?", by, object_id)
            return touched(tx, object_id, guard, answer)


def new_id() -> str:
    """The id of an object that is to be made."""
    return secrets.token_hex(6)


def insert(
    tx: Transaction, image_id: str, label: str = "", color: str | None = None, initial: Rle | None = None,
    object_id: str | None = None, finished: bool = False,
) -> str:  # fmt: skip
    """A new object, drawn last; returns its id."""
    object_id = object_id or new_id()
    tx.run(
        """INSERT INTO object (id, image, label, color, initial, finished, seq, place) VALUES (?, ?, ?, ?, ?, ?, ?,
           (SELECT coalesce(max(place), 0) + 1 FROM object WHERE image = ?))""",
        object_id, image_id, label, color, None if initial is None else initial.counts, finished, tx.seq, image_id,
    )  # fmt: skip
    tx.run("UPDATE image SET status = 'work' WHERE id = ? AND status = 'todo'", image_id)
    return object_id


def insert_item(tx: Transaction, object_id: str, n: int, new: NewItem) -> None:
    """History item `n`, the last and the present one."""
    tx.run(
        "INSERT INTO item (object, n, kind, payload, counts, clicks, threshold) VALUES (?, ?, ?, ?, ?, ?, ?)",
        object_id, n, new.kind, json.dumps(new.payload), new.rle.counts, dump_clicks(new.clicks), new.threshold,
    )  # fmt: skip
    tx.run("UPDATE object SET position = ?, top = ? WHERE id = ?", n, n, object_id)


def set_fields(tx: Transaction, object_id: str, fields: Mapping[str, Any]) -> None:
    """Set some of `FIELDS`, and `deleted`."""
    for name, value in fields.items():
        column = "deleted" if name == "deleted" else FIELDS[name]
        tx.run(f"UPDATE object SET {column} = ? WHERE id = ?", value, object_id)
    tx.run("UPDATE object SET seq = ? WHERE id = ?", tx.seq, object_id)


def checked(tx: Transaction, object_id: str, guard: Guard) -> ObjectState:
    """The object inside a change, held to the guard's seq."""
    row = tx.one(f"{OBJECT_COLUMNS} WHERE object.id = ? AND NOT deleted", object_id)
    if row is None:
        raise NotFoundError(f"there is no object {object_id}")
    state = object_state(row)
    check_seq(state, guard)
    return state


def check_seq(state: ObjectState, guard: Guard) -> None:
    """Raise `StaleError` if the client has not seen the object's last change."""
    if guard.seq is not None and guard.seq != state.seq:
        raise StaleError(
            f"object {state.id} has changed elsewhere (seq {state.seq}, not {guard.seq})", state=state
        )


def remember(tx: Transaction, scope: str, guard: Guard, answer: Mapping[str, Any]) -> None:
    """Keep the answer for whoever sends the guard's key again."""
    if guard.key is not None:
        tx.run(
            "INSERT OR REPLACE INTO request (scope, key, seq, answer) VALUES (?, ?, ?, ?)",
            scope, guard.key, tx.seq, json.dumps(answer),
        )  # fmt: skip


def touched(tx: Transaction, object_id: str, guard: Guard, answer: Mapping[str, Any]) -> ObjectState:
    """Number the change of an object and of its image; returns the object as it will be."""
    tx.run("UPDATE object SET seq = ? WHERE id = ?", tx.seq, object_id)
    tx.run(
        """UPDATE image SET seq = ?, status = CASE status WHEN 'todo' THEN 'work' ELSE status END
           WHERE id = (SELECT image FROM object WHERE id = ?)""",
        tx.seq, object_id,
    )  # fmt: skip
    remember(tx, object_id, guard, answer)
    row = tx.one(f"{OBJECT_COLUMNS} WHERE object.id = ?", object_id)
    assert row is not None
    return object_state(row)


def forget(tx: Transaction, object_ids: Sequence[str]) -> None:
    """Remove objects for good, with their histories."""
    tx.many("DELETE FROM object WHERE id = ? AND deleted", [(each,) for each in object_ids])
