"""Models of any method on the same objects, in turn, in one run.

>>> result = compare(["emc-mobilenetv2", "runs/mine/model"], [("grabcut", "data/GrabCut")])   # doctest: +SKIP
>>> [(each["model"], each["noc"]["90"]) for each in result["results"]]                        # doctest: +SKIP
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import emclick
from emclick.benchmark.costs import Costs, costs_of
from emclick.benchmark.machine import machine
from emclick.cpus import usable_cpus
from emclick.data.sample import Source
from emclick.data.sources import open_source
from emclick.errors import OptionError, WeightsError
from emclick.evaluation.benchmark import (
    LoadModel,
    journal_path,
    load_model,
    made_by_of,
    results_text,
    sessions_of,
    threads_per_worker,
)
from emclick.evaluation.journal import Record, remove_journal
from emclick.evaluation.runner import (
    Evaluation,
    MakeSession,
    Rules,
    Run,
    Task,
    collect,
    record_id,
    record_object,
    summarise,
)
from emclick.files import write_text
from emclick.methods.base import Options
from emclick.zoo import find_folder, list_models

FORMAT = "emclick-compare-1"
Note = Callable[[str], None]
Datasets = Sequence[tuple[str, str | os.PathLike[str]]]


@dataclass(frozen=True)
class Contender:
    """A model in the comparison.

    Attributes:
        label: its name in tables, unique among the contenders.
        name: what it is loaded by.
        method: its loop, in the table of methods.
        made_by: of each of its results, see `made_by_of`.
        costs: what its clicks compute.
    """

    label: str
    name: str
    method: str
    made_by: Mapping[str, Any]
    costs: Costs

    @property
    def about(self) -> dict[str, Any]:
        """What its results say beside the figures."""
        costs = self.costs
        counted = {
            "params": costs.params, "first_macs": costs.first_macs, "later_macs": costs.correction_macs
        }  # fmt: skip
        return {**self.made_by, "model": self.label, "method": self.method, **counted}


# --- one dataset ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Setup:
    """What a process needs to evaluate all models object by object; picklable if `loads` are."""

    loads: tuple[Callable[[], MakeSession], ...]
    source: Source
    rules: Rules
    lazily: bool

    def __call__(self) -> Run:
        makers = [load() for load in self.loads]

        def run(task: Task) -> tuple[int, Iterable[Record]]:
            sample = self.source[task.index]
            turns = [
                (model, obj)
                for place, obj in enumerate(sample.objects)
                for model in _rotated(len(makers), task.index + place)  # another one first on each object
            ]
            todo = [
                (model, obj) for model, obj in turns if _tag(model, record_id(sample, obj)) not in task.done
            ]
            records = (
                _tagged(model, record_object(makers[model], sample, obj, self.rules))
                for model, obj in todo[: task.at_most]
            )
            return len(turns), records if self.lazily else list(records)

        return run


def _rotated(count: int, first: int) -> list[int]:
    return [(first + step) % count for step in range(count)]


def _tag(model: int, name: str) -> str:
    """Id of a record among those of several models: the model's number before the object's name."""
    return f"{model}:{name}"


def _tagged(model: int, record: Record) -> Record:
    return {**record, "id": _tag(model, record["id"])}


def _model_of(record: Record) -> int:
    return int(record["id"].partition(":")[0])


def _untagged(records: Iterable[Record], model: int) -> list[Record]:
    return [
        {**record, "id": record["id"].partition(":")[2]} for record in records if _model_of(record) == model
    ]


def run_comparison(
    contenders: Sequence[Contender],
    loads: Sequence[Callable[[], MakeSession]],
    source: Source,
    rules: Rules,
    *,
    limit: int | None = None,
    workers: int = 1,
    journal: Path | None = None,
    progress: bool = False,
) -> list[Evaluation]:
    """Evaluate models on a dataset, all on one object before the next, another one first each time.

    Args:
        contenders: the models.
        loads: one for each of them, see `run_benchmark`.
        source, rules, limit, workers, journal, progress: see `run_benchmark`; the journal is that of these
            contenders.

    Returns:
        One evaluation per contender, as `run_benchmark` would give, whose `wall_s` is that of all together.

    Raises:
        as `run_benchmark`.
    """
    settings = {f"model {each.label}": dict(each.made_by) for each in contenders}
    records, images, spent = collect(
        _Setup(tuple(loads), source, rules, lazily=workers == 1),
        source,
        {**settings, "dataset": source.name, **asdict(rules)},
        limit=limit,
        workers=workers,
        journal=journal,
        progress=progress,
        per_object=len(contenders),
        group=lambda record: contenders[_model_of(record)].label,
    )
    evaluations = []
    for number, contender in enumerate(contenders):
        own = _untagged(records, number)
        about = {**contender.about, "dataset": source.name, **asdict(rules), "workers": workers}
        summary = {**summarise(own, rules), "wall_s": spent, "images": images, **about, "records": own}
        evaluations.append(Evaluation(own, summary))
    return evaluations


# --- models x datasets ----------------------------------------------------------------------------------


def models_here() -> list[str]:
    """Names of the zoo whose weights are here."""
    found = []
    for name in list_models():
        try:
            find_folder(name)
        except WeightsError:
            continue
        found.append(name)
    return found


def labels(names: Sequence[str]) -> list[str]:
    """A short name for each model; of a folder as much of its end as tells it from the others.

    Raises:
        OptionError: one is there twice, or there is none.
    """
    if not names:
        raise OptionError("name at least one model")
    whole = [Path(name).parts or (name,) for name in names]
    if len(set(whole)) < len(whole):
        raise OptionError(f"each model once, not {', '.join(names)}")
    for depth in range(1, max(map(len, whole)) + 1):
        short = ["/".join(parts[-depth:]) for parts in whole]
        if len(set(short)) == len(short):
            return short
    return list(names)


def compare(
    models: Sequence[str],
    datasets: Datasets,
    *,
    limit: int | None = None,
    flip: bool = False,
    short_side: int | None = None,
    workers: int = 1,
    threads: int | None = None,
    runtime: str | None = None,
    precision: str | None = None,
    output: str | os.PathLike[str] | None = None,
    progress: bool = True,
    note: Note = lambda text: None,
) -> dict[str, Any]:
    """Evaluate every model on every dataset, object by object in turn.

    Args:
        models: names of the zoo or model folders; of any method.
        datasets: (name in the table of datasets, its folder) each.
        limit: the first so many objects of each dataset only.
        flip: flip test-time augmentation.
        short_side: the frame's shorter side; None is each model's own, as zoom-in is.
        workers: processes, each with all models and its share of the CPU threads.
        threads: CPU threads in all; None takes the CPUs of this process.
        runtime, precision: of all models; None is what each has, see `emclick.load`.
        output: results file (JSON), written when all is done. Until then finished objects are kept beside it, in
            one journal per dataset, and the same call goes on from there.
        progress: show a progress line on a terminal.
        note: told in a line what is being done.

    Returns:
        What the results file holds: `format`, `machine`, `settings`, and `results`, one per dataset and model, each
        what a results file of `evaluate` holds, with `method`, `params`, `first_macs` and `later_macs`.

    Raises:
        UnknownNameError: no such model, dataset or runtime.
        OptionError: a model or dataset is there twice, or an option that a model does not have.
        WeightsError, CheckpointError, MissingExtraError: a model cannot be loaded.
        DatasetError: a dataset is not there, or an object cannot be read or evaluated.
        WriteError: a journal or the results cannot be written.
    """
    names = labels(models)
    sources = _open(datasets)
    total = usable_cpus() if threads is None else threads
    share = threads_per_worker(workers, total)
    rules = Rules()
    contenders: list[Contender] = []
    loads: list[Callable[[], MakeSession]] = []
    for label, name in zip(names, models):
        note(f"{label}: loading")
        loaded = load_model(name, runtime, share, precision)
        _check_options(label, loaded, flip, short_side)
        made_by = made_by_of(loaded, short_side, flip, None)
        contenders.append(Contender(label, name, loaded.card.method, made_by, costs_of(find_folder(name))))
        if workers == 1:
            loads.append(_At(loaded, short_side, flip))
        else:
            loads.append(LoadModel(name, runtime, share, precision, short_side, flip, None))
    target = None if output is None else Path(output)
    results: list[Evaluation] = []
    journals: list[Path] = []
    for source in sources:
        note(f"{source.name}: {len(source)} images")
        if target is not None:
            journals.append(journal_path(target.with_name(f"{target.name}.{source.name}")))
        results += run_comparison(
            contenders, loads, source, rules,
            limit=limit, workers=workers, journal=journals[-1] if journals else None, progress=progress,
        )  # fmt: skip
    settings = {"limit": limit, "workers": workers, "threads": total, "version": emclick.__version__}
    found = {"format": FORMAT, "machine": machine(total), "settings": settings}
    if target is not None:
        write_text(target, comparison_text(found, results))
        for journal in journals:
            remove_journal(journal)
    return {**found, "results": [each.summary for each in results]}


@dataclass(frozen=True)
class _At:
    """Sessions of a model at hand."""

    model: Any
    short_side: int | None
    flip: bool

    def __call__(self) -> MakeSession:
        return sessions_of(self.model, self.short_side, self.flip, None)


def _check_options(label: str, model: Any, flip: bool, short_side: int | None) -> None:
    """Raise now what the first session would."""
    try:
        model.method(Options(short_side or model.short_side, flip, zoom_in=model.zoom_in))
    except OptionError as error:
        raise OptionError(f"{label}: {error}") from error


def _open(datasets: Datasets) -> list[Source]:
    if not datasets:
        raise OptionError("name at least one dataset, as NAME=DIR")
    sources = [open_source(name, root) for name, root in datasets]
    names = [source.name for source in sources]
    if len(set(names)) < len(names):
        raise OptionError(f"each dataset once, not {', '.join(names)}")
    return sources


def comparison_text(found: Mapping[str, Any], results: Sequence[Evaluation]) -> str:
    """The results file as JSON: one line per entry, and per figure and object of each result."""
    lines = [f"{json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}" for name, value in found.items()]
    texts = ",\n".join(results_text(each).rstrip("\n") for each in results)
    return "{\n " + ",\n ".join([*lines, f'"results": [\n{texts}\n ]']) + "\n}\n"
