"""RITM's share of a training step: its clicks, its maps, its losses."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
import torch

from emclick.clicks import disk_maps
from emclick.errors import RecipeError
from emclick.networks.checkpoint import build_network
from emclick.training.clock import StageClock
from emclick.training.loop import build_mixed_set, train
from emclick.training.points import POINTS, DiskMaps, random_points
from emclick.training.recipe import Recipe, parse_recipe, read_recipe
from emclick.training.ritm import RitmTraining, simulate_maps
from emclick.training.start import initialise
from emclick.training.step import DeviceBatch, StepInput
from training.toy import read_state, recipe_text, write_shard

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    plain = recipe_text(write_shard(tmp_path_factory.mktemp("toy")))
    lines = [line for line in plain.splitlines() if not line.startswith("correction")]
    return 'method = "ritm"\n' + "\n".join(lines) + "\n"


@pytest.fixture
def recipe(text: str) -> Recipe:
    return parse_recipe(text)


@pytest.mark.parametrize(
    ("before", "option"),
    [
        ("batch = 4", "initial_probability = 0.3"),
        ("[clicks]", "stray = 0.3"),
        ("[loss]", "edge = 1.0"),
        ("[loss]", "kept = 1.0"),
    ],
)
def test_options_that_would_be_ignored_are_refused(
    text: str, tmp_path: Path, before: str, option: str
) -> None:
    whole = text if "[loss]" in text else text + "\n[loss]\n"
    asked = whole.replace(before, f"{before}\n{option}")
    assert parse_recipe(asked) != parse_recipe(text)
    with pytest.raises(RecipeError, match=f"ritm is trained as published; leave .*{option.split()[0]} out"):
        train(parse_recipe(asked), asked, tmp_path, quiet=True)


def given(recipe: Recipe, count: int, first: int = 0, threads: int = 1) -> StepInput:
    batch = next(iter(build_mixed_set(recipe, 0).batches(first, first + 4, 4)))
    placed = DeviceBatch.move(batch, torch.device("cpu"))
    return StepInput(placed, count, 0, recipe.seed, threads, StageClock(), contextlib.nullcontext)


def fresh(recipe: Recipe) -> RitmTraining:
    torch.manual_seed(0)
    network = build_network(recipe.method, recipe.model)
    initialise(network)
    return RitmTraining(network.train(), recipe)


def target() -> np.ndarray:
    mask = np.zeros((80, 100), np.int8)
    mask[20:60, 30:70] = 1
    mask[:, 90:] = -1
    return mask


def test_random_points_lie_where_they_belong() -> None:
    given = target()
    inner, beside, border, counts = 0, 0, 0, []
    for seed in range(300):
        points = random_points(given, np.random.default_rng(seed))
        positives = [each for each in points if each.positive]
        negatives = [each for each in points if not each.positive]
        counts.append((len(positives), len(negatives)))
        assert all(given[each.row, each.column] == 1 for each in positives)
        assert all(given[each.row, each.column] == 0 for each in negatives)
        eroded = np.zeros(given.shape, bool)
        eroded[23:57, 33:67] = True
        inner += all(eroded[each.row, each.column] for each in positives)
        # 4 px: a tenth of the square root of 1,600 px
        border += sum(16 <= each.row < 64 and 26 <= each.column < 74 for each in negatives)
        beside += len(negatives)
    assert inner >= 0.9 * 300
    assert 0.5 < border / beside < 0.65  # half of them, and some of those drawn anywhere
    # geometric of ratio 0.8: a mean of 4 but for the cap
    most = np.max(counts, axis=0)
    assert np.mean(counts, axis=0) == pytest.approx([3.87, 3.9], abs=0.7)
    assert most[0] <= POINTS - 1
    assert most[1] <= POINTS


def test_random_points_of_an_object_without_surroundings() -> None:
    for seed in range(20):
        points = random_points(np.ones((12, 12), np.int8), np.random.default_rng(seed))
        assert all(each.positive for each in points)


def test_disks_are_those_of_a_session() -> None:
    random = np.random.default_rng(0)
    places = [
        (0, 0),
        (23, 35),
        (0, 35),
        *random.integers(0, (24, 36), (6, 2)).tolist(),
        (3.25, 7.5),
        (11.75, 0.5),
    ]
    positive = random.random(len(places)) < 0.5
    maps = DiskMaps(2, (24, 36))
    for (row, column), polarity in zip(places, positive):
        maps.add(1, row, column, bool(polarity))
    assert not maps.maps[0].any()
    np.testing.assert_array_equal(maps.maps[1], disk_maps(np.array(places, np.float32), positive, (24, 36)))


def test_without_corrections_the_previous_mask_is_empty(recipe: Recipe) -> None:
    step = given(recipe, 0)
    maps = simulate_maps(fresh(recipe).network, step, recipe.clicks)
    assert not maps[:, 0].any()
    for row, column, own in zip(*step.batch.first_clicks.long().T.tolist(), maps):
        assert own[1, row, column] == 1


def test_corrections_add_clicks_to_the_errors_of_the_mask_before(recipe: Recipe) -> None:
    training = fresh(recipe)
    none, two, three = (simulate_maps(training.network, given(recipe, n), recipe.clicks) for n in (0, 2, 3))
    assert training.network.training
    assert 0 < float(two[:, 0].min()) < float(two[:, 0].max()) < 1
    assert bool((three[:, 1:] >= two[:, 1:]).all())
    assert float(three[:, 1:].sum()) > float(none[:, 1:].sum())
    # the mask before the last click, in eval mode
    network = training.network.eval()
    images = given(recipe, 0).batch.images
    logits = network(images, two).coarse_logits
    expected = torch.sigmoid(
        torch.nn.functional.interpolate(logits, (64, 64), mode="bilinear", align_corners=True)
    )
    torch.testing.assert_close(three[:, :1], expected, rtol=0, atol=1e-5)


def test_clicks_depend_on_neither_batching_nor_threads(recipe: Recipe) -> None:
    network = fresh(recipe).network
    alone, shared = (
        simulate_maps(network, given(recipe, 2, threads=threads), recipe.clicks) for threads in (1, 2)
    )
    assert torch.equal(alone, shared)


@pytest.mark.parametrize("base", ["mobilenet_v2", "hrnet18s"])
def test_the_gradient_reaches_everything(recipe: Recipe, text: str, base: str) -> None:
    training = fresh(parse_recipe(text.replace("mobilenet_v2", base)))
    losses = training(given(recipe, 1))
    assert set(losses) == {"mask", "total"} | ({"auxiliary"} if base == "hrnet18s" else set())
    expected = losses["mask"] + 0.4 * losses.get("auxiliary", 0)
    torch.testing.assert_close(losses["total"], expected)
    losses["total"].backward()
    without = [name for name, each in training.named_parameters() if each.grad is None]
    assert without == []
    assert all(bool(each.grad.isfinite().all()) for each in training.parameters() if each.grad is not None)
    branch = training.network.base.backbone.click_branch.expand.weight.grad
    assert all(float(branch[:, channel].abs().sum()) > 0 for channel in range(3))


def test_the_loss_falls(recipe: Recipe) -> None:
    training = fresh(recipe)
    optimiser = torch.optim.Adam(training.parameters(), 1e-3)
    losses = []
    for number in range(8):
        loss = training(given(recipe, number % 2))["total"]  # the same samples again and again
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert max(losses[-2:]) < 0.5 * losses[0]


def test_the_loop_trains_it_and_the_folder_loads(text: str, tmp_path: Path) -> None:
    import emclick

    folder = train(parse_recipe(text), text, tmp_path / "run", quiet=True)
    assert read_state(tmp_path / "run")["step"] == 6
    session = emclick.Session(emclick.load(folder), np.full((40, 50, 3), 128, np.uint8))
    assert session.click(20, 20).probability.shape == (40, 50)


def test_the_recipes_are_the_published_ones() -> None:
    for base in ("hrnet18s", "hrnet32"):
        recipe = read_recipe(RECIPES / f"ritm-{base}.toml")
        assert recipe.name == f"ritm-{base}"
        assert recipe.model.base == base
        assert recipe.steps == 230 * 30000 // 32
        assert (recipe.clicks.maximum, recipe.clicks.gamma, recipe.clicks.threshold) == (3, 1.0, 0.49)
        assert (recipe.optimiser.lr, recipe.optimiser.backbone_factor) == (5e-4, 0.1)
        assert (recipe.loss.coarse, recipe.loss.auxiliary) == (1.0, 0.4)
    mine, default = (read_recipe(RECIPES / f"{name}-mobilenetv2.toml") for name in ("ritm", "emc"))
    for name in ("phases", "sources", "optimiser", "objects", "precision", "ema", "seed"):
        assert getattr(mine, name) == getattr(default, name)
