"""The talk's tables again: what can be measured here beside what was published, and why the rest cannot.

Each of `speed`, `accuracy` and `ablation` gives what its results file holds: `format`, `what`, `source`, `machine`,
`settings`, and `rows`, of which each has the published figures, ours, and in `why` what stood in the way.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from emclick.benchmark.machine import machine
from emclick.benchmark.run import Plan, bench
from emclick.benchmark.stages import CORRECTION, FIRST
from emclick.card import read_card
from emclick.cpus import usable_cpus
from emclick.errors import CheckpointError, EmclickError, OptionError, UnknownNameError
from emclick.evaluation import published
from emclick.evaluation.benchmark import evaluate
from emclick.evaluation.published import Ablation
from emclick.files import make_folder, write_text
from emclick.spec import CorrectionSpec, ModelSpec
from emclick.zoo import DEFAULT_MODEL, ZOO, find_folder

FORMAT = "emclick-reproduce-1"
OWN = DEFAULT_MODEL
"""Our model, which no table has: evaluated besides, with its own settings."""

Note = Callable[[str], None]
Results = dict[str, Any]
Roots = Mapping[str, str]
Folders = Mapping[str, str]


@dataclass(frozen=True)
class How:
    """What all evaluations of a run have in common.

    Attributes:
        parts: folder that holds what is finished until all is.
        limit: the first so many objects of each dataset; None for all.
        workers, threads, runtime: see `evaluate`.
        progress: show progress lines.
        note: told in a line what is being done.
    """

    parts: Path
    limit: int | None = None
    workers: int = 1
    threads: int | None = None
    runtime: str | None = None
    progress: bool = True
    note: Note = lambda text: None

    def results(self, what: str, **rest: Any) -> Results:
        """The part of the results file that says what it is and where it was measured."""
        total = self.threads or usable_cpus()
        settings = {"limit": self.limit, "workers": self.workers, "threads": total, "runtime": self.runtime}
        on = machine(total)
        return {
            "format": FORMAT,
            "what": what,
            "source": published.SOURCE,
            "machine": on,
            "settings": settings,
            **rest,
        }

    def evaluate(self, name: str, folder: str, dataset: str, root: str, **protocol: Any) -> dict[str, Any]:
        """The summary of `evaluate`, whose finished objects are kept under `name` among the parts."""
        self.note(f"{name} on {dataset}")
        journal = make_folder(self.parts) / f"{name}-{dataset}{protocol.get('stop_at') or ''}.journal"
        result = evaluate(
            folder, dataset, root, limit=self.limit, workers=self.workers, threads=self.threads,
            runtime=self.runtime, progress=self.progress, resume=journal, **protocol,
        )  # fmt: skip
        return {name: value for name, value in result.summary.items() if name != "records"}


def parts_folder(output: Path) -> Path:
    """Where the finished parts of a run with that results file lie until all is done."""
    return output.with_name(output.name + ".parts")


def check_keys(kind: str, given: Mapping[str, Any], known: Sequence[str]) -> None:
    """Raise `UnknownNameError` for a key that is none of those known."""
    for key in given:
        if key not in known:
            raise UnknownNameError(kind, key, list(known))


# --- speed ----------------------------------------------------------------------------------------------


def speed(
    how: How, models: Sequence[str] = (), *, rounds: int = 5, device: str = "cpu", side: int = 384,
    bench: Callable[..., dict[str, Any]] = bench,
) -> Results:  # fmt: skip
    """Milliseconds, parameters and multiply-adds of the talk's systems, on random weights where there are none.

    Args:
        how: runtime (None for torch), threads, parts, note.
        models: those of the table to measure; none for all.
        rounds: turns of each model.
        device: "cpu", or "cuda", whose figures stand beside the table of GPUs.
        side: picture, px.
        bench: measures a plan.

    Raises:
        UnknownNameError: a model that is in no table.
    """
    table = published.SPEED if device == "cpu" else published.GPU_SPEED
    known = list(dict.fromkeys(row.model for row in table))
    check_keys("model of the talk", dict.fromkeys(models), known)
    runtime, threads = how.runtime or "torch", how.threads or usable_cpus()
    found: dict[str, dict[str, Any]] = {}
    for model in known:
        if models and model not in models:
            continue
        how.note(model)
        plan = Plan(
            [model], [runtime], [threads], stages=[FIRST, CORRECTION], rounds=rounds, device=device, side=side
        )
        found[model] = _kept(how.parts / f"{model}.json", plan, bench)

    def measured(model: str, stage: str) -> dict[str, Any]:
        """The record of a stage, or why there is none."""
        records = found[model].get("records", [])
        record = next((each for each in records if each["stage"] == stage), None)
        notes = found[model].get("notes") or ["not measured"]
        return {"here": record, "why": None if record else found[model].get("why", "; ".join(notes))}

    rows = [{**asdict(row), **measured(row.model, row.stage)} for row in table if row.model in found]
    results = how.results("speed", rows=rows)
    return {
        **results,
        "settings": {"runtime": runtime, "threads": threads, "rounds": rounds, "device": device},
    }


def _kept(path: Path, plan: Plan, bench: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """What `bench` gave for this plan before, else gives now; a failure is told, and not kept."""
    settings = json.loads(json.dumps(asdict(plan)))
    if path.is_file():
        part = json.loads(path.read_text(encoding="utf-8"))
        if part["plan"] == settings:
            return part
    try:
        result = bench(plan, lambda text: None, lambda text, done: None)
    except EmclickError as error:
        return {"why": str(error)}
    part = {"plan": settings, "records": result["records"], "notes": result["notes"]}
    make_folder(path.parent)
    write_text(path, json.dumps(part))
    return part


# --- accuracy -------------------------------------------------------------------------------------------


def accuracy(how: How, folders: Folders, roots: Roots) -> Results:
    """NoC of the talk's systems, where their weights and data are here; and of our own model.

    Args:
        how: see `How`.
        folders: key of a row -> model folder.
        roots: dataset -> its folder.

    Raises:
        UnknownNameError: a key of no row, or a dataset that the talk does not have.
        CheckpointError: a folder that holds another method's model.
        and what `evaluate` raises.
    """
    rows = published.ACCURACY
    check_keys("row of the talk", folders, [row.key for row in rows if row.key])
    datasets = list(dict.fromkeys(dataset for dataset, _ in published.ACCURACY_COLUMNS))
    check_keys("dataset of the talk", roots, datasets)
    for key, folder in folders.items():
        _check_card(key, folder)

    def measure(key: str, folder: str, **protocol: Any) -> dict[str, Any]:
        return {name: how.evaluate(key, folder, name, root, **protocol) for name, root in roots.items()}

    found = []
    for row in rows:
        here = measure(row.key, folders[row.key], paper=True) if row.key in folders else None
        noc = [[dataset, at, value] for (dataset, at), value in row.noc.items()]
        found.append({**asdict(row), "noc": noc, "here": here, "why": _why_not(row.model, row.key, folders)})
    own = {"label": f"{OWN} (ours)", "data": "shared mix", "model": OWN, "key": OWN, "noc": []}
    found.append({**own, "here": measure(OWN, OWN), "why": None})
    return how.results("accuracy", rows=found, whole=_whole_runs(how, folders, roots), datasets=list(roots))


def _check_card(key: str, folder: str) -> None:
    card = read_card(find_folder(folder))
    wanted = key.partition("-")[0]
    if card.method != wanted:
        raise CheckpointError(f"{key} is a model of {wanted}, and {folder} holds one of {card.method}")


def _why_not(model: str, key: str, folders: Folders) -> str | None:
    """Why a row has no figures of ours."""
    if key and key in folders:
        return None
    if model not in ZOO:
        return "no such model in this version"
    return f"no weights here (--model ROW=DIR): {ZOO[model].obtain}"


def _whole_runs(how: How, folders: Folders, roots: Roots) -> list[dict[str, Any]]:
    found = []
    for row in published.SBD_RUNS:
        here, why = {}, _why_not(row.key, row.key, folders)
        if why is None and "sbd" not in roots:
            why = "no data here: --root sbd=DIR"
        if why is None:
            for at in row.noc:
                stopped = {"paper": True, "stop_at": at / 100}
                summary = how.evaluate(row.key, folders[row.key], "sbd", roots["sbd"], **stopped)
                here[str(at)] = {"noc": summary["noc"][str(at)], "minutes": summary["wall_s"] / 60}
        found.append({**asdict(row), "here": here or None, "why": why})
    return found


# --- ablation -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Training:
    """How the rows of the ablation are trained that no model is given for.

    Attributes:
        recipes: folder of `KEY.toml`.
        runs: where the run folders lie, by key.
        roots: "NAME=DIR" of the recipes' sources.
        pretrained: backbone weights to start from; "" for none.
        start_base: model folder whose base network to start from; "" for none.
        device: "cpu" or "cuda".
    """

    recipes: Path
    runs: Path
    roots: Sequence[str] = ()
    pretrained: str = ""
    start_base: str = ""
    device: str = "cpu"

    def train(self, key: str) -> str:
        """Train to the end, from where an earlier run stopped; returns the model folder."""
        from emclick.training.loop import train
        from emclick.training.recipe import override, read_recipe

        path = self.recipes / f"{key}.toml"
        recipe = override(
            read_recipe(path),
            roots=self.roots,
            pretrained=self.pretrained or None,
            start_base=self.start_base or None,
        )
        model = train(recipe, path.read_text(encoding="utf-8"), self.runs / key, device=self.device)
        if read_card(model).about.get("steps") != f"{recipe.steps} of {recipe.steps}":
            raise KeyboardInterrupt  # which the training took for a wish to stop
        return str(model)


def ablation(
    how: How, folders: Folders, roots: Roots, *, training: Training | None = None, keys: Sequence[str] = (),
    paper: bool = False,
) -> Results:  # fmt: skip
    """NoC@90 of EMC with parts left out, on any datasets.

    Args:
        how: see `How`.
        folders: key of a row -> model folder.
        roots: dataset -> its folder.
        training: for rows without a folder; None trains nothing.
        keys: the rows wanted; none for all.
        paper: the published protocol instead of each model's own settings.

    Raises:
        UnknownNameError: a key of no row.
        CheckpointError: a folder whose model is not built as its row says.
        and what `evaluate` and `train` raise.
    """
    groups = {"modules": published.ABLATION, "negatives": published.ABLATION_NEGATIVES}
    known = [row.key for rows in groups.values() for row in rows]
    check_keys("row of the ablation", {**folders, **dict.fromkeys(keys)}, known)
    for key, folder in folders.items():
        _check_row(next(row for rows in groups.values() for row in rows if row.key == key), folder)

    def measure(row: Ablation) -> dict[str, Any]:
        folder = folders.get(row.key)
        if folder is None and row.correction is None:
            return {"here": None, "why": "the first click always goes into the base network here"}
        if folder is None and training is None:
            return {"here": None, "why": "no model here: --model ROW=DIR, or --recipes to train it"}
        if folder is None:
            assert training is not None
            how.note(f"training {row.key}")
            folder = training.train(row.key)
            _check_row(row, folder)
        found = {name: how.evaluate(row.key, folder, name, root, paper=paper) for name, root in roots.items()}
        return {"here": found, "why": None}

    found = {
        name: [{**asdict(row), **measure(row)} for row in rows if not keys or row.key in keys]
        for name, rows in groups.items()
    }  # fmt: skip
    return how.results("ablation", rows=found["modules"], negatives=found["negatives"], datasets=list(roots))


def _check_row(row: Ablation, folder: str) -> None:
    """Hold a model to the switches of its row; its width and templates are its own affair."""
    spec = read_card(find_folder(folder)).spec
    if not isinstance(spec, ModelSpec):
        raise CheckpointError(f"{row.key} is a model of emc, and {folder} holds another method's")
    if row.correction is None:
        raise OptionError(
            f"no model can be {row.key!r}: the first click always goes into the base network here"
        )
    if effective(spec.correction) != effective(row.correction):
        raise CheckpointError(f"{folder} is not built as the row {row.key!r}: {_switches(spec.correction)}")


def effective(spec: CorrectionSpec) -> CorrectionSpec:
    """The switches of a network alone, those of a module that it does not have at their defaults."""
    plain = CorrectionSpec()
    spec = replace(spec, width=plain.width, templates=plain.templates, heads=plain.heads)
    if not spec.attention:
        spec = replace(spec, attention_negatives=True)
    if not spec.correlation:
        spec = replace(spec, correlation_negatives=True)
    return spec if spec.attention or spec.correlation else replace(spec, selection=True)


def _switches(spec: CorrectionSpec) -> str:
    return ", ".join(
        f"{each.name} {getattr(spec, each.name)}" for each in fields(spec) if each.type == "bool"
    )
