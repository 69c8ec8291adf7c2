"""Windows of cells round a click."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emclick.clicks import DISK_CELLS
from emclick.near import AROUND, FUSED, Reach, scaled, within


@given(
    st.sampled_from([FUSED, AROUND, Reach(0), Reach(3), Reach(2, step=2)]),
    st.integers(1, 130),
    st.integers(0, 129),
    st.integers(1, DISK_CELLS),
)
def test_a_window_holds_all_that_what_it_changes_is_made_of(
    reach: Reach, size: int, first: int, count: int
) -> None:
    first = min(first, size - 1)
    touched = slice(first, min(first + count, size))
    used, changed = reach.window(touched, size)
    assert changed.start <= max(touched.start - reach.cells, 0)
    assert changed.stop >= min(touched.stop + reach.cells, size)
    assert used.start <= max(changed.start - reach.cells, 0)
    assert used.stop >= min(changed.stop + reach.cells, size)
    assert 0 <= used.start < used.stop <= size
    assert used.stop - used.start == reach.side(size)  # of one size alone, which a runtime gets ready for
    for place in (used.start, changed.start, changed.stop):
        assert place % reach.step == 0 or place == size


def test_more_than_a_disk_is_all_of_the_frame() -> None:
    assert FUSED.window(slice(10, 11 + DISK_CELLS), 90) == (slice(0, 90), slice(0, 90))


@pytest.mark.parametrize(
    ("cells", "size", "own_size", "expected"),
    [
        (slice(4, 34), 96, 96, slice(4, 34)),
        (slice(4, 34), 96, 192, slice(8, 68)),
        (slice(4, 34), 96, 384, slice(16, 136)),
        (slice(4, 34), 96, 48, slice(2, 17)),
        (slice(64, 95), 95, 48, slice(32, 48)),
        (slice(0, 5), 5, 3, slice(0, 3)),
        (slice(0, 1), 1, 1, slice(0, 1)),
    ],
)
def test_places_at_other_scales(cells: slice, size: int, own_size: int, expected: slice) -> None:
    assert scaled(cells, size, own_size) == expected


def test_within() -> None:
    assert within(slice(5, 9), slice(3, 20)) == slice(2, 6)
