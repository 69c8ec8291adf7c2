"""f-BRS's and CDNet's share of a training step: random clicks, losses, gradients."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from emclick.methods import METHODS
from emclick.methods.deeplab_spec import FbrsSpec
from emclick.networks.checkpoint import build_network
from emclick.registry import import_name
from emclick.training.cdnet import diversity_loss, random_maps
from emclick.training.clock import StageClock
from emclick.training.fbrs import random_distance_maps
from emclick.training.loop import build_mixed_set
from emclick.training.losses import normalized_focal_loss
from emclick.training.recipe import Recipe, parse_recipe, read_recipe
from emclick.training.start import PRETRAINED, initialise
from emclick.training.step import DeviceBatch, StepInput
from training.toy import recipe_text, write_shard

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.fixture(scope="module", params=["fbrs resnet34", "fbrs hrnet18s", "cdnet resnet34"])
def recipe(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    method, base = request.param.split()
    plain = recipe_text(write_shard(tmp_path_factory.mktemp("toy")), base=f'"{base}"')
    width = "width = 8" if base == "resnet34" else ""
    lines = [width if line.startswith("correction") else line for line in plain.splitlines()]
    return parse_recipe(f'method = "{method}"\n' + "\n".join(lines) + "\n")


def batch_of(recipe: Recipe) -> DeviceBatch:
    return DeviceBatch.move(next(iter(build_mixed_set(recipe, 0).batches(0, 4, 4))), torch.device("cpu"))


def given(recipe: Recipe, batch: DeviceBatch) -> StepInput:
    return StepInput(batch, 0, 0, recipe.seed, 1, StageClock(), contextlib.nullcontext)


def test_the_loss_falls_and_every_weight_takes_part(recipe: Recipe) -> None:
    torch.manual_seed(0)
    network = build_network(recipe.method, recipe.model)
    initialise(network)
    training = import_name(METHODS[recipe.method].training)(network.train(), recipe)
    step = given(recipe, batch_of(recipe))
    optimiser = torch.optim.Adam(network.parameters(), 2e-3)
    totals: list[float] = []
    # how many steps it takes depends on rounding, and so on the processor
    while len(totals) < 12 and (not totals or totals[-1] >= 0.8 * totals[0]):
        losses = training(step)
        assert ("auxiliary" in losses) == recipe.model.base.startswith("hrnet")
        optimiser.zero_grad()
        losses["total"].backward()
        if not totals:
            idle = [name for name, each in network.named_parameters() if each.grad is None]
            assert idle == []
        optimiser.step()
        totals.append(float(losses["total"].detach()))
    assert totals[-1] < 0.8 * totals[0]


def test_clicks_depend_on_the_samples_alone(recipe: Recipe) -> None:
    batch = batch_of(recipe)
    half = DeviceBatch(batch.images[2:], batch.targets[2:], batch.first_clicks[2:], batch.numbers[2:])
    make = {"fbrs": random_distance_maps, "cdnet": lambda *given: random_maps(*given).disks}[recipe.method]
    whole = make(batch, 3)
    assert whole.shape == (4, 2, *batch.images.shape[-2:])
    assert torch.equal(whole[2:], make(half, 3))
    assert not torch.equal(whole, make(batch, 4))
    rows, columns = batch.first_clicks.long().unbind(1)
    at_first = whole[torch.arange(4), 0, rows, columns]
    assert torch.equal(at_first, torch.full((4,), 0.0 if recipe.method == "fbrs" else 1.0))


def test_the_diversity_loss_by_hand() -> None:
    torch.manual_seed(0)
    latent = torch.randn(2, 3, 6, 6)
    targets = torch.randint(-1, 2, (2, 6, 6))
    disks = torch.zeros(2, 2, 6, 6)
    disks[0, 0, 2, 2] = disks[1, 1, 4, 0] = 1
    total = torch.tensor(0.0)
    for image in range(2):
        total += min(
            normalized_focal_loss(latent[image, each][None, None], targets[image][None]) for each in range(3)
        ) / 2  # fmt: skip
    weight = torch.full((2, 6, 6), 0.01)
    weight[0, 2, 2] = weight[1, 4, 0] = 1
    for each in range(3):
        pixel = F.binary_cross_entropy_with_logits(latent[:, each], (targets == 1).float(), reduction="none")
        total += (pixel * weight * (targets >= 0)).sum() / weight.sum()
    assert float(diversity_loss(latent, targets, disks)) == pytest.approx(float(total), rel=1e-5)


@pytest.mark.parametrize("name", ["fbrs-resnet50", "fbrs-hrnet18", "cdnet-resnet34"])
def test_the_published_recipes(name: str) -> None:
    recipe = read_recipe(RECIPES / f"{name}.toml")
    assert recipe.name == name
    assert (recipe.model.base, recipe.zoom_in, recipe.clicks.maximum) == (name.split("-")[1], True, 0)
    assert 119 < recipe.steps * recipe.phases[0].batch / 8498 < 121


@pytest.mark.parametrize("base", ["resnet34", "resnet50"])
def test_public_weights_have_a_place_for_every_backbone_weight(base: str) -> None:
    with torch.device("meta"):
        network = build_network("fbrs", FbrsSpec(base, 8))
    keys = {
        PRETRAINED[base].rename(key, base) for key in network.state_dict() if key.startswith("base.backbone.")
    }
    deep = {"conv1.0.weight", "conv1.6.weight", "conv1.4.running_var", "layer4.2.conv3.weight"}
    plain = {"conv1.weight", "layer4.2.conv2.weight", "layer2.0.downsample.1.bias"}
    assert {"resnet34": plain, "resnet50": deep}[base] | {
        "bn1.weight",
        "layer2.0.downsample.0.weight",
    } <= keys
    assert not any(part in key for key in keys for part in ("stem", "stages", "convs", "shortcut"))
