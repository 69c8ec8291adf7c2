"""What one CPU pays to read what another wrote."""

from __future__ import annotations

import os
import threading

import pytest

from emclick.benchmark.handover import handover

pinned = pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="threads cannot be pinned here")


@pinned
def test_two_cpus_hand_over_and_this_thread_stays_where_it_was() -> None:
    allowed, before = os.sched_getaffinity(0), threading.active_count()
    if len(allowed) < 2:
        pytest.skip("one CPU alone")
    found = handover()
    assert found is not None
    assert 1 < found.of_own < 1000
    assert 1 < found.of_other < 10_000
    assert os.sched_getaffinity(0) == allowed
    assert threading.active_count() == before


@pinned
def test_one_cpu_hands_nothing_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    assert handover() is None


def test_where_threads_cannot_be_pinned_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_setaffinity", raising=False)
    assert handover() is None
