"""Scale, window, crop, flip and colour."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
from emclick.errors import RecipeError, UnknownNameError

SIZES = st.tuples(st.integers(1, 80), st.integers(1, 80))


def coordinates(height: int, width: int) -> np.ndarray:
    """An image whose red is the row and green the column."""
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([rows, columns, np.full_like(rows, 200)], 2).astype(np.uint8)


def test_scale_of_the_image() -> None:
    augmentation = Augmentation(scale=(0.75, 1.40), scale_base="image")
    rng = np.random.default_rng(0)
    drawn = np.array([draw_scale((300, 400), augmentation, rng) for _ in range(2000)])
    assert 0.75 <= drawn.min() < 0.77
    assert 1.38 < drawn.max() <= 1.40
    assert abs(drawn.mean() - 1.075) < 0.02


def test_scale_of_the_crop_relates_the_short_sides() -> None:
    augmentation = Augmentation(crop_hw=(192, 256), scale=(0.9, 1.7), scale_base="crop")
    rng = np.random.default_rng(0)
    short = [300 * draw_scale((400, 300), augmentation, rng) / 192 for _ in range(2000)]
    assert 0.9 <= min(short) < 0.92
    assert 1.68 < max(short) <= 1.7


@settings(max_examples=200, deadline=None)
@given(SIZES, SIZES, st.floats(0.2, 4.0), st.integers(0, 2**32 - 1), st.booleans())
def test_window_lies_in_the_image_or_is_centred(
    image_hw: tuple[int, int], crop_hw: tuple[int, int], scale: float, seed: int, guided: bool
) -> None:
    rng = np.random.default_rng(seed)
    first = [int(rng.integers(side)) for side in image_hw]
    last = [int(rng.integers(start, side)) + 1 for start, side in zip(first, image_hw)]
    around = Window(*first, last[0] - first[0], last[1] - first[1]) if guided else None
    window = draw_window(image_hw, scale, crop_hw, rng, around)
    starts, sizes = (window.top, window.left), (window.height, window.width)
    for axis in range(2):
        assert sizes[axis] == max(1, round(crop_hw[axis] / scale))
        before, after = -starts[axis], starts[axis] + sizes[axis] - image_hw[axis]
        if sizes[axis] <= image_hw[axis]:
            assert before <= 0
            assert after <= 0
        else:
            assert min(before, after) >= 0
            assert abs(before - after) <= 1
        if around is not None and last[axis] - first[axis] <= sizes[axis]:
            assert starts[axis] <= first[axis] < last[axis] <= starts[axis] + sizes[axis]
        elif around is not None and sizes[axis] <= image_hw[axis]:
            assert first[axis] <= starts[axis] < starts[axis] + sizes[axis] <= last[axis]


def test_zoom_is_the_object_s_size_in_the_crop() -> None:
    augmentation = Augmentation(crop_hw=(192, 256), zoom=(0.5, 1.1))
    rng = np.random.default_rng(0)
    longer = [
        60 * draw_zoom(Window(10, 20, 40, 60), (900, 900), augmentation, rng) / 192 for _ in range(2000)
    ]
    assert 0.5 <= min(longer) < 0.51
    assert 1.09 < max(longer) <= 1.1
    assert draw_zoom(Window(0, 0, 2, 3), (900, 900), augmentation, rng) == MAX_ENLARGEMENT
    assert draw_zoom(Window(0, 0, 90, 100), (96, 160), augmentation, rng) >= 2


def test_zoom_that_cannot_be() -> None:
    with pytest.raises(RecipeError, match="zoom_probability"):
        Augmentation(zoom_probability=1.5)
    with pytest.raises(RecipeError, match="low"):
        Augmentation(zoom=(0.9, 0.5))


def test_windows_reach_every_place() -> None:
    rng = np.random.default_rng(0)
    drawn = {(w.top, w.left) for w in (draw_window((6, 9), 1.0, (4, 5), rng) for _ in range(400))}
    assert drawn == {(r, c) for r in range(3) for c in range(5)}


def test_crop_at_scale_one_is_the_window() -> None:
    image = coordinates(50, 70)
    assert np.array_equal(cut_image(image, Window(7, 11, 20, 30), (20, 30)), image[7:27, 11:41])


def test_flip_mirrors_columns_of_image_and_mask_alike() -> None:
    image = coordinates(50, 70)
    mask = image[..., 1] < 20
    window = Window(7, 11, 20, 30)
    cut = cut_image(image, window, (20, 30), flip=True)
    assert np.array_equal(cut, image[7:27, 11:41][:, ::-1])
    assert cut[0, 0, 1] == 40
    assert np.array_equal(cut_mask(mask, window, (20, 30), flip=True), cut[..., 1] < 20)


@pytest.mark.parametrize("crop", [(40, 60), (10, 15), (20, 30), (27, 41)])
def test_resized_crop_keeps_places(crop: tuple[int, int]) -> None:
    image = coordinates(50, 70)
    window = Window(7, 11, 20, 30)
    cut = cut_image(image, window, crop).astype(float)
    rows = (np.arange(crop[0]) + 0.5) * 20 / crop[0] - 0.5 + 7
    columns = (np.arange(crop[1]) + 0.5) * 30 / crop[1] - 0.5 + 11
    inner = slice(2, -2)
    assert np.abs(cut[inner, inner, 0] - rows[inner, None]).max() <= 1.01
    assert np.abs(cut[inner, inner, 1] - columns[None, inner]).max() <= 1.01
    mask = cut_mask((image[..., 0] >= 15) & (image[..., 1] >= 20), window, crop)
    # pixel edge 15 lies at (15 - 7) / 20 of the crop
    expected = np.round(crop[0] * 8 / 20), np.round(crop[1] * 9 / 30)
    first_row, first_column = (int(v.min()) for v in np.nonzero(mask))
    assert abs(first_row - expected[0]) <= 1
    assert abs(first_column - expected[1]) <= 1
    assert abs(mask.sum() / mask.size - (12 * 21) / (20 * 30)) < 0.06


def test_mask_is_resampled_by_coverage() -> None:
    mask = np.zeros((4, 4), bool)
    mask[0:2, 0:2] = True  # covers one of the four target pixels wholly
    mask[2, 2] = True  # and a quarter of another
    assert cut_mask(mask, Window(0, 0, 4, 4), (2, 2)).tolist() == [[True, False], [False, False]]


def test_beyond_the_image_is_black() -> None:
    image = np.full((10, 10, 3), 90, np.uint8)
    cut = cut_image(image, Window(-3, -2, 16, 14), (16, 14))
    assert (cut[3:13, 2:12] == 90).all()
    assert cut.sum() == 90 * 300
    mask = cut_mask(np.ones((10, 10), bool), Window(-3, -2, 16, 14), (16, 14))
    assert np.array_equal(mask, cut[..., 0] == 90)


def test_inside() -> None:
    assert Window(-3, 4, 16, 20).inside((10, 12)) == (slice(0, 10), slice(4, 12))


NO_TONE = Augmentation(tone_probability=0.0, shift_probability=0.0)


def test_tone_off_changes_nothing() -> None:
    image = coordinates(30, 40)
    assert np.array_equal(apply_tone(image, draw_tone(NO_TONE, np.random.default_rng(0))), image)


def test_tone_range_and_probability() -> None:
    rng = np.random.default_rng(0)
    augmentation = replace(NO_TONE, tone_probability=0.75, contrast=(0.0, 0.0))
    tables = [draw_tone(augmentation, rng) for _ in range(800)]
    grey = np.array([int(table[128, 0]) - 128 for table in tables])
    assert abs((grey != 0).mean() - 0.75) < 0.05
    assert grey.min() >= -64
    assert grey.max() <= 64
    assert grey.min() < -55
    assert grey.max() > 55
    assert all((table[:, 0] == table[:, 2]).all() for table in tables)


def test_contrast_multiplies_around_black() -> None:
    rng = np.random.default_rng(0)
    augmentation = replace(NO_TONE, tone_probability=1.0, brightness=0.0)
    for _ in range(50):
        table = draw_tone(augmentation, rng)[:, 0].astype(float)
        assert table[0] == 0
        gain = table[100] / 100
        assert 0.84 <= gain <= 1.41
        assert abs(table[50] - 50 * gain) <= 1
        assert (np.diff(table) >= 0).all()


def test_shift_differs_per_channel() -> None:
    rng = np.random.default_rng(0)
    augmentation = replace(NO_TONE, shift_probability=0.75)
    shifts = np.array([draw_tone(augmentation, rng)[128].astype(int) - 128 for _ in range(800)])
    changed = shifts[(shifts != 0).any(1)]
    assert abs(len(changed) / 800 - 0.75) < 0.05
    assert shifts.min() == -10
    assert shifts.max() == 10
    assert np.abs(np.corrcoef(changed.T) - np.eye(3)).max() < 0.15


def test_tone_table_is_applied_to_its_channel() -> None:
    table = np.stack([np.arange(256), np.arange(256)[::-1], np.full(256, 9)], 1).astype(np.uint8)
    image = coordinates(5, 6)
    out = apply_tone(image, table)
    assert np.array_equal(out[..., 0], image[..., 0])
    assert np.array_equal(out[..., 1], 255 - image[..., 1])
    assert (out[..., 2] == 9).all()


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"scale": (0.0, 1.0)}, RecipeError),
        ({"scale": (2.0, 1.0)}, RecipeError),
        ({"crop_hw": (0, 10)}, RecipeError),
        ({"padding_target": 1}, RecipeError),
        ({"scale_base": "moon"}, UnknownNameError),
    ],
)
def test_values_out_of_range(values: dict, error: type[Exception]) -> None:
    with pytest.raises(error, match=next(iter(values))):
        Augmentation(**values)
