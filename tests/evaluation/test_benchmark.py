"""The benchmark, with a session that paints instead of a network."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fake_session import BrushSession, Squares, load_and_fail, load_brush

from emclick.data.sample import Source
from emclick.errors import DatasetError, OptionError, WriteError
from emclick.evaluation import benchmark
from emclick.evaluation.benchmark import evaluate
from emclick.evaluation.noc import iou
from emclick.evaluation.runner import Evaluation, Rules, evaluate_object, run_benchmark

MADE_BY = {"model": "brush", "sha256": "0", "short_side": 20, "flip": False}


def run(source: Source, rules: Rules = Rules(), **options: Any) -> Evaluation:  # noqa: B008 (frozen)
    return run_benchmark(load_brush, source, rules, MADE_BY, **options)


def without_times(evaluation: Evaluation) -> dict[str, Any]:
    changing = {"wall_s", "images_per_s", "workers"}
    return {name: value for name, value in evaluation.summary.items() if name not in changing}


# --- one object -----------------------------------------------------------------------------------------


def test_curve_is_the_iou_after_each_click_and_clicks_can_be_replayed() -> None:
    sample = Squares(3)[2]
    truth = sample.target(sample.objects[2])
    clicks, curve, ms = evaluate_object(BrushSession(sample.image, None), truth, Rules())
    assert len(clicks) == len(curve) == len(ms) == 20
    assert clicks[0] == (36, 8, True)  # column, row: the square of side 10 lies at x 32..41, y 4..13
    replay = BrushSession(sample.image, None)
    assert [iou(truth, replay.click(*click).mask) for click in clicks] == curve
    assert ms == [8.0] + [2.0] * 19
    assert len({click[:2] for click in clicks}) == 20


def test_a_perfect_mask_fills_the_curve_without_clicks() -> None:
    truth = np.zeros((11, 11), np.int8)
    truth[2:9, 2:9] = 1  # what one click with radius 3 paints
    image = np.full((11, 11, 3), 3, np.uint8)
    clicks, curve, ms = evaluate_object(BrushSession(image, None), truth, Rules())
    assert clicks == [(5, 5, True)]
    assert ms == [8.0]
    assert curve == [1.0] * 20
    # nothing to correct from the start
    start = truth == 1
    assert evaluate_object(BrushSession(image, start), truth, Rules(max_clicks=4), start) == (
        [],
        [1.0] * 4,
        [],
    )


def test_stop_at_ends_the_curve_at_the_click_that_reaches_it() -> None:
    sample = Squares(3)[2]
    truth = sample.target(sample.objects[0])
    _, whole, _ = evaluate_object(BrushSession(sample.image, None), truth, Rules())
    clicks, curve, _ = evaluate_object(BrushSession(sample.image, None), truth, Rules(stop_at=0.8))
    assert curve == whole[: len(curve)]
    assert curve[-1] >= 0.8 > max(curve[:-1])
    assert len(clicks) == len(curve) < 20


def test_the_robot_starts_from_the_initial_mask_unless_told_not_to() -> None:
    source = Squares(1, start_wrong=True)
    with_mask = run(source).records[0]
    assert with_mask["clicks"][0][2] is False  # the larger error is the false area
    without = run(source, Rules(initial_masks=False)).records[0]
    assert without["clicks"][0][2] is True


# --- a dataset ------------------------------------------------------------------------------------------


def test_summary() -> None:
    result = run(Squares(3))
    summary = result.summary
    assert [record["id"] for record in result.records] == [
        "image0#1", "image1#1", "image1#2", "image2#1", "image2#2", "image2#3",
    ]  # fmt: skip
    assert summary["n"] == 6
    assert summary["images"] == 3
    assert (
        list(summary["noc"]) == list(summary["nof"]) == list(summary["at_limit"]) == ["80", "85", "90", "95"]
    )
    assert list(summary["miou_at"]) == [str(k) for k in range(1, 21)]
    curves = [record["iou"] for record in result.records]
    expected = [next((k for k, v in enumerate(curve, 1) if v >= 0.9), 20) for curve in curves]
    assert summary["noc"]["90"] == pytest.approx(np.mean(expected))
    assert 1 < summary["noc"]["90"] < 20
    assert summary["miou_at"]["3"] == pytest.approx(np.mean([curve[2] for curve in curves]))
    assert (summary["first_ms"], summary["later_ms"]) == (8.0, 2.0)
    assert summary["dataset"] == "squares"
    assert summary["model"] == "brush"
    assert summary["wall_s"] > 0
    json.dumps(summary)


def test_thresholds_above_stop_at_are_not_reported() -> None:
    summary = run(Squares(2), Rules(stop_at=0.85)).summary
    assert summary["noc"]["85"] is not None
    assert summary["noc"]["90"] is None
    assert summary["nof"]["95"] is None
    assert summary["noc"]["85"] == run(Squares(2)).summary["noc"]["85"]


def test_limit_counts_objects() -> None:
    limited = run(Squares(6), limit=2)
    assert [record["id"] for record in limited.records] == ["image0#1", "image1#1"]
    assert limited.summary["n"] == 2


def test_workers_give_the_same_in_the_same_order() -> None:
    alone = run(Squares(7))
    shared = run(Squares(7), workers=2)
    assert without_times(alone) == without_times(shared)
    assert run(Squares(7), workers=2, limit=5).records == alone.records[:5]


def test_errors_reach_us_from_a_worker() -> None:
    with pytest.raises(DatasetError, match="image4"):
        run(Squares(6, broken=4), workers=2)
    with pytest.raises(ValueError, match="no weights"):
        run_benchmark(load_and_fail, Squares(2), Rules(), MADE_BY, workers=2)


def test_an_object_that_fails_is_named() -> None:
    with pytest.raises(DatasetError, match=r"image1#1.*cannot be clicked on"):
        run(Squares(3, unclickable=1))


@pytest.mark.parametrize("options", [{"workers": 0}, {"limit": 0}])
def test_options_are_checked(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        run(Squares(1), **options)


@pytest.mark.parametrize(
    "rules", [{"max_clicks": 0}, {"stop_at": 0.0}, {"stop_at": 1.5}, {"stop_at": float("nan")}]
)
def test_rules_are_checked(rules: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        Rules(**rules)


# --- resuming -------------------------------------------------------------------------------------------


def stop_after(count: int) -> Callable[..., BrushSession]:
    made: list[int] = []

    def make(*arguments: Any) -> BrushSession:
        if len(made) == count:
            raise KeyboardInterrupt
        made.append(1)
        return BrushSession(*arguments)

    return make


@pytest.mark.parametrize("finished", [0, 1, 2, 4, 6])
@pytest.mark.parametrize("half_line", [False, True])
def test_a_stopped_run_goes_on(tmp_path: Path, finished: int, half_line: bool) -> None:
    journal = tmp_path / "j"
    whole = run(Squares(4))
    with pytest.raises(KeyboardInterrupt):
        run_benchmark(lambda: stop_after(finished), Squares(4), Rules(), MADE_BY, journal=journal)
    assert journal.read_bytes().count(b"\n") == finished + 1
    if half_line:
        with journal.open("ab") as file:
            file.write(b'{"sample": "image3", "of": 1, "wall')
    made: list[int] = []

    def counting(*arguments: Any) -> BrushSession:
        made.append(1)
        return BrushSession(*arguments)

    resumed = run_benchmark(lambda: counting, Squares(4), Rules(), MADE_BY, journal=journal)
    assert len(made) == len(whole.records) - finished
    assert without_times(resumed) == without_times(whole)
    # the journal is whole again: nothing is left to do
    again = run_benchmark(lambda: stop_after(0), Squares(4), Rules(), MADE_BY, journal=journal)
    assert again.summary["noc"] == whole.summary["noc"]


def test_a_finished_sample_is_not_read_again(tmp_path: Path) -> None:
    run(Squares(4), journal=tmp_path / "j")
    assert run(Squares(4, broken=2), journal=tmp_path / "j").summary["n"] == 7


def test_what_was_done_before_a_broken_sample_is_kept(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="image2"):
        run(Squares(4, broken=2), journal=tmp_path / "j")
    assert (tmp_path / "j").read_bytes().count(b"\n") == 1 + 3


def test_a_larger_limit_goes_on_within_the_image(tmp_path: Path) -> None:
    run(Squares(4), limit=4, journal=tmp_path / "j")
    assert run(Squares(4), limit=6, journal=tmp_path / "j").records == run(Squares(4), limit=6).records


def test_another_runs_journal_is_refused(tmp_path: Path) -> None:
    journal = tmp_path / "j"
    run(Squares(2), journal=journal)
    before = journal.read_bytes()
    with pytest.raises(OptionError, match=r"stop_at None, now 0\.9"):
        run(Squares(2), Rules(stop_at=0.9), journal=journal)
    with pytest.raises(OptionError, match="short_side 20, now 384"):
        run_benchmark(load_brush, Squares(2), Rules(), {**MADE_BY, "short_side": 384}, journal=journal)
    assert journal.read_bytes() == before
    (tmp_path / "photo").write_bytes(b"\x89PNG\n\x00\n")
    with pytest.raises(OptionError, match="not a journal"):
        run(Squares(2), journal=tmp_path / "photo")
    with pytest.raises(WriteError, match="nowhere"):
        run(Squares(2), journal=tmp_path / "nowhere" / "j")


# --- evaluate -------------------------------------------------------------------------------------------


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Replaces loading and sessions by a brush and notes what they were asked for."""
    seen: dict[str, Any] = {}

    def load_model(
        name: str, runtime: str | None = None, threads: int | None = None, precision: str | None = None
    ) -> Any:
        seen.update(name=name, runtime=runtime, threads=threads, precision=precision)
        return fake_model(name)

    def sessions_of(
        model: Any, short_side: int | None, flip: bool, zoom_in: bool | None, threshold: float
    ) -> Any:
        seen.update(model=model.name, short_side=short_side, flip=flip, zoom_in=zoom_in, threshold=threshold)
        return BrushSession

    monkeypatch.setattr(benchmark, "load_model", load_model)
    monkeypatch.setattr(benchmark, "sessions_of", sessions_of)
    return seen


