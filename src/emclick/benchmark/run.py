"""The measurement: every configuration of a model side by side, in rounds, each beside its floor."""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from emclick.benchmark.costs import FRAME_SIDE
from emclick.benchmark.floor import FLOOR_JOB, matrix_side
from emclick.benchmark.handover import handover
from emclick.benchmark.machine import cpu_time, machine, stolen_percent
from emclick.benchmark.models import Subject, prepare_model
from emclick.benchmark.processes import Worker
from emclick.benchmark.stages import FIRST, STAGES
from emclick.errors import EmclickError, OptionError, UnknownNameError, WorkerError
from emclick.runtimes import RUNTIMES

FORMAT = "emclick-bench-1"
MODEL_JOB = "emclick.benchmark.stages:ModelClicks"

Record = dict[str, Any]
Note = Callable[[str], None]
Step = Callable[[str, float], None]


@dataclass(frozen=True)
class Plan:
    """What to measure: every combination of models, runtimes, precisions and threads.

    Attributes:
        models: names of the zoo, or model folders.
        runtimes: names in the table of runtimes.
        threads: CPU threads.
        precisions: "fp32", "bf16", ...; a runtime that does not offer one is left out with a note.
        stages: names of `stages.STAGES`.
        rounds: times that every configuration has its turn.
        device: "cpu", or what the torch runtime takes, such as "cuda".
        pause_s: between two turns, so that the threads of one have stopped spinning when the next begins.
        side: picture of `first` and `correction`, px: the frame of EMC, which others resize to their own.
    """

    models: Sequence[str]
    runtimes: Sequence[str]
    threads: Sequence[int]
    precisions: Sequence[str] = ("fp32",)
    stages: Sequence[str] = tuple(STAGES)
    rounds: int = 7
    device: str = "cpu"
    pause_s: float = 0.06
    side: int = FRAME_SIDE

    def checked(self) -> Plan:
        """This without repeats, its stages in order, if it can be measured.

        Raises:
            UnknownNameError: no such runtime or stage.
            OptionError: a list is empty, or a number below 1.
        """
        for kind, names, known in (("runtime", self.runtimes, RUNTIMES), ("stage", self.stages, STAGES)):
            for name in names:
                if name not in known:
                    raise UnknownNameError(kind, name, list(known))
        lists = {name: tuple(dict.fromkeys(getattr(self, name))) for name in _LISTS}
        for name, values in lists.items():
            if not values:
                raise OptionError(f"{name}: name at least one")
        if min(*self.threads, self.rounds) < 1:
            raise OptionError("threads and rounds must be whole numbers above 0")
        lists["stages"] = tuple(name for name in STAGES if name in self.stages)
        return replace(self, **lists)


_LISTS = ("models", "runtimes", "threads", "precisions", "stages")


@dataclass(frozen=True)
class Config:
    """One way to run a model."""

    model: str
    runtime: str
    precision: str
    threads: int

    def __str__(self) -> str:
        return f"{self.model}, {self.runtime} {self.precision}, {_threads(self.threads)}"


@dataclass(frozen=True)
class Floor:
    """The matrix products that stand beside the configurations of as many threads."""

    threads: int

    def __str__(self) -> str:
        return f"floor, {_threads(self.threads)}"


def bench(plan: Plan, note: Note, step: Step) -> dict[str, Any]:
    """Measure; models one after the other, all configurations of one in turn.

    Args:
        plan: what.
        note: told in one line what is left out, and why; the notes are in the result too.
        step: told what is being done, and how much of all is done, 0 to 1.

    Returns:
        What the results file holds: `format`, `machine`, `settings`, `records`, `notes`.

    Raises:
        UnknownNameError, OptionError: as `Plan.checked`; OptionError too if nothing could be measured.
    """
    plan = plan.checked()
    notes: list[str] = []
    records: list[Record] = []
    on, began = machine(max(plan.threads)), cpu_time()

    def say(text: str) -> None:
        notes.append(text)
        note(text)

    with tempfile.TemporaryDirectory(prefix="emclick-bench-") as temporary:
        for number, name in enumerate(plan.models):

            def part(what: str, share: float, number: int = number, name: str = name) -> None:
                step(f"{Path(name).name}: {what}", (number + share) / len(plan.models))

            part("making ready", 0)
            try:
                # torch alone needs no graphs; the graphs of the others take a minute to make
                subject = prepare_model(name, Path(temporary) / str(number), set(plan.runtimes) != {"torch"})
            except EmclickError as error:
                say(f"{name}: left out: {error}")
                continue
            records += _measure(plan, subject, on, say, part)
    step("done", 1)
    if not records:
        raise OptionError("nothing could be measured: " + "; ".join(notes))
    settings = {name: value for name, value in asdict(plan).items() if name != "models"}
    on["stolen_percent"] = stolen_percent(began, cpu_time())
    return {"format": FORMAT, "machine": on, "settings": settings, "records": records, "notes": notes}


