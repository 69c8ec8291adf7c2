"""NoC and its company: the recorded example, edge cases, properties."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emclick.errors import MaskError
from emclick.evaluation import noc as metrics

EXAMPLE = json.loads((Path(__file__).parents[1] / "data" / "robot.json").read_text(encoding="utf-8"))["noc"]
TRUE_FAILURES = [1, 1, 1, 3]  # stated beside the recording

curves_strategy = st.lists(
    st.lists(st.floats(0, 1, width=32), min_size=1, max_size=20), min_size=1, max_size=6
)


@pytest.mark.parametrize("column", range(4))
def test_recorded_example(column: int) -> None:
    curves, threshold = EXAMPLE["ious"], EXAMPLE["thresholds"][column]
    assert metrics.noc(curves, threshold) == pytest.approx(EXAMPLE["noc"][column])
    assert metrics.at_limit(curves, threshold) == EXAMPLE["at_limit"][column]
    assert metrics.nof(curves, threshold) == TRUE_FAILURES[column]


def test_compared_in_float32() -> None:
    assert metrics.first_crossing([0.1, 0.8999999762], 0.90) == 2
    assert metrics.first_crossing([0.1, 0.8999999], 0.90) is None


def test_success_at_the_last_click_is_at_the_limit_but_no_failure() -> None:
    late, never, early = [0.5] * 19 + [0.95], [0.5] * 20, [0.95] * 20
    assert metrics.noc([late, never, early], 0.9) == pytest.approx((20 + 20 + 1) / 3)
    assert metrics.at_limit([late, never, early], 0.9) == 2
    assert metrics.nof([late, never, early], 0.9) == 1
    # a click beyond the cap does not count
    assert metrics.nof([[0.5] * 20 + [0.95]], 0.9) == 1
    assert metrics.noc([[0.1, 0.2, 0.95]], 0.9, max_clicks=2) == 2


def test_the_first_crossing_counts_even_if_later_clicks_spoil_it() -> None:
    assert metrics.clicks_needed([0.5, 0.91, 0.4], 0.9) == 2


@given(curves_strategy, st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_monotone_in_the_threshold(curves: list[list[float]], a: float, b: float) -> None:
    low, high = sorted((a, b))
    assert metrics.noc(curves, low) <= metrics.noc(curves, high)
    assert metrics.nof(curves, low) <= metrics.nof(curves, high)
    assert metrics.at_limit(curves, low) <= metrics.at_limit(curves, high)
    assert metrics.nof(curves, high) <= metrics.at_limit(curves, high) <= len(curves)


def test_mean_iou_continues_short_curves() -> None:
    mean = metrics.mean_iou([[0.2, 0.4], [0.6, 0.8, 1.0]], max_clicks=4)
    assert mean == pytest.approx([0.4, 0.6, 0.7, 0.7])


def test_worse_clicks_is_a_share_of_all_clicks() -> None:
    # drops: .01 exactly (not more than a point), .02, .5; five steps in all
    assert metrics.worse_clicks([[0.5, 0.52, 0.50], [1.0, 0.5, 0.9, 0.895]]) == pytest.approx(2 / 7)
    assert metrics.worse_clicks([[0.5], [0.1]]) == 0.0


def test_a_first_click_that_spoils_the_initial_mask_counts() -> None:
    curves = [[0.5, 0.6], [0.5, 0.4], [0.1]]
    assert metrics.worse_clicks(curves, [0.8, 0.5, None]) == pytest.approx(2 / 5)
    assert metrics.worse_clicks(curves) == pytest.approx(1 / 5)


def test_iou_leaves_out_ignored_pixels() -> None:
    truth = np.array([[1, 1, 0, 0, -1, -1]], np.int8)
    guess = np.array([[1, 0, 1, 0, 1, 0]], bool)
    assert metrics.iou(truth, guess) == pytest.approx(1 / 3)
    assert metrics.iou(truth, truth == 1) == 1.0
    assert metrics.iou(np.array([[0, -1]], np.int8), np.array([[False, True]])) == 1.0


def test_iou_wants_one_size() -> None:
    with pytest.raises(MaskError):
        metrics.iou(np.zeros((1, 2), np.int8), np.zeros((2, 1), bool))
