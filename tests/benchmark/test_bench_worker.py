"""Workers: the protocol, and the processes behind it."""

from __future__ import annotations

import importlib.util
import io
import json
import sys
import time
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from emclick.benchmark.processes import Worker
from emclick.benchmark.worker import peak_mb, serve
from emclick.errors import WorkerError


def answers(*requests: dict[str, Any]) -> list[dict[str, Any]]:
    out = io.StringIO()
    serve([json.dumps(each) + "\n" for each in requests], out)
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_the_protocol(tmp_path: Path) -> None:
    options = {"folder": str(tmp_path / "log"), "precision": "fp32", "threads": 2}
    opened, prepared, run, end = answers(
        {"do": "open", "job": "fake_jobs:FakeModel", "options": options},
        {"do": "prepare", "stage": "correction"},
        {"do": "run", "times": 3},
        {"do": "end"},
    )
    assert opened == {"load_s": 0.25, "short_side": 64, "given": {"threads": 2}}
    assert prepared == {}
    assert run["samples"] == [{"ms": 1.0}] * 3
    assert run["cpu_s"] >= 0
    assert 0 < run["wall_s"] < 5
    assert end["peak_mb"] > 1
    assert (tmp_path / "log").read_text() == "fp32 correction\n" * 4  # preparing runs it once


def test_a_failure_is_an_answer_and_the_next_request_is_served() -> None:
    unknown, absent, refused, opened, failed = answers(
        {"do": "dance"},
        {"do": "open", "job": "no_such_module:Job", "options": {}},
        {"do": "open", "job": "fake_jobs:FakeModel", "options": {"folder": "x", "precision": "bf16"}},
        {"do": "open", "job": "fake_jobs:Observer", "options": {}},
        {"do": "prepare", "stage": "s"},
    )
    assert unknown["error"] == "KeyError"
    assert absent["error"] == "ModuleNotFoundError"
    assert refused == {"error": "OptionError", "message": "no such precision here", "known": True}
    assert opened["numpy"] is True  # here it is imported
    assert failed == {"error": "ZeroDivisionError", "message": "s", "known": False}


def test_threads_are_fixed_and_kernels_free_before_numpy_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Prescott")
    with Worker("fake_jobs:Observer", {}, threads=3) as worker:
        assert worker.about == {"variables": ["3", "3", None], "numpy": False}
        with pytest.raises(WorkerError, match="unexpected ZeroDivisionError: first"):
            worker.ask(do="prepare", stage="first")
        assert worker.alive
    assert not worker.alive


def test_what_a_job_refuses_is_its_own_line(tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match=r"^no such precision here$"):
        Worker("fake_jobs:FakeModel", {"folder": str(tmp_path / "log"), "precision": "bf16"}, threads=1)


def test_a_death_says_how_and_with_which_last_words(tmp_path: Path) -> None:
    with Worker(
        "fake_jobs:FakeModel", {"folder": str(tmp_path / "log"), "precision": "int8"}, threads=1
    ) as worker:
        assert worker.ask(do="prepare", stage="first") == {}
        with pytest.raises(WorkerError, match=r"died \(exit status 3: something broke\)"):
            worker.ask(do="prepare", stage="correction")
        assert not worker.alive
        with pytest.raises(WorkerError, match="died"):
            worker.ask(do="end")


def test_closing_ends_a_worker_that_is_busy() -> None:
    with Worker("fake_jobs:Sleeper", {}, threads=1) as worker:
        pipe = worker._process.stdin
        assert pipe is not None
        pipe.write(json.dumps({"do": "prepare", "stage": "s"}) + "\n")  # `ask` would wait for the answer
        pipe.flush()
        time.sleep(0.1)
        assert worker.alive
        began = time.monotonic()
    assert time.monotonic() - began < 5
    assert not worker.alive


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="the system does not keep it per program")
def test_the_peak_is_the_worker_s_own_and_not_its_parent_s() -> None:
    ballast = np.ones(25_000_000)  # 200 MB
    with Worker("fake_jobs:Observer", {}, threads=1) as worker:
        peak = worker.ask(do="end")["peak_mb"]
    assert ballast.nbytes > 1.5e8 > peak * 1e6 > 5e6
    found = peak_mb()
    assert found is not None
    assert found > 200


def test_the_peak_where_the_system_does_not_keep_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "status").write_text("Name:\tpython\nVmHWM:\t  1000 kB\n")
    assert peak_mb(tmp_path / "status") == pytest.approx(1.024)
    if importlib.util.find_spec("resource") is not None:
        assert 10 < (peak_mb(tmp_path / "none") or 0) < 1e5
    monkeypatch.setitem(sys.modules, "resource", None)
    psutil = ModuleType("psutil")
    psutil.__spec__ = ModuleSpec("psutil", None)
    psutil.Process = lambda: SimpleNamespace(memory_info=lambda: SimpleNamespace(rss=1e6, peak_wset=3e6))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "psutil", psutil)
    assert peak_mb(tmp_path / "none") == 3
    monkeypatch.setitem(sys.modules, "psutil", None)
    assert peak_mb(tmp_path / "none") is None
