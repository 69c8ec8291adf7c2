"""What the released code computes on seeded weights: `tests/data/{hr18s,segb0}.*`, recorded in float32.

`released_state` builds those weights again, by the rule they were recorded under.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

DATA = Path(__file__).parents[1] / "data"
SHARED = Path(__file__).parents[3] / "shared" / "reference" / "vectors"
RECORDED = {"hr18s": "emc-hrnet18s", "segb0": "emc-segformer-b0"}
ALL_KEYS = {**RECORDED, "hr18": "emc-hrnet18", "hr32": "emc-hrnet32", "segb3": "emc-segformer-b3"}


@dataclass(frozen=True)
class Case:
    """One image with its clicks, and what was recorded for them."""

    name: str
    image: NDArray[np.uint8]
    short_side: int
    flip: bool
    clicks: list[dict[str, Any]]
    arrays: dict[str, NDArray[Any]]


def keys_file(name: str) -> Path:
    """The list of keys of a released model; two are here, all five beside the checkout."""
    here = DATA / f"{name}.keys.tsv"
    return here if here.is_file() else SHARED / here.name


def released_shapes(name: str) -> dict[str, tuple[int, ...]]:
    """Key -> shape of every entry of a released state dict."""
    shapes = {}
    for line in keys_file(name).read_text(encoding="utf-8").splitlines():
        key, _, shape = line.partition("\t")
        shapes[key] = tuple(int(side) for side in shape.split("x")) if shape else ()
    return shapes


def _one_module(key: str) -> str:
    """`corr_conv_pos` and `corr_conv_neg` are other names of `corr_conv`."""
    return key.replace("corr_conv_pos.", "corr_conv.").replace("corr_conv_neg.", "corr_conv.")


def seeded(key: str, shape: tuple[int, ...]) -> Tensor:
    """The float32 weights recorded under `key`."""
    random = np.random.RandomState(zlib.crc32(key.encode()) & 0x7FFFFFFF)
    if len(shape) >= 2:
        value = random.standard_normal(shape) * (1 / math.prod(shape[1:])) ** 0.5
    elif key.endswith("weight"):
        value = random.uniform(0.8, 1.2, shape)
    else:
        value = random.standard_normal(shape) * 0.1
    return torch.from_numpy(value.astype(np.float32))


def released_state(name: str) -> dict[str, Tensor]:
    """The seeded state dict of a recorded model, in the release's names."""
    state = {}
    with np.load(DATA / f"{name}.npz") as recorded:
        for key, shape in released_shapes(name).items():
            if key.endswith("num_batches_tracked"):
                state[key] = torch.tensor(0)
            elif key.endswith(("running_mean", "running_var")):
                state[key] = torch.from_numpy(recorded[f"bn/{_one_module(key)}"])
            else:
                state[key] = seeded(_one_module(key), shape)
    return state


def hollow_state(name: str) -> dict[str, Tensor]:
    """A state dict of the right keys and shapes, all zero, that takes no memory."""
    return {key: torch.zeros(()).expand(shape) for key, shape in released_shapes(name).items()}


def cases(name: str) -> Iterator[Case]:
    """The recorded cases of a model."""
    described = json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))
    with np.load(DATA / f"{name}.npz") as recorded:
        for case, info in described.items():
            arrays = {
                key.removeprefix(f"{case}/"): recorded[key]
                for key in recorded.files
                if key.startswith(f"{case}/")
            }
            yield Case(case, arrays.pop("image"), info["short_side"], info["flip"], info["clicks"], arrays)
