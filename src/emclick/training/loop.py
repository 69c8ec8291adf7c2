"""The training loop: the only one. `train(recipe)` runs or resumes a run and leaves a model folder.

A run folder holds `state.pt` (everything, for resuming), `log.jsonl`, TensorBoard events and `model/` (the
averaged weights with their card, ready for `emclick evaluate --model`).
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from emclick.card import Card
from emclick.cpus import usable_cpus
from emclick.data.sources import open_source
from emclick.data.training_set import Batch, MixedSet
from emclick.errors import RecipeError
from emclick.files import make_folder
from emclick.methods import METHODS
from emclick.networks.checkpoint import build_network, save_model
from emclick.registry import import_name
from emclick.training.clock import StageClock
from emclick.training.log import RunLog
from emclick.training.recipe import Recipe
from emclick.training.schedule import build_optimiser, rate_factor, set_rate
from emclick.training.simulate import number_of_clicks
from emclick.training.start import start_network
from emclick.training.state import Average, RunState
from emclick.training.step import UNPUBLISHED, DeviceBatch, MethodTraining, StepInput
from emclick.training.workers import Workers, check_device

# Keep the generators of click counts and of dropout apart from those of samples and of clicks.
_COUNT_STREAM = 2
_DROPOUT_STREAM = 3
PRECISIONS = {"fp32": None, "bf16": torch.bfloat16}


def build_mixed_set(recipe: Recipe, step: int) -> MixedSet:
    """The training data of the phase that `step` belongs to.

    Raises:
        DatasetError: a source is not where the recipe says.
        RecipeError: a source without a root.
    """
    members = []
    for source in recipe.sources:
        if not source.root:
            raise RecipeError(
                f"source {source.dataset} has no root; give one with --root {source.dataset}=FOLDER"
            )
        try:
            opened = open_source(source.dataset, source.root, **source.options)
        except TypeError as error:
            raise RecipeError(
                f"source {source.dataset}: options {dict(source.options)} do not fit: {error}"
            ) from error
        members.append((opened, source.weight))
    phase, _, _ = recipe.locate(step)
    return MixedSet(members, recipe.augmentation(phase), recipe.objects, recipe.seed)


class Trainer:
    """One run on one process (of several).

    Args:
        recipe: what to do.
        recipe_text: its file, kept in the state so that a folder is not resumed by another recipe.
        folder: the run folder, made if missing.
        device: "cpu" or "cuda".
        workers: this process's place among the others.
        stop_after: stop, with everything saved, after this many steps of this session; None runs to the end.
    """

    def __init__(
        self, recipe: Recipe, recipe_text: str, folder: Path, device: str, workers: Workers,
        stop_after: int | None = None,
    ) -> None:  # fmt: skip
        self.recipe, self.recipe_text, self.folder, self.workers = recipe, recipe_text, folder, workers
        self.device = torch.device(device)
        self.stop_after = stop_after
        self.stop_asked = False
        self.clock = StageClock()
        torch.manual_seed(recipe.seed)  # the same first weights on every process
        network = build_network(recipe.method, recipe.model)
        start_network(network, recipe.pretrained, recipe.start_from, recipe.start_base)
        network = network.to(self.device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        network = workers.synchronise_norms(network)
        self.state = RunState(
            network.train(), build_optimiser(network, recipe.optimiser),
            Average(network, recipe.ema) if recipe.ema else None,
        )  # fmt: skip
        self.resumed = self.state.restore(folder, recipe_text)
        self.cpu_before = _cpu_seconds() - self.state.cpu_seconds
        training: type[MethodTraining] = import_name(METHODS[recipe.method].training)
        self._check(training)
        forward: nn.Module = training(network, recipe)
        if workers.count > 1:
            forward = DistributedDataParallel(forward)
        self.forward = cast(nn.Module, torch.compile(forward)) if recipe.compile else forward
        # beside a GPU the other CPUs are free; on the CPU simulated clicks take what the networks take
        share = max(1, usable_cpus() // workers.count)
        self.threads = torch.get_num_threads() if self.device.type == "cpu" else share

    def _check(self, training: type[MethodTraining]) -> None:
        """Raise `RecipeError` for phases that would fail, or be other than they say, when they are reached."""
        for phase in self.recipe.phases:
            if phase.batch % self.workers.count:
                raise RecipeError(f"batch {phase.batch} cannot be shared by {self.workers.count} processes")
        asked = [name for name, value in UNPUBLISHED.items() if value(self.recipe)]
        if asked and not training.unpublished:
            raise RecipeError(f"{self.recipe.method} is trained as published; leave {', '.join(asked)} out")

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        dtype = PRECISIONS[self.recipe.precision]
        if dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=dtype)

    def batches(self) -> Generator[Batch, None, None]:
        """Batches from the current step to the end of the run, through all remaining phases."""
        step = self.state.step
        while step < self.recipe.steps:
            phase, first_step, first_sample = self.recipe.locate(step)
            start = first_sample + (step - first_step) * phase.batch
            stop = first_sample + phase.steps * phase.batch
            yield from build_mixed_set(self.recipe, step).batches(
                start, stop, phase.batch // self.workers.count, self.recipe.workers,
                self.workers.rank, self.workers.count,
            )  # fmt: skip
            step = first_step + phase.steps

    def one_step(self, batch: Batch) -> dict[str, float]:
        """Simulate, differentiate, update; returns the losses, the gradient norm and the number of clicks."""
        recipe, state = self.recipe, self.state
        # Dropout depends on the step and the process alone, so that every process resumes as it was.
        place = (recipe.seed, state.step, _DROPOUT_STREAM, self.workers.rank)
        torch.manual_seed(int(np.random.SeedSequence(place).generate_state(1)[0]))
        rng = np.random.default_rng((recipe.seed, state.step, _COUNT_STREAM))
        count = number_of_clicks(rng, recipe.clicks.maximum, recipe.clicks.gamma)
        placed = DeviceBatch.move(batch, self.device)

        given = StepInput(placed, count, state.step, recipe.seed, self.threads, self.clock, self.autocast)
        with self.clock.measure("forward"):
            losses: dict[str, Tensor] = self.forward(given)
        with self.clock.measure("backward"):
            set_rate(state.optimiser, rate_factor(state.step, recipe.steps, recipe.optimiser))
            state.optimiser.zero_grad(set_to_none=True)
            losses["total"].backward()
        with self.clock.measure("update"):
            limit = recipe.optimiser.clip_norm or float("inf")
            norm = nn.utils.clip_grad_norm_(state.network.parameters(), limit)
            state.optimiser.step()
            if state.average is not None:
                state.average.update(state.network)
        state.step += 1
        return {
            **{name: float(loss.detach()) for name, loss in losses.items()},
            "gradient": float(norm),
            "clicks": count,
        }

    def best_network(self) -> nn.Module:
        """The averaged network if there is one."""
        return self.state.average.network if self.state.average else self.state.network

    def cpu_seconds(self) -> float:
        """CPU time of the run's steps so far; that of data workers counts when they have ended."""
        return _cpu_seconds() - self.cpu_before

    def save(self) -> None:
        """State for resuming, and the model so far."""
        if self.workers.rank:
            return
        self.state.cpu_seconds = self.cpu_seconds()
        self.state.save(self.folder, self.recipe_text)
        recipe = self.recipe
        about = {
            **recipe.about,
            "recipe": recipe.name,
            "steps": f"{self.state.step} of {recipe.steps}",
            "training_hours": round(self.state.seconds / 3600, 2),
        }
        if self.workers.count == 1:  # else it would be one process's of several
            about["cpu_hours"] = round(self.state.cpu_seconds / 3600, 2)
        card = Card(
            recipe.name, recipe.model, recipe.short_side, recipe.licence, about,
            method=recipe.method, zoom_in=recipe.zoom_in,
        )  # fmt: skip
        save_model(self.folder / "model", self.best_network().state_dict(), card, torch.float16)

    def run(self, log: RunLog, validate: Callable[[nn.Module], dict[str, Any]] | None = None) -> None:
        """To the end of the recipe, or to `stop_after`, or to an interrupt; everything is saved on the way out."""
        begun = last_saved = time.monotonic()
        done_here = 0
        stopping = False
        batches = self.batches()
        try:
            while self.state.step < self.recipe.steps and not stopping:
                with self.clock.measure("data"):
                    try:
                        batch = next(batches)
                    except RuntimeError:
                        if not self.stop_asked:
                            raise
                        break  # the signal that asked to stop went to the whole group and ended the data workers
                values = self.one_step(batch)
                done_here += 1
                now = time.monotonic()
                self.state.seconds += now - begun
                begun = now
                log.step(self.state.step, values, len(batch.images) * self.workers.count, self.clock.read())
                every = self.recipe.validation.every_steps
                if validate and (self.state.step % every == 0 or self.state.step == self.recipe.steps):
                    self.save()  # a validation that fails must not cost the steps
                    if not self.workers.rank:
                        log.validation(self.state.step, validate(self.best_network()))
                    self.workers.wait()
                if now - last_saved > 60 * self.recipe.checkpoint_minutes:
                    self.save()
                    last_saved = now
                stopping = self.workers.any(self.stop_asked or done_here == self.stop_after)
        finally:
            batches.close()
        self.save()


