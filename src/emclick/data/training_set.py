"""Training samples by number, from several weighted sources, augmented.

Sample number n depends on (seed, n) alone: not on the number of workers, nor on where a run was
interrupted. The core needs no torch; `MixedSet.batches` imports it.

Example:
    mixed = MixedSet([(open_shards(root), {"coco": 1.0, "ccp": 0.5})], Augmentation(), ObjectRule(), seed=0)
    for batch in mixed.batches(0, 30_000, batch_size=16, workers=1): ...
"""

from __future__ import annotations

import gc
import signal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from emclick.data.augment import (
    MAX_ENLARGEMENT,
    Augmentation,
    Window,
    apply_tone,
    cut_image,
    cut_mask,
    draw_scale,
    draw_tone,
    draw_window,
    draw_zoom,
)
from emclick.data.damage import damage
from emclick.data.objects import ObjectRule, choose_objects, first_click, object_areas, object_mask
from emclick.data.sample import Sample, SampleObject, Source
from emclick.errors import DatasetError, RecipeError, UnknownNameError

if TYPE_CHECKING:
    import torch

_SAMPLE_TRIES = 20
_OBJECT_TRIES = 3
_WINDOW_TRIES = 3

Weights = float | Mapping[str, float]


@dataclass(frozen=True)
class TrainingSample:
    """One crop with its object.

    Attributes:
        image: (h, w, 3) uint8 RGB.
        target: (h, w) int8: 1 object, 0 background, -1 ignored.
        first_click: (row, column) inside the object, crop pixels.
        key: key of the sample it was cut from.
        objects: ids of the object, or of the two that were merged.
        initial: (h, w) bool, the mask to start from; None to start from nothing.
    """

    image: NDArray[np.uint8]
    target: NDArray[np.int8]
    first_click: tuple[int, int]
    key: str
    objects: tuple[str, ...]
    initial: NDArray[np.bool_] | None = None


class Batch(NamedTuple):
    """B training samples as tensors.

    images (B, h, w, 3) uint8 RGB; targets (B, h, w) int8 in {1, 0, -1}; first_clicks (B, 2) int64
    (row, column); numbers (B,) int64, the samples' numbers; initials (B, h, w) bool, masks to start from, of the
    samples where starts (B,) bool is True.
    """

    images: torch.Tensor
    targets: torch.Tensor
    first_clicks: torch.Tensor
    numbers: torch.Tensor
    initials: torch.Tensor
    starts: torch.Tensor


