"""Damaged masks: in the stated range, seeded, and different from each other."""

from __future__ import annotations

import numpy as np
import pytest
from fake_session import Squares
from hypothesis import given
from hypothesis import strategies as st
from test_benchmark import run

from emclick.data.damage import HIGH, LOW, DamagedSource, damage
from emclick.errors import MaskError
from emclick.evaluation.journal import Record
from emclick.evaluation.noc import iou
from emclick.evaluation.runner import Rules, summarise


def shape(kind: str, size: int = 80) -> np.ndarray:
    rows, columns = np.ogrid[:size, :size]
    truth = np.zeros((size, size), np.int8)
    truth[
        {
            "disk": (rows - 40) ** 2 + (columns - 35) ** 2 < 20**2,
            "bar": (abs(rows - 40) < 2) & (columns > 5),
            "corner": (rows < 30) & (columns < 30),
            "all": rows + columns >= 0,
            "speck": (abs(rows - 9) < 2) & (abs(columns - 70) < 2),
        }[kind]
    ] = 1
    return truth


@pytest.mark.parametrize("kind", ["disk", "bar", "corner", "all", "speck"])
@given(seed=st.integers(0, 1000))
def test_the_iou_is_in_the_stated_range(kind: str, seed: int) -> None:
    truth = shape(kind)
    mask = damage(truth, np.random.default_rng(seed))
    assert mask.dtype == np.bool_
    assert LOW <= iou(truth, mask) <= HIGH


def test_all_kinds_of_faults_come_up() -> None:
    truth = shape("disk")
    whole = truth == 1
    masks = [damage(truth, np.random.default_rng(seed)) for seed in range(60)]
    assert any(not (mask & ~whole).any() for mask in masks), "none lies within the object"
    assert any(not (whole & ~mask).any() for mask in masks), "none covers the object"
    centres = [np.argwhere(mask).mean(0) for mask in masks]
    assert max(np.linalg.norm(centre - (40, 35)) for centre in centres) > 3
    assert len({mask.tobytes() for mask in masks}) > 50


def test_an_object_of_one_pixel_is_left_and_none_is_refused() -> None:
    truth = np.zeros((5, 5), np.int8)
    with pytest.raises(MaskError, match="without pixels"):
        damage(truth, np.random.default_rng(0))
    truth[2, 2] = 1
    assert damage(truth, np.random.default_rng(0)).any()


def test_a_damaged_dataset_is_seeded_and_evaluated_from_its_masks() -> None:
    plain = Squares(3)
    one, again, other = (DamagedSource(plain, seed) for seed in (1, 1, 2))
    masks = [[each[2].objects[k].initial_mask for k in range(3)] for each in (one, again, other)]
    assert all(np.array_equal(a, b) for a, b in zip(masks[0], masks[1]))
    assert not all(np.array_equal(a, b) for a, b in zip(masks[0], masks[2]))
    assert one[1].layers is not None
    assert list(one.keys) == list(plain.keys)
    result = run(one)
    assert all(LOW - 0.1 < record["start_iou"] < HIGH + 0.1 for record in result.records)
    assert 0.7 < result.summary["start_iou"] < 0.9
    assert result.summary["first_worse"] is not None
    scratch = run(plain)
    assert scratch.summary["start_iou"] is scratch.summary["first_worse"] is None


def test_share_of_first_clicks_that_lowered_the_iou() -> None:
    records = [
        Record(id=str(k), clicks=[(0, 0, True)], iou=[after], ms=[1.0], start_iou=0.8)
        for k, after in enumerate([0.79, 0.81, 0.9, 0.8])
    ]
    summary = summarise(records, Rules())
    assert summary["first_worse"] == 0.25
    assert summary["start_iou"] == pytest.approx(0.8)
