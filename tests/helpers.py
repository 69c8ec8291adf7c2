"""Stand-ins for weights: a runtime in numpy whose every output depends on every input."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emclick.methods.base import Options
from emclick.methods.emc import EmcMethod
from emclick.runtimes.base import CorrectionInput, Runtime

Float = NDArray[np.float32]


def floats(values: Any) -> Float:
    """`values` as a float32 array."""
    return np.array(values, np.float32)


def blocks(array: Float) -> Float:
    """Mean over 4x4 blocks of the last two axes."""
    *lead, height, width = array.shape
    return array.reshape(*lead, height // 4, 4, width // 4, 4).mean(axis=(-3, -1), dtype=np.float32)


def cells(maps: Float) -> Float:
    """(..., 2, h, w) disk maps -> (..., h/4, w/4, 32), as `CorrectionInput.disks`: pixel unshuffle, channels last."""
    *lead, count, height, width = maps.shape
    parts = np.moveaxis(maps.reshape(*lead, count, height // 4, 4, width // 4, 4), (-4, -2), (-5, -4))
    return parts.reshape(*lead, height // 4, width // 4, count * 16)


@dataclass
class FakeRuntime(Runtime):
    """Deterministic, and changed by each of image, click map, disks, distances, points and their order,
    previous logits and features. `calls` records what it was given."""

    name: str = "fake"
    threads: int = 1
    fuses = False
    calls: list[tuple[str, Any]] = field(default_factory=list)
    fail_at: int = -1

    def open(self, frames: Float) -> Any:
        assert frames.dtype == np.float32
        assert frames.ndim == 4
        assert frames.shape[1] == 3
        self._note("open", frames.copy())
        return frames.copy()

    def first(self, image: Any, click_map: Float) -> tuple[Any, Float]:
        assert click_map.shape == (len(image), 1, *image.shape[2:])
        assert click_map.dtype == np.float32
        self._note("first", click_map.copy())
        features = 0.5 * blocks(image).sum(axis=1, keepdims=True) + blocks(click_map)
        return features, (6 * blocks(click_map) + features - 1.5).astype(np.float32)

    def correct(self, image: Any, features: Any, inputs: CorrectionInput) -> Float:
        grid = (len(image), 1, image.shape[2] // 4, image.shape[3] // 4)
        assert inputs.previous_logits.shape == grid
        assert inputs.disks.shape == (len(image), *grid[2:], 32)
        assert inputs.distances.shape == (len(image), 2, *grid[2:])
        assert inputs.points.shape == (len(image), len(inputs.positive), 2)
        for array in (inputs.previous_logits, inputs.disks, inputs.distances, inputs.points):
            assert array.dtype == np.float32
        assert inputs.positive.dtype == np.bool_
        self._note("correct", inputs)
        disks = inputs.disks.reshape(*inputs.disks.shape[:3], 2, 16).mean(axis=-1, dtype=np.float32)
        disks = np.moveaxis(disks, -1, 1)
        sign = np.where(inputs.positive, 1.0, -0.6)
        order = np.arange(1, len(sign) + 1) % 7 + 1
        place = (inputs.points @ np.array([0.31, 0.17]) * sign * order).sum(axis=1)
        logits = (
            0.4 * np.clip(inputs.previous_logits, -8, 8)
            + 3 * (disks[:, :1] - disks[:, 1:])
            + 5 * (inputs.distances[:, 1:] - inputs.distances[:, :1])
            + features
            + 0.7 * blocks(image)[:, :1]
            - 1.2
            + 0.2 * np.sin(place)[:, None, None, None]
        )
        return logits.astype(np.float32)

    def names(self) -> list[str]:
        """The calls so far, by name."""
        return [name for name, _ in self.calls]

    def _note(self, name: str, what: Any) -> None:
        self.calls.append((name, what))
        if len(self.calls) == self.fail_at:
            raise RuntimeError("the network failed")


@dataclass
class FakeModel:
    """What `emclick.load()` returns, over a `FakeRuntime`."""

    runtime: FakeRuntime = field(default_factory=FakeRuntime)
    short_side: int = 32
    templates: int = 8
    name: str = "fake"

    def method(self, options: Options) -> EmcMethod:
        return EmcMethod(self.runtime, self.templates, options)


def picture(height: int = 40, width: int = 56, seed: int = 0) -> NDArray[np.uint8]:
    """(H, W, 3) uint8, smooth with noise, unlike its own mirror images."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    planes = np.stack([255 * y / height, 255 * x / width, 128 + 60 * np.sin(x / 5 + y / 9)], axis=-1)
    return np.clip(planes + random.integers(-20, 20, planes.shape), 0, 255).astype(np.uint8)


def blob(height: int = 40, width: int = 56) -> NDArray[np.bool_]:
    """(H, W) bool: one rectangle off centre with a hole."""
    mask = np.zeros((height, width), np.bool_)
    mask[height // 8 : height // 2, width // 8 : width // 8 * 5] = True
    mask[height // 4, width // 2] = False
    return mask
