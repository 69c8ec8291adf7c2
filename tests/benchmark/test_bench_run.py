"""`bench`: configurations in turn, what is left out, and the real thing once at a small size."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fake_jobs import DIES, FAILS, REFUSED

from emclick.benchmark import run, stages
from emclick.benchmark.costs import Costs
from emclick.benchmark.handover import Handover
from emclick.benchmark.models import Subject, prepare_model, seeded_model_folder
from emclick.benchmark.picture import photograph, size_of
from emclick.benchmark.processes import Worker
from emclick.benchmark.run import Plan, bench
from emclick.benchmark.stages import STAGES, FrameClicks, ModelClicks
from emclick.card import WEIGHTS_NAME, read_card
from emclick.clicks import Click
from emclick.errors import MissingExtraError, OptionError, UnknownNameError
from emclick.methods.base import Options
from emclick.spec import CorrectionSpec, ModelSpec
from emclick.zoo import find_folder, load

REQUIRED = {
    "model", "runtime", "precision", "threads", "stage", "median_ms", "p95_ms", "floor_ms", "macs", "params", "peak_mb"
}  # fmt: skip
PLAN = Plan(
    models=["toy"], runtimes=["onnx"], threads=[1], stages=["correction", "first"], rounds=2, pause_s=0
)


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which fake models note their samples."""
    path = tmp_path / "log"
    subject = Subject("toy", path, seeded=True, costs=Costs(1000, 100, 27_000, 8000))
    monkeypatch.setattr(run, "prepare_model", lambda *_: subject)
    monkeypatch.setattr(run, "MODEL_JOB", "fake_jobs:FakeModel")
    monkeypatch.setattr(run, "handover", lambda: Handover(7, 5))
    return path


def quiet(*_: object) -> None:
    pass


def test_records(log: Path) -> None:
    steps: list[float] = []
    result = bench(PLAN, quiet, lambda _, done: steps.append(done))
    assert [each["stage"] for each in result["records"]] == ["first", "correction"]  # as memory grows
    first, correction = result["records"]
    assert set(first) >= REQUIRED | {"open_ms"}
    assert (first["median_ms"], first["p95_ms"], first["open_ms"]) == (2, 2, 7)
    assert (first["macs"], first["params"]) == (27_000, 1000)
    assert (correction["macs"], correction["params"]) == (8000, 100)
    assert first["samples"] == 2 * STAGES["first"].repeats
    assert (first["load_s"], first["short_side"], first["seeded"]) == (0.25, 384, True)
    assert 0 < correction["floor_ms"] < 50
    assert correction["handover_us"] == 7
    assert result["machine"]["cpu"]
    assert result["machine"]["cores_used"] == 1
    assert result["machine"]["blas"]
    assert result["settings"]["rounds"] == 2
    assert result["notes"] == []
    assert steps == sorted(steps)
    assert (steps[0], steps[-1]) == (0, 1)
    lines = log.read_text().splitlines()
    assert lines.count("fp32 first") == 1 + 2 * (1 + STAGES["first"].repeats)


def test_configurations_take_turns(log: Path) -> None:
    bench(replace(PLAN, precisions=["fp32", "abc"], stages=["correction"]), quiet, quiet)
    lines = log.read_text().splitlines()
    turn = 1 + STAGES["correction"].repeats
    a, b = "fp32 correction", "abc correction"
    assert (
        lines == [a, b] + [a] * turn + [b] * turn + [b] * turn + [a] * turn
    )  # another one first in each round


def test_what_cannot_run_is_left_out_with_a_line_each(log: Path) -> None:
    notes: list[str] = []
    plan = replace(
        PLAN, precisions=["fp32", REFUSED, FAILS, DIES], stages=["first", "correction", "click@2mp"]
    )
    result = bench(plan, notes.append, quiet)
    assert result["notes"] == notes
    assert notes == [
        "toy, onnx bf16, 1 thread: left out: no such precision here",
        "toy, onnx fp16, 1 thread: first left out: the frame is too small",
        "toy, onnx int8, 1 thread: correction and all after it left out: its process died (exit status 3: something "
        "broke)",
    ]
    found = {(each["precision"], each["stage"]) for each in result["records"]}
    assert found == {
        ("fp32", "first"), ("fp32", "correction"), ("fp32", "click@2mp"), (FAILS, "correction"), (FAILS, "click@2mp"),
        (DIES, "first"),
    }  # fmt: skip
    assert log.is_file()


