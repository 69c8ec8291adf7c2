"""The comparison: models in turn on the same objects, with sessions that paint, and with a toy method."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_session import BrushSession, Fine, Squares, load_and_fail, load_brush, load_fine
from PIL import Image

import toy_method
from emclick.benchmark.costs import Costs
from emclick.errors import DatasetError, OptionError, UnknownNameError
from emclick.evaluation.benchmark import evaluate
from emclick.evaluation.compare import Contender, compare, labels, models_here, run_comparison
from emclick.evaluation.compare_report import BRIEF, COLUMNS, plot, read_comparison, rows, tables
from emclick.evaluation.report import read_results
from emclick.evaluation.runner import Evaluation, Rules, run_benchmark


def contender(label: str) -> Contender:
    made_by = {"model": label, "sha256": "0", "short_side": 20, "flip": False}
    return Contender(label, label, "brush", made_by, Costs(100, 10, 3000, 1000))


A, B = contender("a"), contender("b")
LOADS = (load_brush, load_fine)


def run(source: Squares, loads: Any = LOADS, **options: Any) -> list[Evaluation]:
    return run_comparison([A, B], loads, source, Rules(), **options)


def noted(log: list[str], label: str, kind: type[BrushSession], stop_after: int | None = None) -> Any:
    """A loader of sessions that notes each in `log`, and is interrupted when there are `stop_after` in all."""

    def make(*arguments: Any) -> BrushSession:
        if len(log) == stop_after:
            raise KeyboardInterrupt
        log.append(label)
        return kind(*arguments)

    return lambda: make


def test_each_model_gets_what_an_evaluation_alone_gives() -> None:
    results = run(Squares(4))
    for result, load in zip(results, LOADS, strict=True):
        alone = run_benchmark(load, Squares(4), Rules(), A.made_by)
        assert result.records == alone.records
        for name in ("n", "noc", "nof", "at_limit", "miou_at", "worse_clicks", "first_ms", "later_ms"):
            assert result.summary[name] == alone.summary[name]
    first, second = (result.summary for result in results)
    assert first["noc"]["90"] < second["noc"]["90"]
    assert (first["model"], second["model"], first["method"], first["dataset"]) == (
        "a",
        "b",
        "brush",
        "squares",
    )
    assert (first["params"], first["first_macs"], first["later_macs"]) == (100, 3000, 1000)


def test_models_take_turns_object_by_object() -> None:
    log: list[str] = []
    run(Squares(3), (noted(log, "a", BrushSession), noted(log, "b", Fine)))
    objects = ["".join(log[k : k + 2]) for k in range(0, len(log), 2)]
    assert len(objects) == 6
    assert set(objects) == {"ab", "ba"}  # both on each object; another one first from one to the next
    assert objects[1:3] == ["ba", "ab"]


@pytest.mark.parametrize(("limit", "workers"), [(1, 1), (2, 1), (5, 1), (5, 2)])
def test_limit_counts_objects(limit: int, workers: int) -> None:
    whole = run(Squares(4))
    found = run(Squares(4), limit=limit, workers=workers)
    assert [each.records for each in found] == [each.records[:limit] for each in whole]


def test_errors_reach_us() -> None:
    with pytest.raises(DatasetError, match=r"image1#1.*cannot be clicked on"):
        run(Squares(3, unclickable=1))
    with pytest.raises(ValueError, match="no weights"):
        run(Squares(2), (load_brush, load_and_fail))


@pytest.mark.parametrize("finished", [0, 1, 3, 4, 9])
def test_a_stopped_run_goes_on(tmp_path: Path, finished: int) -> None:
    whole = run(Squares(4))
    log: list[str] = []
    loads = (noted(log, "a", BrushSession, finished), noted(log, "b", Fine, finished))
    with pytest.raises(KeyboardInterrupt):
        run(Squares(4), loads, journal=tmp_path / "j")
    assert (tmp_path / "j").read_bytes().count(b"\n") == finished + 1
    again: list[str] = []
    loads = (noted(again, "a", BrushSession), noted(again, "b", Fine))
    resumed = run(Squares(4), loads, journal=tmp_path / "j")
    assert [each.records for each in resumed] == [each.records for each in whole]
    assert len(again) == 14 - finished


def test_a_journal_belongs_to_its_models(tmp_path: Path) -> None:
    run(Squares(2), journal=tmp_path / "j")
    with pytest.raises(OptionError, match=r"other settings .*model b"):
        run_comparison([A], [load_brush], Squares(2), Rules(), journal=tmp_path / "j")


def test_labels() -> None:
    assert labels(["emc-x", "runs/ritm"]) == ["emc-x", "ritm"]
    assert labels(["runs/a/model", "runs/b/model"]) == ["a/model", "b/model"]
    for wrong in ([], ["a", "a"]):
        with pytest.raises(OptionError):
            labels(wrong)


def test_the_shipped_model_is_here_and_the_published_ones_are_not() -> None:
    assert models_here() == ["emc-mobilenetv2"]


# --- the whole, with a toy method -----------------------------------------------------------------------


@pytest.fixture
def data(tmp_path: Path) -> Path:
    root = tmp_path / "Spots"
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for k in range(2):
        mask = np.zeros((40, 48), np.uint8)
        mask[10:24, 8 + k : 30] = 255
        pixels = np.random.default_rng(k).integers(0, 256, (40, 48, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(root / "images" / f"i{k}.png")
        Image.fromarray(mask).save(root / "masks" / f"i{k}_1.png")
    return root


@pytest.fixture
def toys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    toy_method.registered(monkeypatch)
    return [
        str(toy_method.toy_folder(tmp_path / name, name, seed)) for seed, name in enumerate(("one", "two"))
    ]


def test_models_by_datasets(data: Path, toys: list[str], tmp_path: Path) -> None:
    output, notes = tmp_path / "compare.json", list[str]()
    result = compare(toys, [("folder", data)], threads=1, output=output, progress=False, note=notes.append)
    assert json.loads(output.read_text(encoding="utf-8")) == json.loads(json.dumps(result))
    assert not list(tmp_path.glob("*.journal"))
    assert len(notes) == 3
    assert [(each["model"], each["dataset"], each["n"]) for each in result["results"]] == [
        ("one", "Spots", 2), ("two", "Spots", 2)
    ]  # fmt: skip
    for found, folder in zip(result["results"], toys):
        alone = evaluate(folder, "folder", data, threads=1, progress=False)
        assert found["noc"] == alone.summary["noc"]
        assert [each["iou"] for each in found["records"]] == [each["iou"] for each in alone.records]
        assert found["later_macs"] == toy_method.CLICK_MACS
        assert (found["method"], found["short_side"], found["runtime"]) == ("toy", 32, "torch")


def test_what_cannot_be_is_said_before_the_work(data: Path, toys: list[str], tmp_path: Path) -> None:
    attempt = partial(compare, output=tmp_path / "c.json", progress=False)
    with pytest.raises(OptionError, match="one: the toy has no flip"):
        attempt(toys, [("folder", data)], flip=True)
    with pytest.raises(OptionError, match="each dataset once"):
        attempt(toys, [("folder", data), ("folder", data)])
    with pytest.raises(OptionError, match="at least one dataset"):
        attempt(toys, [])
    with pytest.raises(UnknownNameError, match="model 'nobody'"):
        attempt([*toys, "nobody"], [("folder", data)])
    with pytest.raises(DatasetError):
        attempt(toys, [("folder", data / "images")])
    assert not list(tmp_path.glob("c.json*"))


# --- tables and plot ------------------------------------------------------------------------------------


@pytest.fixture
def results() -> dict[str, Any]:
    machine = {
        "cpu": "Acme 9000", "cores_used": 1, "usable_cpus": 4, "system": "Linux", "python": "3.11", "date": "2026-01-02"
    }  # fmt: skip
    found = [each.summary for each in run(Squares(2))]
    return {"format": "emclick-compare-1", "machine": machine, "settings": {"workers": 2}, "results": found}


def test_tables(results: dict[str, Any], tmp_path: Path) -> None:
    lines = tables(results).splitlines()
    assert lines[0] == "**squares**, 3 objects"
    assert lines[2].startswith("| method | model | frame |")
    first = results["results"][0]
    assert lines[4].startswith("| brush | a | 20 | no |")
    assert f"| {first['noc']['90']:.2f} |" in lines[4]
    assert lines[4].endswith("| 8 | 2 | 0.00 | 0.00 | 0.00 |")
    assert "2 processes" in lines[-1]
    assert "Acme 9000, 1 of 4 usable CPUs" in lines[-1]
    assert len(rows(results["results"])[0]) == len(COLUMNS) > len(BRIEF)
    path = tmp_path / "c.json"
    path.write_text(json.dumps(results), encoding="utf-8")
    assert read_comparison(path)["results"][1]["model"] == "b"
    path.write_text(json.dumps(results["results"][0]), encoding="utf-8")
    assert read_results(path)["model"] == "a"  # each result is one of `evaluate`, too
    with pytest.raises(DatasetError, match="not a results file of `emclick compare`"):
        read_comparison(path)


def test_plot(results: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    plot(results, tmp_path / "c.png")
    with Image.open(tmp_path / "c.png") as image:
        assert min(image.size) > 300
    with pytest.raises(UnknownNameError):
        plot(results, tmp_path / "c.gif")
