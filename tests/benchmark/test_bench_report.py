"""Tables, blocks and plots of `emclick bench`, and the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from emclick.benchmark import report, run
from emclick.benchmark.machine import cpu_time, stolen_percent
from emclick.benchmark.run import Plan
from emclick.cli.bench import bench_command
from emclick.errors import DatasetError, OptionError, UnknownNameError, WriteError


def record(stage: str, runtime: str = "onnx", **changes: Any) -> dict[str, Any]:
    return {
        "model": "emc-x", "runtime": runtime, "precision": "fp32", "threads": 2, "device": "cpu", "stage": stage,
        "median_ms": 25.04, "p95_ms": 30.0, "floor_ms": 12.52, "macs": 1_100_000_000, "params": 4_320_000,
        "peak_mb": 231.4, "samples": 14, "cores": 1.9, "load_s": 0.81, "short_side": 384, "seeded": True, **changes,
    }  # fmt: skip


def results() -> dict[str, Any]:
    return {
        "format": run.FORMAT,
        "machine": {
            "cpu": "Acme 9000", "usable_cpus": 4, "cores_used": 2, "system": "Linux x86_64", "python": "3.11.9",
            "libraries": {"numpy": "2.4.0"}, "blas": "openblas 0.3", "date": "2026-01-02",
        },
        "settings": {"rounds": 7, "side": 384},
        "records": [
            record("correction"),
            record("correction", "torch", device="cuda", floor_ms=None, peak_mb=None),
            record("first", open_ms=9.5, macs=9_220_000_000, median_ms=100.0, floor_ms=80.0),
            record("click@2mp", median_ms=33.4),
        ],
        "notes": [],
    }  # fmt: skip


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "bench.json"
    path.write_text(json.dumps(results()), encoding="utf-8")
    return path


def test_stage_tables(saved: Path) -> None:
    lines = report.bench_table(saved).splitlines()
    titles = [line for line in lines if line.startswith("**")]
    assert titles == ["**first**", "**correction**", "**click@2mp**"]
    assert "| emc-x | onnx | fp32 | 2 | 100.0 | 30.0 | 80.0 | 1.25 | 1.9 | 231 | 9.5 |" in lines
    assert "| emc-x | onnx | fp32 | 2 | 25.0 | 30.0 | 12.5 | 2.00 | 1.9 | 231 |" in lines
    assert "| emc-x | torch on cuda | fp32 | 2 | 25.0 | 30.0 | - | - | 1.9 | - |" in lines
    assert any("Acme 9000, 2 of 4 usable CPUs" in line for line in lines)
    assert any("openblas 0.3" in line for line in lines)
    assert lines[-1] == "On random weights: emc-x."


def test_handovers_are_shown_where_they_were_measured(saved: Path) -> None:
    assert "handover" not in report.bench_table(saved)
    measured = results()
    measured["records"][0]["handover_us"] = 16.4
    saved.write_text(json.dumps(measured), encoding="utf-8")
    lines = report.bench_table(saved).splitlines()
    assert "| emc-x | onnx | fp32 | 2 | 25.0 | 30.0 | 12.5 | 2.00 | 1.9 | 231 | 16 |" in lines
    assert "| emc-x | torch on cuda | fp32 | 2 | 25.0 | 30.0 | - | - | 1.9 | - | - |" in lines
    assert any(line.startswith("Handover: one CPU reads 512 KB") for line in lines)


def test_summary_table(saved: Path) -> None:
    lines = report.bench_table(saved, "summary").splitlines()
    assert lines[0].count("|") == lines[1].count("|") == lines[2].count("|")
    assert lines[2] == (
        "| emc-x | onnx | fp32 | 2 | 4.32 | 9.22 | 1.10 | 9.5 | 100.0 (1.25) | 25.0 (2.00) | 33 | - | 0.81 | 231 |"
    )
    assert lines[3].startswith(
        "| emc-x | torch on cuda | fp32 | 2 | - | - | 1.10 | - | - | 25.0 | - | - | 0.81 | - |"
    )


def test_blocks_are_replaced_and_nothing_else(saved: Path) -> None:
    text = "a\n<!-- bench:bench.json summary -->\nold\n<!-- /bench -->\nb\n<!-- bench:bench.json -->\n<!-- /bench -->\n"
    filled = report.fill_bench(text, saved.parent)
    assert filled.startswith("a\n<!-- bench:bench.json summary -->\n| model |")
    assert "old" not in filled
    assert filled.count("**correction**") == 1
    assert report.fill_bench(filled, saved.parent) == filled
    assert report.fill_bench("no block", saved.parent) == "no block"


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("<!-- bench:bench.json -->\n", OptionError, "not closed"),
        ("<!-- bench: -->\n<!-- /bench -->", OptionError, "names no file"),
        ("<!-- bench:none.json -->\n<!-- /bench -->", DatasetError, "cannot read"),
        ("<!-- bench:bad.json -->\n<!-- /bench -->", DatasetError, "not a results file"),
        ("<!-- bench:other.json -->\n<!-- /bench -->", DatasetError, "not a results file of `emclick bench`"),
        ("<!-- bench:bench.json pie -->\n<!-- /bench -->", UnknownNameError, "stages, summary"),
    ],
)
def test_bad_blocks(saved: Path, text: str, error: type[Exception], words: str) -> None:
    saved.with_name("bad.json").write_text("{")
    saved.with_name("other.json").write_text('{"n": 1}')
    with pytest.raises(error, match=words):
        report.fill_bench(text, saved.parent)


def test_plot(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    report.plot(results(), tmp_path / "bench.png")
    with Image.open(tmp_path / "bench.png") as image:
        assert min(image.size) > 300
    with pytest.raises(UnknownNameError, match=r"\.png"):
        report.plot(results(), tmp_path / "bench.gif")


# --- the command ----------------------------------------------------------------------------------------


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the command over a `bench` that notes its plan: (result of the run, plans)."""
    app = typer.Typer()
    app.command()(bench_command)
    plans: list[Plan] = []

    def fake(plan: Plan, note: Any, step: Any) -> dict[str, Any]:
        plans.append(plan)
        step("half", 0.5)
        note("emc-y: left out: [torch] is not here")
        return results()

    monkeypatch.setattr(run, "bench", fake)
    return lambda *args: (CliRunner().invoke(app, [str(each) for each in args]), plans)


