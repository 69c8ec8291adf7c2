"""Polygons on pixel corners: there and back to the bit, in our filling and in pycocotools'."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from pycocotools import mask as coco_mask

from contracts.format_contract import HW, masks
from emclick.annotations import polygons
from emclick.annotations.errors import AnnotationError
from emclick.annotations.polygons import Island, fill, join, simplify, trace


def area(ring: np.ndarray) -> float:
    """Positive if the ring goes clockwise as seen (y down)."""
    x, y = ring.astype(float).T
    return 0.5 * float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y))


def filled_by_pycocotools(rings: list[np.ndarray], hw: tuple[int, int]) -> np.ndarray:
    flat = [ring.astype(float).ravel().tolist() for ring in rings]
    return coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(flat, *hw))).astype(bool)  # pyright: ignore


def check(mask: np.ndarray) -> None:
    hw = (mask.shape[0], mask.shape[1])
    islands = trace(mask)
    count, _ = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    assert len(islands) == count - 1
    assert all(area(island.outer) > 0 for island in islands)
    assert all(area(hole) < 0 for island in islands for hole in island.holes)
    assert sum(area(ring) for island in islands for ring in island.rings) == mask.sum()
    rings = [ring for island in islands for ring in island.rings]
    assert np.array_equal(fill(rings, hw), mask)
    if islands:
        assert np.array_equal(fill([join(rings)], hw), mask)
        assert np.array_equal(filled_by_pycocotools([join(rings)], hw), mask)
        assert np.array_equal(filled_by_pycocotools([join(island.rings) for island in islands], hw), mask)


@pytest.mark.parametrize("case", masks())
def test_each_shape(case: str) -> None:
    check(masks()[case])


@settings(max_examples=150, deadline=None)
@given(npst.arrays(np.bool_, st.tuples(st.integers(1, 16), st.integers(1, 16)), elements=st.booleans()))
def test_random_masks(mask: np.ndarray) -> None:
    check(mask)


def test_a_large_ragged_mask() -> None:
    noise = np.random.default_rng(0).random((300, 400)).astype(np.float32)
    check(cv2.GaussianBlur(noise, (0, 0), 3) > 0.5)


def test_vertices_are_pixel_corners_and_turns_only() -> None:
    (island,) = trace(masks()["box"])
    assert island.outer.tolist() == [[3, 4], [12, 4], [12, 9], [3, 9]]
    (frame,) = trace(masks()["whole image"])
    assert frame.outer.tolist() == [[0, 0], [HW[1], 0], [HW[1], HW[0]], [0, HW[0]]]


def test_holes_belong_to_the_island_around_them() -> None:
    outer, inner = trace(masks()["island in a hole"])
    assert [len(outer.holes), len(inner.holes)] == [1, 1]
    assert outer.holes[0].min(axis=0).tolist() == [4, 4]
    assert inner.holes[0].min(axis=0).tolist() == [10, 10]


def test_bridges_are_short() -> None:
    mask = np.zeros((100, 100), np.bool_)
    for x in range(0, 100, 20):
        mask[40:50, x : x + 10] = True
    ring = join([island.outer for island in trace(mask)]).astype(float)
    steps = np.abs(ring - np.roll(ring, 1, axis=0)).max(axis=1)
    assert steps.max() <= 10  # each square is joined to its neighbour, 10 pixels on
    assert np.array_equal(fill([ring], (100, 100)), mask)


def test_filling_goes_by_pixel_centres_at_any_place() -> None:
    rng = np.random.default_rng(1)
    rows, columns = np.indices((12, 15)) + 0.5
    for _ in range(100):
        ring = rng.uniform(-8, 24, (3, 2))
        sides = [
            (b[0] - a[0]) * (rows - a[1]) - (b[1] - a[1]) * (columns - a[0])
            for a, b in zip(ring, np.roll(ring, -1, axis=0))
        ]
        inside = np.all([side > 0 for side in sides], axis=0) | np.all([side < 0 for side in sides], axis=0)
        assert np.array_equal(fill([ring], (12, 15)), inside)
        assert np.array_equal(fill([ring[::-1]], (12, 15)), inside)


def test_far_and_degenerate_polygons() -> None:
    far = np.array([[-1e9, -1e9], [1e9, -1e9], [1e9, 1e9], [-1e9, 1e9]])
    assert fill([far], HW).all()
    assert not fill([far + 4e9], HW).any()
    assert not fill([], HW).any()
    assert not fill([np.zeros((0, 2)), np.array([[1.0, 1.0], [5.0, 5.0]]), np.full((5, 2), 3.0)], HW).any()


def test_a_polygon_beyond_all_measure_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    zigzag = np.stack([np.arange(4000) % 30, np.arange(4000) % 2 * 24], axis=1).astype(float)
    whole = fill([zigzag], HW)
    monkeypatch.setattr(polygons, "_CHUNK", 1000)  # worked through in pieces, the same comes out
    assert np.array_equal(fill([zigzag], HW), whole)
    monkeypatch.setattr(polygons, "MAX_CROSSINGS", 50_000)
    with pytest.raises(AnnotationError, match="complex"):
        fill([zigzag], HW)


def test_fewer_vertices_within_the_tolerance() -> None:
    disk = cv2.circle(np.zeros((200, 200), np.uint8), (100, 100), 80, 1, -1).astype(bool)
    (island,) = trace(disk)
    fewer = simplify(island, 1.0)
    assert fewer is not None
    assert len(fewer.outer) < len(island.outer) / 4
    wrong = fill(fewer.rings, (200, 200)) ^ disk
    band = cv2.dilate(disk.astype(np.uint8), np.ones((5, 5))) != cv2.erode(
        disk.astype(np.uint8), np.ones((5, 5))
    )
    assert not (wrong & ~band).any()
    assert simplify(island, 0) is island
    speck = Island(np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.int32))
    assert simplify(speck, 5.0) is None
