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

    Asserts that both look at the same part of the image, and not always at the whole of it.
    """
    about, arrays = described(name)[case], recorded(name)
    image = arrays[f"{case}/image"]
    session = emclick.Session(model, image, short_side=about["short_side"], flip=about["flip"])
    found, parts = [], []
    for number, click in enumerate(about["clicks"][:most]):
        prediction = session.click(click["x"], click["y"], positive=click["positive"])
        box = prediction.view.box
        parts.append(box and [box.top, box.bottom - 1, box.left, box.right - 1])
        assert parts[-1] == click["part"], f"click {number} looks at another part"
        theirs = arrays[f"{case}/prob{number}"].astype(np.float32)
        found.append(float(np.quantile(np.abs(prediction.probability - theirs), QUANTILE)))
    whole = [0, image.shape[0] - 1, 0, image.shape[1] - 1]
    assert any(part not in (None, whole) for part in parts)
    return found
