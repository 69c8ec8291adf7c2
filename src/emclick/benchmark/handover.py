"""What one CPU pays to read what another has written: little where they share a cache, much where they do not.

The floor does not show it (a product of matrices shares almost nothing), but a network does, whose every layer reads
what the threads of the layer before wrote. A virtual machine can change from one to the other within a second, as its
host moves it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

KILOBYTES = 512
"""Fits into one CPU's own cache on most machines."""
TIMES = 24


class Handover(NamedTuple):
    """Median microseconds to read `KILOBYTES`: just written by another CPU, and read a second time."""

    of_other: float
    of_own: float


def handover() -> Handover | None:
    """Measured on the first two CPUs of this process; None if it may use one alone, or threads cannot be pinned."""
    if not hasattr(os, "sched_setaffinity") or len(allowed := sorted(os.sched_getaffinity(0))) < 2:
        return None
    data = np.ones(KILOBYTES * 256, np.float32)
    asked, written = threading.Semaphore(0), threading.Semaphore(0)
    times: list[tuple[float, float]] = []

    def write() -> None:
        os.sched_setaffinity(0, allowed[:1])  # of this thread alone
        for _ in range(TIMES):
            asked.acquire()
            np.add(data, 1, out=data)
            written.release()

    def read() -> None:
        os.sched_setaffinity(0, allowed[1:2])
        for _ in range(TIMES):
            asked.release()
            written.acquire()
            times.append((_microseconds(data.max), _microseconds(data.max)))

    threads = [threading.Thread(target=each) for each in (write, read)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    of_other, of_own = np.median(times, axis=0)
    return Handover(float(of_other), float(of_own))


def _microseconds(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return (time.perf_counter() - began) * 1e6