def fake_model(name: str, method: str = "emc") -> Any:
    return SimpleNamespace(
        name=name, sha256="abc", short_side=256, runtime=SimpleNamespace(name="brush", threads=3),
        card=SimpleNamespace(method=method),
    )  # fmt: skip


def test_evaluate_by_name_writes_the_results_and_drops_the_journal(
    seen: dict[str, Any], tmp_path: Path
) -> None:
    output = tmp_path / "results.json"
    result = evaluate(
        "some-model", Squares(3), output=output, progress=False, runtime="torch", threads=2, precision="bf16"
    )
    assert (seen["name"], seen["runtime"], seen["threads"]) == ("some-model", "torch", 2)
    assert seen["precision"] == "bf16"
    assert (seen["short_side"], seen["flip"], seen["zoom_in"]) == (None, False, None)
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]
    assert json.loads(output.read_text(encoding="utf-8")) == json.loads(json.dumps(result.summary))
    for name, value in {"sha256": "abc", "threads": 3, "runtime": "brush", "short_side": 256}.items():
        assert result.summary[name] == value
    assert result.summary["version"]


def test_evaluate_takes_a_loaded_model(seen: dict[str, Any]) -> None:
    result = evaluate(fake_model("mine"), Squares(1), short_side=300, flip=True, progress=False)
    assert seen == {"model": "mine", "short_side": 300, "flip": True, "zoom_in": None, "threshold": 0.5}
    assert (result.summary["short_side"], result.summary["flip"]) == (300, True)


