"""log.jsonl after a run was killed: every step once, in order, no half line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from emclick.training.log import RunLog
from emclick.training.recipe import Recipe, read_recipe
from training.toy import recipe_text

STAGES = {"data": 0.25, "forward": 0.75}


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    (tmp_path / "recipe.toml").write_text(recipe_text(tmp_path), encoding="utf-8")
    return read_recipe(tmp_path / "recipe.toml")


def write(folder: Path, recipe: Recipe, first: int, last: int, quiet: bool = False) -> None:
    with RunLog(folder, recipe, first, quiet=quiet, every=1) as log:
        for step in range(first + 1, last + 1):
            log.step(step, {"corrected": 1.0 / step, "coarse": 0.5}, 4, STAGES)
            if step == 2:
                log.validation(step, {"noc85": 3.5})


def read(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]


def test_a_resumed_log_holds_every_step_once(recipe: Recipe, tmp_path: Path) -> None:
    write(tmp_path, recipe, 0, 5)
    with (tmp_path / "log.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"step": 6, "corr')  # the power went
    write(tmp_path, recipe, 3, 6)
    lines = read(tmp_path)
    assert [line["step"] for line in lines] == [1, 2, 2, 3, 4, 5, 6]
    assert lines[2] == {"step": 2, "validation_noc85": 3.5}
    assert lines[0]["corrected"] == 1.0
    assert lines[0]["images_per_s"] == 4.0
    assert (lines[0]["share_data"], lines[0]["share_forward"]) == (0.25, 0.75)


def test_foreign_lines_are_dropped_and_a_quiet_log_writes_nothing(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text('[1]\n"x"\n{"other": 1}\n{"step": 1}\n', encoding="utf-8")
    write(tmp_path, recipe, 1, 1)
    assert read(tmp_path) == [{"step": 1}]
    write(tmp_path, recipe, 1, 4, quiet=True)
    assert read(tmp_path) == [{"step": 1}]
