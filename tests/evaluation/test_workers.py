"""The ordered map over processes."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Generator, Iterator
from functools import partial

import pytest

from emclick.errors import EmclickError, UnknownNameError
from emclick.evaluation.workers import ordered_map


def work(base: int, task: int) -> int:
    time.sleep(0.03 * (task % 3))  # later tasks overtake earlier ones
    if task == 7:
        raise UnknownNameError("task", task, ["1"])
    if task == 9:
        os._exit(3)
    return base + task


def setup(base: int) -> Callable[[int], int]:
    return partial(work, base)


def test_order_and_laziness() -> None:
    drawn: list[int] = []

    def tasks() -> Iterator[int]:
        for task in range(7):
            drawn.append(task)
            yield task

    results = ordered_map(partial(setup, 100), tasks(), 2)
    assert isinstance(results, Generator)
    assert next(results) == 100
    assert len(drawn) <= 5  # at most two per process ahead
    assert list(results) == [101, 102, 103, 104, 105, 106]
    assert not multiprocessing.active_children()


def test_closing_ends_the_processes() -> None:
    results = ordered_map(partial(setup, 0), range(7), 2)
    assert next(results) == 0
    assert isinstance(results, Generator)
    results.close()
    assert not multiprocessing.active_children()


def test_an_error_that_cannot_be_pickled_arrives_as_text_in_its_turn() -> None:
    results = ordered_map(partial(setup, 0), [1, 7, 2], 2)
    assert next(results) == 1
    with pytest.raises(EmclickError, match="unknown task 7"):
        next(results)


def test_a_process_that_dies_is_reported() -> None:
    with pytest.raises(EmclickError, match="died"):
        list(ordered_map(partial(setup, 0), [9], 1))


def test_no_tasks() -> None:
    assert list(ordered_map(partial(setup, 0), [], 1)) == []
