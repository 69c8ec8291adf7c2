"""`bench --train` on the toy: what it reports, and that it leaves nothing behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from emclick.benchmark.training import FORMAT, STAGES, bench_training
from emclick.cli import app
from emclick.errors import OptionError
from emclick.training.clock import StageClock
from emclick.training.recipe import parse_recipe
from training.toy import recipe_text, write_shard


def test_report_of_the_command(tmp_path: Path) -> None:
    data = write_shard(tmp_path)
    recipe, output = tmp_path / "toy.toml", tmp_path / "bench.json"
    recipe.write_text(recipe_text(data, root="'nowhere'", steps="5"), encoding="utf-8")
    before = set(tmp_path.iterdir())
    arguments = ["--train", recipe, "--root", f"shards={data}", "--steps", 3, "--threads", 1, "-o", output]
    done = CliRunner().invoke(app, ["bench", *map(str, arguments)])
    assert done.exit_code == 0, done.output
    results = json.loads(output.read_text(encoding="utf-8"))
    assert set(tmp_path.iterdir()) - before == {output}
    assert results["format"] == FORMAT
    assert len(results["steps"]) == results["settings"]["steps"] == 3
    assert results["settings"]["threads"] == 1
    totals = sorted(sum(record[stage] for stage in STAGES) for record in results["steps"])
    assert results["median_ms"]["step"] == totals[1]
    assert results["images_per_s"] == pytest.approx(1000 * 2 / totals[1])
    for stage in set(STAGES) - {"simulate"}:  # a step may have no further click
        assert min(record[stage] for record in results["steps"]) > 0, stage
    assert f"{results['images_per_s']:.2f} images/s" in done.output


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    data = write_shard(tmp_path)
    with pytest.raises(OptionError, match="first phase"):
        bench_training(parse_recipe(recipe_text(data)), steps=2)
    with pytest.raises(OptionError, match="unknown device"):
        bench_training(parse_recipe(recipe_text(data)), steps=1, device="abacus")
    path = tmp_path / "toy.toml"
    path.write_text(recipe_text(data), encoding="utf-8")
    common = ["bench", "--train", str(path), "-o", str(tmp_path / "bench.json")]
    assert "--models does not go with" in CliRunner().invoke(app, [*common, "--models", "x"]).output
    assert CliRunner().invoke(app, [*common, "--threads", "1,2"]).exit_code != 0
    assert not (tmp_path / "bench.json").exists()


def test_a_stage_inside_another_counts_as_itself_alone() -> None:
    times = iter([0.0, 1.0, 3.0, 7.0, 20.0, 21.0])
    clock = StageClock(now=lambda: next(times))
    with clock.measure("outer"), clock.measure("inner"):
        pass
    with clock.measure("outer"):
        pass
    assert clock.read() == {"outer": 1.0 + 4.0 + 1.0, "inner": 2.0}
    assert clock.read() == {}
