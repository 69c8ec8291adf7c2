"""What a runtime is: something that runs a model's networks. Nothing about sessions.

The runtime of EMC makes two calls, `first` (base network, once per object) and `correct` (mask correction,
every click), after `open`, which holds what depends on the image alone; numpy in, numpy out. Frames are
batched: one entry, or two when flip test-time augmentation is on (the frame, then its mirror). Other methods
call their network as a whole: `emclick.runtimes.network.NetworkRuntime`.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emclick.clicks import ClickMaps, DiskPatch

Float = NDArray[np.float32]

_CLICKS_EXACT = 16  # twice as many cost a fiftieth of a correction
_SHARES_KEPT = 32  # of clicks, some 20 KB each: going to another object and back is cheap


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


@dataclass(eq=False)
class KeptFrame:
    """What is kept of an image's frame between calls, in the runtime's own kind of array.

    Attributes:
        opened: what the base network keeps.
        sums: the image's share of the correction network's first layer, and that of the disks of `shown`.
        weights: how the mask before is upsampled, for rows and for columns.
        pristine: `sums` without disks.
        shown: patches of disk maps, in the order added.
    """

    opened: Any
    sums: Any
    weights: Sequence[Any]
    pristine: Any
    shown: tuple[DiskPatch, ...] = ()


def padded_count(clicks: int) -> int:
    """How many clicks the networks are given: as many, or beyond `_CLICKS_EXACT` the next power of two."""
    return clicks if clicks <= _CLICKS_EXACT else 1 << (clicks - 1).bit_length()


class PartsRuntime(EmcRuntime):
    """A runtime over the parts of a network (`emclick.networks.split`).

    A subclass runs each part. Everything between parts stays in its own kind of array, of which this class
    knows nothing; what is called Float is numpy, contiguous.

    What a click's disk adds to the first layer's sums is computed on a few cells and added to the image's once; the
    next click finds it there.

    Attributes:
        channels_last: how the sums are kept.
    """

    channels_last = False

    @abstractmethod
    def run(self, part: str, *arrays: Any) -> Sequence[Any]:
        """One part of `emclick.graphs.GRAPHS` on its inputs in order -> its outputs in order.

        Inputs that the caller makes are contiguous float32 numpy, others are outputs of an earlier part.
        """

    def to_numpy(self, output: Any) -> Float:
        """An output as float32 numpy."""
        return output

    def duplicate(self, output: Any) -> Any:
        """A copy of an output."""
        return output.copy()

    def open(self, frames: Float) -> list[KeptFrame]:
        kept = (self.run("image", np.ascontiguousarray(frame[None])) for frame in frames)
        # copied here and not by the first click, which is waited for
        return [KeptFrame(opened, sums, weights, self.duplicate(sums)) for opened, sums, *weights in kept]

    def first(self, image: list[KeptFrame], click_map: Float) -> tuple[list[Any], Float]:
        results = [
            self.run("first", kept.opened, each[None]) for kept, each in zip(image, click_map, strict=True)
        ]
        coarse = np.concatenate([self.to_numpy(logits) for logits, _ in results])
        return [feature_sums for _, feature_sums in results], coarse

    def correct(self, image: list[KeptFrame], features: list[Any], inputs: CorrectionInput) -> Float:
        # the last click again and again changes nothing: so that not every click is a shape of its own to a runtime,
        # which keeps memory for each or makes ready for it
        every_points, positive = inputs.points, inputs.positive.astype(np.float32)
        count = len(positive)
        if (padded := padded_count(count)) != count:
            which = np.minimum(np.arange(padded), count - 1)
            every_points, positive = every_points[:, which], positive[which]
        logits = []
        for kept, feature_sums, maps, points, previous in zip(
            image, features, inputs.maps, every_points, inputs.previous_logits, strict=True
        ):
            self._show(kept, maps.patches)
            changed = (maps.distances()[None], points[None], positive, previous[None])
            logits += self.run("correction", kept.sums, *kept.weights, feature_sums, *changed)
        frames = [self.to_numpy(each) for each in logits]
        return frames[0] if len(frames) == 1 else np.concatenate(frames)

    def _show(self, kept: KeptFrame, patches: tuple[DiskPatch, ...]) -> None:
        """Have the sums hold the share of these disks alone, to the same bits whatever was shown before."""
        if patches[: len(kept.shown)] != kept.shown:
            for patch in kept.shown:
                kept.sums[self._spot(patch)] = kept.pristine[self._spot(patch)]
            kept.shown = ()
        for patch in patches[len(kept.shown) :]:
            kept.sums[self._spot(patch)] += self._share(patch)
            kept.shown = (*kept.shown, patch)

    def _spot(self, patch: DiskPatch) -> tuple[slice, ...]:
        """Where in the sums a patch is."""
        (height, width), every = patch.hw, slice(None)
        rows, columns = slice(patch.top, patch.top + height), slice(patch.left, patch.left + width)
        return (every, rows, columns) if self.channels_last else (every, every, rows, columns)

    @cached_property
    def _shares(self) -> OrderedDict[DiskPatch, Any]:
        return OrderedDict()

    def _share(self, patch: DiskPatch) -> Any:
        """What a patch adds to the sums. The latest few are kept."""
        if patch not in self._shares:
            [self._shares[patch]] = self.run("click", patch.cells()[None])
            if len(self._shares) > _SHARES_KEPT:
                self._shares.popitem(last=False)
        return self._shares[patch]
