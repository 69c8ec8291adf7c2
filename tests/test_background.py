"""Work that starts before its result is wanted."""

from __future__ import annotations

import subprocess
import sys
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


@pytest.mark.parametrize(("after_s", "expected"), [(0.0, "begun\nleft\nfinished\n"), (600.0, "left\n")])
def test_a_program_that_ends_waits_for_work_that_has_begun_alone(after_s: float, expected: str):
    program = f"""
import threading, time
from emclick.background import Background
begun = threading.Event()
def work():
    print("begun", flush=True)
    begun.set()
    time.sleep(0.3)
    print("finished", flush=True)
kept = Background(work, {after_s})
begun.wait({10 if not after_s else 0.1})
print("left", flush=True)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, expected, "")
