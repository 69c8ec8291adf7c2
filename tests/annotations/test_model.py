"""RLE: the same as pycocotools', and nothing damaged gets in."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from pycocotools import mask as coco_mask

from contracts.format_contract import masks
from emclick.annotations.errors import AnnotationError
from emclick.annotations.model import AnnotatedImage, AnnotatedObject, Rle
from emclick.errors import MaskError


@settings(max_examples=150, deadline=None)
@given(npst.arrays(np.bool_, st.tuples(st.integers(1, 20), st.integers(1, 20))))
def test_rle_is_pycocotools_rle(mask: np.ndarray) -> None:
    rle = Rle.encode(mask)
    theirs = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert rle.counts.encode() == theirs["counts"]
    assert list(rle.size_hw) == list(theirs["size"])
    assert np.array_equal(rle.decode(), mask)
    assert rle.decode().dtype == np.bool_
    assert rle.area == mask.sum()
    assert list(rle.box) == coco_mask.toBbox(theirs).astype(int).tolist()
    assert rle.runs().sum() == mask.size
    assert Rle.from_json(rle.to_json(), mask.shape) == rle
    assert Rle.from_json({"size": list(mask.shape), "counts": rle.runs().tolist()}) == rle


@settings(max_examples=150, deadline=None)
@given(
    npst.arrays(np.bool_, st.tuples(st.integers(1, 40), st.integers(1, 6))),
    st.sampled_from([0, 1, 3, 700]),
    st.sampled_from([0, 1, 3, 700]),
)
def test_empty_columns_beside_the_object_change_no_run(mask: np.ndarray, left: int, right: int) -> None:
    wide = np.pad(mask, ((0, 0), (left, right)))
    assert (
        Rle.encode(wide).counts.encode()
        == coco_mask.encode(np.asfortranarray(wide.astype(np.uint8)))["counts"]
    )


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("dots", [0, 5, 2000])  # the last is more than finding changes is good for
def test_random_masks_encode_as_pycocotools_does(dots: int, inverted: bool) -> None:
    random = np.random.default_rng(dots)
    for _ in range(20):
        height, width = random.integers(1, 150, 2)
        mask = np.zeros((height, width), np.uint8)
        for _ in range(random.integers(1, 4)):
            at = (int(random.integers(0, width)), int(random.integers(0, height)))
            cv2.circle(mask, at, int(random.integers(1, 80)), 1, -1)
        mask[random.integers(0, height, dots), random.integers(0, width, dots)] ^= 1
        wanted = mask == 0 if inverted else mask > 0
        counts = coco_mask.encode(np.asfortranarray(wanted.astype(np.uint8)))["counts"]
        assert Rle.encode(wanted).counts.encode() == counts
        np.testing.assert_array_equal(Rle.encode(wanted).decode(), wanted)


@pytest.mark.parametrize("case", masks())
def test_box_and_area_of_each_shape(case: str) -> None:
    mask = masks()[case]
    rows, columns = np.nonzero(mask)
    box = (columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1) if rows.size else (0, 0, 0, 0)
    assert Rle.encode(mask).box == box


def test_layout_and_dtype_of_the_mask_do_not_matter() -> None:
    mask = masks()["island in a hole"]
    wanted = Rle.encode(mask)
    for other in (
        np.asfortranarray(mask),
        mask.astype(np.uint8) * 255,
        mask[::-1][::-1],
        mask.astype(np.float32),
    ):
        assert Rle.encode(other) == wanted
    assert np.array_equal(Rle.encode(mask[:, ::2]).decode(), mask[:, ::2])


def test_a_large_mask_with_long_runs() -> None:
    mask = np.zeros((3000, 4000), np.bool_)
    mask[100:2900, 1000:3999] = True
    rle = Rle.encode(mask)
    assert rle.area == 2800 * 2999
    assert np.array_equal(rle.decode(), mask)


def test_empty() -> None:
    assert Rle.empty((3, 4)) == Rle.encode(np.zeros((3, 4), np.bool_))


def test_runs_of_no_pixels_are_taken_out() -> None:
    found = Rle.from_json({"size": [2, 3], "counts": [1, 0, 1, 2, 2, 0, 0]})
    assert found == Rle.from_json({"size": [2, 3], "counts": [2, 2, 2]})
    assert found.box == (1, 0, 1, 2)


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        "x",
        {},
        {"size": [2, 2]},
        {"counts": [4]},
        {"size": [2], "counts": [4]},
        {"size": "22", "counts": [4]},
        {"size": [2, 2], "counts": [3]},
        {"size": [2, 2], "counts": [5]},
        {"size": [2, 2], "counts": []},
        {"size": [2, 2], "counts": [-1, 5]},
        {"size": [2, 2], "counts": [1.5, 2.5]},
        {"size": [2, 2], "counts": [True, 3]},
        {"size": [2, 2], "counts": ["4"]},
        {"size": [2, 2], "counts": [float("nan"), 4]},
        {"size": [2, 2], "counts": [1e300]},
        {"size": [2, 2], "counts": ""},
        {"size": [2, 2], "counts": "5"},
        {"size": [2, 2], "counts": "\x00"},
        {"size": [2, 2], "counts": "ä"},
        {"size": [2, 2], "counts": "o"},
        {"size": [2, 2], "counts": "oooooooooooo0"},
        {"size": [2, 2], "counts": "~"},
        {"size": [2, 2], "counts": 4},
        {"size": [0, 2], "counts": []},
        {"size": [-2, -2], "counts": [4]},
        {"size": [10**6, 10**6], "counts": [10**12]},
        {"size": [2.5, 2], "counts": [5]},
        {"size": [True, 2], "counts": [2]},
        {"size": [2, 2], "counts": "22O2"},
        {"size": [2, 2], "counts": None},
        {"size": [2, 2], "counts": "0" * 30 + "4"},  # runs of nothing, as many as memory holds
        {"size": [2, 2], "counts": [0] * 30 + [4]},
    ],
)
def test_what_is_no_rle_is_refused(value: object) -> None:
    with pytest.raises(MaskError):
        Rle.from_json(value)


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(min_codepoint=40, max_codepoint=120), max_size=12))
def test_no_text_breaks_the_parser(counts: str) -> None:
    try:
        rle = Rle.from_json({"size": [5, 7], "counts": counts})
    except MaskError:
        return
    assert rle.decode().shape == (5, 7)
    assert Rle.encode(rle.decode()).area == rle.area


def test_another_size_than_the_image() -> None:
    with pytest.raises(MaskError, match="3x2"):
        Rle.from_json({"size": [2, 3], "counts": [6]}, (3, 2))


@pytest.mark.parametrize("mask", [np.zeros(4), np.zeros((0, 3)), np.zeros((2, 2, 1)), [[1]], None])
def test_what_is_no_mask_is_refused(mask: object) -> None:
    with pytest.raises(MaskError):
        Rle.encode(mask)  # pyright: ignore[reportArgumentType]


def test_objects_and_images_hold_their_rules() -> None:
    rle = Rle.empty((2, 3))
    for color in ("red", "#12345", "#1234567", "123456", "#12345g", ""):
        with pytest.raises(AnnotationError, match="colour"):
            AnnotatedObject(rle, "x", color)
    with pytest.raises(AnnotationError, match="status"):
        AnnotatedImage("a.jpg", (2, 3), (), "finished")
    with pytest.raises(MaskError, match=r"a\.jpg"):
        AnnotatedImage("a.jpg", (3, 2), (AnnotatedObject(rle),))
