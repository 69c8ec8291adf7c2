"""Published recipes on published files: one step each, on the tiny trees of the datasets' own tests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from contracts.dataset_contract import DatasetContract
from data_sources import test_train_sources as trees
from emclick.networks.checkpoint import load_model
from emclick.training.loop import train
from emclick.training.recipe import override, read_recipe

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.mark.parametrize(
    ("name", "tree"),
    [("emc-hrnet18s-coco-lvis", trees.TestCocoLvis), ("emc-hrnet18s-sbd", trees.TestSbd)],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_published_recipe_trains_from_the_published_files(
    name: str, tree: type[DatasetContract], tmp_path: Path
) -> None:
    root = tmp_path / "data"
    root.mkdir()
    tree().build(root)
    path = RECIPES / f"{name}.toml"
    recipe = override(read_recipe(path), roots=[f"{tree.dataset}={root}"])
    (phase,) = recipe.phases
    small = replace(
        recipe, workers=0, clicks=replace(recipe.clicks, maximum=1), objects=replace(recipe.objects, min_area_px=20),
        phases=(replace(phase, steps=1, batch=2, crop_hw=(64, 64)),),
    )  # fmt: skip
    model = train(small, path.read_text(encoding="utf-8"), tmp_path / "run", quiet=True)
    network, card = load_model(model)
    assert card.about["steps"] == "1 of 1"
    assert card.spec == recipe.model
    assert sum(each.numel() for each in network.parameters()) > 4_000_000
