"""What every method refuses, and the bounded memories that they keep."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
import pytest

from emclick.clicks import Click
from emclick.errors import ClickError, ImageTypeError, MaskError
from emclick.methods.checks import check_image, check_mask, check_next, remembered


@pytest.mark.parametrize(
    "wrong", [None, [[1]], np.zeros((4, 5)), np.zeros((4, 5, 3)), np.zeros((4, 5, 4), np.uint8)]
)
def test_an_image_is_three_channels_of_bytes(wrong: Any) -> None:
    check_image(np.zeros((4, 5, 3), np.uint8))
    with pytest.raises(ImageTypeError, match="read_image"):
        check_image(wrong)


def test_a_mask_is_bool_and_of_the_image_s_size() -> None:
    check_mask(np.zeros((4, 5), np.bool_), (4, 5))
    with pytest.raises(ImageTypeError, match="read_mask"):
        check_mask(np.zeros((4, 5), np.uint8), (4, 5))
    with pytest.raises(MaskError, match=r"\(5, 4\).*\(4, 5\)"):
        check_mask(np.zeros((5, 4), np.bool_), (4, 5))


def test_nothing_can_be_taken_from_nothing() -> None:
    assert check_next(Click(1, 2), (4, 5), begun=False) == Click(1, 2)
    assert check_next(Click(1, 2, False), (4, 5), begun=True) == Click(1, 2, False)
    with pytest.raises(ClickError, match="must be positive"):
        check_next(Click(1, 2, False), (4, 5), begun=False)
    with pytest.raises(ClickError, match="outside"):
        check_next(Click(5, 2), (4, 5), begun=True)


def test_what_was_asked_for_longest_ago_is_forgotten() -> None:
    memory: OrderedDict[str, int] = OrderedDict()
    made: list[str] = []

    def ask(key: str) -> None:
        assert remembered(memory, key, lambda: made.append(key) or len(made), 2) == made.index(key) + 1

    for key in "aabac":
        ask(key)
    assert made == ["a", "b", "c"]
    assert list(memory) == ["a", "c"]
