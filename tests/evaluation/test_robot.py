"""The robot user, held to the released evaluation's clicks and to brute force."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from emclick.errors import MaskError
from emclick.evaluation.noc import iou
from emclick.evaluation.robot import next_click

DATA = Path(__file__).parents[1] / "data"
VECTORS = json.loads((DATA / "robot.json").read_text(encoding="utf-8"))["next_clicks"]


@pytest.mark.parametrize("image", range(len(VECTORS)))
def test_recorded_clicks(image: int) -> None:
    with np.load(DATA / "robot.npz") as arrays:
        truth = arrays[f"{image}/gt"]
        guesses = [arrays[f"{image}/pred{k}"] for k in range(len(VECTORS[image]))]
    clicked = np.zeros(truth.shape, bool)
    for guess, expected in zip(guesses, VECTORS[image], strict=True):
        assert iou(truth, guess) == pytest.approx(expected["iou_before"], abs=1e-12)
        click = next_click(truth, guess, clicked)
        assert click == (expected["x"], expected["y"], expected["positive"])
        clicked[expected["y"], expected["x"]] = True


def test_vectors_cover_both_polarities_and_ignored_pixels() -> None:
    assert {step["positive"] for steps in VECTORS for step in steps} == {True, False}
    with np.load(DATA / "robot.npz") as arrays:
        assert any((arrays[f"{i}/gt"] == -1).any() for i in range(len(VECTORS)))


def brute_force(truth: np.ndarray, guess: np.ndarray, clicked: np.ndarray) -> tuple[int, int, bool] | None:
    """Squared distances to every pixel outside the area, the ring round the image included."""
    height, width = truth.shape

    def depths(area: np.ndarray) -> dict[tuple[int, int], int]:
        outside = [
            (r, c)
            for r in range(-1, height + 1)
            for c in range(-1, width + 1)
            if not (0 <= r < height and 0 <= c < width and area[r, c])
        ]
        return {
            (r, c): min((r - a) ** 2 + (c - b) ** 2 for a, b in outside)
            for r in range(height)
            for c in range(width)
            if area[r, c] and not clicked[r, c]
        }

    missed, covered = depths((truth == 1) & ~guess), depths((truth == 0) & guess)
    deepest_missed, deepest_covered = max(missed.values(), default=0), max(covered.values(), default=0)
    positive = deepest_missed > deepest_covered
    chosen, deepest = (missed, deepest_missed) if positive else (covered, deepest_covered)
    if deepest == 0:
        return None
    row, column = min(place for place, depth in chosen.items() if depth == deepest)
    return column, row, positive


shapes = st.tuples(st.integers(1, 7), st.integers(1, 9))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.data())
def test_against_brute_force(data: st.DataObject) -> None:
    shape = data.draw(shapes)
    truth = data.draw(hnp.arrays(np.int8, shape, elements=st.sampled_from([-1, 0, 1, 1, 1])))
    guess = data.draw(hnp.arrays(bool, shape))
    clicked = data.draw(hnp.arrays(bool, shape, elements=st.sampled_from([False, False, False, True])))
    assert next_click(truth, guess, clicked) == brute_force(truth, guess, clicked)


def test_positive_only_if_strictly_larger() -> None:
    truth = np.zeros((9, 20), np.int8)
    guess = np.zeros((9, 20), bool)
    truth[2:7, 2:7] = 1
    guess[2:7, 12:17] = True  # a false area of the same size
    assert next_click(truth, guess) == (14, 4, False)
    truth[1:8, 1:8] = 1
    assert next_click(truth, guess) == (4, 4, True)


def test_first_of_equal_maxima_is_the_upper_one() -> None:
    truth = np.zeros((20, 20), np.int8)
    truth[12:15, 1:4] = 1
    truth[2:5, 14:17] = 1
    assert next_click(truth, np.zeros((20, 20), bool)) == (15, 3, True)


def test_the_image_border_is_an_edge() -> None:
    truth = np.ones((5, 9), np.int8)
    assert next_click(truth, np.zeros((5, 9), bool)) == (2, 2, True)


def test_a_pixel_is_never_clicked_again_but_its_neighbours_keep_their_depth() -> None:
    truth = np.zeros((7, 7), np.int8)
    truth[1:6, 1:6] = 1
    guess, clicked = np.zeros((7, 7), bool), np.zeros((7, 7), bool)
    seen: list[tuple[int, int]] = []
    for _ in range(25):
        click = next_click(truth, guess, clicked)
        assert click is not None
        seen.append(click[:2])
        clicked[click[1], click[0]] = True
    assert seen[:3] == [(3, 3), (2, 2), (3, 2)]
    assert len(set(seen)) == 25
    assert next_click(truth, guess, clicked) is None


def test_nothing_wrong_no_click() -> None:
    truth = np.array([[1, 0, -1]], np.int8)
    assert next_click(truth, np.array([[True, False, True]])) is None


def test_sizes_must_match() -> None:
    with pytest.raises(MaskError, match="one size"):
        next_click(np.zeros((2, 3), np.int8), np.zeros((3, 2), bool))
