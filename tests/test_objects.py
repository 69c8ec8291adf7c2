"""Choice of objects and first click."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from emclick.data.objects import (
    WHOLE_ID,
    ObjectRule,
    choose_objects,
    edge_distance,
    first_click,
    object_areas,
)
from emclick.data.sample import Sample, SampleObject
from emclick.errors import MaskError, RecipeError

CERTAIN = ObjectRule(
    min_area_px=10, merge_probability=0.0, stuff_probability=0.0, whole_probability=0.0, max_share=1.0
)


def make_sample(*, whole: bool = False, stuff: bool = False) -> Sample:
    layer = np.zeros((20, 30), np.uint8)
    layer[0:5, 0:10] = 1  # 50 px
    layer[10:14, 2:22] = 2  # 80 px
    layer[18:20, 0:3] = 3  # 6 px
    layer[0:5, 20:30] = 4  # 50 px
    ignore = np.zeros((20, 30), bool)
    ignore[0, 0:10] = True  # takes 10 px of object 1
    objects = [SampleObject(str(i), i) for i in (1, 2, 3)]
    objects.append(SampleObject("4", 4, whole=not stuff))
    layers: list[NDArray[np.integer]] = [layer]
    if whole:
        layers.append((layer > 0).astype(np.int32))
        objects.append(SampleObject(WHOLE_ID, 1, layer=1))
    return Sample("k", np.zeros((20, 30, 3), np.uint8), layers, objects, ignore)


def choices(sample: Sample, rule: ObjectRule, count: int = 2000, scale: float = 1.0) -> list[tuple[str, ...]]:
    rng = np.random.default_rng(0)
    areas = object_areas(sample) * scale
    return [tuple(obj.id for obj in choose_objects(sample, areas, rule, rng)) for _ in range(count)]


def test_areas_leave_out_ignored_pixels() -> None:
    assert object_areas(make_sample(whole=True)).tolist() == [40, 80, 6, 50, 176]


def test_areas_of_large_and_negative_labels() -> None:
    layer = np.zeros((8, 8), np.int64)
    layer[:2], layer[2:3], layer[3:4] = 70_000, 5, -1
    objects = [SampleObject("a", 70_000), SampleObject("b", 5), SampleObject("c", 6)]
    sample = Sample("k", np.zeros((8, 8, 3), np.uint8), [layer], objects)
    assert object_areas(sample).tolist() == [16, 8, 0]


def test_small_objects_are_never_chosen() -> None:
    counts = Counter(choices(make_sample(), CERTAIN))
    assert set(counts) == {("1",), ("2",), ("4",)}
    assert all(abs(n / 2000 - 1 / 3) < 0.04 for n in counts.values())


def test_area_limit_holds_at_the_scale_of_the_crop() -> None:
    assert set(choices(make_sample(), CERTAIN, 50, scale=0.15)) == {("2",)}
    assert set(choices(make_sample(), CERTAIN, 50, scale=0.01)) == {()}
    assert ("3",) in set(choices(make_sample(), CERTAIN, 200, scale=2.0))


def test_merging() -> None:
    rule = ObjectRule(min_area_px=10, merge_probability=0.15, stuff_probability=0.0, whole_probability=0.0)
    drawn = choices(make_sample(), rule)
    merged = [ids for ids in drawn if len(ids) == 2]
    assert abs(len(merged) / len(drawn) - 0.15) < 0.03
    assert all(first != second for first, second in merged)
    assert {frozenset(ids) for ids in merged} == {frozenset(p) for p in ("12", "14", "24")}


def test_one_object_cannot_be_merged() -> None:
    rule = ObjectRule(min_area_px=60, merge_probability=1.0, whole_probability=0.0)
    assert set(choices(make_sample(), rule, 50)) == {("2",)}


def test_stuff_joins_with_its_probability() -> None:
    sample = make_sample(stuff=True)
    assert ("4",) not in set(choices(sample, CERTAIN))
    rule = ObjectRule(min_area_px=10, merge_probability=0.0, stuff_probability=0.2, whole_probability=0.0)
    share = Counter(choices(sample, rule))[("4",)] / 2000
    assert abs(share - 0.2 / 3) < 0.02  # one of three where it joins


def test_whole_object() -> None:
    sample = make_sample(whole=True)
    assert (WHOLE_ID,) not in set(choices(sample, CERTAIN))
    rule = ObjectRule(min_area_px=10, merge_probability=1.0, stuff_probability=0.0, whole_probability=0.5)
    drawn = choices(sample, rule)
    assert abs(drawn.count((WHOLE_ID,)) / 2000 - 0.5) < 0.04
    assert not any(WHOLE_ID in ids for ids in drawn if len(ids) > 1)


def test_whole_object_steps_in_where_the_parts_are_too_small() -> None:
    rule = ObjectRule(min_area_px=100, whole_probability=0.0)
    assert set(choices(make_sample(whole=True), rule, 20)) == {(WHOLE_ID,)}


@pytest.mark.parametrize(
    "values", [{"min_area_px": 0}, {"merge_probability": 1.5}, {"whole_probability": -0.1}, {"max_share": 2}]
)
def test_rule_out_of_range(values: dict[str, float]) -> None:
    with pytest.raises(RecipeError, match=next(iter(values))):
        ObjectRule(**values)  # pyright: ignore[reportArgumentType]


def brute_distance(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    padded = np.pad(mask, 1)
    outside = np.argwhere(~padded)
    result = np.zeros(mask.shape)
    for row, column in np.argwhere(mask):
        result[row, column] = np.sqrt(((outside - (row + 1, column + 1)) ** 2).sum(1).min())
    return result


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 14), st.integers(1, 14), st.integers(0, 2**32 - 1), st.sampled_from([0.5, 0.9, 1.0]))
def test_edge_distance_against_brute_force(height: int, width: int, seed: int, share: float) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < share
    expected = brute_distance(mask)
    np.testing.assert_allclose(edge_distance(mask), expected, rtol=1e-6)
    np.testing.assert_allclose(edge_distance(mask, exact=False), expected, rtol=0.025)


def test_first_click_covers_the_deep_pixels_and_no_others() -> None:
    target = np.zeros((40, 60), np.int8)
    target[5:30, 20:50] = 1
    target[10:14, 24:30] = -1  # ignored pixels are outside the object
    target[35:38, 2:5] = 1  # a shallow island
    distance = brute_distance(target == 1)
    allowed = {(int(r), int(c)) for r, c in np.argwhere(distance > distance.max() / 1.7)}
    rng = np.random.default_rng(1)
    drawn = Counter(first_click(target, rng) for _ in range(20 * len(allowed)))
    assert set(drawn) == allowed
    assert max(drawn.values()) < 50  # uniform: 20 expected each


def test_first_click_counts_the_border_as_outside() -> None:
    target = np.ones((9, 9), np.int8)
    rng = np.random.default_rng(0)
    clicks = {first_click(target, rng) for _ in range(300)}
    assert clicks == {(r, c) for r in range(3, 6) for c in range(3, 6)} | {
        (r, c) for r in range(2, 7) for c in range(2, 7) if min(r, c, 8 - r, 8 - c) + 1 > 5 / 1.7
    }


def test_first_click_needs_an_object() -> None:
    with pytest.raises(MaskError, match="object"):
        first_click(np.full((4, 4), -1, np.int8), np.random.default_rng(0))


def test_first_click_on_one_pixel() -> None:
    target = np.zeros((5, 7), np.int8)
    target[4, 6] = 1
    assert first_click(target, np.random.default_rng(0)) == (4, 6)
