"""`emclick bench --train`: images per second of the whole training loop, split by stage."""

from __future__ import annotations

import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import emclick
from emclick.cpus import cpu_name, usable_cpus
from emclick.errors import OptionError
from emclick.training.loop import Trainer
from emclick.training.recipe import Recipe
from emclick.training.workers import Workers, check_device

FORMAT = "emclick-bench-training-1"
WARM_UP = 2
STAGES = ("data", "simulate", "forward", "backward", "update")


def bench_training(
    recipe: Recipe, *, steps: int = 20, device: str = "cpu", step: Callable[[int], None] = lambda _: None
) -> dict[str, Any]:
    """Train `steps` steps of the recipe's first phase, after two to warm up, on fresh weights; nothing is kept.

    The first steps of the recipe are taken with the samples and numbers of simulated clicks that they have in
    training, so that two versions or machines compare over the same ones.

    Args:
        recipe: with data folders that are there; what it starts from is not read.
        steps: how many are measured.
        device: "cpu" or "cuda".
        step: told after each step how many are done, those to warm up included.

    Returns:
        What the results file holds: `format`, `machine`, `settings`, `images_per_s` (batch through the median step),
        `median_ms` of a step and per stage, and `steps`, the milliseconds of each by stage with its `clicks`.

    Raises:
        OptionError: the first phase is shorter than that, or there is no such device.
        RecipeError, DatasetError: what is wrong with the recipe or the data.
    """
    check_device(device)
    phase = recipe.phases[0]
    if not 1 <= steps <= phase.steps - WARM_UP:
        raise OptionError(
            f"steps is {steps}; the recipe's first phase, less {WARM_UP} to warm up, has {phase.steps - WARM_UP}"
        )
    measured = replace(recipe, start_from="", start_base="", pretrained="")
    with tempfile.TemporaryDirectory(prefix="emclick-bench-") as folder:
        records = _measure(Trainer(measured, "", Path(folder), device, Workers()), steps, step)
    totals = [sum(record[stage] for stage in STAGES) for record in records]
    middle = statistics.median(totals)
    return {
        "format": FORMAT,
        "machine": {
            "cpu": cpu_name(), "usable_cpus": usable_cpus(),
            "gpu": torch.cuda.get_device_name() if device == "cuda" else None,
            "system": f"{platform.system()} {platform.machine()}", "python": platform.python_version(),
            "torch": torch.__version__, "emclick": emclick.__version__,
            "date": time.strftime("%Y-%m-%d", time.gmtime()),
        },
        "settings": {
            "recipe": recipe.name, "base": recipe.model.base, "batch": phase.batch, "crop_hw": list(phase.crop_hw),
            "precision": recipe.precision, "workers": recipe.workers, "device": device,
            "threads": torch.get_num_threads(), "steps": steps, "warm_up": WARM_UP,
        },
        "images_per_s": 1000 * phase.batch / middle,
        "median_ms": {
            "step": middle,
            **{stage: statistics.median(record[stage] for record in records) for stage in STAGES},
        },
        "clicks": statistics.mean(record["clicks"] for record in records),
        "steps": records,
    }  # fmt: skip


def _measure(trainer: Trainer, steps: int, step: Callable[[int], None]) -> list[dict[str, float]]:
    """Milliseconds per stage, and simulated clicks, of each step after those to warm up."""
    if trainer.device.type == "cuda":
        trainer.clock.settle = torch.cuda.synchronize
    records: list[dict[str, float]] = []
    batches = trainer.batches()
    try:
        for number in range(WARM_UP + steps):
            with trainer.clock.measure("data"):
                batch = next(batches)
            clicks = trainer.one_step(batch)["clicks"]
            seconds = trainer.clock.read()
            records.append({**{stage: 1000 * seconds.get(stage, 0.0) for stage in STAGES}, "clicks": clicks})
            step(number + 1)
    finally:
        batches.close()
    return records[WARM_UP:]
