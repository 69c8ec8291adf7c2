"""Labels in the project: those that objects get are in the list, and a new name goes wherever the old one was."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from emclick.web.database import Transaction

MAX_LABEL = 200
"""Characters of a label."""

COLORS = (
    "#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#46f0f0", "#f032e6", "#bcf60c", "#fabebe", "#008080",
    "#e6beff", "#9a6324", "#fffac8", "#800000", "#aaffc3", "#808000", "#ffd8b1", "#000075",
)  # fmt: skip
"""Of labels that came without one, in turn."""


def is_control(character: str) -> bool:
    """Whether a character may not be in a label."""
    return ord(character) < 32 or ord(character) == 127


def clean_label(text: str) -> str:
    """The label that stands for one of another program: without control characters and half characters, at most
    `MAX_LABEL` long, so that the page can send it back."""
    whole = text[:MAX_LABEL].encode("utf-8", "replace").decode()
    return "".join(" " if is_control(each) else each for each in whole)


def add_labels(tx: Transaction, names: Sequence[str]) -> None:
    """Add labels of these names that are not there yet, in this order."""
    if not any(names):
        return
    known = {row["name"] for row in tx.all("SELECT name FROM label")}
    for name in names:
        if name and name not in known:
            _ = tx.seq  # other tabs look again
            known.add(name)
            tx.run(
                "INSERT INTO label (name, color, place) SELECT ?, ?, coalesce(max(place), -1) + 1 FROM label",
                name, COLORS[(len(known) - 1) % len(COLORS)],
            )  # fmt: skip


def rename_labels(tx: Transaction, renamed: Mapping[str, str]) -> None:
    """Give objects their labels' new names, also in what undo and redo will bring back."""
    held = {name: tx.all("SELECT id, image FROM object WHERE label = ?", name) for name in renamed}
    for name, rows in held.items():  # found before any is renamed: two labels may swap names
        for row in rows:
            tx.run("UPDATE object SET label = ?, seq = ? WHERE id = ?", renamed[name], tx.seq, row["id"])
            tx.run("UPDATE image SET seq = ? WHERE id = ?", tx.seq, row["image"])
    steps = tx.all("SELECT id, payload FROM image_item WHERE kind = 'set'") if renamed else []
    for row in steps:
        payload = json.loads(row["payload"])
        sides = [payload[side] for side in ("before", "after") if payload[side].get("label") in renamed]
        for side in sides:
            side["label"] = renamed[side["label"]]
        if sides:
            tx.run("UPDATE image_item SET payload = ? WHERE id = ?", json.dumps(payload), row["id"])
