"""A model on a dataset: the robot user clicks on every object, and the clicks are counted.

>>> result = evaluate("emc-mobilenetv2", "grabcut", "data/GrabCut")   # doctest: +SKIP
>>> result.summary["noc"]["90"], result.records[0]["iou"]             # doctest: +SKIP
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import emclick
from emclick.cpus import usable_cpus
from emclick.data.damage import DamagedSource
from emclick.data.sample import Source
from emclick.data.sources import open_source
from emclick.errors import OptionError
from emclick.evaluation.journal import remove_journal
from emclick.evaluation.noc import MAX_CLICKS
from emclick.evaluation.runner import Evaluation, MakeSession, Rules, SessionLike, run_benchmark
from emclick.files import write_text
from emclick.methods import METHODS


@dataclass(frozen=True)
class LoadModel:
    """Loads a model and makes its sessions; picklable."""

    model: str | os.PathLike[str] | None
    runtime: str | None
    threads: int | None
    precision: str | None
    short_side: int | None
    flip: bool
    zoom_in: bool | None
    threshold: float = 0.5

    def __call__(self) -> MakeSession:
        loaded = load_model(self.model, self.runtime, self.threads, self.precision)
        return sessions_of(loaded, self.short_side, self.flip, self.zoom_in, self.threshold)


def load_model(
    model: str | os.PathLike[str] | None,
    runtime: str | None = None,
    threads: int | None = None,
    precision: str | None = None,
) -> Any:
    """`emclick.load` with only what is given; None is the default model."""
    options = {"runtime": runtime, "threads": threads, "precision": precision}
    given = {name: value for name, value in options.items() if value is not None}
    return emclick.load(**given) if model is None else emclick.load(os.fspath(model), **given)


def sessions_of(
    model: Any, short_side: int | None, flip: bool, zoom_in: bool | None = None, threshold: float = 0.5
) -> MakeSession:
    """A maker of `emclick.Session`s for a loaded model."""
    from emclick.session import Session

    def make_session(image: NDArray[np.uint8], initial_mask: NDArray[np.bool_] | None) -> SessionLike:
        return Session(
            model, image, short_side=short_side, flip=flip, initial_mask=initial_mask, zoom_in=zoom_in,
            threshold=threshold,
        )  # fmt: skip

    return make_session


def made_by_of(model: Any, short_side: int | None, flip: bool, zoom_in: bool | None) -> dict[str, Any]:
    """What made an evaluation, for its summary and its journal: a loaded model and how its sessions work."""
    return {
        "model": model.name,
        "sha256": getattr(model, "sha256", None),
        "runtime": model.runtime.name,
        "precision": getattr(model.runtime, "precision", "fp32"),
        "threads": model.runtime.threads,
        "short_side": model.short_side if short_side is None else short_side,
        "flip": flip,
        "zoom_in": getattr(model, "zoom_in", False) if zoom_in is None else zoom_in,
        "version": emclick.__version__,
    }


def threads_per_worker(workers: int, threads: int | None) -> int | None:
    """CPU threads of each process, so that all together use `threads` (default: the CPUs of this process)."""
    if workers == 1:
        return threads
    return max(1, (threads or usable_cpus()) // workers)


def evaluate(
    model: Any,
    dataset: str | Source,
    root: str | os.PathLike[str] | None = None,
    *,
    limit: int | None = None,
    flip: bool = False,
    short_side: int | None = None,
    zoom_in: bool | None = None,
    paper: bool = False,
    stop_at: float | None = None,
    workers: int = 1,
    resume: str | os.PathLike[str] | None = None,
    output: str | os.PathLike[str] | None = None,
    progress: bool = True,
    max_clicks: int = MAX_CLICKS,
    use_initial_masks: bool = True,
    damage: int | None = None,
    runtime: str | None = None,
    threads: int | None = None,
    precision: str | None = None,
) -> Evaluation:
    """Let the robot user click on every object of a dataset, and count (METHOD, "Evaluation").

    Args:
        model: what `emclick.load` returns, or a name or folder for it; None is the default model.
        dataset: a name in the table of datasets, opened at `root`, or a source.
        root: the dataset's folder; needed with a name.
        limit: the first so many objects only.
        flip: flip test-time augmentation.
        short_side: the frame's shorter side; None is the model's own.
        zoom_in: look at the object once there is a mask; None is the model's own.
        paper: the published protocol of the model's method; EMC's is a short side of 384 (DAVIS 576), flip, no
            zoom-in.
        stop_at: stop an object once its IoU reaches this; NoC above it is then not measured, and mIoU@k takes
            the object's last IoU. None makes all clicks.
        workers: processes, each with its share of the CPU threads. More than one wants `model` by name.
        resume: journal of finished objects, continued if it exists; default: beside `output`.
        output: results file (JSON), written when all is done; the journal is then removed.
        progress: show a progress line on a terminal.
        max_clicks: the most clicks per object.
        use_initial_masks: start from the dataset's initial masks, where it has them.
        damage: start every object from its truth, damaged to an IoU of 0.75 to 0.85 by faults that this seed
            decides on (`emclick.data.damage`).
        runtime: runtime of a model given by name.
        threads: CPU threads of a model given by name; with workers, of all together.
        precision: of a model given by name, see `emclick.load`.

    Raises:
        UnknownNameError: no such model or dataset.
        DatasetError: the dataset is not there, or an object cannot be read or evaluated.
        OptionError: options that exclude each other, or a journal of another run.
        WriteError: the journal or the results cannot be written.
    """
    if paper and (short_side is not None or zoom_in):
        raise OptionError("the paper's protocol sets the short side and zoom-in itself; give one of the two")
    if isinstance(dataset, str):
        if root is None:
            raise OptionError(f"the dataset {dataset!r} needs its root folder")
        source = open_source(dataset, root)
    elif callable(getattr(dataset, "__getitem__", None)) and hasattr(dataset, "keys"):
        source = dataset
    else:
        raise OptionError(f"a dataset is a name or an opened source, not {type(dataset).__name__}")
    if damage is not None:
        if not use_initial_masks or damage < 0:
            raise OptionError("damage makes initial masks, from a seed of 0 or more; start from them")
        source = DamagedSource(source, damage)

    by_name = model is None or isinstance(model, str | os.PathLike)
    if not by_name and any(each is not None for each in (runtime, threads, precision)):
        raise OptionError(
            "runtime, threads and precision are chosen when a model is loaded; give the model by name"
        )
    if not by_name and workers > 1:
        raise OptionError("several workers load the model themselves; give the model by name or folder")
    share = threads_per_worker(workers, threads)
    loaded: Any = load_model(model, runtime, share, precision) if by_name else model
    threshold = 0.5
    if paper:
        published = METHODS[loaded.card.method].protocol
        protocol = published.get(dataset if isinstance(dataset, str) else source.name, published[""])
        short_side, flip, zoom_in = protocol.short_side, protocol.flip, protocol.zoom_in
        threshold = protocol.threshold
    if workers == 1:
        # The model at hand serves; several processes each load their own.
        def load() -> MakeSession:
            return sessions_of(loaded, short_side, flip, zoom_in, threshold)
    else:
        load = LoadModel(model, runtime, share, precision, short_side, flip, zoom_in, threshold)

    made_by = made_by_of(loaded, short_side, flip, zoom_in) | {"threshold": threshold, "damage": damage}
    target = None if output is None else Path(output)
    journal = Path(resume) if resume is not None else target and journal_path(target)
    result = run_benchmark(
        load,
        source,
        Rules(max_clicks, stop_at, use_initial_masks),
        made_by,
        limit=limit,
        workers=workers,
        journal=journal,
        progress=progress,
    )
    if target is not None:
        write_text(target, results_text(result))
        if journal is not None:
            remove_journal(journal)
    return result


def results_text(evaluation: Evaluation) -> str:
    """The results file: the summary as JSON, one line per figure and per record."""
    figures = {name: value for name, value in evaluation.summary.items() if name != "records"}
    lines = [
        f"{json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}" for name, value in figures.items()
    ]
    records = ",\n  ".join(json.dumps(record, ensure_ascii=False) for record in evaluation.records)
    return "{\n " + ",\n ".join([*lines, f'"records": [\n  {records}\n ]']) + "\n}\n"


def journal_path(output: Path) -> Path:
    """Where the journal of a run with that results file lies: `results.json` -> `results.json.journal`."""
    return output.with_name(output.name + ".journal")
