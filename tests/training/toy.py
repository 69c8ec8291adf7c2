"""A training run small enough for a test: eight pictures of an ellipse in one shard, a small corrector."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

RECIPE = """
name = "toy"
scale_base = "crop"
seed = 3
ema = 0.9
workers = 0
checkpoint_minutes = 1000.0

[model]
base = "mobilenet_v2"
correction = {{ width = 16, templates = 16 }}

[[sources]]
dataset = "shards"
root = '{root}'
weight = {{ toy = 1.0 }}

[[phases]]
steps = 3
batch = 2
crop_hw = [64, 64]
scale = [1.0, 1.4]

[[phases]]
steps = 3
batch = 4
crop_hw = [48, 64]
scale = [1.0, 1.4]

[objects]
min_area_px = 50
max_share = 0.95

[clicks]
maximum = 3

[optimiser]
name = "adamw"
lr = 1e-3
weight_decay = 0.01
clip_norm = 1.0
schedule = "cosine"
warmup_steps = 2
"""


def write_shard(folder: Path, count: int = 8, side: int = 64) -> Path:
    """One tar of `count` pictures, a bright ellipse on a dark ground in each, under the collection "toy"."""
    random = np.random.default_rng(0)
    with tarfile.open(folder / "toy-00.tar", "w") as tar:
        for number in range(count):
            ids = np.zeros((side, side), np.uint8)
            centre = tuple(int(v) for v in random.integers(side // 3, 2 * side // 3, 2))
            axes = tuple(int(v) for v in random.integers(side // 6, side // 4, 2))
            cv2.ellipse(ids, centre, axes, float(random.integers(180)), 0, 360, 1, -1)
            image = np.where(ids[..., None] == 1, (200, 160, 60), (40, 70, 90))
            image = (image + random.integers(-25, 25, image.shape)).clip(0, 255).astype(np.uint8)
            meta = {"source": "toy", "objects": [{"id": 1}]}
            files = {
                "jpg": cv2.imencode(".jpg", image)[1].tobytes(),
                "png": cv2.imencode(".png", ids)[1].tobytes(),
                "json": json.dumps(meta).encode(),
            }
            for suffix, data in files.items():
                info = tarfile.TarInfo(f"{number:03}.{suffix}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return folder


def recipe_text(folder: Path, **changes: str) -> str:
    """The toy recipe over the shard in `folder`; `changes` replace the values of lines by their name."""
    lines = []
    for line in RECIPE.format(root=folder.as_posix()).splitlines():
        name = line.partition(" = ")[0]
        lines.append(f"{name} = {changes[name]}" if name in changes else line)
    return "\n".join(lines) + "\n"


def read_state(folder: Path) -> dict[str, Any]:
    """All that a run keeps, but the seconds it took."""
    state = torch.load(folder / "state.pt", weights_only=True)
    state.pop("seconds")
    state.pop("cpu_seconds")
    return state


def differences(left: Any, right: Any, where: str = "") -> list[str]:
    """Paths of what is not equal to the bit."""
    if isinstance(left, torch.Tensor):
        same = left.dtype == right.dtype and left.shape == right.shape and torch.equal(left, right)
        return [] if same else [where]
    if isinstance(left, list | tuple):
        left, right = dict(enumerate(left)), dict(enumerate(right))
    if isinstance(left, dict):
        found = [] if left.keys() == right.keys() else [f"{where} keys"]
        shared = left.keys() & right.keys()
        return found + [
            each for key in shared for each in differences(left[key], right[key], f"{where}/{key}")
        ]
    return [] if left == right else [where]
