"""`emclick compare`, with a toy method on a tiny dataset."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

import toy_method
from emclick.cli.compare import compare_command, split_names, split_pairs
from emclick.errors import UnknownNameError, WriteError


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    app.command()(compare_command)
    return app


@pytest.fixture
def datasets(tmp_path: Path) -> str:
    for name in ("A", "B"):
        for folder in ("images", "masks"):
            (tmp_path / name / folder).mkdir(parents=True)
        mask = np.zeros((40, 48), np.uint8)
        mask[10:24, 8:30] = 255
        Image.fromarray(np.full((40, 48, 3), 90, np.uint8)).save(tmp_path / name / "images" / "i.png")
        Image.fromarray(mask).save(tmp_path / name / "masks" / "i_1.png")
    return f"folder={tmp_path / 'A'},folder={tmp_path / 'B'}"


@pytest.mark.parametrize("shown", [80, 200])
def test_results_tables_and_plot(
    app: typer.Typer, datasets: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shown: int
) -> None:
    pytest.importorskip("matplotlib")
    toy_method.registered(monkeypatch)
    folder = toy_method.toy_folder(tmp_path / "toy")
    output, table, curve = tmp_path / "c.json", tmp_path / "c.md", tmp_path / "c.png"
    done = CliRunner().invoke(
        app,
        ["--models", str(folder), "--datasets", datasets, "--threads", "1", "-o", str(output),
         "--markdown", str(table), "--plot", str(curve), "--short-side", "24"],
        catch_exceptions=False, env={"COLUMNS": str(shown)},
    )  # fmt: skip
    assert done.exit_code == 0
    found = json.loads(output.read_text(encoding="utf-8"))
    assert [(each["dataset"], each["short_side"]) for each in found["results"]] == [("A", 24), ("B", 24)]
    assert "**B**, 1 objects" in table.read_text(encoding="utf-8")
    with Image.open(curve) as image:
        assert image.format == "PNG"
    assert "later GMAC" in done.output  # in a narrow terminal, too
    assert "toy: loading" in done.output


def test_wrong_usage_is_said_before_the_work(app: typer.Typer, datasets: str, tmp_path: Path) -> None:
    run = CliRunner().invoke
    assert run(app, []).exit_code == 2
    assert run(app, ["--datasets", "grabcut"]).exit_code == 2
    for more, error in (
        (["-o", tmp_path / "none" / "c.json"], WriteError),
        (["--plot", tmp_path / "c.gif"], UnknownNameError),
        (["--models", "emc-mobilenetv9"], UnknownNameError),
    ):
        result = run(app, ["--datasets", datasets, *map(str, more)])
        assert isinstance(result.exception, error)


def test_lists_on_the_command_line() -> None:
    assert split_names(" a, b,") == ["a", "b"]
    assert split_names(None) == []
    assert split_pairs(["a=x,b=y", "c=z"], "pairs") == [("a", "x"), ("b", "y"), ("c", "z")]
    assert split_pairs(["a=my, data,b=y"], "pairs") == [("a", "my, data"), ("b", "y")]
    for wrong in ("a", "=x", "a=", "a=x,=y"):
        with pytest.raises(typer.BadParameter, match="is not pairs"):
            split_pairs([wrong], "pairs")
