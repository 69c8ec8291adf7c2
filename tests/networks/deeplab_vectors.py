"""What the releases of f-BRS and CDNet compute on seeded weights: `tests/data/{fbrs,cdnet}*`, which say how made."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import emclick
from emclick.prediction import Prediction
from networks.reference_vectors import DATA, seeded

TOLERANCE, QUANTILE = 1e-3, 0.999


@cache
def described(name: str) -> dict[str, Any]:
    """Cases, shapes of the state dict, and a note."""
    return json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))


@cache
def recorded(name: str) -> Mapping[str, NDArray[Any]]:
    """All arrays of a file."""
    with np.load(DATA / f"{name}.npz") as file:
        return {key: file[key] for key in file.files}


def released_weights(name: str, shapes: Mapping[str, Sequence[int]] | None = None) -> dict[str, Tensor]:
    """The state dict that was recorded from, in the release's names; `shapes` are its, if the file holds none."""
    arrays, state = recorded(name), {}
    for key, shape in (shapes or described(name)["shapes"]).items():
        given = arrays.get(f"bn/{key}", arrays.get(f"set/{key}"))
        if key.endswith("num_batches_tracked"):
            state[key] = torch.tensor(0)
        else:
            state[key] = seeded(key, tuple(shape)) if given is None else torch.from_numpy(given)
    return state


QUICK = 4
"""Clicks of a case that show all there is; the others are for the long tests."""


def errors(model: emclick.Model, name: str, case: str, most: int | None = None) -> list[float]:
    """Of each click of a case (of the first `most`): by how much our probability differs from the recorded one,
    at `QUANTILE`.

    Only of the clicks before one at which our own result moves with rounding, if any differs by more than `TOLERANCE`:
    a search by gradients then takes another course on every processor (on one, with one thread or with two).

    Asserts that both look at the same part of the image up to there, and not always at the whole of it.
    """
    arrays = recorded(name)
    found = play(model, name, case, most)
    errors = [_differ(each, arrays[f"{case}/prob{number}"]) for number, each in enumerate(found)]
    steady = len(found) if max(errors) <= TOLERANCE else _steady(model, name, case, most)
    whole = [0, found[0].view.image_hw[0] - 1, 0, found[0].view.image_hw[1] - 1]
    parts = []
    for number, (each, click) in enumerate(zip(found[:steady], described(name)[case]["clicks"])):
        box = each.view.box
        parts.append(box and [box.top, box.bottom - 1, box.left, box.right - 1])
        assert parts[-1] == click["part"], f"click {number} looks at another part"
    assert any(part not in (None, whole) for part in parts)
    return errors[:steady]


def play(model: emclick.Model, name: str, case: str, most: int | None) -> list[Prediction]:
    """Our predictions after each click of a case."""
    about = described(name)[case]
    image = recorded(name)[f"{case}/image"]
    session = emclick.Session(model, image, short_side=about["short_side"], flip=about["flip"])
    return [
        session.click(click["x"], click["y"], positive=click["positive"]) for click in about["clicks"][:most]
    ]


def _steady(model: emclick.Model, name: str, case: str, most: int | None) -> int:
    """How many clicks give the same whether rounding is that of one or two threads, of oneDNN or not."""
    played, threads = [], torch.get_num_threads()
    try:
        for count, onednn in ((1, True), (2, True), (1, False)):
            torch.set_num_threads(count)
            with torch.backends.mkldnn.flags(enabled=onednn):
                played.append(play(model, name, case, most))
    finally:
        torch.set_num_threads(threads)
    moved = [
        max(_differ(each, first.probability) for each in others) > TOLERANCE / 10
        for first, *others in zip(*played)
    ]
    return moved.index(True) if True in moved else len(moved)


def _differ(prediction: Prediction, theirs: NDArray[Any]) -> float:
    return float(np.quantile(np.abs(prediction.probability - theirs.astype(np.float32)), QUANTILE))