class MixedSet:
    """Weighted mixture of sources.

    A member's weight is one number, shared evenly by its samples, or a mapping from the names of the
    source's collections (`groups`, as in `Shards`) to a weight each; collections that are not named
    are not used. Weights need not add up to 1. Samples are drawn with replacement.
    """

    def __init__(
        self,
        members: Sequence[tuple[Source, Weights]],
        augmentation: Augmentation,
        rule: ObjectRule,
        seed: int,
    ) -> None:
        """Raise `RecipeError` for weights that cannot be used, `UnknownNameError` for unknown collections."""
        self._sources = [source for source, _ in members]
        self._augmentation = augmentation
        self._rule = rule
        self._seed = seed
        pools: list[tuple[int, NDArray[np.intp], float]] = []
        for number, (source, weights) in enumerate(members):
            named = weights if isinstance(weights, Mapping) else {None: weights}
            groups = np.array(_groups(source) if isinstance(weights, Mapping) else [])
            for name, weight in named.items():
                indices = np.arange(len(source)) if name is None else np.flatnonzero(groups == name)
                if name is None and not indices.size:
                    raise RecipeError(f"source {source.name} is empty")
                if not indices.size:
                    known = sorted(set(groups))
                    raise UnknownNameError("collection", name, known, f"weights of {source.name}")
                if not (np.isfinite(weight) and weight >= 0):
                    raise RecipeError(f"weight of {name or source.name} is {weight}; give a number >= 0")
                pools.append((number, indices, float(weight)))
        total = sum(weight for _, _, weight in pools)
        if not total > 0:
            raise RecipeError("the weights of the training sources add up to 0; give at least one above 0")
        self._pools = [(number, indices) for number, indices, _ in pools]
        self._limits = np.cumsum([weight / total for _, _, weight in pools])

    def get(self, n: int) -> TrainingSample:
        """Training sample number `n` (>= 0).

        Samples without a usable object are passed over, at most 20 in a row.

        Raises:
            DatasetError: a sample is broken (names it), or none of 20 holds a large enough object.
        """
        rng = np.random.default_rng((self._seed, n))
        for _ in range(_SAMPLE_TRIES):
            pool = min(int(np.searchsorted(self._limits, rng.random(), side="right")), len(self._pools) - 1)
            number, indices = self._pools[pool]
            sample = self._sources[number][int(indices[rng.integers(indices.size)])]
            cut = cut_sample(sample, self._augmentation, self._rule, rng)
            if cut is not None:
                return cut
        raise DatasetError(
            f"training sample {n}: {_SAMPLE_TRIES} samples in a row hold no object of at least "
            f"{self._rule.min_area_px} px in the crop; lower min_area_px or raise the scale"
        )

    def batches(
        self,
        start: int,
        stop: int,
        batch_size: int,
        workers: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> Iterator[Batch]:
        """Samples `start` .. `stop` - 1 in order, `batch_size` at a time (the last batch may be smaller).

        Of several processes, each takes its own `batch_size` of every `batch_size * world_size` samples.
        `workers` processes prepare samples ahead; 0 prepares them in this one. Torch's global random
        state is not touched.

        Raises:
            DatasetError: as `get`, also out of a worker.
        """
        import torch
        from torch.utils.data import DataLoader

        stride = batch_size * world_size
        plan = [
            list(range(first, min(first + batch_size, stop)))
            for first in range(start + rank * batch_size, stop, stride)
        ]
        loader = DataLoader(
            _Numbered(self),  # pyright: ignore[reportArgumentType]  (map-style by duck typing, torch-free)
            batch_sampler=plan,
            num_workers=workers,
            collate_fn=_collate,
            worker_init_fn=_init_worker,
            generator=torch.Generator(),
        )
        yield from _started(loader)


def _started(loader: Iterable[Any]) -> Iterator[Any]:
    """The loader's iterator, whose workers are forked here.

    What a fork inherits must not be collected there: the end of an inference session waits for threads that the
    fork does not have.
    """
    gc.collect()
    gc.freeze()
    try:
        return iter(loader)
    finally:
        gc.unfreeze()


def cut_sample(
    sample: Sample, augmentation: Augmentation, rule: ObjectRule, rng: np.random.Generator
) -> TrainingSample | None:
    """One augmented crop of `sample` with an object chosen by `rule`, or None if none fits.

    Scale and object are drawn up to three times. For each, the first window is uniform over the image
    and the next two contain a random pixel of the object; with zoom all contain the object.
    """
    areas = object_areas(sample)
    image_hw = (sample.image.shape[0], sample.image.shape[1])
    crop_hw = (augmentation.crop_hw[0], augmentation.crop_hw[1])
    for _ in range(_OBJECT_TRIES):
        scale = draw_scale(image_hw, augmentation, rng)
        # without zoom no number is drawn: the samples of older recipes stay as they were
        zooms = augmentation.zoom_probability > 0 and rng.random() < augmentation.zoom_probability
        enlarged = MAX_ENLARGEMENT if zooms else scale
        chosen = choose_objects(sample, areas * enlarged**2, rule, rng)
        if not chosen:
            continue
        box = None
        if zooms:
            box = _box(sample, chosen)
            scale = draw_zoom(box, image_hw, augmentation, rng)
        for attempt in range(_WINDOW_TRIES):
            around = box or (_random_pixel(sample, chosen[0], rng) if attempt else None)
            window = draw_window(image_hw, scale, crop_hw, rng, around)
            flip = bool(rng.random() < augmentation.flip_probability)
            target, kept = cut_target(sample, chosen, window, flip, augmentation, rule.min_area_px)
            area, valid = np.count_nonzero(target == 1), np.count_nonzero(target != -1)
            if area >= rule.min_area_px and area <= rule.max_share * valid:
                image = apply_tone(
                    cut_image(sample.image, window, crop_hw, flip), draw_tone(augmentation, rng)
                )
                click = first_click(target, rng)
                return TrainingSample(
                    image, target, click, sample.key, kept, _initial(target, augmentation, rng)
                )
    return None


def _initial(
    target: NDArray[np.int8], augmentation: Augmentation, rng: np.random.Generator
) -> NDArray[np.bool_] | None:
    if augmentation.initial_probability == 0 or rng.random() >= augmentation.initial_probability:
        return None
    return damage(target, rng, *augmentation.initial_iou)


def cut_target(
    sample: Sample,
    chosen: Sequence[SampleObject],
    window: Window,
    flip: bool,
    augmentation: Augmentation,
    min_area_px: int,
) -> tuple[NDArray[np.int8], tuple[str, ...]]:
    """Target (h, w) int8 of the chosen objects in `window`, and the ids of those that are in it.

    An object with fewer than `min_area_px` pixels in the crop is left out (background), so that of two
    merged ones no sliver remains.
    """
    crop_hw = (augmentation.crop_hw[0], augmentation.crop_hw[1])
    image_hw = (sample.image.shape[0], sample.image.shape[1])
    inside = window.inside(image_hw)
    local = Window(
        min(window.top, 0), min(window.left, 0), window.height, window.width
    )  # the same window, in the coordinates of the part that lies in the image
    ignored = np.zeros(crop_hw, bool)
    if sample.ignore is not None:
        ignored = cut_mask(sample.ignore[inside], local, crop_hw, flip)
    target = np.zeros(crop_hw, np.int8)
    kept = []
    for obj in chosen:
        mask = cut_mask(object_mask(sample.layers, obj, inside), local, crop_hw, flip) & ~ignored
        if np.count_nonzero(mask) >= min_area_px:
            target[mask] = 1
            kept.append(obj.id)
    target[ignored] = -1
    if augmentation.padding_target != 0 and (window.height > image_hw[0] or window.width > image_hw[1]):
        covered = np.ones((inside[0].stop - inside[0].start, inside[1].stop - inside[1].start), bool)
        target[~cut_mask(covered, local, crop_hw, flip)] = augmentation.padding_target
    return target, tuple(kept)


def _random_pixel(sample: Sample, obj: SampleObject, rng: np.random.Generator) -> Window:
    pixels = np.flatnonzero(sample.layers[obj.layer] == obj.value)
    row, column = divmod(int(pixels[rng.integers(pixels.size)]), sample.layers[obj.layer].shape[1])
    return Window(row, column, 1, 1)


def _box(sample: Sample, chosen: Sequence[SampleObject]) -> Window:
    """The box of all of them together."""
    union = np.zeros(sample.image.shape[:2], np.uint8)
    for obj in chosen:
        union |= sample.layers[obj.layer] == obj.value
    left, top, width, height = cv2.boundingRect(union)
    return Window(top, left, height, width)


def _groups(source: Source) -> Sequence[str]:
    groups = getattr(source, "groups", None)
    if groups is None:
        raise RecipeError(f"source {source.name} has no collections; give it one weight, not a table")
    return groups


class _Numbered:
    """`MixedSet` with the number kept, as the data loader wants it."""

    def __init__(self, mixed: MixedSet) -> None:
        self._mixed = mixed

    def __getitem__(self, n: int) -> tuple[int, TrainingSample]:
        return n, self._mixed.get(n)


def _collate(items: Sequence[tuple[int, TrainingSample]]) -> Batch:
    import torch

    return Batch(
        torch.from_numpy(np.stack([sample.image for _, sample in items])),
        torch.from_numpy(np.stack([sample.target for _, sample in items])),
        torch.tensor([sample.first_click for _, sample in items], dtype=torch.int64),
        torch.tensor([n for n, _ in items], dtype=torch.int64),
        torch.from_numpy(
            np.stack(
                [
                    np.zeros(sample.target.shape, np.bool_) if sample.initial is None else sample.initial
                    for _, sample in items
                ]
            )
        ),
        torch.tensor([sample.initial is not None for _, sample in items]),
    )


def _init_worker(_: int) -> None:
    cv2.setNumThreads(0)  # the cores belong to the training
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the training's to answer; it ends its workers
