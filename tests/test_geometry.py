"""View and resize: sizes, directions, round trips, and torch's numbers."""

from __future__ import annotations

import tracemalloc

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emclick import geometry
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


# From image to frame, against one pixel at a time


def frame_pixel(image, frame_hw, row, column):
    """(3,) float32: two weights multiplied, corner after corner added with one rounding to float32."""
    taps = []
    for size, new, at in zip(image.shape, frame_hw, (row, column)):
        position = np.float32(size - 1) / np.float32(new - 1) * np.float32(at)
        low = min(int(position), size - 1)
        weight = np.float32(min(max(position - np.float32(low), np.float32(0)), np.float32(1)))
        taps.append(((low, np.float32(1) - weight), (min(low + 1, size - 1), weight)))
    ((top, up), (bottom, down)), ((left, west), (right, east)) = taps
    values = []
    for channel in range(3):
        total = np.float32(0)
        for y, x, weight in (
            (top, right, up * east),
            (top, left, up * west),
            (bottom, left, down * west),
            (bottom, right, down * east),
        ):
            value = np.float32(image[y, x, channel]) / np.float32(255)
            total = np.float32(float(value) * float(weight) + float(total))
        values.append(total)
    return np.array(values)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.sampled_from([(4, 4), (4, 12), (12, 8)]),
    st.booleans(),
    st.integers(0, 2**31),
)
def test_a_frame_is_four_corners_rounded_one_by_one(h, w, frame_hw, mirrored, seed):
    image = np.random.default_rng(seed).integers(0, 256, (h, w, 3), dtype=np.uint8)
    frame = View((h, w), frame_hw, mirrored).image_to_frame(image)
    plain = frame[:, :, ::-1] if mirrored else frame
    for row in range(frame_hw[0]):
        for column in range(frame_hw[1]):
            expected = frame_pixel(image, frame_hw, row, column)
            assert plain[:, row, column].tobytes() == expected.tobytes()


@pytest.mark.parametrize("image_hw", [(100, 130), (1224, 1632), (1000, 3)])
def test_so_is_a_frame_made_in_blocks(image_hw):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (*image_hw, 3), dtype=np.uint8)
    view = View.fit(image_hw, 384)
    frame = view.image_to_frame(image)
    h, w = view.frame_hw
    corners = [(0, 0), (0, w - 1), (h - 1, 0), (h - 1, w - 1)]
    for row, column in [*corners, *zip(rng.integers(0, h, 300), rng.integers(0, w, 300))]:
        expected = frame_pixel(image, view.frame_hw, row, column)
        assert frame[:, row, column].tobytes() == expected.tobytes()


def test_any_layout_of_an_image_gives_the_same_frame():
    image = np.random.default_rng(0).integers(0, 256, (61, 83, 3), dtype=np.uint8)
    view = View.fit((61, 83), 48)
    expected = view.image_to_frame(image)
    padded = np.zeros((61, 90, 4), np.uint8)
    padded[:, 5:88, :3] = image
    locked = image.copy()
    locked.flags.writeable = False
    layouts = {
        "inside a larger one": padded[:, 5:88, :3],
        "channels reversed": np.ascontiguousarray(image[..., ::-1])[..., ::-1],
        "upside down": np.ascontiguousarray(image[::-1])[::-1],
        "columns first": np.asfortranarray(image),
        "read-only": locked,
    }
    for name, each in layouts.items():
        np.testing.assert_array_equal(each, image)
        assert view.image_to_frame(each).tobytes() == expected.tobytes(), name


# From probability to mask

THIRD = np.float32(1 / 3)


def _blobs(rng, hw):
    logits = cv2.resize(rng.normal(0, 6, (3, 4)).astype(np.float32), hw[::-1], interpolation=cv2.INTER_CUBIC)
    return 1 / (1 + np.exp(-logits))


def _plateau(rng, hw):
    return THIRD + rng.integers(-2, 3, hw) * np.float32(2**-25)  # as close as floats lie


FRAMES = {
    "noise": lambda rng, hw: rng.uniform(0, 1, hw),
    "blobs": _blobs,
    "steps": lambda rng, hw: rng.integers(0, 5, hw) / 4,  # many values exactly at a threshold
    "edges": lambda rng, hw: _blobs(rng, hw) > 0.5,
    "plateau": _plateau,
    "level": lambda rng, hw: np.full(hw, THIRD),
    "not numbers": lambda rng, hw: np.where(rng.uniform(0, 1, hw) < 0.1, np.nan, _blobs(rng, hw)),
    "large": lambda rng, hw: -1e4 * _plateau(rng, hw),
}
"""Kinds of (h, w) maps."""


def assert_mask_is_probability_above(view, frame, threshold):
    expected = view.probability_to_image(frame) > np.float32(threshold)
    mask = view.probability_to_mask(frame, threshold)
    assert mask.dtype == np.bool_
    np.testing.assert_array_equal(mask, expected)


@pytest.mark.parametrize("by_cells", [True, None])
@pytest.mark.parametrize("kind", FRAMES)
def test_the_mask_is_the_probability_above_the_threshold(kind, by_cells, monkeypatch):
    if by_cells:
        monkeypatch.setattr(geometry, "_MIXED_SHARE", 0)  # never blend everything

    @settings(max_examples=40, deadline=None)
    @given(
        st.tuples(st.integers(1, 150), st.integers(1, 150)),
        st.sampled_from([(24, 32), (4, 4), (4, 16), (40, 12)]),
        st.booleans(),
        st.one_of(st.sampled_from([0.25, 0.5, 0.75, 1 / 3]), st.floats(0.01, 0.99)),
        st.integers(0, 2**31),
    )
    def law(image_hw, frame_hw, mirrored, threshold, seed):
        view = View(image_hw, frame_hw, mirrored)
        rng = np.random.default_rng(seed)
        frame = FRAMES[kind](rng, frame_hw).astype(np.float32)
        assert_mask_is_probability_above(view, frame, threshold)
        # exactly a value that occurs, and the next ones to it
        occurring = rng.choice(view.probability_to_image(frame).ravel())
        for level in (
            np.nextafter(occurring, np.float32(-np.inf)),
            occurring,
            np.nextafter(occurring, np.float32(np.inf)),
        ):
            assert_mask_is_probability_above(view, frame, float(level))

    law()


@pytest.mark.parametrize("image_hw", [(480, 640), (1224, 1632), (3001, 501), (500, 3)])
@pytest.mark.parametrize("kind", ["noise", "blobs", "edges"])
def test_so_is_the_mask_of_a_photograph(image_hw, kind):
    view = View.fit(image_hw, 384)
    frame = FRAMES[kind](np.random.default_rng(0), view.frame_hw).astype(np.float32)
    assert_mask_is_probability_above(view, frame, 0.5)
    assert_mask_is_probability_above(view.mirror(), frame, 0.3)


@pytest.mark.parametrize(("kind", "quick"), [("blobs", True), ("noise", False)])
def test_only_cells_that_the_outline_crosses_are_blended(kind, quick):
    frame = FRAMES[kind](np.random.default_rng(0), (96, 128)).astype(np.float32)
    mask = geometry._mask_by_cells(frame, (600, 800), np.float32(0.5))
    assert (mask is not None) == quick


def test_a_large_mask_takes_little_more_than_itself():
    view = View.fit((3000, 4000), 384)
    frame = FRAMES["blobs"](np.random.default_rng(0), view.frame_hw).astype(np.float32)
    tracemalloc.start()
    mask = view.probability_to_mask(frame, 0.5)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 0 < mask.sum() < mask.size
    assert peak < 1.5 * mask.nbytes


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
