"""The floor: how long the machine takes for as many multiply-adds in the operation it is best at."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

FLOOR_JOB = "emclick.benchmark.floor:MatrixProducts"


def matrix_side(macs: int) -> int:
    """n such that a product of two n x n matrices has about `macs` multiply-adds."""
    return round(macs ** (1 / 3))


def blas() -> dict[str, Any]:
    """What numpy multiplies matrices with: name, version, and its threads (None where they cannot be asked)."""
    if importlib.util.find_spec("threadpoolctl") is not None:
        from threadpoolctl import threadpool_info

        for pool in threadpool_info():
            if pool["user_api"] == "blas":
                name = " ".join(
                    str(pool[key]) for key in ("internal_api", "version", "architecture") if pool.get(key)
                )
                return {"blas": name, "blas_threads": int(pool["num_threads"])}
    config: Any = np.show_config(mode="dicts")
    built = config.get("Build Dependencies", {}).get("blas", {})
    return {
        "blas": f"{built.get('name', 'unknown')} {built.get('version', '')}".strip(),
        "blas_threads": None,
    }


class MatrixProducts:
    """A worker's job: float32 products of two square matrices; each stage is a matrix side."""

    def __init__(self) -> None:
        self.about: Mapping[str, Any] = blas()

    def prepare(self, stage: str) -> Callable[[], Mapping[str, float]]:
        """Matrices of side `int(stage)`; each call multiplies them, into memory that is there already."""
        side = int(stage)
        a, b = np.random.default_rng(0).random((2, side, side), np.float32)
        out = np.empty_like(a)

        def run() -> Mapping[str, float]:
            began = time.perf_counter()
            np.matmul(a, b, out=out)
            return {"ms": (time.perf_counter() - began) * 1000}

        return run