def test_the_command_writes_results_tables_and_plot(command: Any, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    result, plans = command(
        "--models", "emc-x, b", "--runtimes", "onnx,torch", "--threads", "1,2", "--precision", "fp32,bf16",
        "--rounds", 3, "--stages", "first,click@2mp", "-o", tmp_path / "b.json", "--markdown", tmp_path / "b.md",
        "--plot", tmp_path / "b.png",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    (plan,) = plans
    assert (plan.models, plan.runtimes, plan.threads) == (("emc-x", "b"), ("onnx", "torch"), (1, 2))
    assert (plan.precisions, plan.stages, plan.rounds) == (("fp32", "bf16"), ("first", "click@2mp"), 3)
    assert report.read_bench(tmp_path / "b.json") == results()
    markdown = (tmp_path / "b.md").read_text(encoding="utf-8")
    assert all(view(results()) in markdown for view in report.VIEWS.values())
    assert (tmp_path / "b.png").stat().st_size > 1000
    assert "[torch] is not here" in result.output
    assert "emc-x onnx fp32 2" in result.output
    assert "Acme 9000" in result.output


def test_defaults(command: Any, tmp_path: Path) -> None:
    from emclick.cpus import usable_cpus
    from emclick.zoo import list_models

    result, (plan,) = command("-o", tmp_path / "b.json")
    assert result.exit_code == 0, result.output
    assert list(plan.models) == list_models()
    assert (plan.threads, plan.precisions) == ((usable_cpus(),), ("fp32",))
    assert "onnx" in plan.runtimes


def test_wrong_usage_is_said_before_anything_is_measured(command: Any, tmp_path: Path) -> None:
    target = tmp_path / "b.json"
    result, plans = command("-o", target, "--threads", "two")
    assert (result.exit_code, "whole numbers" in result.output) == (2, True)
    for arguments, error in (
        (["-o", tmp_path / "none" / "b.json"], WriteError),
        (["-o", target, "--markdown", tmp_path / "none" / "b.md"], WriteError),
        (["-o", target, "--plot", tmp_path / "b.gif"], UnknownNameError),
        (["-o", target, "--runtimes", "abacus"], UnknownNameError),
    ):
        result, _ = command(*arguments)
        assert isinstance(result.exception, error)
    assert plans == []
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_run_leaves_no_file(
    command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "bench", interrupted)
    result, _ = command("-o", tmp_path / "b.json", "--markdown", tmp_path / "b.md")
    assert result.exit_code != 0
    assert list(tmp_path.iterdir()) == []


def test_what_the_host_took_is_told_where_it_matters() -> None:
    told = results()
    assert "host" not in report.caption(told)
    told["machine"]["stolen_percent"] = 0.4
    assert "host" not in report.caption(told)
    told["machine"]["stolen_percent"] = 12.3
    assert "its host gave 12 % of the CPU time to others" in report.caption(told)


def test_the_stolen_share_is_of_what_was_asked_for(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    stat.write_text("cpu  100 20 30 4000 50 6 4 40 0 0\ncpu0 1 2 3\n")
    before = cpu_time(stat)
    assert before == (160, 40)
    assert stolen_percent(before, (460, 140)) == 25.0
    assert stolen_percent(before, before) == 0
    stat.write_text("cpu none\n")
    assert cpu_time(stat) is None
    assert stolen_percent(None, before) is None
    assert cpu_time(tmp_path / "none") is None
