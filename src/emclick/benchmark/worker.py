"""A process that times one thing: JSON lines in, JSON lines out. Imports nothing heavy before it is told to.

| request | answer |
|---|---|
| `{"do": "open", "job": "module:attribute", "options": {...}}` | what the job tells `about` itself |
| `{"do": "prepare", "stage": NAME}` | nothing; the stage has run once |
| `{"do": "run", "times": N}` | `samples` (N mappings of names to ms), `cpu_s`, `wall_s` |
| `{"do": "end"}` | `peak_mb`; the stage's memory is free again |

An answer `{"error": TYPE, "message": TEXT}` says that a request failed; the process goes on. It ends with its input.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO, Any, Protocol

STATUS = Path("/proc/self/status")


class Job(Protocol):
    """What a worker is told to open: an object made from its options."""

    @property
    def about(self) -> Mapping[str, Any]:
        """Told to whoever started it."""
        ...

    def prepare(self, stage: str) -> Callable[[], Mapping[str, float]]:
        """Make ready; each call of what is returned gives one sample, ms by name."""
        ...


def peak_mb(status: Path = STATUS) -> float | None:
    """Largest resident memory of this process so far, in MB (10^6 bytes); None where it cannot be told.

    Where the system keeps it per program, it is read there: `getrusage` also counts what the parent had when it
    started this process.
    """
    try:
        lines = status.read_text().splitlines()
        return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration, ValueError):
        pass
    if importlib.util.find_spec("resource") is not None:
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
    if importlib.util.find_spec("psutil") is not None:
        import psutil

        memory: Any = psutil.Process().memory_info()
        return getattr(memory, "peak_wset", memory.rss) / 1e6
    return None


class Server:
    """Answers requests about one job, one stage at a time."""

    def __init__(self) -> None:
        self.job: Job | None = None
        self.sample: Callable[[], Mapping[str, float]] | None = None
        self.requests = {"open": self.open, "prepare": self.prepare, "run": self.run, "end": self.end}

    def answer(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """What a request gives; a failure is an answer too."""
        arguments = dict(request)
        try:
            return self.requests[arguments.pop("do")](**arguments)
        except Exception as error:
            return {
                "error": type(error).__name__,
                "message": " ".join(str(error).split()),
                "known": _known(error),
            }

    def open(self, job: str, options: Mapping[str, Any]) -> Mapping[str, Any]:
        module, _, attribute = job.partition(":")
        self.job = getattr(importlib.import_module(module), attribute)(**options)
        assert self.job is not None
        return self.job.about

    def prepare(self, stage: str) -> Mapping[str, Any]:
        assert self.job is not None
        self.sample = self.job.prepare(stage)
        self.sample()
        return {}

    def run(self, times: int) -> Mapping[str, Any]:
        assert self.sample is not None
        cpu, wall = time.process_time(), time.perf_counter()
        samples = [self.sample() for _ in range(times)]
        return {"samples": samples, "cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall}

    def end(self) -> Mapping[str, Any]:
        peak = peak_mb()
        self.sample = None
        return {"peak_mb": peak}


def _known(error: Exception) -> bool:
    """Whether it was raised on purpose and its text says all."""
    from emclick.errors import EmclickError

    return isinstance(error, EmclickError | OSError | MemoryError)


def serve(requests: Iterable[str], answers: IO[str]) -> None:
    """Answer each line of `requests` with one line."""
    server = Server()
    for line in requests:
        answers.write(json.dumps(server.answer(json.loads(line))) + "\n")
        answers.flush()


def main() -> None:
    """The process's own: standard input and output. What libraries print goes to standard error."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever started this, who then ends it
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    requests = os.fdopen(os.dup(0), "r", encoding="utf-8")
    serve(requests, answers)
