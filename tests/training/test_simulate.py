"""Simulated clicks: counts, polarity, place."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from emclick.errors import MaskError, OptionError
from emclick.training.simulate import click_rngs, next_click, next_clicks, number_of_clicks


def scene() -> tuple[NDArray[np.float32], NDArray[np.int8]]:
    """A missed square of 21 px (distance 11) and an added one of 15 px (distance 8)."""
    target = np.zeros((60, 90), np.int8)
    target[5:26, 10:31] = 1
    probability = np.zeros((60, 90), np.float32)
    probability[35:50, 60:75] = 1.0
    return probability, target


def test_number_of_clicks_is_geometric() -> None:
    rng = np.random.default_rng(0)
    drawn = Counter(number_of_clicks(rng) for _ in range(40_000))
    weights = 0.8 ** np.arange(24)
    expected = weights / weights.sum()
    shares = np.array([drawn[n] for n in range(24)]) / 40_000
    assert set(drawn) <= set(range(24))
    assert max(drawn) == 23
    np.testing.assert_allclose(shares, expected, atol=0.008)


def test_number_of_clicks_limits() -> None:
    rng = np.random.default_rng(0)
    assert {number_of_clicks(rng, 0) for _ in range(5)} == {0}
    assert {number_of_clicks(rng, 2, 1.0) for _ in range(100)} == {0, 1, 2}
    for options in ({"max_clicks": -1}, {"gamma": 0.0}):
        with pytest.raises(OptionError):
            number_of_clicks(rng, **options)  # pyright: ignore[reportArgumentType]


def test_polarity_is_drawn_in_proportion_to_the_largest_distances() -> None:
    probability, target = scene()
    rng = np.random.default_rng(0)
    clicks = [next_click(probability, target, rng) for _ in range(3000)]
    positive = sum(click is not None and click.positive for click in clicks)
    assert None not in clicks  # 8 > 11 / 2
    assert abs(positive / 3000 - 11 / 19) < 0.03


def test_place_is_uniform_beyond_half_of_the_larger_maximum() -> None:
    probability, target = scene()
    rng = np.random.default_rng(0)
    clicks = [next_click(probability, target, rng) for _ in range(6000)]
    places = {
        polarity: Counter((c.row, c.column) for c in clicks if c is not None and c.positive is polarity)
        for polarity in (True, False)
    }
    # Squares of distance > 5.5: the missed one from its 6th pixel inwards (11 wide), the added one's
    # inner 5, both measured against the larger maximum.
    assert set(places[True]) == {(r, c) for r in range(10, 21) for c in range(15, 26)}
    assert set(places[False]) == {(r, c) for r in range(40, 45) for c in range(65, 70)}
    assert max(places[True].values()) < 3 * 6000 * (11 / 19) / 121
    assert all(isinstance(v, int) for v in next(iter(places[True])))


def test_stray_clicks_fall_anywhere_on_the_error() -> None:
    probability, target = scene()
    missed = {(int(r), int(c)) for r, c in np.argwhere((target == 1) & (probability < 0.49))}
    deep = {(r, c) for r in range(10, 21) for c in range(15, 26)}
    for stray in (0.4, 1.0):
        rng = np.random.default_rng(0)
        clicks = [next_click(probability, target, rng, stray=stray) for _ in range(12000)]
        places = [(c.row, c.column) for c in clicks if c is not None and c.positive]
        assert set(places) <= missed
        share = sum(place in deep for place in places) / len(places)
        assert abs(share - (1 - stray + stray * len(deep) / len(missed))) < 0.03
    assert set(places) == missed
    assert next_click((target == 1).astype(np.float32), target, np.random.default_rng(0), stray=1.0) is None


def test_shallow_lesser_polarity_gives_no_click() -> None:
    probability, target = scene()
    probability[:] = 0
    probability[40:43, 60:63] = 1.0  # distance 2 against 11
    rng = np.random.default_rng(0)
    clicks = [next_click(probability, target, rng) for _ in range(2000)]
    assert all(click is None or click.positive for click in clicks)
    assert abs(clicks.count(None) / 2000 - 2 / 13) < 0.03


def test_threshold_is_strict_on_both_sides() -> None:
    target = np.zeros((10, 10), np.int8)
    target[:5] = 1
    probability = np.full((10, 10), 0.49)
    rng = np.random.default_rng(0)
    assert next_click(probability, target, rng) is None
    assert {next_click(probability, target, rng, 0.5).positive for _ in range(20)} == {True}  # pyright: ignore
    assert {next_click(probability, target, rng, 0.4).positive for _ in range(20)} == {False}  # pyright: ignore


def test_perfect_prediction_gives_no_click() -> None:
    _, target = scene()
    assert next_click((target == 1).astype(np.float32), target, np.random.default_rng(0)) is None


def test_ignored_pixels_are_never_clicked_and_bound_the_errors() -> None:
    probability = np.zeros((31, 31), np.float32)
    target = np.ones((31, 31), np.int8)
    target[:, 16:] = -1
    rng = np.random.default_rng(0)
    clicks = {next_click(probability, target, rng) for _ in range(400)}
    columns = {click.column for click in clicks if click is not None}
    assert columns <= set(range(4, 12))  # 16 wide: deepest at 7 and 8, distance 8
    assert {7, 8} <= columns
    target[:] = -1
    assert next_click(probability, target, rng) is None
    assert next_click(probability + 1, target, rng) is None


def test_image_border_counts_as_outside() -> None:
    target = np.ones((21, 41), np.int8)
    rng = np.random.default_rng(0)
    clicks = [next_click(np.zeros((21, 41)), target, rng) for _ in range(500)]
    rows = {click.row for click in clicks if click is not None}
    columns = {click.column for click in clicks if click is not None}
    assert (min(rows), max(rows)) == (5, 15)
    assert min(columns) == 5
    assert max(columns) == 35


def brute_distance(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    padded = np.pad(mask, 1)
    outside = np.argwhere(~padded)
    result = np.zeros(mask.shape)
    for row, column in np.argwhere(mask):
        result[row, column] = np.sqrt(((outside - (row + 1, column + 1)) ** 2).sum(1).min())
    return result


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 16), st.integers(1, 16), st.integers(0, 2**32 - 1))
def test_clicks_against_brute_force(height: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    target = rng.choice(np.array([1, 1, 0, 0, -1], np.int8), (height, width))
    probability = np.where(rng.random((height, width)) < 0.5, target, rng.random((height, width)))
    missed = brute_distance((target == 1) & (probability < 0.49))
    added = brute_distance((target == 0) & (probability > 0.49))
    limit = max(missed.max(), added.max()) / 2
    click = next_click(probability, target, rng)
    if click is None:
        assert min(missed.max(), added.max()) <= limit * 1.03
        return
    chosen = missed if click.positive else added
    assert chosen[click.row, click.column] > limit * 0.97


def test_batch_does_not_depend_on_threads_or_batching() -> None:
    rng = np.random.default_rng(0)
    targets = (rng.random((7, 24, 30)) < 0.5).astype(np.int8)
    probabilities = rng.random((7, 24, 30)).astype(np.float32)
    numbers = range(100, 107)
    together = next_clicks(probabilities, targets, click_rngs(3, numbers))
    with ThreadPoolExecutor(3) as pool:
        shared = next_clicks(probabilities, targets, click_rngs(3, numbers), share=pool.map)
    assert together == shared
    halves = [
        *next_clicks(probabilities[:4], targets[:4], click_rngs(3, numbers[:4])),
        *next_clicks(probabilities[4:], targets[4:], click_rngs(3, numbers[4:])),
    ]
    assert together == halves
    assert together != next_clicks(probabilities, targets, click_rngs(4, numbers))


def test_wrong_shapes() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(MaskError, match="shape"):
        next_click(np.zeros((3, 4)), np.zeros((4, 3), np.int8), rng)
    with pytest.raises(MaskError, match="2 generators"):
        next_clicks(np.zeros((1, 3, 4)), np.zeros((1, 3, 4), np.int8), [rng, rng])
