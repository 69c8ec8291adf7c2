"""Work that starts before its result is wanted."""

from __future__ import annotations

import threading
import time

import pytest

from emclick.background import Background


def test_it_starts_by_itself():
    started = threading.Event()
    work = Background(started.set)
    assert started.wait(10)
    assert work.result() is None


def test_work_for_later_waits_until_it_is_wanted():
    started = threading.Event()
    work = Background(lambda: started.set() or 7, after_s=600)
    time.sleep(0.05)
    assert not started.is_set()
    assert work.result() == 7


def test_work_for_later_starts_without_being_wanted():
    started = threading.Event()
    work = Background(started.set, after_s=0.01)
    assert started.wait(10)
    assert work.result() is None


def test_work_that_nobody_can_ask_for_any_more_is_not_begun():
    started = threading.Event()
    work = Background(started.set, after_s=0.05)
    thread = work._thread
    del work
    thread.join(10)
    assert not started.is_set()


@pytest.mark.parametrize("again", ["result", "resume"])
def test_cancelled_work_is_begun_only_when_it_is_asked_for_or_resumed(again: str):
    done: list[int] = []
    work = Background(lambda: done.append(1) or 7, after_s=0.02)
    work.cancel()
    work._thread.join(10)
    assert done == []
    if again == "resume":
        work.resume()
        work._thread.join(10)
        assert done == [1]
    assert work.result() == work.result() == 7
    work.cancel()  # too late
    assert work.result() == 7
    assert done == [1]


def test_an_error_comes_where_the_result_is_asked_for_and_the_work_is_tried_again():
    answers = [KeyError("no"), None]

    def work() -> int:
        error = answers.pop(0)
        if error:
            raise error
        return 3

    background = Background(work)
    with pytest.raises(KeyError, match="no"):
        background.result()
    assert background.result() == 3
