"""The talk's tables again: what is measured, what is not and why, and going on after an interruption."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import toy_method
from emclick.benchmark.run import Plan
from emclick.card import Card
from emclick.cli.reproduce import reproduce_app
from emclick.errors import CheckpointError, OptionError, UnknownNameError
from emclick.evaluation import published, reproduce
from emclick.evaluation.reproduce import How, Training, ablation, accuracy, effective, speed
from emclick.evaluation.reproduce_report import markdown, missing, ranks, tables
from emclick.networks.checkpoint import build_network, save_model
from emclick.spec import CorrectionSpec, ModelSpec

SMALL = CorrectionSpec(width=8, templates=8)


@pytest.fixture
def how(tmp_path: Path) -> How:
    return How(tmp_path / "parts", threads=1, progress=False)


class FakeBench:
    """Notes its plans; EMC's correction takes 10 ms, everything else 35."""

    def __init__(self) -> None:
        self.plans: list[Plan] = []
        self.fail = ""

    def __call__(self, plan: Plan, note: Any, step: Any) -> dict[str, Any]:
        self.plans.append(plan)
        (model,) = plan.models
        if model == self.fail:
            raise OptionError("nothing could be measured")
        quick = {"first": 35.0, "correction": 10.0 if model.startswith("emc") else 35.0}
        records = [
            {"stage": stage, "median_ms": quick[stage], "params": 4_000_000, "macs": 9_000_000_000}
            for stage in plan.stages
        ]
        return {"records": records, "notes": []}


# --- speed ----------------------------------------------------------------------------------------------


def test_speed(how: How) -> None:
    bench = FakeBench()
    results = speed(how, ["ritm-hrnet18s", "emc-hrnet18s"], rounds=3, bench=bench)
    assert sorted(plan.models[0] for plan in bench.plans) == ["emc-hrnet18s", "ritm-hrnet18s"]
    plan = bench.plans[0].checked()
    assert (plan.runtimes, plan.threads, plan.stages, plan.rounds) == (
        ("torch",),
        (1,),
        ("first", "correction"),
        3,
    )
    (table,) = tables(results)
    assert [line[0] for line in table.lines] == [
        "RITM-hrnet18s", "EMC-hrnet18s, first click", "EMC C64 (hrnet18s), correction"
    ]  # fmt: skip
    # 634 / 183 as published, 35 / 10 here
    assert table.lines[0] == [
        "RITM-hrnet18s",
        "400",
        "4.22 / 4.00",
        "8.96 / 9.00",
        "634",
        "35.0",
        "3.5",
        "3.5",
    ]
    assert missing(results) == []
    assert "| RITM-hrnet18s | 400 |" in markdown(results)
    assert published.SOURCE in markdown(results)


def test_speed_goes_on_where_it_stopped_and_tries_again_what_failed(how: How) -> None:
    bench = FakeBench()
    bench.fail = "ritm-hrnet18s"
    models = ["ritm-hrnet18s", "emc-hrnet18s"]
    results = speed(how, models, bench=bench)
    assert missing(results) == ["nothing could be measured. RITM-hrnet18s"]
    assert tables(results)[0].lines[0][-3:] == ["-", "3.5", "-"]
    bench.fail = ""
    assert missing(speed(how, models, bench=bench)) == []
    assert [plan.models[0] for plan in bench.plans].count("emc-hrnet18s") == 1
    speed(how, models, rounds=9, bench=bench)  # other settings: measured anew
    assert [plan.models[0] for plan in bench.plans].count("emc-hrnet18s") == 2


def test_speed_on_a_gpu_stands_beside_that_table(how: How) -> None:
    results = speed(how, ["ritm-hrnet32"], device="cuda", bench=FakeBench())
    assert tables(results)[0].lines == [["RITM-hrnet32", "59 / 40", "35.0"]]
    with pytest.raises(UnknownNameError, match="focalclick-hrnet18s"):
        speed(how, ["ritm-hrnet19"], bench=FakeBench())


