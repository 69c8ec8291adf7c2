"""Clicks and their maps, against brute force."""

from __future__ import annotations

import fractions
import math
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emclick.clicks import (
    DISK_CELLS,
    Click,
    ClickMaps,
    check_click,
    disk_cells,
    disk_maps,
    distance_maps,
    squared_distances,
)
from emclick.errors import ClickError, ClickTypeError
from emclick.geometry import resize_bilinear
from helpers import floats

HW = (24, 40)
POINTS = st.lists(
    st.tuples(st.floats(-8, 30, width=32), st.floats(-8, 46, width=32), st.booleans()), max_size=6
)


def arrays(clicks):
    points = np.array([each[:2] for each in clicks], np.float32).reshape(-1, 2)
    return points, np.array([each[2] for each in clicks], np.bool_)


def brute_squared(points):
    """(h, w) float32 by loops; rows first."""
    out = np.full(HW, np.inf, np.float32)
    for row in range(HW[0]):
        for column in range(HW[1]):
            for y, x in points:
                down, across = np.float32(row) - y, np.float32(column) - x
                out[row, column] = min(out[row, column], down * down + across * across)
    return out


@settings(max_examples=25, deadline=None)
@given(POINTS)
def test_maps_agree_with_brute_force(clicks):
    points, positive = arrays(clicks)
    disks = disk_maps(points, positive, HW)
    distances = distance_maps(points, positive, HW)
    assert disks.dtype == distances.dtype == np.float32
    for index, chosen in enumerate((positive, ~positive)):
        squared = brute_squared(points[chosen])
        np.testing.assert_array_equal(squared_distances(points[chosen], HW), squared)
        np.testing.assert_array_equal(disks[index], squared <= 25)
        known = squared if chosen.any() else np.ones(HW, np.float32)
        diagonal = math.sqrt(HW[0] ** 2 + HW[1] ** 2)
        expected = resize_bilinear(np.sqrt(known) / np.float32(diagonal), (6, 10))
        np.testing.assert_array_equal(distances[index], expected)


