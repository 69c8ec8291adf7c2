"""The mixed training set: determinism, weights, crops that hold their object."""

from __future__ import annotations

import gc
import os
import pickle
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from emclick.data.augment import Augmentation, Window
from emclick.data.objects import ObjectRule
from emclick.data.sample import Sample, SampleObject
from emclick.data.training_set import MixedSet, TrainingSample, cut_sample, cut_target
from emclick.errors import DatasetError, RecipeError, UnknownNameError

SHARED = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "train"

AUGMENTATION = Augmentation(crop_hw=(48, 64), scale=(0.8, 1.5), scale_base="crop")
PLAIN = replace(AUGMENTATION, tone_probability=0.0, shift_probability=0.0)
RULE = ObjectRule(min_area_px=40)


@dataclass(frozen=True)
class Blocks:
    """Images of one colour with a rectangle of another, value = object number; the object is green."""

    name: str
    count: int
    groups: Sequence[str]
    shape: tuple[int, int] = (90, 120)
    broken: int = -1

    @property
    def keys(self) -> Sequence[str]:
        return [f"{self.name}-{i}" for i in range(self.count)]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        if index == self.broken:
            raise DatasetError(f"{self.keys[index]} is broken")
        rng = np.random.default_rng(index)
        height, width = self.shape
        layer = np.zeros(self.shape, np.uint8)
        for value in (1, 2):
            top, left = rng.integers(0, height - 30), rng.integers(0, width - 30)
            layer[top : top + 28, left : left + 20] = value
        image = np.zeros((*self.shape, 3), np.uint8)
        image[layer == 0] = (200, 0, 0)
        image[layer == 1] = (0, 120, 0)
        image[layer == 2] = (0, 240, 0)
        ignore = np.zeros(self.shape, bool)
        ignore[:, :6] = True
        objects = [SampleObject("1", 1), SampleObject("2", 2)]
        return Sample(self.keys[index], image, [layer], objects, ignore, self.groups[index])


def blocks(name: str = "blocks", count: int = 6, **options: object) -> Blocks:
    return Blocks(name, count, groups=["even" if i % 2 == 0 else "odd" for i in range(count)], **options)  # pyright: ignore


def mixed(seed: int = 0) -> MixedSet:
    return MixedSet([(blocks(), 1.0)], AUGMENTATION, RULE, seed)


def assert_same(a: TrainingSample, b: TrainingSample) -> None:
    assert np.array_equal(a.image, b.image)
    assert np.array_equal(a.target, b.target)
    assert (a.first_click, a.key, a.objects) == (b.first_click, b.key, b.objects)


def test_a_number_gives_the_same_sample_in_any_order() -> None:
    forward = [mixed().get(n) for n in range(12)]
    backward = mixed()
    for n in reversed(range(12)):
        assert_same(backward.get(n), forward[n])


def test_numbers_and_seeds_differ() -> None:
    set0, set1 = mixed(0), mixed(1)
    images = {
        sample.image.tobytes()
        for sample in [set0.get(n) for n in range(20)] + [set1.get(n) for n in range(20)]
    }
    assert len(images) == 40


def test_sample_is_well_formed() -> None:
    training = mixed()
    for n in range(60):
        sample = training.get(n)
        assert sample.image.shape == (48, 64, 3)
        assert sample.image.dtype == np.uint8
        assert sample.image.flags.c_contiguous
        assert sample.target.shape == (48, 64)
        assert sample.target.dtype == np.int8
        assert set(np.unique(sample.target)) <= {-1, 0, 1}
        row, column = sample.first_click
        assert sample.target[row, column] == 1
        area = (sample.target == 1).sum()
        assert area >= 40
        assert area <= RULE.max_share * (sample.target != -1).sum()


def test_image_and_target_stay_together_through_flip_and_scale() -> None:
    training = MixedSet([(blocks(), 1.0)], PLAIN, replace(RULE, merge_probability=0.0), 0)
    agree = total = 0
    for n in range(60):
        sample = training.get(n)
        green = {"1": 120, "2": 240}[sample.objects[0]]
        seen = np.abs(sample.image[..., 1].astype(int) - green) < 40
        valid = sample.target != -1
        agree += (seen == (sample.target == 1))[valid].sum()
        total += valid.sum()
    assert agree / total > 0.985  # only blended edges differ


def test_weights_of_sources_and_collections() -> None:
    members = [(blocks("a"), {"even": 3.0, "odd": 1.0}), (blocks("b"), 4.0)]
    training = MixedSet(members, AUGMENTATION, RULE, 0)
    keys = [training.get(n).key for n in range(800)]
    share = Counter((key[0], int(key[2:]) % 2 if key[0] == "a" else "-") for key in keys)
    assert abs(share["a", 0] / 800 - 3 / 8) < 0.05
    assert abs(share["a", 1] / 800 - 1 / 8) < 0.05
    assert abs(share["b", "-"] / 800 - 1 / 2) < 0.05
    assert len(set(keys)) == 12