def _cpu_seconds() -> float:
    """CPU time of this process, all its threads, and its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


@contextlib.contextmanager
def _stop_gently(trainer: Trainer) -> Iterator[None]:
    """The first Ctrl-C or termination finishes the step and saves; the second stops at once."""

    def ask(number: int, frame: object) -> None:
        if trainer.stop_asked:
            raise KeyboardInterrupt
        trainer.stop_asked = True

    signals = [signal.SIGINT, signal.SIGTERM]
    before = {number: signal.signal(number, ask) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def train(
    recipe: Recipe, recipe_text: str, folder: Path, *, device: str = "cpu", stop_after: int | None = None,
    quiet: bool = False,
) -> Path:  # fmt: skip
    """Run or resume `recipe` in `folder`; under `torchrun`, as one of several processes.

    Returns:
        The model folder.

    Raises:
        OptionError: no such device here.
        RecipeError, DatasetError, WeightsError, CheckpointError: what is wrong with the recipe, the data, the
            start weights or the folder's state.
    """
    from emclick.training.validate import make_validation

    check_device(device)
    make_folder(folder)
    with Workers.join(device) as workers:
        trainer = Trainer(recipe, recipe_text, folder, workers.device(device), workers, stop_after)
        validate = make_validation(recipe) if recipe.validation.dataset else None
        with (
            RunLog(folder, recipe, trainer.state.step, quiet=quiet or workers.rank > 0) as log,
            _stop_gently(trainer),
        ):
            trainer.run(log, validate)
    return folder / "model"
