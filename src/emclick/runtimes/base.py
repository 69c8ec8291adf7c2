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
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from emclick.clicks import ClickMaps, DiskPatch, disk_cells
from emclick.geometry import GRID
from emclick.near import AROUND, FUSED, scaled, within

Float = NDArray[np.float32]

_CLICKS_EXACT = 16  # twice as many cost a fiftieth of a correction


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
    """Runs the networks of an EMC model.

    Attributes:
        fuses: whether `fuse` does anything.
    """

    fuses: ClassVar[bool] = False

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

    def fuse(self, image: Any, features: Any, maps: Sequence[ClickMaps], previous_logits: Float) -> Any:
        """Do of the next correction what no click changes, before there is one: to be asked only where `fuses` is True.

        Args:
            image: what `open` returned.
            features: what `first` returned.
            maps: of the clicks so far.
            previous_logits: (B, 1, H/4, W/4) float32, the mask so far.

        Returns:
            An opaque handle for `correct`.
        """
        return None

    @abstractmethod
    def correct(self, image: Any, features: Any, inputs: CorrectionInput, fused: Any = None) -> Float:
        """Run the mask correction network; returns logits (B, 1, H/4, W/4) float32.

        `fused` is what `fuse` gave for all but the last click of `inputs`, if it was called; the result is the same to
        the bit.
        """


@dataclass(frozen=True, eq=False)
class KeptFrame:
    """What is kept of an image's frame between calls, in the runtime's own kind of array.

    Attributes:
        opened: what the base network keeps.
        sums: the image's share of the correction network's first layer.
        rows, columns: how the mask before is upsampled.
        around: the maps of the base network that feel a click near it alone, without one.
    """

    opened: Any
    sums: Any
    rows: Any
    columns: Any
    around: tuple[Any, ...]


@dataclass(frozen=True, eq=False)
class FusedFrame:
    """A frame's fused feature before a click.

    A click writes into it, and leaves what it takes to undo that.

    Attributes:
        sums: the image's and the mask's share of the correction network's first layer.
        arrays: the outputs of `fuse`, each (1, h, w, ...), in the runtime's own kind of array.
        patches: of the clicks before.
        changed: where the last click that used it wrote into `arrays`, and what was there.
    """

    sums: Any
    arrays: Sequence[Any]
    patches: tuple[DiskPatch, ...]
    changed: list[tuple[tuple[slice, ...], list[Any]]] = field(default_factory=list)


def padded_count(clicks: int) -> int:
    """How many clicks the networks are given: as many, or beyond `_CLICKS_EXACT` the next power of two."""
    return clicks if clicks <= _CLICKS_EXACT else 1 << (clicks - 1).bit_length()


