"""Recipes: what is wrong is said, and every recipe that ships can be run as far as its data is there."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
import torch

from emclick.data.augment import Augmentation
from emclick.data.sources import SOURCES
from emclick.errors import EmclickError, RecipeError
from emclick.networks.checkpoint import build_network
from emclick.networks.official import OFFICIAL_SPECS
from emclick.training.recipe import (
    OptimiserRecipe,
    Recipe,
    parse_recipe,
    read_recipe,
    same_training,
    with_seed,
)
from emclick.training.schedule import build_optimiser, rate_factor, set_rate
from training.toy import recipe_text

RECIPES = sorted((Path(__file__).parents[2] / "recipes").rglob("*.toml"))


def parse(folder: Path, text: str) -> Recipe:
    (folder / "recipe.toml").write_text(text, encoding="utf-8")
    return read_recipe(folder / "recipe.toml")


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_that_ships_parses_and_builds(path: Path) -> None:
    recipe = read_recipe(path)
    assert path.stem.startswith(recipe.name) or path.parent.name in ("ablation", "equal-budget", "options")
    with torch.device("meta"):
        network = build_network(recipe.method, recipe.model)
    optimiser = build_optimiser(network, recipe.optimiser)
    held = sum(p.numel() for group in optimiser.param_groups for p in group["params"])
    assert held == sum(p.numel() for p in network.parameters())
    for phase in recipe.phases:
        assert recipe.augmentation(phase).crop_hw == phase.crop_hw
    for source in recipe.sources:
        assert source.dataset in SOURCES
        assert source.root == "", "a path of one machine"
    if recipe.name in OFFICIAL_SPECS:
        assert recipe.model == OFFICIAL_SPECS[recipe.name]


@pytest.mark.parametrize(
    "path",
    [p for p in RECIPES if p.stem.startswith("emc-") and "mobilenet" not in p.stem],
    ids=lambda path: path.stem,
)
def test_the_published_recipes_hold_the_published_values(path: Path) -> None:
    recipe = read_recipe(path)
    assert recipe.steps == 230 * 30000 // 64
    assert recipe.phases[0].batch == 64
    built = recipe.augmentation(recipe.phases[0])
    assert built == dataclasses.replace(
        Augmentation(), padding_target=0
    )  # whose defaults are the published ones
    rates = {"hrnet32": 8e-4, "segformer_b3": 2e-3}
    optimiser = recipe.optimiser
    assert optimiser.lr == rates.get(recipe.model.base, 1e-3)
    assert (optimiser.name, optimiser.betas, optimiser.backbone_factor) == ("adam", (0.9, 0.999), 0.1)
    assert (recipe.clicks.maximum, recipe.clicks.gamma, recipe.clicks.threshold) == (23, 0.8, 0.49)
    objects = recipe.objects
    assert (objects.min_area_px, objects.merge_probability, objects.stuff_probability) == (1000, 0.15, 0.2)
    for epoch, factor in ((0, 1.0), (199, 1.0), (201, 0.1), (219, 0.1), (221, 0.01)):
        assert rate_factor(epoch * 30000 // 64, recipe.steps, optimiser) == pytest.approx(factor)


WRONG = {
    "unknown field": ("seed = 3", "sed = 3", r"recipe: unknown sed; choose from .*seed"),
    "unknown inner field": ("maximum = 3", "maximal = 3", r"recipe.clicks: unknown maximal"),
    "text for a number": ("lr = 1e-3", 'lr = "fast"', r"recipe.optimiser.lr is 'fast'; give a float"),
    "bool for a number": ("seed = 3", "seed = true", r"recipe.seed is True; give an int"),
    "unknown choice": ('schedule = "cosine"', 'schedule = "step"', r"choose from cosine, multistep"),
    "short list": ("crop_hw = [64, 64]", "crop_hw = [64]", r"recipe.phases\[0\].crop_hw must have 2 entries"),
    "odd crop": ("crop_hw = [64, 64]", "crop_hw = [62, 64]", r"multiples of 4"),
    "tiny crop": (
        "crop_hw = [48, 64]",
        "crop_hw = [12, 16]",
        r"fewer 1/4 pixels than the model has templates",
    ),
    "no steps": ("steps = 3", "steps = 0", r"both must be at least 1"),
    "scale upside down": ("scale = [1.0, 1.4]", "scale = [1.4, 1.0]", r"low <= high"),
    "odd scale base": ('scale_base = "crop"', 'scale_base = "metre"', r"scale_base 'metre'"),
    "odd heads": ("templates = 16", "templates = 16, heads = 3", r"not a multiple of its 3 heads"),
    "no width": ("width = 16", "width = 0", r"correction width is 0"),
    "negative clicks": ("maximum = 3", "maximum = -1", r"clicks.maximum is -1"),
    "negative workers": ("workers = 0", "workers = -1", r"workers is -1"),
    "backbone uphill": ("lr = 1e-3", "lr = 1e-3\nbackbone_factor = -1.0", r"backbone_factor is -1.0"),
    "odd betas": ("lr = 1e-3", "lr = 1e-3\nbetas = [1.5, 0.9]", r"optimiser.betas is 1.5; it must be 0 to 1"),
    "milestone before": ("lr = 1e-3", "lr = 1e-3\nmilestones = [-1.0]", r"milestones is -1.0"),
    "negative seed": ("seed = 3", "seed = -1", r"seed is -1; it must be at least 0"),
    "endless scale": ("scale = [1.0, 1.4]", "scale = [1.0, inf]", r"scale is \(1.0, inf\)"),
    "endless decay": ("weight_decay = 0.01", "weight_decay = inf", r"weight_decay is inf"),
    "frame of validation": (
        "[clicks]",
        "[validation]\nshort_side = -5\n[clicks]",
        r"validation.short_side is -5; it must be 4 to 4096",
    ),
    "clicks of validation": (
        "[clicks]",
        "[validation]\nclicks = 3000\n[clicks]",
        r"validation.clicks is 3000",
    ),
    "no rate": ("lr = 1e-3", "lr = 0.0", r"optimiser.lr is 0.0"),
    "ema of one": ("ema = 0.9", "ema = 1.0", r"ema is 1.0"),
    "object rule": ("max_share = 0.95", "max_share = 1.5", r"recipe.objects: max_share is 1.5"),
    "missing": ('name = "toy"', "", r"recipe: name missing"),
    "no toml": ('name = "toy"', "name = ", r"not TOML"),
    "sources no list": ("[[sources]]", "[sources]", r"recipe.sources must be a list"),
}


@pytest.mark.parametrize("path", RECIPES[:1] + RECIPES[-1:], ids=lambda path: path.stem)
def test_another_seed_is_another_training_and_nothing_else(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    recipe = parse_recipe(text)
    other = with_seed(text, recipe.seed + 5)
    assert parse_recipe(other) == dataclasses.replace(recipe, seed=recipe.seed + 5)
    assert not same_training(text, other)
    without = "".join(line for line in text.splitlines(True) if not line.startswith("seed"))
    assert parse_recipe(with_seed(without, 3)) == dataclasses.replace(recipe, seed=3)


@pytest.mark.parametrize("wrong", sorted(WRONG))
def test_what_is_wrong_with_a_recipe_is_said(wrong: str, tmp_path: Path) -> None:
    before, after, message = WRONG[wrong]
    text = recipe_text(tmp_path)
    assert before in text
    with pytest.raises(EmclickError, match=message):
        parse(tmp_path, text.replace(before, after))


def test_a_recipe_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"cannot read recipe .*absent.toml"):
        read_recipe(tmp_path / "absent.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match=r"bytes\.toml"):
        read_recipe(tmp_path / "bytes.toml")


def test_values_and_defaults(tmp_path: Path) -> None:
    recipe = parse(tmp_path, recipe_text(tmp_path))
    assert recipe.steps == 6
    assert recipe.phases[1].crop_hw == (48, 64)
    assert recipe.sources[0].weight == {"toy": 1.0}
    assert recipe.optimiser.backbone_factor == 0.1
    assert recipe.loss.auxiliary == 0.4
    text = recipe_text(tmp_path).replace("weight = { toy = 1.0 }", "weight = 2")
    assert parse(tmp_path, text).sources[0].weight == 2.0


def test_phases_follow_each_other_without_a_gap(tmp_path: Path) -> None:
    recipe = parse(tmp_path, recipe_text(tmp_path))
    one, two = recipe.phases
    # (phase, its first step, its first sample): three steps of 2, then three of 4
    assert [recipe.locate(step) for step in (0, 2, 3, 5)] == [
        (one, 0, 0),
        (one, 0, 0),
        (two, 3, 6),
        (two, 3, 6),
    ]


def test_cosine_with_warm_up() -> None:
    recipe = OptimiserRecipe(schedule="cosine", warmup_steps=3, final_factor=0.1)
    factors = [rate_factor(step, 100, recipe) for step in range(101)]
    expected = [0.1 + 0.45 * (1 + math.cos(math.pi * step / 100)) for step in range(101)]
    for step in range(3):
        assert factors[step] == pytest.approx(expected[step] * (step + 1) / 4)
    assert factors[3:] == pytest.approx(expected[3:])
    assert factors[100] == pytest.approx(0.1)


def test_the_backbone_is_slower_but_not_its_click_branch_and_small_things_do_not_decay(
    tmp_path: Path,
) -> None:
    recipe = parse(tmp_path, recipe_text(tmp_path))
    network = build_network(recipe.method, recipe.model)
    optimiser = build_optimiser(network, recipe.optimiser)
    set_rate(optimiser, 0.5)
    groups = {id(p): group for group in optimiser.param_groups for p in group["params"]}
    for name, parameter in network.named_parameters():
        group = groups[id(parameter)]
        slow = name.startswith("base.backbone.") and "click_branch" not in name
        assert group["lr"] == pytest.approx(0.5 * 1e-3 * (0.1 if slow else 1.0)), name
        assert group["weight_decay"] == (0.01 if parameter.ndim > 1 else 0.0), name
