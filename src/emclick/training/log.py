"""What a run reports: a progress line, `log.jsonl` and TensorBoard events."""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from emclick.files import write_text
from emclick.training.recipe import Recipe

LOG_NAME = "log.jsonl"
SMOOTHING = 0.98
NO_LOSS = ("gradient", "clicks")  # what a step tells besides its losses


class RunLog:
    """Collects the values of every step, smooths them, and writes a line every `every` steps.

    Args:
        folder: the run folder.
        recipe: for names and totals.
        step: steps already done; later lines of an earlier session are dropped from the log.
        quiet: nothing is shown or written (further processes of one run).
    """

    def __init__(self, folder: Path, recipe: Recipe, step: int, quiet: bool = False, every: int = 20) -> None:
        self.path = folder / LOG_NAME
        self.recipe, self.quiet, self.every, self.start = recipe, quiet, every, step
        self.smooth: dict[str, float] = {}
        self.stages: dict[str, float] = {}
        self.images = 0
        self.events: Any = None
        self.progress = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[text]}"),
            TimeRemainingColumn(), disable=quiet,
        )  # fmt: skip
        self.task = self.progress.add_task(recipe.name, total=recipe.steps, completed=step, text="")

    def __enter__(self) -> RunLog:
        if not self.quiet:
            self._drop_later_lines()
            self.events = _tensorboard(self.path.parent, self.start)
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.stop()
        if self.events is not None:
            self.events.close()

    def _drop_later_lines(self) -> None:
        """A run resumed at step n wrote lines after n that are about to happen again."""
        if not self.path.exists():
            return
        kept = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                value = json.loads(line)
            except ValueError:
                continue  # the line that a power cut left half written
            if isinstance(value, dict) and value.get("step", self.start + 1) <= self.start:
                kept.append(line + "\n")
        write_text(self.path, "".join(kept))

    def step(self, step: int, values: dict[str, float], images: int, stages: dict[str, float]) -> None:
        """Take the values of one step and the seconds spent per stage."""
        for name, value in values.items():
            self.smooth[name] = SMOOTHING * self.smooth.get(name, value) + (1 - SMOOTHING) * value
        for name, seconds in stages.items():
            self.stages[name] = self.stages.get(name, 0.0) + seconds
        self.images += images
        rate = self.images / max(sum(self.stages.values()), 1e-9)
        losses = ", ".join(f"{name} {self.smooth[name]:.4f}" for name in values if name not in NO_LOSS)
        text = f"{losses}, {rate:.1f} images/s"
        self.progress.update(self.task, completed=step, text=text)
        if step % self.every == 0 or step == self.recipe.steps:
            total = max(sum(self.stages.values()), 1e-9)
            shares = {f"share_{name}": round(seconds / total, 3) for name, seconds in self.stages.items()}
            smooth = {name: round(value, 5) for name, value in self.smooth.items()}
            self._write({"step": step, **smooth, "images_per_s": round(rate, 2), **shares})
            self.stages, self.images = {}, 0

    def validation(self, step: int, values: dict[str, Any]) -> None:
        """Take the results of a validation."""
        flat = {f"validation_{name}": value for name, value in values.items()}
        self._write({"step": step, **flat})
        if not self.quiet:
            self.progress.console.print(
                f"step {step}: " + ", ".join(f"{k} {v:.3f}" for k, v in values.items() if v is not None)
            )

    def _write(self, line: dict[str, Any]) -> None:
        if self.quiet:
            return
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        if self.events is not None:
            for name, value in line.items():
                if name != "step" and value is not None:
                    self.events.add_scalar(name, value, line["step"])


def _tensorboard(folder: Path, step: int) -> Any:
    """A TensorBoard writer that hides what was written after `step`, or None where tensorboard is missing."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)