class PartsRuntime(EmcRuntime):
    """A runtime over the parts of a network (`emclick.networks.split`).

    A subclass runs each part. Everything between parts stays in its own kind of array, of which this class
    knows nothing; what is called Float is numpy, contiguous.

    A click changes the fused feature near it alone. So that is made without the click first, in `fuse`, and again
    at the click on the cells near it: always both, unless it is the first, so that results do not depend on whether
    `fuse` was called. Likewise the first layers of the base network, in `open` and `first`.
    """

    fuses = True

    @abstractmethod
    def run(self, part: str, *arrays: Any, brief: bool = False) -> Sequence[Any]:
        """One of `emclick.graphs.PARTS` on its inputs in order -> its outputs in order.

        Inputs that the caller makes are contiguous float32 numpy, others are outputs of an earlier part, or slices of
        them. With `brief` outputs need not last beyond the next run.
        """

    def to_numpy(self, output: Any) -> Float:
        """An output as float32 numpy."""
        return output

    def duplicate(self, output: Any) -> Any:
        """A copy of an output, or of a slice of one."""
        return output.copy()

    def open(self, frames: Float) -> list[KeptFrame]:
        kept = []
        for frame in frames:
            opened, sums, rows, columns, *around = self.run("image", np.ascontiguousarray(frame[None]))
            kept.append(KeptFrame(opened, sums, rows, columns, tuple(around)))
        return kept

    def first(self, image: list[KeptFrame], click_map: Float) -> tuple[list[Any], Float]:
        results = [
            self.run("first", *self.around(kept, each)) for kept, each in zip(image, click_map, strict=True)
        ]
        coarse = np.concatenate([self.to_numpy(logits) for logits, _ in results])
        return [feature_sums for _, feature_sums in results], coarse

    def around(self, kept: KeptFrame, click_map: Float) -> Sequence[Any]:
        """The maps of the base network that feel a click near it alone: `kept.around` with that of (1, H, W)."""
        touched = [np.flatnonzero(click_map[0].any(axis)) for axis in (1, 0)]
        if not len(touched[0]):
            return kept.around
        grid_hw = [size // GRID for size in click_map.shape[1:]]
        used, changed = zip(
            *(
                AROUND.window(slice(int(each[0]) // GRID, int(each[-1]) // GRID + 1), size)
                for each, size in zip(touched, grid_hw)
            )
        )

        def of(cells: tuple[slice, slice], map_hw: Sequence[int]) -> tuple[slice, ...]:
            return slice(None), *map(scaled, cells, grid_hw, map_hw)

        disk = np.ascontiguousarray(click_map[of(used, click_map.shape[1:])])
        found = self.run("around", kept.opened[of(used, kept.opened.shape[1:3])], disk[None], brief=True)
        maps = [self.duplicate(each) for each in kept.around]
        for whole, its in zip(maps, found):
            places, beside = (of(each, whole.shape[1:3]) for each in (changed, used))
            whole[places] = its[slice(None), *map(within, places[1:], beside[1:])]
        return maps

    def fuse(
        self, image: list[KeptFrame], features: list[Any], maps: Sequence[ClickMaps], previous_logits: Float
    ) -> list[FusedFrame]:
        return [
            self._fuse(kept, feature_sums, each.patches, previous)
            for kept, feature_sums, each, previous in zip(image, features, maps, previous_logits, strict=True)
        ]

    def correct(
        self, image: list[KeptFrame], features: list[Any], inputs: CorrectionInput,
        fused: list[FusedFrame] | None = None,
    ) -> Float:  # fmt: skip
        # the last click again and again changes nothing: so that not every click is a shape of its own to a runtime,
        # which keeps memory for each or makes ready for it
        every_points, positive = inputs.points, inputs.positive.astype(np.float32)
        count = len(positive)
        if (padded := padded_count(count)) != count:
            which = np.minimum(np.arange(padded), count - 1)
            every_points, positive = every_points[:, which], positive[which]
        logits = []
        for number, (kept, feature_sums, maps, points, previous) in enumerate(
            zip(image, features, inputs.maps, every_points, inputs.previous_logits, strict=True)
        ):
            # of a first click nothing is made before it
            before = maps.patches[: maps.earlier] or maps.patches
            frame = None if fused is None else fused[number]
            if frame is None or frame.patches != before:
                frame = self._fuse(kept, feature_sums, before, previous)
            self._click(frame, feature_sums, maps)
            logits += self.run("correction", *frame.arrays, maps.distances()[None], points[None], positive)
        frames = [self.to_numpy(each) for each in logits]
        return frames[0] if len(frames) == 1 else np.concatenate(frames)

    def _fuse(
        self, kept: KeptFrame, feature_sums: Any, patches: tuple[DiskPatch, ...], previous: Float
    ) -> FusedFrame:
        [sums] = self.run("mask", kept.sums, kept.rows, kept.columns, previous[None])
        disks = disk_cells(patches, (previous.shape[-2], previous.shape[-1]))
        return FusedFrame(sums, self.run("fuse", disks[None], sums, feature_sums), patches)

    def _click(self, frame: FusedFrame, feature_sums: Any, maps: ClickMaps) -> None:
        """Have `frame` hold the fused feature after the last click, which may have brought pixels of its own."""
        # by another click before, which is undone here: seldom, and then not while that was waited for
        while frame.changed:
            place, before = frame.changed.pop()
            for each, its in zip(frame.arrays, before):
                each[place] = its
        if len(frame.patches) == len(maps.patches):
            return
        height, width = grid_hw = maps.grid_hw
        patch = maps.patches[-1]
        (rows, columns), (own_rows, own_columns) = zip(
            FUSED.window(patch.rows, height), FUSED.window(patch.columns, width)
        )
        disks = disk_cells(maps.patches, grid_hw, (rows, columns))
        found = self.run(
            "fuse", disks[None], frame.sums[:, rows, columns], feature_sums[:, rows, columns], brief=True
        )
        changed = slice(None), own_rows, own_columns
        inside = slice(None), within(own_rows, rows), within(own_columns, columns)
        frame.changed.append((changed, [self.duplicate(each[changed]) for each in frame.arrays]))
        for each, its in zip(frame.arrays, found):
            each[changed] = its[inside]
