"""Predictions: lazy, read-only, exact; packed masks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emclick.geometry import View
from emclick.prediction import PackedMask, Prediction, sigmoid
from helpers import blob


@pytest.fixture
def frame():
    return np.random.default_rng(0).uniform(0, 1, (32, 44)).astype(np.float32)


VIEW = View((40, 56), (32, 44))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 200), st.integers(0, 2**31), st.floats(0, 1))
def test_a_packed_mask_comes_back(h, w, seed, share):
    mask = np.random.default_rng(seed).uniform(size=(h, w)) < share
    before = mask.copy()
    packed = PackedMask.pack(mask)
    np.testing.assert_array_equal(packed.unpack(), before)
    np.testing.assert_array_equal(mask, before)
    assert packed == PackedMask.pack(before.copy())
    assert packed.unpack().dtype == np.bool_


def test_a_real_outline_packs_small():
    y, x = np.mgrid[:1250, :1600]
    mask = (x - 800) ** 2 / 600**2 + (y - 600) ** 2 / 500**2 + 0.1 * np.sin(x / 30) < 1
    assert len(PackedMask.pack(mask).data) < 12_000


def test_sigmoid_is_right_and_stable():
    x = np.array([-np.inf, -1e30, -100, -20, -1, 0, 1, 20, 100, 1e30, np.inf], np.float32)
    with np.errstate(all="raise", under="ignore"):
        y = sigmoid(x)
    assert y.dtype == np.float32
    exact = 1 / (1 + np.exp(-np.clip(x.astype(np.float64), -700, 700)))
    np.testing.assert_allclose(y, exact, rtol=3e-7, atol=1e-38)
    assert y[0] == 0
    assert y[-1] == 1
    assert y[5] == 0.5


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 70), st.integers(1, 70), st.floats(0.1, 60), st.integers(0, 2**31))
def test_sigmoid_is_the_formula_to_the_bit(h, w, scale, seed):
    x = np.random.default_rng(seed).normal(0, scale, (h, w)).astype(np.float32)
    x.flat[0] = 0
    before = x.copy()
    small = np.exp(-np.abs(x))
    expected = np.where(x >= 0, np.float32(1), small) / (1 + small)
    assert sigmoid(x).tobytes() == expected.tobytes()
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("first", ["mask", "probability"])
@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.9])
def test_mask_is_probability_above_threshold(frame, first, threshold):
    prediction = Prediction(VIEW, frame, threshold=threshold)
    getattr(prediction, first)
    np.testing.assert_array_equal(prediction.mask, prediction.probability > np.float32(threshold))
    assert prediction.mask.shape == prediction.probability.shape == (40, 56)
    assert (prediction.mask.dtype, prediction.probability.dtype) == (np.bool_, np.float32)
    assert 0 < prediction.mask.sum() < prediction.mask.size


def test_exactly_the_threshold_is_background():
    level = Prediction(VIEW, np.full((32, 44), 0.5, np.float32))
    assert not level.mask.any()


def test_arrays_are_made_once_and_cannot_be_written(frame):
    prediction = Prediction(VIEW, frame)
    for name in ("mask", "probability"):
        array = getattr(prediction, name)
        assert getattr(prediction, name) is array
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0] = 0
    with pytest.raises(AttributeError):
        prediction.ms = 3  # type: ignore[misc]


def test_a_given_mask_is_exact():
    prediction = Prediction(VIEW, given=PackedMask.pack(blob()))
    np.testing.assert_array_equal(prediction.mask, blob())
    np.testing.assert_array_equal(prediction.probability, blob().astype(np.float32))


def test_a_merged_mask_overrides_only_where_it_differs(frame):
    plain = Prediction(VIEW, frame, threshold=0.4)
    merged = Prediction(VIEW, frame, PackedMask.pack(blob()), threshold=0.4)
    differs = plain.mask != blob()
    np.testing.assert_array_equal(merged.mask, blob())
    np.testing.assert_array_equal(merged.probability[~differs], plain.probability[~differs])
    np.testing.assert_array_equal(merged.probability[differs], blob()[differs].astype(np.float32))
    np.testing.assert_array_equal(merged.probability > np.float32(0.4), blob())


def test_nothing_yet_is_background():
    prediction = Prediction(VIEW)
    assert not prediction.mask.any()
    assert not prediction.probability.any()


def test_timing_keeps_the_arrays(frame):
    prediction = Prediction(VIEW, frame)
    mask = prediction.mask
    timed = prediction.timed(12.5)
    assert (timed.ms, prediction.ms) == (12.5, 0.0)
    assert timed.mask is mask
    np.testing.assert_array_equal(timed.probability > 0.5, mask)
