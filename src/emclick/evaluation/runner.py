"""The robot user at work on sessions: one object, one image, a whole dataset, in one or several processes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from emclick.data.sample import Sample, SampleObject, Source
from emclick.errors import DatasetError, EmclickError, OptionError
from emclick.evaluation import noc as metrics
from emclick.evaluation.journal import Journal, Line, Record
from emclick.evaluation.robot import next_click
from emclick.evaluation.workers import ordered_map


class SessionLike(Protocol):
    """What is evaluated: `emclick.Session` or anything that answers clicks."""

    def click(self, x: float, y: float, positive: bool = True) -> Any:
        """The answer has `mask`, (H, W) bool, and `ms`, the milliseconds it took."""


MakeSession = Callable[[NDArray[np.uint8], "NDArray[np.bool_] | None"], SessionLike]
"""(image (H, W, 3) uint8, initial mask (H, W) bool or None) -> a session without clicks."""


@dataclass(frozen=True)
class Rules:
    """How an object is clicked on.

    Attributes:
        max_clicks: the most clicks per object, and what a failure counts in NoC.
        stop_at: stop an object once its IoU reaches this; None makes all clicks.
        initial_masks: start from the dataset's initial masks where it has them (DAVIS-585).
    """

    max_clicks: int = metrics.MAX_CLICKS
    stop_at: float | None = None
    initial_masks: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.max_clicks <= 1000:
            raise OptionError(f"max_clicks must be 1 to 1000, not {self.max_clicks}")
        if self.stop_at is not None and not 0 < self.stop_at <= 1:
            raise OptionError(f"stop_at is an IoU above 0 and up to 1, not {self.stop_at}")


class Evaluation(NamedTuple):
    """The outcome: `records`, one per object, and `summary`, the content of the results file.

    `summary` holds `n` (objects), `noc`, `nof`, `at_limit` (keyed "80", "85", "90", "95"; None for one above
    `stop_at`, which was not measured), `miou_at` (keyed "1" to "20"), `worse_clicks` (share of all
    clicks made that lowered the IoU by more than 1 point), `start_iou` and `first_worse` (mean IoU of the
    initial masks, and share of objects whose first click lowered it; None without), `first_ms` and
    `later_ms` (medians per click,
    None if there was none), `wall_s`, `images`, `images_per_s`, what made it, and `records`.
    """

    records: list[Record]
    summary: dict[str, Any]


# --- one object, one image ------------------------------------------------------------------------------


def evaluate_object(
    session: SessionLike, truth: NDArray[np.int8], rules: Rules, initial_mask: NDArray[np.bool_] | None = None
) -> tuple[list[tuple[int, int, bool]], list[float], list[float]]:
    """Let the robot click until the rules say stop.

    Args:
        session: without clicks, already holding `initial_mask`.
        truth: (H, W) int8; 1 object, 0 background, -1 ignored.
        rules: the limits.
        initial_mask: (H, W) bool, the mask before the first click; empty if None.

    Returns:
        Clicks (x, y, positive), IoU after each, milliseconds of each. Where no wrong pixel is left, or all
        have been clicked, the robot cannot click: the last IoU then fills the curve up to `max_clicks`.
    """
    guess = np.zeros(truth.shape, bool) if initial_mask is None else initial_mask
    clicked = np.zeros(truth.shape, bool)
    clicks: list[tuple[int, int, bool]] = []
    curve: list[float] = []
    ms: list[float] = []
    while len(curve) < rules.max_clicks:
        click = next_click(truth, guess, clicked)
        if click is None:
            last = curve[-1] if curve else metrics.iou(truth, guess)
            curve += [last] * (rules.max_clicks - len(curve))
            break
        x, y, positive = click
        prediction = session.click(x, y, positive)
        guess = prediction.mask
        clicked[y, x] = True
        clicks.append(click)
        curve.append(metrics.iou(truth, guess))
        ms.append(round(float(prediction.ms), 3))
        if rules.stop_at is not None and metrics.first_crossing(curve[-1:], rules.stop_at):
            break
    return clicks, curve, ms


def record_id(sample: Sample, obj: SampleObject) -> str:
    """Name of an object within its dataset."""
    return f"{sample.key}#{obj.id}"


def record_object(make_session: MakeSession, sample: Sample, obj: SampleObject, rules: Rules) -> Record:
    """The record of one object.

    Raises:
        DatasetError: it is empty or could not be segmented; the message names it.
    """
    name = record_id(sample, obj)
    truth = sample.target(obj)
    if not (truth == 1).any():
        raise DatasetError(f"{name} has no pixels")
    initial = obj.initial_mask if rules.initial_masks else None
    try:
        session = make_session(sample.image, initial)
        clicks, curve, ms = evaluate_object(session, truth, rules, initial)
    except EmclickError as error:
        raise DatasetError(f"cannot evaluate {name}: {error}") from error
    record = Record(id=name, clicks=clicks, iou=curve, ms=ms)
    if initial is not None:
        record["start_iou"] = metrics.iou(truth, initial)
    return record


def evaluate_sample(
    make_session: MakeSession,
    sample: Sample,
    rules: Rules,
    done: Sequence[str] = (),
    at_most: int | None = None,
) -> Iterator[Record]:
    """The objects of one image in order, without those whose id is in `done`, `at_most` so many.

    Raises:
        DatasetError: an object is empty or could not be segmented; the message names it.
    """
    todo = [obj for obj in sample.objects if record_id(sample, obj) not in done]
    for obj in todo[:at_most]:
        yield record_object(make_session, sample, obj, rules)


# --- a dataset ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Task:
    """Sample `index`, without the records `done` (their ids), at most so many of the others."""

    index: int
    done: tuple[str, ...]
    at_most: int | None


Run = Callable[[Task], tuple[int, Iterable[Record]]]
"""Evaluates a sample: how many records it has in all, and those asked for, in order."""


@dataclass(frozen=True)
class _Setup:
    """What a process needs to evaluate one model."""

    load: Callable[[], MakeSession]
    source: Source
    rules: Rules
    lazily: bool

    def __call__(self) -> Run:
        make_session = self.load()

        def run(task: Task) -> tuple[int, Iterable[Record]]:
            sample = self.source[task.index]
            records = evaluate_sample(make_session, sample, self.rules, task.done, task.at_most)
            return len(sample.objects), records if self.lazily else list(records)

        return run


def run_benchmark(
    load: Callable[[], MakeSession],
    source: Source,
    rules: Rules,
    made_by: Mapping[str, Any],
    *,
    limit: int | None = None,
    workers: int = 1,
    journal: Path | None = None,
    progress: bool = False,
) -> Evaluation:
    """Evaluate sessions on a dataset; `evaluate` is this for a model.

    Args:
        load: makes the maker of sessions, once per process; picklable if `workers` > 1.
        source: the dataset; picklable if `workers` > 1.
        rules: how to click.
        made_by: what the summary says beside the figures. With the rules and the dataset's name it is the
            header that a journal is recognised by.
        limit: evaluate the first so many objects only.
        workers: processes; the records come in the dataset's order whatever their number.
        journal: file that finished objects are kept in and taken from; see `Journal`.
        progress: show a progress line with the NoC@90 so far, on a terminal.

    Raises:
        DatasetError: a sample cannot be read or evaluated, or there is no object at all.
        OptionError: `workers` or `limit` below 1, or the journal is another run's.
        WriteError: the journal cannot be written.
    """
    settings = {**made_by, "dataset": source.name, **asdict(rules)}
    setup = _Setup(load, source, rules, lazily=workers == 1)
    records, images, spent = collect(
        setup, source, settings, limit=limit, workers=workers, journal=journal, progress=progress
    )
    speed = {"wall_s": spent, "images": images, "images_per_s": round(images / max(spent, 1e-3), 4)}
    summary = {**summarise(records, rules), **speed, **settings, "workers": workers, "records": records}
    return Evaluation(records, summary)


def collect(
    setup: Callable[[], Run],
    source: Source,
    settings: Mapping[str, Any],
    *,
    limit: int | None,
    workers: int,
    journal: Path | None,
    progress: bool,
    per_object: int = 1,
    group: Callable[[Record], str] = lambda record: "",
) -> tuple[list[Record], int, float]:
    """The records of a dataset, in its order whatever the number of processes, kept in a journal meanwhile.

    Args:
        setup: called once per process; picklable if `workers` > 1.
        source: the dataset, for its keys.
        settings: header of the journal.
        limit, workers, journal, progress: as for `run_benchmark`.
        per_object: records that each object has, one after the other.
        group: the progress line shows one NoC@90 for each of its values.

    Returns:
        Records, samples they came from, and wall seconds, those before an interruption included.

    Raises:
        as `run_benchmark`.
    """
    if workers < 1 or (limit is not None and limit < 1):
        raise OptionError(f"workers and limit must be at least 1, not {workers} and {limit}")
    records: list[Record] = []
    images = 0
    total = len(source) if limit is None else min(limit, len(source))
    most = None if limit is None else limit * per_object
    with Journal(journal, {**settings, "samples": len(source)}) as kept, _progress(progress, group) as show:
        known = kept.by_sample()
        start, before = time.perf_counter(), kept.wall_s

        def wall_s() -> float:
            return round(before + time.perf_counter() - start, 3)

        def tasks() -> Iterator[Task]:
            for index, key in enumerate(source.keys):
                finished, complete = known.get(key, ([], False))
                if not complete:
                    room = None if most is None else max(most - len(records) - len(finished), 0)
                    yield Task(index, tuple(record["id"] for record in finished), room)

        results = map(setup(), tasks()) if workers == 1 else ordered_map(setup, tasks(), workers)
        for key in source.keys:
            if most is not None and len(records) >= most:
                break
            finished, complete = known.get(key, ([], False))
            # Drawn before the finished ones are counted: `tasks` counts them itself.
            of, fresh = (len(finished), ()) if complete else next(results)
            records += finished
            for record in fresh:
                kept.append(Line(sample=key, of=of, wall_s=wall_s(), record=record))
                records.append(record)
            images += 1
            show(images, total, records)
        if isinstance(results, Generator):
            results.close()  # ends the processes
        spent = wall_s()
    records = records[:most]
    if not records:
        raise DatasetError(f"{source.name} holds no objects to evaluate")
    return records, images, spent


def summarise(records: Sequence[Record], rules: Rules) -> dict[str, Any]:
    """The figures of `Evaluation.summary`, from `n` to `later_ms`."""
    curves = [record["iou"] for record in records]
    starts = [(record["start_iou"], record["iou"][0]) for record in records if "start_iou" in record]
    first_ms = [record["ms"][0] for record in records if record["ms"]]
    later_ms = [ms for record in records for ms in record["ms"][1:]]

    def per_threshold(figure: Callable[..., float]) -> dict[str, float | None]:
        return {
            f"{threshold * 100:.0f}": None
            if rules.stop_at is not None and threshold > rules.stop_at
            else figure(curves, threshold, rules.max_clicks)
            for threshold in metrics.THRESHOLDS
        }

    return {
        "n": len(records),
        "noc": per_threshold(metrics.noc),
        "nof": per_threshold(metrics.nof),
        "at_limit": per_threshold(metrics.at_limit),
        "miou_at": {
            str(k): float(value)
            for k, value in enumerate(metrics.mean_iou(curves, rules.max_clicks), start=1)
        },
        "worse_clicks": metrics.worse_clicks(
            [record["iou"][: len(record["clicks"])] for record in records],
            [record.get("start_iou") for record in records],
        ),
        "start_iou": float(np.mean([before for before, _ in starts])) if starts else None,
        "first_worse": float(np.mean([after < before for before, after in starts])) if starts else None,
        "first_ms": float(np.median(first_ms)) if first_ms else None,
        "later_ms": float(np.median(later_ms)) if later_ms else None,
    }


@contextlib.contextmanager
def _progress(
    wanted: bool, group: Callable[[Record], str]
) -> Iterator[Callable[[int, int, Sequence[Record]], None]]:
    """A function of (images done, images in all, records) that shows how far the run is."""
    if not wanted:
        yield lambda images, of, records: None
        return
    from rich import progress as rich_progress
    from rich.console import Console

    console = Console(stderr=True)
    columns = (
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(),
        rich_progress.MofNCompleteColumn(),
        rich_progress.TimeRemainingColumn(),
    )
    with rich_progress.Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("reading", total=None)
        clicks: dict[str, list[int]] = {}

        def show(images: int, of: int, records: Sequence[Record]) -> None:
            for record in records[sum(map(len, clicks.values())) :]:
                clicks.setdefault(group(record), []).append(metrics.clicks_needed(record["iou"], 0.9))
            means = [f"{name} {np.mean(each):.2f}".strip() for name, each in clicks.items()]
            text = f"NoC@90 {', '.join(means)}" if means else "no object yet"
            bar.update(task, completed=images, total=of, description=text)

        yield show