def test_a_collection_of_weight_zero_or_unnamed_is_not_used() -> None:
    for weights in ({"even": 1.0}, {"even": 1.0, "odd": 0.0}):
        training = MixedSet([(blocks(), weights)], AUGMENTATION, RULE, 0)
        assert {int(training.get(n).key[-1]) % 2 for n in range(40)} == {0}


@pytest.mark.parametrize(
    ("weights", "error"),
    [
        ({"evne": 1.0}, UnknownNameError),
        (0.0, RecipeError),
        (-1.0, RecipeError),
        ({"odd": float("nan")}, RecipeError),
    ],
)
def test_weights_that_cannot_be_used(weights: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        MixedSet([(blocks(), weights)], AUGMENTATION, RULE, 0)  # pyright: ignore[reportArgumentType]


def test_table_of_weights_needs_collections() -> None:
    class Bare:
        name = "bare"
        keys = ("a",)

        def __len__(self) -> int:
            return 1

        def __getitem__(self, index: int) -> Sample:
            return blocks()[0]

    with pytest.raises(RecipeError, match="bare"):
        MixedSet([(Bare(), {"x": 1.0})], AUGMENTATION, RULE, 0)
    assert MixedSet([(Bare(), 1.0)], AUGMENTATION, RULE, 0).get(0).key == "blocks-0"


def test_a_broken_sample_is_not_hidden() -> None:
    training = MixedSet([(blocks(count=2, broken=1), 1.0)], AUGMENTATION, RULE, 0)
    with pytest.raises(DatasetError, match="blocks-1"):
        [training.get(n) for n in range(20)]


def test_no_usable_object_ends_with_an_error() -> None:
    training = MixedSet([(blocks(), 1.0)], AUGMENTATION, ObjectRule(min_area_px=3000), 0)
    with pytest.raises(DatasetError, match="min_area_px"):
        training.get(5)


def test_merged_objects_are_both_the_target() -> None:
    layer = np.zeros((40, 60), np.uint8)
    layer[5:15, 5:15], layer[20:30, 30:50] = 1, 2
    objects = [SampleObject("1", 1), SampleObject("2", 2)]
    sample = Sample("k", np.zeros((40, 60, 3), np.uint8), [layer], objects)
    augmentation = replace(PLAIN, crop_hw=(40, 60))
    full = Window(0, 0, 40, 60)
    target, kept = cut_target(sample, objects, full, False, augmentation, min_area_px=40)
    assert kept == ("1", "2")
    assert np.array_equal(target == 1, layer > 0)
    target, kept = cut_target(sample, objects, full, False, augmentation, min_area_px=150)
    assert kept == ("2",)  # a sliver of the other is background
    assert np.array_equal(target, (layer == 2).astype(np.int8))
    rule = ObjectRule(min_area_px=40, merge_probability=1.0)
    drawn = [cut_sample(sample, augmentation, rule, np.random.default_rng(i)) for i in range(20)]
    assert any(cut is not None and len(cut.objects) == 2 for cut in drawn)


def test_padding_is_ignored_or_background() -> None:
    sample = blocks()[0]
    assert sample.ignore is not None
    window = Window(-5, -10, 110, 140)
    for value in (-1, 0):
        augmentation = replace(PLAIN, crop_hw=(110, 140), padding_target=value)
        target, _ = cut_target(sample, sample.objects, window, False, augmentation, 1)
        padded = np.ones((110, 140), bool)
        padded[5:95, 10:130] = False
        assert (target[padded] == value).all()
        assert np.array_equal(target[5:95, 10:130] == -1, sample.ignore)
        assert np.array_equal(target[5:95, 10:130] == 1, (sample.layers[0] > 0) & ~sample.ignore)
        flipped, _ = cut_target(sample, sample.objects, window, True, augmentation, 1)
        assert np.array_equal(flipped, target[:, ::-1])


def test_a_small_object_in_a_large_image_is_found() -> None:
    """One window in 80 holds it by chance, the guided ones always do."""
    layer = np.zeros((400, 600), np.uint8)
    layer[300:312, 500:512] = 1
    sample = Sample("k", np.zeros((400, 600, 3), np.uint8), [layer], [SampleObject("1", 1)])
    augmentation = Augmentation(crop_hw=(48, 64), scale=(1.0, 1.0), scale_base="image")
    rule = ObjectRule(min_area_px=40)
    found = [cut_sample(sample, augmentation, rule, np.random.default_rng(i)) for i in range(50)]
    assert sum(cut is not None for cut in found) >= 45


def test_zoom_shows_the_object_whole_and_at_the_size_asked_for() -> None:
    zooming = replace(PLAIN, zoom_probability=1.0, zoom=(0.6, 0.8))
    mixed = MixedSet(
        [(Blocks("blocks", 6, ["a"] * 6, (300, 400)), 1.0)], zooming, replace(RULE, merge_probability=0.0), 0
    )
    seen = set()
    for n in range(40):
        sample = mixed.get(n)
        rows, columns = np.nonzero(sample.target == 1)
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        seen.add(int(height))
        assert 0.6 * 48 - 2 <= height <= 0.8 * 48 + 2
        # whole, unless the other object or the ignored border lies over it
        assert width <= height * 20 / 28 + 2
    assert len(seen) > 5


def test_zoom_of_none_leaves_the_samples_of_older_recipes_as_they_were() -> None:
    source = Blocks("blocks", 6, ["a"] * 6)
    plain = MixedSet([(source, 1.0)], AUGMENTATION, RULE, 0)
    other = MixedSet([(source, 1.0)], replace(AUGMENTATION, zoom=(0.1, 0.2)), RULE, 0)
    for n in range(8):
        assert_same(plain.get(n), other.get(n))


def test_areas_count_at_the_scale_of_the_crop() -> None:
    layer = np.zeros((40, 40), np.uint8)
    layer[10:15, 20:25] = 1  # 25 px, 225 after enlarging three times
    sample = Sample("k", np.zeros((40, 40, 3), np.uint8), [layer], [SampleObject("1", 1)])
    augmentation = Augmentation(crop_hw=(120, 120), scale=(3.0, 3.0), scale_base="image")
    cut = cut_sample(sample, augmentation, ObjectRule(min_area_px=200), np.random.default_rng(0))
    assert cut is not None
    assert 215 < (cut.target == 1).sum() < 230  # corners are rounded


def test_an_object_that_fills_the_crop_is_left_out() -> None:
    layer = np.ones((48, 64), np.uint8)
    sample = Sample("k", np.zeros((48, 64, 3), np.uint8), [layer], [SampleObject("1", 1)])
    assert cut_sample(sample, PLAIN, RULE, np.random.default_rng(0)) is None


# --- batches --------------------------------------------------------------------------------------------


def test_batches_do_not_depend_on_workers_or_restart() -> None:
    torch = pytest.importorskip("torch")
    training = mixed()
    alone = list(training.batches(0, 10, 4))
    assert [len(batch.images) for batch in alone] == [4, 4, 2]
    helped = list(training.batches(0, 10, 4, workers=2))
    resumed = list(training.batches(4, 10, 4))
    for a, b in [*zip(alone, helped), *zip(alone[1:], resumed)]:
        for x, y in zip(a, b):
            assert torch.equal(x, y)
    batch = alone[1]
    assert batch.images.shape == (4, 48, 64, 3)
    assert (batch.images.dtype, batch.targets.dtype) == (torch.uint8, torch.int8)
    assert batch.numbers.tolist() == [4, 5, 6, 7]
    for i, n in enumerate(batch.numbers.tolist()):
        sample = training.get(n)
        assert np.array_equal(batch.images[i].numpy(), sample.image)
        assert np.array_equal(batch.targets[i].numpy(), sample.target)
        assert tuple(batch.first_clicks[i].tolist()) == sample.first_click


def test_workers_inherit_no_garbage() -> None:
    """The end of an inference session, collected in a fork, waits for threads that the fork does not have."""
    pytest.importorskip("torch")
    ended: list[int] = []

    class Session:
        def __init__(self) -> None:
            self.cycle = self

        def __del__(self) -> None:
            ended.append(os.getpid())

    gc.collect()
    gc.disable()
    try:
        Session()
        assert ended == []
        assert len(list(mixed().batches(0, 4, 2, workers=1))) == 2
        assert ended == [os.getpid()]
        assert gc.get_freeze_count() == 0
    finally:
        gc.enable()


def test_processes_share_the_numbers() -> None:
    pytest.importorskip("torch")
    training = mixed()
    parts = [
        [batch.numbers.tolist() for batch in training.batches(0, 12, 3, rank=rank, world_size=2)]
        for rank in range(2)
    ]
    assert parts == [[[0, 1, 2], [6, 7, 8]], [[3, 4, 5], [9, 10, 11]]]


def test_global_random_states_are_left_alone() -> None:
    torch = pytest.importorskip("torch")
    before = torch.get_rng_state(), pickle.dumps(np.random.get_state()), random.getstate()  # noqa: NPY002
    list(mixed().batches(0, 4, 2, workers=1))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert pickle.dumps(np.random.get_state()) == before[1]  # noqa: NPY002
    assert random.getstate() == before[2]


def test_an_error_in_a_worker_names_the_sample() -> None:
    pytest.importorskip("torch")
    training = MixedSet([(blocks(count=1, broken=0), 1.0)], AUGMENTATION, RULE, 0)
    with pytest.raises(DatasetError, match="blocks-0"):
        list(training.batches(0, 4, 2, workers=1))


def test_the_shared_mix() -> None:
    if not SHARED.is_dir():
        pytest.skip("the shared training mix is not here")
    from emclick.data.sources.shards import open_shards

    source = open_shards(SHARED, "mix-00.tar")
    weights = {"voc_animals": 0.5, "ccp": 0.5}
    training = MixedSet([(source, weights)], replace(AUGMENTATION, crop_hw=(96, 96)), ObjectRule(200), 0)
    drawn = [training.get(n) for n in range(60)]
    assert {sample.key.split("__")[0] for sample in drawn} == set(weights)
    clothed = [sample for sample in drawn if sample.key.startswith("ccp")]
    wholes = sum(sample.objects == ("whole",) for sample in clothed)
    assert 0.2 < wholes / len(clothed) < 0.8