# --- accuracy -------------------------------------------------------------------------------------------


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Replaces evaluations; notes what they were asked for. NoC is 2 at 85, 3 at 90, 4 at 95; 20 on davis."""
    calls: list[dict[str, Any]] = []

    def evaluate(model: str, dataset: str, root: str, **options: Any) -> Any:
        calls.append({"model": model, "dataset": dataset, "root": root, **options})
        noc = (
            {"85": 2.0, "90": 3.0, "95": 4.0}
            if dataset != "davis"
            else dict.fromkeys(("85", "90", "95"), 20.0)
        )
        return SimpleNamespace(summary={"noc": noc, "wall_s": 120.0, "records": [1]})

    monkeypatch.setattr(reproduce, "evaluate", evaluate)
    return calls


def emc_folder(folder: Path, correction: CorrectionSpec = SMALL) -> str:
    spec = ModelSpec("mobilenet_v2", correction)
    return str(save_model(folder, build_network("emc", spec).state_dict(), Card(folder.name, spec, 64)))


def row_of(results: Mapping[str, Any], key: str) -> dict[str, Any]:
    return next(row for row in results["rows"] if row["key"] == key)


def test_accuracy(how: How, evaluated: list[dict[str, Any]], tmp_path: Path) -> None:
    folder = emc_folder(tmp_path / "mine")
    roots = {"grabcut": "G", "sbd": "S"}
    results = accuracy(replace(how, limit=7), {"emc-hrnet18s-sbd": folder}, roots)
    calls = [(call["model"], call["dataset"], call.get("paper"), call["limit"]) for call in evaluated]
    own = "emc-mobilenetv2"
    assert calls == [
        (folder, "grabcut", True, 7),
        (folder, "sbd", True, 7),
        (own, "grabcut", None, 7),
        (own, "sbd", None, 7),
    ]
    assert len({call["resume"] for call in evaluated}) == 4
    noc, _ = tables(results)
    line = next(each for each in noc.lines if each[:2] == ["EMC-hrnet18s", "SBD"])
    assert line[2:6] == ["1.82 / 2.00", "1.92 / 3.00", "3.26 / -", "3.58 / 2.00"]
    assert noc.lines[-1][2:4] == ["- / 2.00", "- / 3.00"]
    assert row_of(results, "emc-hrnet18s")["here"] is None
    reasons = missing(results)
    assert any("emclick convert" in line and "EMC-hrnet18s (ROW emc-hrnet18s)" in line for line in reasons)
    assert any("no such model" in line and "TransClick" in line for line in reasons)
    assert json.loads(json.dumps(results))["rows"][0]["noc"][0] == ["grabcut", 85, 2.5]
    assert "Not measured here:" in markdown(json.loads(json.dumps(results)))


def test_whole_runs_stop_at_their_threshold(
    how: How, evaluated: list[dict[str, Any]], tmp_path: Path
) -> None:
    folder = emc_folder(tmp_path / "mine")
    results = accuracy(how, {"emc-hrnet18s": folder}, {"sbd": "S"})
    assert [call["stop_at"] for call in evaluated if "stop_at" in call] == [0.9, 0.95]
    whole = tables(results)[1]
    line = next(each for each in whole.lines if each[0] == "EMC-hrnet18s")
    assert line[1:] == ["6.16 / 3.00", "19 / 2", "12.47 / 4.00", "30 / 2"]


def test_other_methods_run_by_their_own_protocol(
    how: How, evaluated: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy_method.registered(monkeypatch)
    row = replace(published.ACCURACY[0], model="toy-x", key="toy-x")
    monkeypatch.setattr(published, "ACCURACY", (row,))
    accuracy(how, {"toy-x": str(toy_method.toy_folder(tmp_path / "toy"))}, {"grabcut": "G"})
    assert evaluated[0]["paper"] is True
    assert "flip" not in evaluated[0]


def test_wrong_names_and_folders(how: How, evaluated: list[dict[str, Any]], tmp_path: Path) -> None:
    folder = emc_folder(tmp_path / "mine")
    with pytest.raises(UnknownNameError, match="row of the talk 'emc-b0'"):
        accuracy(how, {"emc-b0": folder}, {})
    with pytest.raises(UnknownNameError, match="dataset of the talk 'coco'"):
        accuracy(how, {}, {"coco": "C"})
    with pytest.raises(CheckpointError, match=r"a model of ritm, and .* holds one of emc"):
        accuracy(how, {"ritm-hrnet18s": folder}, {})
    assert evaluated == []


# --- ablation -------------------------------------------------------------------------------------------


def test_ablation(how: How, evaluated: list[dict[str, Any]], tmp_path: Path) -> None:
    bare = replace(
        SMALL, attention=False, correlation=False
    )  # with or without selection: there is nothing to select
    folders = {"first-click": emc_folder(tmp_path / "a", bare), "selection": emc_folder(tmp_path / "b")}
    results = ablation(how, folders, {"davis": "D", "folder": "F"}, paper=True)
    assert [(call["model"], call["dataset"], call["paper"]) for call in evaluated] == [
        (folders[key], name, True) for key in ("first-click", "selection") for name in ("davis", "folder")
    ]
    modules, negatives = tables(results)
    assert modules.heads[-3:] == ["DAVIS, here", "folder, here", "place here"]
    assert modules.lines[1] == [
        "first click into the base network",
        "6.98",
        "6.83",
        "3.19",
        "5",
        "20.00",
        "3.00",
        "1",
    ]
    assert modules.lines[0][-3:] == ["-", "-", "-"]
    assert len(negatives.lines) == 4
    assert any("always goes into the base network" in line for line in missing(results))


def test_models_must_be_built_as_their_rows(
    how: How, evaluated: list[dict[str, Any]], tmp_path: Path
) -> None:
    folder = emc_folder(tmp_path / "a")
    for row, error, words in (
        ("correlation", CheckpointError, "not built as the row 'correlation'"),
        ("none", OptionError, "no model can be 'none'"),
        ("correlations", UnknownNameError, "choose from none, first-click"),
    ):
        with pytest.raises(error, match=words):
            ablation(how, {row: folder}, {})
    assert evaluated == []


def test_switches_of_absent_modules_do_not_count() -> None:
    rows = (*published.ABLATION, *published.ABLATION_NEGATIVES)
    found = {row.key: effective(row.correction) for row in rows if row.correction is not None}
    assert len(set(found.values())) == len(found)  # no two rows are the same network
    assert (
        effective(replace(SMALL, attention=False, attention_negatives=False))
        == found["correlation-negatives"]
    )


def test_rows_are_trained_where_there_is_no_model(
    how: How, evaluated: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from emclick.training import loop

    recipes = Path(__file__).parents[2] / "recipes" / "ablation"
    asked: list[Any] = []
    steps = "150 of 150"

    def train(recipe: Any, text: str, folder: Path, *, device: str) -> Path:
        start = (recipe.pretrained, recipe.start_base)
        asked.append((recipe.name, recipe.sources[0].root, *start, folder.name, device))
        card = Card(recipe.name, recipe.model, 64, about={"steps": steps})
        return save_model(folder / "model", {}, card)

    monkeypatch.setattr(loop, "train", train)
    training = Training(recipes, tmp_path / "runs", ["shards=S"], "P", "B")
    results = ablation(how, {}, {"grabcut": "G"}, training=training, keys=["both", "attention-positives"])
    assert asked == [
        ("ablation-both", "S", "P", "B", "both", "cpu"),
        ("ablation-attention-positives", "S", "P", "B", "attention-positives", "cpu"),
    ]
    assert [row["key"] for row in results["rows"] + results["negatives"]] == ["both", "attention-positives"]
    assert missing(results) == []
    steps = "12 of 150"
    with pytest.raises(KeyboardInterrupt):
        ablation(how, {}, {"grabcut": "G"}, training=training, keys=["both"])


def test_ranks() -> None:
    assert ranks([3.0, None, 2.0, 3.0]) == ["2", "-", "1", "2"]


# --- the command ----------------------------------------------------------------------------------------


def invoke(*arguments: Any) -> Any:
    app = typer.Typer()
    app.add_typer(reproduce_app, name="reproduce")
    app.command("other")(lambda: None)
    return CliRunner().invoke(app, ["reproduce", *map(str, arguments)], catch_exceptions=False)


@pytest.mark.usefixtures("evaluated")
def test_the_command_writes_shows_and_clears_up(tmp_path: Path) -> None:
    output, table = tmp_path / "a.json", tmp_path / "a.md"
    (tmp_path / "a.json.parts").mkdir()
    done = invoke(
        "accuracy", "-o", output, "--markdown", table, "--root", "grabcut=G,davis=D", "--threads", 1
    )
    assert done.exit_code == 0
    results = json.loads(output.read_text(encoding="utf-8"))
    assert results["datasets"] == ["grabcut", "davis"]
    assert results["settings"]["threads"] == 1
    assert table.read_text(encoding="utf-8") == markdown(results)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "a.md"]
    assert "- / 3.00" in done.output
    assert "not measured: no weights here" in done.output


@pytest.mark.usefixtures("evaluated")
def test_the_ablation_command(tmp_path: Path) -> None:
    folder = emc_folder(tmp_path / "m")
    done = invoke(
        "ablation", "-o", tmp_path / "b.json", "--root", "grabcut=G", "--model", f"selection={folder}", "--rows",
        "selection,both",
    )  # fmt: skip
    assert done.exit_code == 0
    found = json.loads((tmp_path / "b.json").read_text(encoding="utf-8"))
    assert [(row["key"], row["here"] is None) for row in found["rows"]] == [
        ("both", True),
        ("selection", False),
    ]
    assert found["negatives"] == []


def test_usage(tmp_path: Path) -> None:
    assert invoke("accuracy").exit_code == 2
    assert invoke("accuracy", "-o", tmp_path / "a.json", "--root", "grabcut").exit_code == 2
    text = invoke("--help").output
    assert all(name in text for name in ("speed", "accuracy", "ablation"))