def _measure(plan: Plan, subject: Subject, on: dict[str, Any], say: Note, step: Step) -> Iterator[Record]:
    """Records of one model, stage by stage: memory grows from stage to stage, so that each has its own peak."""
    with ExitStack() as stack:
        step("starting", 0)
        workers = _start(plan, subject, on, say, stack)
        for number, stage in enumerate(plan.stages):

            def failed(who: Config | Floor, error: WorkerError, alive: bool, stage: str = stage) -> None:
                say(f"{who}: {stage}{'' if alive else ' and all after it'} left out: {error}")

            def part(done: float, number: int = number, stage: str = stage) -> None:
                step(stage, (number + done) / len(plan.stages))

            side = str(matrix_side(_macs(subject, stage)))
            names = {each: side if isinstance(each, Floor) else stage for each in workers}
            handovers: list[float] = []
            results = _rounds(plan, workers, names, STAGES[stage].repeats, failed, part, handovers)
            for each, result in results.items():
                if isinstance(each, Config):
                    floor = results.get(Floor(each.threads))
                    record = _record(plan, subject, each, stage, result, floor, workers[each].about)
                    yield record | {"handover_us": _rounded(np.median(handovers)) if handovers else None}
            workers = {each: worker for each, worker in workers.items() if worker.alive}


def _start(
    plan: Plan, subject: Subject, on: dict[str, Any], say: Note, stack: ExitStack
) -> dict[Config | Floor, Worker]:
    """A worker for each configuration that this machine can run, and the floors of those."""
    workers: dict[Config | Floor, Worker] = {}

    def start(who: Config | Floor, job: str, options: Mapping[str, Any]) -> Worker | None:
        try:
            workers[who] = stack.enter_context(Worker(job, options, who.threads))
        except WorkerError as error:  # whose text may name a temporary folder
            say(f"{who}: left out: {str(error).replace(str(subject.folder), subject.name)}")
        return workers.get(who)

    for runtime, precision, threads in itertools.product(plan.runtimes, plan.precisions, plan.threads):
        config = Config(subject.name, runtime, precision, threads)
        options = {"folder": str(subject.folder), "device": plan.device, "side": plan.side}
        start(config, MODEL_JOB, options | {"runtime": runtime, "threads": threads, "precision": precision})
    for threads in sorted({config.threads for config in workers}):
        floor = start(Floor(threads), FLOOR_JOB, {})
        if floor is None:
            continue
        on["blas"], taken = floor.about["blas"], floor.about["blas_threads"]
        if taken not in (None, threads):
            say(f"{Floor(threads)}: the BLAS took {taken}")
    return workers


@dataclass
class _Result:
    """Of one worker in one stage."""

    samples: list[Mapping[str, float]]
    cpu_s: float = 0.0
    wall_s: float = 0.0
    peak_mb: float | None = None


def _rounds(
    plan: Plan,
    workers: Mapping[Config | Floor, Worker],
    names: Mapping[Config | Floor, str],
    repeats: int,
    failed: Callable[[Config | Floor, WorkerError, bool], None],
    step: Callable[[float], None],
    handovers: list[float],
) -> dict[Config | Floor, _Result]:
    """One stage: each worker in turn, `plan.rounds` times, from another one on each time.

    Args:
        plan: for rounds and pause.
        workers: those to ask.
        names: the stage as each worker calls it.
        repeats: samples per turn, after one that does not count.
        failed: told of each worker that failed, and whether it is still alive; it is left out.
        step: told the share that is done.
        handovers: what each round's handover took is added, if it can be measured, see `handover`.
    """
    live: dict[Config | Floor, _Result] = {each: _Result([]) for each in workers}

    def ask(each: Config | Floor, **request: Any) -> dict[str, Any]:
        try:
            return workers[each].ask(**request)
        except WorkerError as error:
            del live[each]
            failed(each, error, workers[each].alive)
            return {}
        finally:
            time.sleep(plan.pause_s)

    for each in workers:
        ask(each, do="prepare", stage=names[each])
    for number in range(plan.rounds):
        step(number / plan.rounds)
        if found := handover():
            handovers.append(found.of_other)
        order = list(live)
        first = number % len(order) if order else 0
        for each in order[first:] + order[:first]:
            answer = ask(each, do="run", times=repeats + 1)
            if answer:
                result = live[each]
                result.samples += answer["samples"][1:]
                result.cpu_s += answer["cpu_s"]
                result.wall_s += answer["wall_s"]
    for each in list(live):
        answer = ask(each, do="end")
        if answer:
            live[each].peak_mb = answer["peak_mb"]
    return live


def _record(
    plan: Plan, subject: Subject, config: Config, stage: str, result: _Result, floor: _Result | None,
    about: Mapping[str, Any],
) -> Record:  # fmt: skip
    times = {name: [each[name] for each in result.samples] for name in result.samples[0]}
    record = {
        **asdict(config),
        "device": plan.device,
        "stage": stage,
        "median_ms": _rounded(np.median(times["ms"])),
        "p95_ms": _rounded(np.percentile(times["ms"], 95)),
        "floor_ms": None if floor is None else _rounded(np.median([each["ms"] for each in floor.samples])),
        "macs": _macs(subject, stage),
        "params": subject.costs.params if stage == FIRST else subject.costs.correction_params,
        "peak_mb": _rounded(result.peak_mb),
        "samples": len(result.samples),
        "cores": _rounded(result.cpu_s / result.wall_s),
        "load_s": _rounded(about["load_s"]),
        "short_side": about["short_side"] if STAGES[stage].megapixels else about.get("stage_side", plan.side),
        "seeded": subject.seeded,
    }
    return record | {name: _rounded(np.median(values)) for name, values in times.items() if name != "ms"}


def _rounded(value: Any) -> float | None:
    return None if value is None else round(float(value), 3)


def _macs(subject: Subject, stage: str) -> int:
    """Multiply-adds of a first or a later click, see `Costs`."""
    return subject.costs.first_macs if stage == FIRST else subject.costs.correction_macs


def _threads(count: int) -> str:
    return f"{count} thread" if count == 1 else f"{count} threads"
