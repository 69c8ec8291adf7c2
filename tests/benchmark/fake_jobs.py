"""Jobs for workers that cost nothing; a configuration's precision says how it behaves."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from emclick.errors import FrameError, OptionError

FAILS, DIES, REFUSED = "fp16", "int8", "bf16"


class FakeModel:
    """Notes each sample as "precision stage" in the file `folder`, and takes 2 ms for `first`, 1 ms for the rest."""

    def __init__(self, folder: str, precision: str, **rest: Any) -> None:
        if precision == REFUSED:
            raise OptionError("no such precision here")
        self.log, self.precision = Path(folder), precision
        self.about: Mapping[str, Any] = {"load_s": 0.25, "short_side": 64, "given": rest}
        print("a library says hello")  # must not disturb the answers

    def prepare(self, stage: str) -> Callable[[], Mapping[str, float]]:
        if self.precision == FAILS and stage == "first":
            raise FrameError("the frame is too small")
        if self.precision == DIES and stage == "correction":
            print("something broke", file=sys.stderr, flush=True)
            os._exit(3)

        def run() -> Mapping[str, float]:
            with self.log.open("a", encoding="utf-8") as file:
                file.write(f"{self.precision} {stage}\n")
            return {"ms": 2.0, "open_ms": 7.0} if stage == "first" else {"ms": 1.0}

        return run


class Sleeper:
    """Never done with its stage."""

    about: Mapping[str, Any] = {}

    def prepare(self, stage: str) -> Callable[[], Mapping[str, float]]:
        del stage
        time.sleep(600)
        return dict


class Observer:
    """Tells how it found its process."""

    def __init__(self) -> None:
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENBLAS_CORETYPE")
        self.about: Mapping[str, Any] = {
            "variables": [os.environ.get(name) for name in names],
            "numpy": "numpy" in sys.modules,
        }

    def prepare(self, stage: str) -> Callable[[], Mapping[str, float]]:
        raise ZeroDivisionError(stage)