def test_nothing_to_show_is_an_error(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OptionError, match=r"nothing could be measured: .*no such precision"):
        bench(replace(PLAN, precisions=[REFUSED]), quiet, quiet)
    monkeypatch.setattr(run, "prepare_model", prepare_model)
    with pytest.raises(OptionError, match="nothing could be measured: toy: left out: unknown model"):
        bench(PLAN, quiet, quiet)
    assert not log.exists()


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"runtimes": ["abacus"]}, UnknownNameError, "choose from"),
        ({"stages": ["third"]}, UnknownNameError, "click@2mp"),
        ({"threads": []}, OptionError, "threads: name at least one"),
        ({"threads": [2, 0]}, OptionError, "above 0"),
        ({"rounds": 0}, OptionError, "above 0"),
    ],
)
def test_plans_that_cannot_be(changes: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        bench(replace(PLAN, **changes), quiet, quiet)


def test_repeats_in_a_plan_are_dropped() -> None:
    plan = replace(PLAN, threads=[2, 1, 2], precisions=["fp32", "fp32"]).checked()
    assert (plan.threads, plan.precisions, plan.stages) == ((2, 1), ("fp32",), ("first", "correction"))


def test_an_interruption_ends_the_workers(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Worker] = []

    class Watched(Worker):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            started.append(self)

    def interrupt(what: str, done: float) -> None:
        if "correction" in what and done > 0.5:
            raise KeyboardInterrupt

    monkeypatch.setattr(run, "Worker", Watched)
    with pytest.raises(KeyboardInterrupt):
        bench(PLAN, quiet, interrupt)
    assert len(started) == 2  # the model, and its floor
    assert not any(worker.alive for worker in started)
    assert "fp32 correction" in log.read_text()


def test_the_shipped_model() -> None:
    notes: list[str] = []
    plan = replace(
        PLAN, models=["emc-mobilenetv2"], stages=["first", "correction", "click@0.3mp"], rounds=1, side=64
    )
    result = bench(plan, notes.append, quiet)
    assert notes == []
    assert [each["stage"] for each in result["records"]] == list(plan.stages)
    for record in result["records"]:
        assert set(record) >= REQUIRED
        assert record["runtime"] == "onnx"
        assert record["p95_ms"] >= record["median_ms"] > 0
        assert record["floor_ms"] > 1
        assert record["peak_mb"] > 50
        assert record["load_s"] > 0
        assert not record["seeded"]


def test_the_stages_time_what_a_method_does() -> None:
    model = load(runtime="onnx", threads=1)
    frame = FrameClicks(model, 64)
    image = frame.runtime.open(frame.frames)
    features, coarse = frame.first(image)
    logits = [frame.correct(image, features, frame.none, [0], coarse)]
    before = frame.none.add(frame.points[0], True)
    logits += [frame.correct(image, features, before, [0, last], logits[0]) for last in (1, 2)]
    method = model.method(Options(64))
    clicks = [Click(float(x), float(y), number < 2) for number, (y, x) in enumerate(frame.points)]
    state, _ = method.step(method.start(method.open(photograph(64, 64))), clicks[0])
    assert np.array_equal(state.logits, logits[0])
    for click, found in zip(clicks[1:], logits[1:]):
        assert np.array_equal(method.step(state, click)[0].logits, found)


def test_other_methods_are_timed_click_by_click(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy = pytest.importorskip("toy_method")
    toy.registered(monkeypatch)
    made = toy.toy_folder(tmp_path / "toy")
    subject = prepare_model(str(made), tmp_path / "temporary", graphs=True)
    assert (subject.folder, subject.seeded) == (made, False)  # nothing to export
    assert subject.costs.correction_macs == toy.CLICK_MACS
    steps: list[tuple[int, Click]] = []
    step = toy.ToyMethod.step

    def noted(method: Any, state: Any, click: Click) -> Any:
        steps.append((len(state.clicks), click))
        return step(method, state, click)

    monkeypatch.setattr(toy.ToyMethod, "step", noted)
    job = ModelClicks(str(made), "torch", 1, "fp32", side=96)
    assert (job.about["short_side"], job.about["stage_side"]) == (32, 32)
    first = job.prepare("first")
    assert set(first()) == {"ms", "open_ms"}
    assert steps == [(0, Click(48, 48))]
    correction = job.prepare("correction")
    steps.clear()
    assert all(correction()["ms"] > 0 for _ in range(3))
    positive, negative = Click(0.62 * 96, 0.4 * 96), Click(0.8 * 96, 0.15 * 96, False)
    assert steps == [(1, positive), (1, negative), (1, positive)]  # always from the same state
    assert job.prepare("click@0.3mp")()["ms"] > 0


def test_a_click_stage_goes_on_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "MAX_CLICKS", 3)
    sample = ModelClicks(str(find_folder("emc-mobilenetv2")), "onnx", 1, "fp32").prepare("click@0.3mp")
    assert all(sample()["ms"] > 0 for _ in range(5))  # past the session's last click


def test_pictures() -> None:
    assert size_of(12) == (3000, 4000)
    height, width = size_of(0.3)
    assert abs(height * width - 3e5) < 2000
    picture = photograph(300, 400)
    assert picture.shape == (300, 400, 3)
    assert np.array_equal(picture, photograph(300, 400))
    assert not np.array_equal(picture, photograph(300, 400, seed=1))
    assert picture.std() > 20


# --- models ---------------------------------------------------------------------------------------------


@pytest.fixture
def small_zoo(monkeypatch: pytest.MonkeyPatch) -> None:
    """One published name, quick to build."""
    releases = pytest.importorskip("emclick.networks.releases")
    spec = ModelSpec("mobilenet_v2", CorrectionSpec(8, 8))
    small = SimpleNamespace(name="emc-hrnet18s", method="emc", spec=spec, short_side=384, zoom_in=False)
    monkeypatch.setattr(releases, "all_releases", lambda: [small])


@pytest.mark.usefixtures("small_zoo")
def test_random_weights_are_always_the_same(tmp_path: Path) -> None:
    cards = [read_card(seeded_model_folder("emc-hrnet18s", tmp_path / part)) for part in "ab"]
    assert cards[0] == cards[1]
    assert cards[0].sha256


@pytest.mark.usefixtures("small_zoo")
def test_a_name_without_a_release_cannot_be_made(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="emc-hrnet32"):
        seeded_model_folder("emc-hrnet32", tmp_path)


@pytest.mark.usefixtures("small_zoo")
def test_models_are_found_or_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = prepare_model("emc-mobilenetv2", tmp_path / "a", graphs=True)
    assert (shipped.folder, shipped.seeded) == (find_folder("emc-mobilenetv2"), False)
    assert not (tmp_path / "a").exists()
    made = prepare_model("emc-hrnet18s", tmp_path / "b", graphs=False)
    assert (made.name, made.folder, made.seeded) == ("emc-hrnet18s", tmp_path / "b", True)
    assert load(made.folder, runtime="torch").card.spec.min_cells == 8
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match="random ones need PyTorch"):
        prepare_model("emc-hrnet18s", tmp_path / "c", graphs=False)


@pytest.mark.usefixtures("small_zoo")
def test_graphs_are_made_in_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export = pytest.importorskip("emclick.networks.export")
    folder = seeded_model_folder("emc-hrnet18s", tmp_path / "mine")
    before = sorted(folder.iterdir())
    exported: list[Path] = []
    monkeypatch.setattr(export, "export_model", lambda model, check: exported.append(model))
    subject = prepare_model(str(folder), tmp_path / "temporary", graphs=True)
    assert exported == [tmp_path / "temporary"] == [subject.folder]
    assert (subject.folder / WEIGHTS_NAME).read_bytes() == (folder / WEIGHTS_NAME).read_bytes()
    assert (subject.name, subject.seeded) == ("mine", False)
    assert sorted(folder.iterdir()) == before
