"""What a runtime is: something that runs a model's networks. Nothing about sessions.

The runtime of EMC makes two calls, `first` (base network, once per object) and `correct` (mask correction,
every click), after `open`, which holds what depends on the image alone; numpy in, numpy out. Frames are
batched: one entry, or two when flip test-time augmentation is on (the frame, then its mirror). Other methods
call their network as a whole: `emclick.runtimes.network.NetworkRuntime`.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from emclick.clicks import ClickMaps, DiskPatch

Float = NDArray[np.float32]


@dataclass(frozen=True)
class CorrectionInput:
    """Everything a click changes, for a batch of B frames of size (H, W) and N clicks.

    Attributes:
        maps: disk and distance maps of each frame.
        points: (B, N, 2) float32, (row, column) of the clicks in each frame, in the order made.
        positive: (N,) bool, the clicks' polarity.
        previous_logits: (B, 1, H/4, W/4) float32, the mask before this click.
    """

    maps: Sequence[ClickMaps]
    points: Float
    positive: NDArray[np.bool_]
    previous_logits: Float

    @property
    def disks(self) -> Float:
        """(B, H/4, W/4, 32) float32 in {0, 1}; see `ClickMaps.disks`."""
        return np.stack([each.disks() for each in self.maps])

    @property
    def distances(self) -> Float:
        """(B, 2, H/4, W/4) float32; positive, then negative distance map (METHOD, "Click encodings")."""
        return np.stack([each.distances() for each in self.maps])


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
    """A runtime over the parts of a network (`emclick.networks.split`).

    A subclass runs each part. Everything between parts stays in its own kind of array, of which this class
    knows nothing; what is called Float is numpy, contiguous.

    What clicks' disks add to the first layer's sums is computed once per click, on a few cells, and written into
    the image's sums for as long as a correction runs.

    Attributes:
        channels_last: how the sums are kept.
    """

    channels_last = False

    @cached_property
    def _shares(self) -> WeakKeyDictionary[DiskPatch, Any]:
        return WeakKeyDictionary()

    @abstractmethod
    def run(self, part: str, *arrays: Any) -> Sequence[Any]:
        """One part of `emclick.graphs.GRAPHS` on its inputs in order -> its outputs in order.

        Inputs that the caller makes are contiguous float32 numpy, others are outputs of an earlier part.
        """

    def to_numpy(self, output: Any) -> Float:
        """An output as float32 numpy."""
        return output

    def duplicate(self, output: Any) -> Any:
        """A copy of an output, or of a part of one."""
        return output.copy()

    def open(self, frames: Float) -> list[Sequence[Any]]:
        return [self.run("image", np.ascontiguousarray(frame[None])) for frame in frames]

    def first(self, image: list[Sequence[Any]], click_map: Float) -> tuple[list[Any], Float]:
        results = [
            self.run("first", opened, each[None]) for (opened, *_), each in zip(image, click_map, strict=True)
        ]
        coarse = np.concatenate([self.to_numpy(logits) for logits, _ in results])
        return [feature_sums for _, feature_sums in results], coarse

    def correct(self, image: list[Sequence[Any]], features: list[Any], inputs: CorrectionInput) -> Float:
        positive = inputs.positive.astype(np.float32)
        logits = []
        for (_, sums, *kept), feature_sums, maps, points, previous in zip(
            image, features, inputs.maps, inputs.points, inputs.previous_logits, strict=True
        ):
            changed = (maps.distances()[None], points[None], positive, previous[None])
            with self._clicked(sums, maps.patches()):
                logits += self.run("correction", sums, *kept, feature_sums, *changed)
        return np.concatenate([self.to_numpy(each) for each in logits])

    @contextmanager
    def _clicked(self, sums: Any, patches: Sequence[DiskPatch]) -> Iterator[None]:
        """`sums` of the image hold those of the disks too, until the end of the context."""
        spots = [self._spot(sums, patch) for patch in patches]
        before = [self.duplicate(spot) for spot in spots]
        try:
            for spot, patch in zip(spots, patches):
                spot += self._share(patch)
            yield
        finally:
            for spot, old in zip(spots, before):
                spot[...] = old

    def _spot(self, sums: Any, patch: DiskPatch) -> Any:
        """Where in `sums` a patch is."""
        rows, columns = (
            slice(start, start + size) for start, size in zip((patch.top, patch.left), patch.cells.shape)
        )
        return sums[:, rows, columns] if self.channels_last else sums[:, :, rows, columns]

    def _share(self, patch: DiskPatch) -> Any:
        if patch not in self._shares:
            [self._shares[patch]] = self.run("click", patch.cells[None])
        return self._shares[patch]
