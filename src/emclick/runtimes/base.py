"""What a runtime is: something that runs a model's networks. Nothing about sessions.

The runtime of EMC makes two calls, `first` (base network, once per object) and `correct` (mask correction,
every click), after `open`, which holds what depends on the image alone; numpy in, numpy out. Frames are
batched: one entry, or two when flip test-time augmentation is on (the frame, then its mirror). Other methods
call their network as a whole: `emclick.runtimes.network.NetworkRuntime`.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]


@dataclass(frozen=True)
class CorrectionInput:
    """Everything a click changes, for a batch of B frames of size (H, W) and N clicks.

    Attributes:
        disks: (B, H/4, W/4, 32) float32 in {0, 1}; disk maps over all clicks in the network's layout, see
            `emclick.clicks.ClickMaps.disks`.
        distances: (B, 2, H/4, W/4) float32; positive, then negative distance map (METHOD, "Click encodings").
        points: (B, N, 2) float32, (row, column) of the clicks in each frame, in the order made.
        positive: (N,) bool, the clicks' polarity.
        previous_logits: (B, 1, H/4, W/4) float32, the mask before this click.
    """

    disks: Float
    distances: Float
    points: Float
    positive: NDArray[np.bool_]
    previous_logits: Float


class Runtime:
    """Runs one model. One call at a time: `lock` is held around each by whoever shares it between threads.

    Attributes:
        name: the runtime's name in the table ("onnx", ...).
        threads: CPU threads it uses.
        precision: what it computes in ("fp32", "bf16", ...).
    """

    name: str
    threads: int
    precision: str = "fp32"

    @cached_property
    def lock(self) -> threading.Lock:
        """Held by callers during each call."""
        return threading.Lock()


class EmcRuntime(Runtime, ABC):
    """Runs the networks of an EMC model."""

    @abstractmethod
    def open(self, frames: Float) -> Any:
        """Take (B, 3, H, W) float32 RGB in [0, 1], H and W multiples of 4; return an opaque image handle."""

    @abstractmethod
    def first(self, image: Any, click_map: Float) -> tuple[Any, Float]:
        """Run the base network.

        Args:
            image: what `open` returned.
            click_map: (B, 1, H, W) float32 disk map of the first click, all zero if there is none.

        Returns:
            An opaque handle of the features, and the coarse logits (B, 1, H/4, W/4) float32.
        """

    @abstractmethod
    def correct(self, image: Any, features: Any, inputs: CorrectionInput) -> Float:
        """Run the mask correction network; returns logits (B, 1, H/4, W/4) float32."""


class PartsRuntime(EmcRuntime):
    """A runtime over the three parts of a network (`emclick.networks.split`).

    A subclass runs each part. Everything between parts stays in its own kind of array, of which this class
    knows nothing; what is called Float is numpy, contiguous.

    Attributes:
        together: the frames of a batch run at once, else one after the other: B below is then 1.
    """

    together = False

    @abstractmethod
    def run(self, part: str, *arrays: Any) -> Sequence[Any]:
        """One part, "image", "first" or "correction", on its inputs in order -> its outputs in order.

        Inputs that the caller makes are contiguous float32 numpy, others are outputs of an earlier part.
        """

    def to_numpy(self, output: Any) -> Float:
        """An output as float32 numpy."""
        return output

    def _groups(self, batch: int) -> list[slice]:
        return [slice(None)] if self.together else [slice(i, i + 1) for i in range(batch)]

    def open(self, frames: Float) -> list[Sequence[Any]]:
        groups = self._groups(len(frames))
        return [self.run("image", np.ascontiguousarray(frames[group])) for group in groups]

    def first(self, image: list[Sequence[Any]], click_map: Float) -> tuple[list[Any], Float]:
        groups = zip(image, self._groups(len(click_map)), strict=True)
        results = [self.run("first", opened, click_map[group]) for (opened, *_), group in groups]
        coarse = np.concatenate([self.to_numpy(logits) for logits, _ in results])
        return [feature_sums for _, feature_sums in results], coarse

    def correct(self, image: list[Sequence[Any]], features: list[Any], inputs: CorrectionInput) -> Float:
        positive = inputs.positive.astype(np.float32)
        logits = []
        for (_, *kept), feature_sums, group in zip(
            image, features, self._groups(len(inputs.points)), strict=True
        ):
            changed = (inputs.disks[group], inputs.distances[group], inputs.points[group], positive)
            previous = inputs.previous_logits[group]
            logits += self.run("correction", *kept, feature_sums, *changed, previous)
        return np.concatenate([self.to_numpy(each) for each in logits])