@pytest.mark.parametrize(
    ("method", "dataset", "wanted"),
    [
        ("emc", "davis", (576, True, False, 0.5)),
        ("emc", "squares", (384, True, False, 0.5)),
        ("ritm", "davis", (600, True, True, 0.49)),
        ("focalclick", "squares", (256, False, True, 0.49)),
    ],
)
def test_paper(
    seen: dict[str, Any], method: str, dataset: str, wanted: tuple[int, bool, bool, float]
) -> None:
    evaluate(fake_model("m", method), Squares(1, name=dataset), paper=True, progress=False)
    assert (seen["short_side"], seen["flip"], seen["zoom_in"], seen["threshold"]) == wanted


@pytest.mark.usefixtures("seen")
def test_options_that_exclude_each_other() -> None:
    exclusive: list[dict[str, Any]] = [
        {"paper": True, "short_side": 300},
        {"workers": 2},
        {"runtime": "torch"},
        {"precision": "fp32"},
        {"threads": 2},
    ]
    for options in exclusive:
        with pytest.raises(OptionError):
            evaluate(fake_model("m"), Squares(1), progress=False, **options)
    with pytest.raises(OptionError, match="root"):
        evaluate(fake_model("m"), "grabcut", progress=False)


def test_threads_are_shared_among_workers() -> None:
    assert benchmark.threads_per_worker(1, None) is None
    assert benchmark.threads_per_worker(1, 3) == 3
    assert benchmark.threads_per_worker(2, 8) == 4
    assert benchmark.threads_per_worker(8, 4) == 1
    assert (benchmark.threads_per_worker(2, None) or 0) >= 1


def test_loading_passes_on_only_what_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Any, ...]] = []
    emclick = importlib.import_module("emclick")
    monkeypatch.setattr(
        emclick, "load", lambda *names, **options: calls.append((*names, options)), raising=False
    )
    benchmark.load_model(None)
    benchmark.load_model(Path("a") / "b", threads=2)
    benchmark.load_model("m", runtime="torch")
    assert calls == [({},), (str(Path("a/b")), {"threads": 2}), ("m", {"runtime": "torch"})]


def test_progress_is_shown_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes this for a terminal
    run(Squares(2), progress=True)
    captured = capsys.readouterr()
    assert "NoC@90" in captured.err
    assert "2/2" in captured.err
    assert captured.out == ""
