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
    Background(started.set, after_s=0.01)
    assert started.wait(10)


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
