"""`emclick evaluate`, with a session that paints instead of a network."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import typer
from fake_session import BrushSession
from PIL import Image
from typer.testing import CliRunner

from emclick.cli.evaluate import evaluate_command
from emclick.errors import UnknownNameError
from emclick.evaluation import benchmark

runner = CliRunner()


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    app.command("evaluate")(evaluate_command)
    return app


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for k in range(3):
        mask = np.zeros((20, 30), np.uint8)
        mask[3 : 10 + k, 4:11] = 255
        Image.fromarray(np.full((20, 30, 3), 3, np.uint8)).save(root / "images" / f"i{k}.png")
        Image.fromarray(mask).save(root / "masks" / f"i{k}_1.png")
    return root


@pytest.fixture(autouse=True)
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    seen: dict[str, Any] = {}

    def load_model(name: str | None, runtime: str | None, threads: int | None, precision: str | None) -> Any:
        seen.update(name=name, runtime=runtime, threads=threads, precision=precision)
        return SimpleNamespace(
            name="brush", sha256="f00", short_side=200, runtime=SimpleNamespace(name="none", threads=1),
            card=SimpleNamespace(method="emc"),
        )  # fmt: skip

    def sessions_of(
        model: Any, short_side: int | None, flip: bool, zoom_in: bool | None, threshold: float
    ) -> Any:
        seen.update(short_side=short_side, flip=flip, zoom_in=zoom_in)
        return BrushSession

    monkeypatch.setattr(benchmark, "load_model", load_model)
    monkeypatch.setattr(benchmark, "sessions_of", sessions_of)
    return seen


def test_all_options(app: typer.Typer, root: Path, tmp_path: Path, seen: dict[str, Any]) -> None:
    pytest.importorskip("matplotlib")
    output, curve = tmp_path / "r.json", tmp_path / "curve.png"
    options = ["--model", "m", "--runtime", "torch", "--threads", "2", "--limit", "2"]
    options += ["--flip", "--short-side", "96", "--stop-at", "0.9", "--precision", "bf16", "--zoom-in"]
    done = runner.invoke(
        app,
        ["--dataset", "folder", "--root", str(root), *options, "--output", str(output), "--plot", str(curve)],
        catch_exceptions=False,
    )
    assert done.exit_code == 0
    assert seen == {
        "name": "m",
        "runtime": "torch",
        "threads": 2,
        "precision": "bf16",
        "short_side": 96,
        "flip": True,
        "zoom_in": True,
    }
    summary = json.loads(output.read_text(encoding="utf-8"))
    assert summary["n"] == 2
    assert summary["stop_at"] == 0.9
    assert summary["noc"]["95"] is None
    assert summary["records"][0]["clicks"][0] == [7, 6, True]
    with Image.open(curve) as image:
        assert image.format == "PNG"
    assert "NoC@90" in done.output
    assert f"{summary['noc']['90']:.2f}" in done.output


def test_defaults_and_paper(app: typer.Typer, root: Path, seen: dict[str, Any]) -> None:
    base = ["--dataset", "folder", "--root", str(root)]
    runner.invoke(app, base, catch_exceptions=False)
    assert seen == {
        "name": None,
        "runtime": None,
        "threads": None,
        "precision": None,
        "short_side": None,
        "flip": False,
        "zoom_in": None,
    }
    runner.invoke(app, [*base, "--paper"], catch_exceptions=False)
    assert (seen["short_side"], seen["flip"], seen["zoom_in"]) == (384, True, False)


def test_a_wrong_plot_is_refused_before_the_work(app: typer.Typer, root: Path, seen: dict[str, Any]) -> None:
    pytest.importorskip("matplotlib")
    with pytest.raises(UnknownNameError, match="plot format"):
        runner.invoke(
            app, ["--dataset", "folder", "--root", str(root), "--plot", "curve.bmp"], catch_exceptions=False
        )
    assert not seen


def test_usage_errors(app: typer.Typer, root: Path) -> None:
    assert runner.invoke(app, ["--dataset", "folder"]).exit_code == 2
    assert runner.invoke(app, ["--dataset", "folder", "--root", str(root), "--limit", "0"]).exit_code == 2


def test_help_names_every_option(app: typer.Typer) -> None:
    text = runner.invoke(app, ["--help"], env={"COLUMNS": "200"}).output
    for option in (
        "--dataset",
        "--root",
        "--model",
        "--runtime",
        "--limit",
        "--flip",
        "--short-side",
        "--paper",
    ):
        assert option in text
    for option in ("--stop-at", "--workers", "--threads", "--output", "--plot", "--no-initial-masks"):
        assert option in text