@settings(max_examples=40, deadline=None)
@given(POINTS)
def test_disks_of_cells_are_the_disk_maps(clicks):
    points, positive = arrays(clicks)
    found = ClickMaps.of(points, positive, HW).disks()
    assert found.dtype == np.float32
    full = disk_maps(points, positive, HW)
    for polarity, row, column in np.ndindex(2, *HW):
        channel = 16 * polarity + 4 * (row % 4) + column % 4
        assert found[row // 4, column // 4, channel] == full[polarity, row, column]


@settings(max_examples=40, deadline=None)
@given(POINTS)
def test_adding_clicks_one_by_one_gives_the_same_bits(clicks):
    points, positive = arrays(clicks)
    maps = ClickMaps(HW)
    for point, polarity in zip(points, positive):
        maps = maps.add(point, bool(polarity))
    whole = ClickMaps.of(points, positive, HW)
    assert maps.disks().tobytes() == whole.disks().tobytes()
    assert maps.distances().tobytes() == whole.distances().tobytes()
    assert (maps.positive is None) == (not positive.any())
    assert (maps.negative is None) == (positive.all())


@settings(max_examples=40, deadline=None)
@given(POINTS)
def test_patches_bring_each_pixel_of_the_disks_once(clicks):
    points, positive = arrays(clicks)
    maps = ClickMaps.of(points, positive, HW)
    grid_hw = (HW[0] // 4, HW[1] // 4)
    found = np.zeros_like(maps.disks())
    for patch in maps.patches:
        cells = disk_cells([patch], grid_hw)
        found += cells
        for reach, axis in ((patch.rows, 1), (patch.columns, 0)):
            touched = np.flatnonzero(cells.any(axis=(axis, 2)))
            assert reach.start <= touched[0]
            assert touched[-1] < reach.stop
            assert reach.stop - reach.start <= DISK_CELLS
    assert np.array_equal(found, maps.disks())


@settings(max_examples=40, deadline=None)
@given(POINTS, st.data())
def test_some_cells_of_the_disks_are_those_of_the_whole_map(clicks, data):
    maps = ClickMaps.of(*arrays(clicks), HW)
    ends = [data.draw(st.lists(st.integers(0, size // 4), min_size=2, max_size=2).map(sorted)) for size in HW]
    rows, columns = (slice(*each) for each in ends)
    part = disk_cells(maps.patches, (HW[0] // 4, HW[1] // 4), (rows, columns))
    assert np.array_equal(part, maps.disks()[rows, columns])


def test_maps_know_which_patches_were_there_before_the_last_click():
    one = ClickMaps(HW).add(floats([10, 20]), True)
    two = one.add(floats([30, 20]), False)
    again = two.add(floats([30, 20]), False)
    assert [each.patches[: each.earlier] for each in (one, two, again)] == [(), one.patches, two.patches]


def test_the_same_click_again_brings_no_patch():
    one = ClickMaps(HW).add(floats([10, 20]), True)
    two = one.add(floats([10, 20]), True)
    assert two.patches == one.patches
    assert len(two.add(floats([10, 20]), False).patches) == 2


def test_adding_leaves_the_old_maps_alone():
    old = ClickMaps(HW).add(floats([3, 4]), True)
    before = old.disks().tobytes()
    old.add(floats([20, 30]), True)
    old.add(floats([20, 30]), False)
    assert old.disks().tobytes() == before


def test_a_disk_is_exactly_five_pixels_round_its_row_and_column():
    disk = disk_maps(floats([[10, 20]]), np.array([True]), HW)
    assert disk.shape == (2, *HW)
    assert disk[0, 10, 15] == disk[0, 10, 25] == disk[0, 5, 20] == disk[0, 15, 20] == disk[0, 13, 24] == 1
    assert disk[0, 10, 14] == disk[0, 10, 26] == disk[0, 4, 20] == disk[0, 16, 20] == disk[0, 14, 24] == 0
    assert disk.sum() == 81
    assert not disk[1].any()
    # a fraction of a pixel counts: the disk of (10, 20.3) reaches 25 but not 15
    moved = disk_maps(floats([[10, 20.3]]), np.array([False]), HW)
    assert (moved[1, 10, 15], moved[1, 10, 25], moved[0].any()) == (0, 1, False)


def test_distance_is_over_the_diagonal_and_constant_without_clicks():
    maps = distance_maps(floats([[0, 0]]), np.array([True]), (300, 400))
    assert maps.shape == (2, 75, 100)
    assert maps[0, 0, 0] == 0
    np.testing.assert_allclose(maps[0, -1, 0], 299 / 500, rtol=1e-6)
    np.testing.assert_allclose(maps[0, 0, -1], 399 / 500, rtol=1e-6)
    np.testing.assert_allclose(maps[1], 1 / 500, rtol=1e-6)


def test_no_click_at_all():
    points, positive = arrays([])
    assert not disk_maps(points, positive, HW).any()
    maps = distance_maps(points, positive, HW)
    assert (maps == maps[0, 0, 0]).all()
    assert np.isinf(squared_distances(points, HW)).all()


@pytest.mark.parametrize(
    ("x", "y"),
    [(-0.5, -0.5), (0, 0), (9.49, 4.49), (np.nextafter(9.5, 0), 4), (np.float32(3), np.int16(2)), (3, 4.0)],
)
def test_valid_clicks_become_python_numbers(x, y):
    click = check_click(x, y, np.True_, (5, 10))
    assert click == Click(float(x), float(y), True)
    assert type(click.x) is type(click.y) is float
    assert type(click.positive) is bool


@pytest.mark.parametrize(
    ("x", "y", "word"),
    [
        (9.5, 2, "x=9.5"),
        (2, 4.5, "y=4.5"),
        (10, 2, "x=10"),
        (2, 5, "y=5"),
        (-0.51, 2, "x=-0.51"),
        (2, -1, "y=-1"),
        (7, 7, "y=7"),  # inside if x and y were swapped
        (math.nan, 2, "x must be finite"),
        (2, math.inf, "y must be finite"),
        (-math.inf, 2, "x must be finite"),
        (10**400, 2, "x must be finite"),
        (np.float32("nan"), 2, "x must be finite"),
    ],
)
def test_clicks_outside_are_refused(x, y, word):
    with pytest.raises(ClickError, match=word):
        check_click(x, y, True, (5, 10))


@pytest.mark.parametrize(
    "value", [True, np.True_, "1", None, 1j, [1], np.array(1.0), Decimal(1), b"1", object()]
)
def test_what_is_no_number_is_refused(value):
    for x, y in ((value, 1), (1, value)):
        with pytest.raises(ClickTypeError, match="must be a number"):
            check_click(x, y, True, (5, 10))


@pytest.mark.parametrize("value", [1, 0, None, "neg", 1.0, np.int64(1)])
def test_polarity_is_a_bool(value):
    with pytest.raises(ClickTypeError, match="True or False"):
        check_click(1, 1, value, (5, 10))


def test_a_fraction_is_a_number():
    assert check_click(fractions.Fraction(1, 2), 1, False, (5, 10)) == Click(0.5, 1.0, False)


@pytest.mark.parametrize(
    ("click", "pixel"),
    [
        (Click(-0.5, -0.5), (0, 0)),
        (Click(0.49, 0.5), (1, 0)),
        (Click(2, 3), (3, 2)),
        (Click(np.nextafter(9.5, 0), np.nextafter(4.5, 0)), (4, 9)),
    ],
)
def test_the_pixel_of_a_click(click, pixel):
    assert click.pixel((5, 10)) == pixel


def test_a_click_is_a_value():
    assert Click(1, 2) == Click(1.0, 2.0, True) != Click(2, 1)
    assert len({Click(1, 2), Click(1, 2), Click(1, 2, False)}) == 2
    with pytest.raises(AttributeError):
        Click(1, 2).x = 3  # type: ignore[misc]
