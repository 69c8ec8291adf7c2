"""Recipes made to be compared: the ablation, a row for each network; the methods and the options at equal budget."""

from __future__ import annotations

import runpy
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from emclick.data.sources import SOURCES
from emclick.evaluation.published import ABLATION, ABLATION_NEGATIVES, Ablation
from emclick.networks.checkpoint import build_network
from emclick.spec import CorrectionSpec
from emclick.training.recipe import read_recipe

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "recipes" / "ablation"
ROWS = [row for row in (*ABLATION, *ABLATION_NEGATIVES) if row.correction is not None]


def test_there_is_one_for_each_row_that_can_be_built() -> None:
    assert {path.stem for path in FOLDER.glob("*.toml")} == {row.key for row in ROWS}
    assert len(ROWS) == 9


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.key)
def test_rows_differ_in_the_network_alone(row: Ablation) -> None:
    recipe = read_recipe(FOLDER / f"{row.key}.toml")
    whole = read_recipe(FOLDER / "selection.toml")
    assert replace(recipe, name=whole.name, model=whole.model) == whole
    assert recipe.name == f"ablation-{row.key}"
    assert (recipe.model.base, recipe.model.correction) == ("mobilenet_v2", row.correction)
    assert (recipe.steps, recipe.phases[0].batch, recipe.phases[0].crop_hw) == (150, 16, (192, 192))
    assert all(source.dataset in SOURCES and source.root == "" for source in recipe.sources)
    with torch.device("meta"):
        network = build_network(recipe.method, recipe.model)
    corrector = dict(network.corrector.named_children())
    assert ("attention" in corrector) == row.correction.attention
    assert ("correlation" in corrector) == row.correction.correlation


def test_the_whole_network_is_the_one_that_ships() -> None:
    whole, shipped = (
        read_recipe(FOLDER / "selection.toml"),
        read_recipe(ROOT / "recipes" / "emc-mobilenetv2.toml"),
    )
    assert whole.model == shipped.model
    assert whole.model.correction == CorrectionSpec()
    assert (whole.sources, whole.objects, whole.clicks) == (shipped.sources, shipped.objects, shipped.clicks)
    assert replace(whole.phases[0], steps=shipped.phases[0].steps) == shipped.phases[0]


def test_methods_at_equal_budget_differ_in_method_clicks_and_steps_alone() -> None:
    recipes = {path.stem: read_recipe(path) for path in (ROOT / "recipes" / "equal-budget").glob("*.toml")}
    assert recipes.keys() == {"emc", "ritm", "focalclick"}
    emc = recipes["emc"]
    for method, recipe in recipes.items():
        assert recipe.method == method
        (phase,) = recipe.phases
        same = replace(
            recipe, name=emc.name, method="emc", model=emc.model, clicks=emc.clicks,
            phases=(replace(phase, steps=emc.steps),),
        )  # fmt: skip
        assert same == emc
        assert recipe.model.base == "mobilenet_v2"
        assert recipe.workers == 0  # data workers' CPU time would not count until they end


def test_options_differ_from_the_plain_row_in_one_thing() -> None:
    recipes = {path.stem: read_recipe(path) for path in (ROOT / "recipes" / "options").glob("*.toml")}
    plain = recipes.pop("plain")
    equal = read_recipe(ROOT / "recipes" / "equal-budget" / "emc.toml")
    half = tuple(replace(phase, steps=phase.steps // 2) for phase in equal.phases)
    assert replace(equal, name=plain.name, phases=half) == plain
    changed = {
        "no-zoom": {"phases": (replace(plain.phases[0], zoom_probability=0.0, zoom=(0.5, 1.1)),)},
        "initial": {"phases": (replace(plain.phases[0], initial_probability=0.3),)},
        "stray": {"clicks": replace(plain.clicks, stray=0.3)},
        "edge": {"loss": replace(plain.loss, edge=2.0)},
        "kept": {"loss": replace(plain.loss, kept=1.0)},
    }
    assert recipes == {row: replace(plain, name=f"option-{row}", **values) for row, values in changed.items()}


def test_the_files_are_what_the_tool_writes() -> None:
    tool = runpy.run_path(str(ROOT / "tools" / "comparison_recipes.py"))
    texts = tool["texts"]()
    folders = {path.parent for path in texts}
    assert {path for folder in folders for path in folder.glob("*.toml")} == texts.keys()
    for path, text in texts.items():
        assert path.read_text(encoding="utf-8") == text
