"""View and resize: sizes, directions, round trips, and torch's numbers."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emclick.errors import FrameError
from emclick.geometry import View, check_short_side, resize_bilinear
from helpers import picture

SIZES = st.integers(1, 4000)
VIEWS = st.builds(
    lambda h, w, s, m: View.fit((h, w), s).mirror() if m else View.fit((h, w), s),
    SIZES,
    SIZES,
    st.integers(4, 600),
    st.booleans(),
)


@given(VIEWS, st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True))
def test_a_point_goes_to_the_frame_and_back(view, across, down):
    x, y = across * view.image_hw[1] - 0.5, down * view.image_hw[0] - 0.5
    back = view.from_frame(*view.to_frame(x, y))
    assert back == pytest.approx((x, y), rel=1e-12, abs=1e-9)


@given(VIEWS)
def test_frames_are_multiples_of_four_and_not_too_long(view):
    h, w = view.frame_hw
    assert h % 4 == w % 4 == 0
    assert min(h, w) >= 4
    assert max(h, w) <= 4 * min(h, w)
    assert view.grid_hw == (h // 4, w // 4)


@given(SIZES, SIZES, st.integers(4, 600))
def test_the_shorter_side_becomes_the_short_side(height, width, short_side):
    view = View.fit((height, width), short_side)
    assert min(view.frame_hw) == short_side // 4 * 4
    assert (view.frame_hw[0] <= view.frame_hw[1]) or height > width
    longer = round(max(height, width) * short_side / min(height, width))
    assert max(view.frame_hw) in (longer // 4 * 4, 4 * min(view.frame_hw))


@pytest.mark.parametrize(
    ("image_hw", "short_side", "frame_hw"),
    [
        ((321, 481), 384, (384, 572)),  # 575.4 -> 575 -> 572
        ((481, 321), 384, (572, 384)),
        ((480, 854), 576, (576, 1024)),  # 1024.8 -> 1025 -> 1024
        ((1250, 1600), 384, (384, 492)),
        ((1, 1), 384, (384, 384)),
        ((1, 5000), 384, (384, 1536)),
        ((5000, 1), 384, (1536, 384)),
        ((100, 401), 384, (384, 1536)),
        ((100, 399), 384, (384, 1532)),
        ((10, 10), 7, (4, 4)),
    ],
)
def test_known_frames(image_hw, short_side, frame_hw):
    assert View.fit(image_hw, short_side).frame_hw == frame_hw


def test_a_point_scales_per_axis_without_shift_or_rounding():
    view = View((100, 200), (300, 400))
    assert view.to_frame(10.0, 20.0) == (60.0, 20.0)
    assert view.mirror().to_frame(10.0, 20.0) == (60.0, 379.0)
    assert view.to_frame(0.0, 0.0) == (0.0, 0.0)
    assert view.to_frame(-0.5, 0.25) == (0.75, -1.0)
    assert view.from_frame(60.0, 20.0) == (10.0, 20.0)
    assert view.mirror().from_frame(60.0, 379.0) == (10.0, 20.0)
    assert view.mirror().mirror() == view


def test_arrays_of_points_scale_to_the_same_bits():
    view = View.fit((123, 457), 384).mirror()
    x, y = np.random.default_rng(0).uniform(0, 100, (2, 50))
    rows, columns = view.to_frame(x, y)
    for each in range(50):
        assert view.to_frame(float(x[each]), float(y[each])) == (rows[each], columns[each])


@pytest.mark.parametrize(
    "bad", [0, 3, -4, 4097, 10**9, 384.0, "384", None, True, np.float32(384), float("nan")]
)
def test_unusable_short_sides(bad):
    with pytest.raises(FrameError, match="short side"):
        check_short_side(bad)
    with pytest.raises(FrameError):
        View.fit((10, 10), bad)


def test_an_image_without_pixels_has_no_view():
    with pytest.raises(FrameError, match="0x5"):
        View.fit((5, 0), 384)


# Resizing

SHAPES = [(1, 1), (1, 7), (7, 1), (2, 2), (5, 9), (96, 123), (40, 384), (333, 500)]


@pytest.mark.parametrize("size", SHAPES)
@pytest.mark.parametrize("out", [*SHAPES, (384, 575)])
def test_numbers_are_those_of_torch(size, out):
    torch = pytest.importorskip("torch")
    array = np.random.default_rng(0).uniform(-3, 3, (2, *size)).astype(np.float32)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(array)[None], size=out, mode="bilinear", align_corners=True
    )[0].numpy()
    np.testing.assert_allclose(resize_bilinear(array, out), expected, atol=1e-6, rtol=0)


def test_frame_numbers_are_those_of_torch():
    torch = pytest.importorskip("torch")
    image = np.random.default_rng(0).integers(0, 256, (333, 500, 3), dtype=np.uint8)
    view = View.fit((333, 500), 384)
    planes = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    expected = torch.nn.functional.interpolate(
        planes, size=view.frame_hw, mode="bilinear", align_corners=True
    )
    np.testing.assert_allclose(view.image_to_frame(image), expected[0].numpy(), atol=2e-7, rtol=0)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), st.integers(1, 40))
def test_a_ramp_stays_a_ramp_and_corners_stay_corners(h, w, oh, ow):
    rows, columns = np.mgrid[:h, :w].astype(np.float32)
    out = resize_bilinear(3 * rows + 7 * columns, (oh, ow))
    down = np.linspace(0, h - 1, oh) if oh > 1 else np.zeros(1)
    across = np.linspace(0, w - 1, ow) if ow > 1 else np.zeros(1)
    np.testing.assert_allclose(out, 3 * down[:, None] + 7 * across, atol=1e-3)
    assert out.dtype == np.float32


def test_the_same_size_changes_nothing():
    array = np.random.default_rng(0).uniform(0, 1, (31, 17)).astype(np.float32)
    assert resize_bilinear(array, (31, 17)).tobytes() == array.tobytes()


def test_conversion_comes_before_blending():
    squares = np.array([[0.0, 4.0, 16.0]], np.float32)
    np.testing.assert_allclose(resize_bilinear(squares, (1, 5), np.sqrt)[0], [0, 1, 2, 3, 4])
    np.testing.assert_allclose(resize_bilinear(squares, (1, 5))[0], [0, 2, 4, 10, 16])


def test_blocks_of_rows_do_not_show():
    array = np.random.default_rng(0).uniform(0, 1, (96, 120)).astype(np.float32)
    whole = resize_bilinear(array, (900, 1200))  # several blocks
    part = resize_bilinear(np.ascontiguousarray(array.T), (1200, 900))
    np.testing.assert_allclose(whole, part.T, atol=1e-6)
    frame = View((900, 1200), (96, 120))
    assert frame.probability_to_image(array).tobytes() == whole.tobytes()


@pytest.mark.parametrize("mirrored", [False, True])
def test_image_probability_and_mask_take_the_same_way(mirrored):
    # A picture linear in x and y survives any resize; mirrored, it must come back as it went.
    view = View((50, 80), (32, 48), mirrored)
    rows, columns = np.mgrid[:50, :80]
    image = np.stack([rows * 4, columns * 3, rows + columns], axis=-1).astype(np.uint8)
    frame = view.image_to_frame(image)
    assert frame.shape == (3, 32, 48)
    assert frame.dtype == np.float32
    assert frame.flags.c_contiguous
    plain = frame[:, :, ::-1] if mirrored else frame
    np.testing.assert_allclose(plain[0, :, 5], np.linspace(0, 196, 32) / 255, atol=1e-5)
    np.testing.assert_allclose(plain[1, 7], np.linspace(0, 237, 48) / 255, atol=1e-5)
    back = view.probability_to_image(np.ascontiguousarray(frame[2]))
    np.testing.assert_allclose(back * 255, image[..., 2], atol=1e-3)


def test_a_mask_lands_where_it_was():
    view = View((40, 80), (32, 64))
    mask = np.zeros((40, 80), np.bool_)
    mask[:10, :50] = True
    grid = view.mask_to_grid(mask)
    assert grid.shape == (8, 16)
    assert grid.dtype == np.float32
    assert (grid[0, :9].min(), grid[0, -1], grid[-1, 0], grid.max(), grid.min()) == (1, 0, 0, 1, 0)
    mirrored = view.mirror().mask_to_grid(mask)
    np.testing.assert_array_equal(mirrored, grid[:, ::-1])


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.booleans(), st.floats(0.05, 0.95))
def test_the_mask_is_the_probability_above_the_threshold(h, w, mirrored, threshold):
    view = View((h, w), (24, 32), mirrored)
    frame = np.random.default_rng(h * 100 + w).uniform(0, 1, (24, 32)).astype(np.float32)
    expected = view.probability_to_image(frame) > np.float32(threshold)
    np.testing.assert_array_equal(view.probability_to_mask(frame, threshold), expected)


@pytest.mark.parametrize("call", ["image", "probability", "mask"])
def test_another_size_is_refused(call):
    view = View((40, 56), (32, 44))
    with pytest.raises(FrameError, match=r"\(40, 56\)|\(32, 44\)"):
        {
            "image": lambda: view.image_to_frame(picture(56, 40)),
            "probability": lambda: view.probability_to_image(np.zeros((44, 32), np.float32)),
            "mask": lambda: view.mask_to_grid(np.zeros((56, 40), np.bool_)),
        }[call]()


def test_a_large_image_is_never_made_float_as_a_whole():
    image = np.zeros((6000, 8000, 3), np.uint8)
    image[..., 1] = 255
    view = View.fit((6000, 8000), 384)
    tracemalloc.start()
    frame = view.image_to_frame(image)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(frame[:, 0, 0], [0, 1, 0])
    assert peak < image.nbytes / 2
