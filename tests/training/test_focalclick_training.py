"""FocalClick's share of a training step: its focus crops, trimap and losses."""

from __future__ import annotations

import contextlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from emclick.data.training_set import Batch
from emclick.networks.checkpoint import build_network
from emclick.training.clock import StageClock
from emclick.training.focalclick import (
    FocalClickTraining,
    focus_box,
    focus_boxes,
    simulate_clicks,
    trimap,
    weighted_focal_loss,
)
from emclick.training.loop import build_mixed_set
from emclick.training.losses import normalized_focal_loss
from emclick.training.recipe import Recipe, parse_recipe, read_recipe
from emclick.training.start import initialise
from emclick.training.step import DeviceBatch, StepInput
from training.toy import recipe_text, write_shard

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    plain = recipe_text(write_shard(tmp_path_factory.mktemp("toy")))
    lines = [line for line in plain.splitlines() if not line.startswith("correction")]
    return parse_recipe('method = "focalclick"\n' + "\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def batch(recipe: Recipe) -> Batch:
    return next(iter(build_mixed_set(recipe, 0).batches(0, 3, 3)))


def given(recipe: Recipe, batch: Batch, count: int, threads: int = 1) -> StepInput:
    placed = DeviceBatch.move(batch, torch.device("cpu"))
    return StepInput(placed, count, 0, recipe.seed, threads, StageClock(), contextlib.nullcontext)


def fresh(recipe: Recipe) -> FocalClickTraining:
    torch.manual_seed(0)
    network = build_network(recipe.method, recipe.model)
    initialise(network)
    return FocalClickTraining(network.train(), recipe)


def test_a_step_repeats_and_teaches_all_parts(recipe: Recipe, batch: Batch) -> None:
    training = fresh(recipe)
    losses = training(given(recipe, batch, 1))
    assert set(losses) == {"coarse", "refined", "trimap", "total"}
    expected = losses["coarse"] + losses["refined"] + losses["trimap"]
    torch.testing.assert_close(losses["total"], expected)
    losses["total"].backward()
    parameters = dict(training.network.named_parameters())
    assert all(each.grad is not None and bool(each.grad.isfinite().all()) for each in parameters.values())
    for name in (
        "refiner.trimap.weight",
        "refiner.image1.0.weight",
        "base.backbone.click_branch.expand.weight",
    ):
        assert parameters[name].grad.abs().max() > 0  # type: ignore[union-attr]
    again = fresh(recipe)(given(recipe, batch, 1, threads=2))
    assert torch.equal(again["total"], losses["total"])
    assert training.network.training


def test_a_few_steps_bring_the_losses_down(recipe: Recipe, batch: Batch) -> None:
    training = fresh(recipe)
    optimiser = torch.optim.Adam(training.parameters(), 2e-3)
    totals = []
    for _ in range(8):
        losses = training(given(recipe, batch, 0))
        optimiser.zero_grad()
        losses["total"].backward()
        optimiser.step()
        totals.append(float(losses["total"].detach()))
    assert totals[-1] < 0.8 * totals[0]


def test_simulated_clicks_begin_with_the_first_and_come_with_the_mask_before(
    recipe: Recipe, batch: Batch
) -> None:
    network = fresh(recipe).network
    without = simulate_clicks(network, given(recipe, batch, 0), recipe.clicks)
    assert torch.equal(without.points[:, 0], batch.first_clicks.float())
    assert (without.sides[:, 0] == 1).all()
    assert (without.previous == 0).all()
    after = simulate_clicks(network, given(recipe, batch, 2), recipe.clicks)
    count = without.sides.shape[1]
    assert (after.sides != 0).sum() > (without.sides != 0).sum()
    assert torch.equal(after.points[:, :1], without.points[:, :1])
    assert after.sides.shape[1] >= count
    assert after.previous.min() > 0
    assert after.previous.max() < 1
    for number, target in enumerate(batch.targets):  # every click is right
        for (row, column), side in zip(after.points[number].long().tolist(), after.sides[number].tolist()):
            assert side == 0 or target[row, column] == (side > 0)


def target(size: int = 128) -> np.ndarray:
    mask = np.zeros((size, size), np.int8)
    mask[30:90, 40:100] = 1
    mask[2:8, 2:8] = 1
    return mask


def test_focus_crops_are_round_the_largest_part_or_on_its_boundary() -> None:
    boxes = [focus_box(target(), np.random.default_rng(n)) for n in range(300)]
    whole = 0
    for top, left, bottom, right in boxes:
        assert 0 <= top < bottom <= 128
        assert 0 <= left < right <= 128
        # a crop of the object has 1.1 to 1.6 of its 60 px, moved by at most 0.3 of that, cut at the border
        middle = abs((top + bottom) / 2 - 59.5) <= 29 and abs((left + right) / 2 - 69.5) <= 29
        whole += middle and min(bottom - top, right - left) >= 45
        inside = target()[top:bottom, left:right]
        assert (inside == 1).any()
        assert (inside == 0).any()
    assert whole > 150  # at least the 0.6 of them
    assert len(set(boxes)) > 250


def test_small_objects_are_refined_whole() -> None:
    small = np.zeros((128, 128), np.int8)
    small[60:70, 60:70] = 1
    for n in range(60):
        top, left, bottom, right = focus_box(small, np.random.default_rng(n))
        assert 31 <= bottom - top <= 33  # the least side, once rounded
        assert abs((top + bottom) / 2 - 64.5) <= 10
        assert abs((left + right) / 2 - 64.5) <= 10


def test_a_focus_crop_depends_on_the_sample_alone() -> None:
    targets = torch.from_numpy(np.stack([target(), target()]))
    both = focus_boxes(targets, 3, (5, 9))
    assert torch.equal(both[1:], focus_boxes(targets[1:], 3, (9,)))
    assert not torch.equal(both[0], both[1])
    assert not torch.equal(both, focus_boxes(targets, 4, (5, 9)))


def test_the_trimap_is_the_releases() -> None:
    mask = np.zeros((96, 128), np.uint8)
    cv2.ellipse(mask, (60, 45), (40, 25), 20, 0, 360, 1, -1)
    mask[4:90:6, 100:102] = 1
    small = (cv2.resize(mask * 255, (16, 12)) > 128).astype(np.uint8) * 255
    lost = (mask != (cv2.resize(small, (128, 96)) > 128)).astype(np.uint8)
    expected = cv2.dilate(lost, np.ones((3, 3), np.uint8), iterations=2)
    ours = trimap(torch.from_numpy(mask.astype(np.int8))[None])[0, 0].numpy()
    assert 0.05 < expected.mean() < 0.6
    assert np.abs(ours - expected).mean() < 0.002


def test_an_even_weight_is_no_weight() -> None:
    torch.manual_seed(0)
    logits = torch.randn(1, 1, 12, 10)
    labels = (torch.rand(1, 12, 10) > 0.5).to(torch.int8)
    labels[:, :2] = -1
    plain = normalized_focal_loss(logits, labels)
    torch.testing.assert_close(weighted_focal_loss(logits, labels, torch.full((1, 12, 10), 0.3)), plain)
    weight = (labels == 1).float()
    only = normalized_focal_loss(logits, labels)
    assert not torch.isclose(weighted_focal_loss(logits, labels, weight), only)
    changed = logits.masked_fill((labels == -1)[:, None], 9.0)
    torch.testing.assert_close(
        weighted_focal_loss(changed, labels, weight), weighted_focal_loss(logits, labels, weight)
    )


@pytest.mark.parametrize("name", ["focalclick-hrnet18s", "focalclick-segformer-b0", "focalclick-mobilenetv2"])
def test_the_recipes_read(name: str) -> None:
    recipe = read_recipe(RECIPES / f"{name}.toml")
    assert (recipe.name, recipe.method, recipe.short_side, recipe.zoom_in) == (name, "focalclick", 256, True)
    assert (recipe.clicks.maximum, recipe.clicks.gamma) == (3, 1.0)


def test_the_budget_is_that_of_emc() -> None:
    ours, emc = (read_recipe(RECIPES / f"{name}-mobilenetv2.toml") for name in ("focalclick", "emc"))
    for part in ("sources", "phases", "optimiser", "objects", "ema", "precision", "seed", "scale_base"):
        assert getattr(ours, part) == getattr(emc, part)
