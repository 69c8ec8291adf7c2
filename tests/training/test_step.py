"""One training step: the fast forms give what the plain networks give, gradients included."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from contracts.backbone_contract import enliven, far, inputs
from emclick.geometry import View
from emclick.methods.emc import MASK_LOGIT
from emclick.networks.backbones import BASES
from emclick.networks.batched import FrozenCorrector, correct, image_cells, upsampled_probabilities
from emclick.networks.blocks import XConv, resize_maps
from emclick.networks.click_maps import CellMaps, ClickMaps
from emclick.networks.correction import CorrectionNetwork
from emclick.networks.model import EmcNetwork
from emclick.spec import CorrectionSpec, ModelSpec
from emclick.training.clock import StageClock
from emclick.training.recipe import ClickRecipe, parse_recipe
from emclick.training.simulate import click_rngs, next_clicks
from emclick.training.step import (
    DeviceBatch,
    EmcTraining,
    StepInput,
    TrainingForward,
    coarse_targets,
    correct_first,
    first_clicks,
    simulate_clicks,
    start_from,
)
from training.toy import recipe_text

SPEC = CorrectionSpec(width=16, templates=12)
SPECS = {
    "whole": SPEC,
    "attention alone": replace(SPEC, correlation=False),
    "correlation alone": replace(SPEC, attention=False),
    "no selection": replace(SPEC, selection=False),
    "positives alone": replace(SPEC, attention_negatives=False, correlation_negatives=False),
}
FRAME, CHANNELS, BATCH = (48, 64), 10, 3


def both_maps(seed: int, count: int = 4, *, whole: bool = False) -> tuple[ClickMaps, CellMaps]:
    """The same clicks in both layouts, some of them missing, on whole pixels or (so that nothing ties) between."""
    random = np.random.default_rng(seed)
    maps, cells = ClickMaps(BATCH, FRAME), CellMaps(BATCH, FRAME)
    for number in range(count):
        points = torch.from_numpy(random.uniform(0, 1, (BATCH, 2)) * (FRAME[0] - 1, FRAME[1] - 1)).float()
        if whole:
            points = points.round()
        # each frame has a click of each kind: where one is missing its distances are all alike, and templates tie
        positive = torch.from_numpy(random.random(BATCH) < 0.5) & (number != 1) | (number == 0)
        exists = torch.from_numpy(random.random(BATCH) < 0.7) | (number < 2)
        for each in (maps, cells):
            each.add(points, positive, exists)
    return maps, cells


def corrector(spec: CorrectionSpec) -> CorrectionNetwork:
    torch.manual_seed(0)
    network = CorrectionNetwork(CHANNELS, spec)
    enliven(network)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):  # norms that do something
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.2)
            nn.init.uniform_(module.running_mean, -0.2, 0.2)  # pyright: ignore[reportArgumentType]
            nn.init.uniform_(module.running_var, 0.5, 1.5)  # pyright: ignore[reportArgumentType]
    return network


def given(seed: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    shape = (FRAME[0] // 4, FRAME[1] // 4)
    images = torch.rand(BATCH, 3, *FRAME, generator=random).contiguous(memory_format=torch.channels_last)
    features = torch.rand(BATCH, CHANNELS, *shape, generator=random)
    return images, features, torch.randn(BATCH, 1, *shape, generator=random)


@pytest.mark.parametrize("seed", range(6))
def test_cells_are_the_maps_in_another_layout(seed: int) -> None:
    maps, cells = both_maps(seed, whole=bool(seed % 2))
    wanted = maps.input()
    mask = torch.rand(BATCH, *FRAME)
    stacked = torch.cat([wanted.disks, mask[:, None]], 1)
    assert torch.equal(cells.cells(mask), F.pixel_unshuffle(stacked, 4))
    torch.testing.assert_close(cells.distances(), wanted.distances, rtol=0, atol=1e-6)
    assert torch.equal(cells.first_click_map(), maps.first_click_map())
    for name in ("points", "positive", "exists"):
        assert torch.equal(getattr(cells, name), getattr(maps, name))


def test_a_disk_at_the_corner_stays_in_the_frame() -> None:
    cells, maps = CellMaps(2, FRAME), ClickMaps(2, FRAME)
    yes = torch.ones(2, dtype=torch.bool)
    for each in (cells, maps):
        each.add(torch.tensor([[0.0, 0.0], [47.0, 63.0]]), yes, yes)
    assert torch.equal(cells.first_click_map(), maps.first_click_map())
    assert 0 < cells.first_click_map()[0].sum() < 40


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
def test_training_form_of_the_corrector(spec: CorrectionSpec) -> None:
    images, features, previous = given()
    maps, cells = both_maps(2)
    found: list[tuple[Tensor, list[Tensor]]] = []
    for fast in (False, True):
        network = corrector(spec).train()
        own = features.clone().requires_grad_()
        if fast:
            logits = correct(
                network, image_cells(network, images), own, cells, upsampled_probabilities(previous)
            )
        else:
            logits = network(images, own, maps.input(), previous)
        logits.backward(torch.linspace(-1, 1, logits.numel()).view(logits.shape))
        assert own.grad is not None
        grads = [p.grad if p.grad is not None else torch.zeros(0) for p in network.parameters()]
        statistics = [b for name, b in network.named_buffers() if "running" in name]
        found.append((logits.detach(), [own.grad, *grads, *statistics]))
    assert far(found[1][0], found[0][0]) < 3e-5
    assert len(found[0][1]) == len(found[1][1])
    largest = max(float(each.abs().max()) for each in found[0][1] if each.numel())
    for plain, fast in zip(found[0][1], found[1][1]):
        assert not plain.numel() or float((fast - plain).abs().max()) < 1e-4 * largest


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
def test_frozen_corrector_is_the_corrector_in_eval_mode(spec: CorrectionSpec) -> None:
    images, features, previous = given()
    maps, cells = both_maps(3)
    network = corrector(spec).train()
    frozen = FrozenCorrector(network, image_cells(network, images), features)
    found = [frozen.correct(cells, upsampled_probabilities(previous)) for _ in range(2)]
    assert network.training
    assert torch.equal(*found)
    with torch.no_grad():
        wanted = network.eval()(images, features, maps.input(), previous)
    assert far(found[0], wanted) < 3e-5
    assert wanted.std() > 0.01


@pytest.mark.parametrize("size", [((12, 16), (48, 64)), ((5, 7), (5, 7)), ((1, 3), (4, 9)), ((9, 8), (4, 3))])
def test_resize_as_products(size: tuple[tuple[int, int], tuple[int, int]]) -> None:
    x = torch.randn(2, *size[0])
    wanted = F.interpolate(x[:, None], size=size[1], mode="bilinear", align_corners=True)[:, 0]
    torch.testing.assert_close(resize_maps(x, size[1]), wanted, rtol=1e-5, atol=1e-5)


def test_depthwise_gradients_in_bf16() -> None:
    """Beside float32: no further off than the library's own in bfloat16, over several chunks."""
    torch.manual_seed(0)
    conv = XConv(24, 24).train()
    plain = nn.Sequential(conv.depthwise1, conv.norm1, conv.depthwise2, conv.pointwise, conv.norm2, nn.ReLU())
    x = torch.randn(3, 24, 40, 36).contiguous(memory_format=torch.channels_last)
    direction = torch.randn(3, 24, 40, 36)

    def gradients(module: nn.Module, enabled: bool) -> list[Tensor]:
        module.zero_grad()
        own = x.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            out = module(own)
        (out.float() * direction).sum().backward()
        weights = [conv.depthwise1.weight, conv.depthwise2.weight]
        return [each.grad.clone() for each in (own, *weights) if each.grad is not None]

    exact, library = gradients(plain, False), gradients(plain, True)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("emclick.networks.depthwise.CHUNK_VALUES", 40_000)
        ours = gradients(conv, True)
    assert len(exact) == len(ours) == 3
    for right, other, found in zip(exact, library, ours):
        assert (found - right).norm() < 1.1 * (other - right).norm() + 1e-3 * right.norm()


@pytest.mark.parametrize("name", list(BASES))
def test_a_backbone_that_says_so_is_the_same_in_training(name: str) -> None:
    torch.manual_seed(0)
    network = BASES[name]()
    enliven(network)
    if not network.backbone.same_in_training:
        assert name != "mobilenet_v2"
        return
    images, click_map = inputs(2)
    with torch.no_grad():
        trained, evaluated = (network.train(mode).backbone(images, click_map) for mode in (True, False))
    for one, other in zip(trained, evaluated):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_layers_that_act_by_mode_are_not_taken_for_steady() -> None:
    backbone = BASES["mobilenet_v2"]().backbone
    assert backbone.same_in_training
    for layer in (nn.BatchNorm2d(3), nn.Dropout(0.1)):
        backbone.layer = layer
        assert not backbone.same_in_training
    backbone.layer = nn.ReLU()
    assert backbone.same_in_training


def batch(count: int = 3) -> DeviceBatch:
    random = torch.Generator().manual_seed(5)
    images = torch.rand(count, 3, 64, 64, generator=random).contiguous(memory_format=torch.channels_last)
    targets = torch.zeros(count, 64, 64, dtype=torch.int8)
    targets[:, 12:44, 20:52] = 1
    targets[:, 50:] = -1
    return DeviceBatch(images, targets, torch.tensor([[28.0, 36.0]] * count), tuple(range(count)))


@pytest.mark.parametrize("count", [0, 3])
@pytest.mark.parametrize("base", ["mobilenet_v2", "segformer_b0"])
def test_a_step_is_that_of_the_plain_networks(base: str, count: int) -> None:
    """Clicks and logits, beside base network and corrector run afresh as METHOD says."""
    torch.manual_seed(0)
    # by similarity, in a network that knows nothing, templates tie
    network = EmcNetwork(ModelSpec(base, CorrectionSpec(width=16, templates=12, selection=False)))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.0  # so that both ways read the same statistics
    network.train()
    placed, recipe, seen = batch(), ClickRecipe(), []

    def simulate(*args: object) -> tuple[CellMaps, Tensor | None]:
        seen.append(simulate_clicks(*args, placed, count, recipe, 3, threads=2))  # pyright: ignore
        return seen[-1]

    torch.manual_seed(1)
    logits = TrainingForward(network)(placed.images, first_clicks(placed).first_click_map(), simulate)
    assert all(module.training for module in network.modules())

    maps = ClickMaps(3, (64, 64))
    everyone = torch.ones(3, dtype=torch.bool)
    maps.add(placed.first_clicks, everyone, everyone)
    previous = None
    rngs = click_rngs(3, placed.numbers)
    with torch.no_grad():
        network.eval()
        output = network.first(placed.images, maps.first_click_map())
        mask = output.coarse_logits
        for _ in range(count):
            previous = mask = network.correct(placed.images, output.features, maps.input(), mask)
            full = F.interpolate(mask, size=(64, 64), mode="bilinear", align_corners=True)
            found = next_clicks(torch.sigmoid(full)[:, 0].numpy(), placed.targets.numpy(), rngs)
            maps.add(
                torch.tensor([(c.row, c.column) if c else (0.0, 0.0) for c in found]),
                torch.tensor([bool(c and c.positive) for c in found]),
                torch.tensor([c is not None for c in found]),
            )
        network.train()
        torch.manual_seed(1)
        output = network.first(placed.images, maps.first_click_map())
        before = output.coarse_logits if previous is None else previous
        corrected = network.correct(placed.images, output.features, maps.input(), before)
    clicks, mask_before = seen[0]
    assert (mask_before is None) == (count == 0)
    for name in ("points", "positive", "exists"):
        assert torch.equal(getattr(clicks, name), getattr(maps, name)), name
    assert far(logits.coarse.detach(), output.coarse_logits.detach()) < 3e-5
    assert far(logits.corrected.detach(), corrected.detach()) < 3e-4
    assert logits.corrected.requires_grad


def damaged_batch() -> DeviceBatch:
    """Three squares: the first from nothing, the second from a mask too large, the third from one too small."""
    plain = batch()
    initials = torch.zeros(3, 64, 64, dtype=torch.bool)
    initials[1, 4:48, 4:60] = True
    initials[2, 20:36, 28:44] = True
    return replace(plain, initials=initials, starts=torch.tensor([False, True, True]))


def test_the_first_click_on_an_initial_mask_lies_on_its_error() -> None:
    given_batch = damaged_batch()
    found = correct_first(given_batch, 7, ClickRecipe())
    assert found.first_positive is not None
    assert found.first_positive.tolist() == [True, False, True]
    assert torch.equal(found.first_clicks[0], given_batch.first_clicks[0])
    row, column = found.first_clicks[1].long()
    assert given_batch.targets[1, row, column] == 0
    assert given_batch.initials is not None
    assert given_batch.initials[1, row, column]
    row, column = found.first_clicks[2].long()
    assert given_batch.targets[2, row, column] == 1
    assert not given_batch.initials[2, row, column]
    assert torch.equal(correct_first(given_batch, 7, ClickRecipe()).first_clicks, found.first_clicks)
    maps = first_clicks(found).first_click_map()
    assert maps.flatten(1).any(1).tolist() == [True, False, True]  # as a session's: no click, no disk
    assert correct_first(batch(), 7, ClickRecipe()).first_positive is None


def test_an_initial_mask_enters_as_in_a_session() -> None:
    given_batch, coarse = damaged_batch(), torch.rand(3, 64, 64)
    found = start_from(given_batch, coarse)
    assert torch.equal(found[0], coarse[0])
    view = View.fit((64, 64), 64)
    assert given_batch.initials is not None
    for number in (1, 2):
        grid = torch.from_numpy(view.mask_to_grid(given_batch.initials[number].numpy()))
        logits = MASK_LOGIT * (2 * grid - 1)
        full = F.interpolate(logits[None, None], size=(64, 64), mode="bilinear", align_corners=True)
        torch.testing.assert_close(found[number], full[0, 0].sigmoid(), rtol=1e-4, atol=1e-5)
    assert torch.equal(start_from(batch(), coarse), coarse)


@pytest.mark.parametrize("count", [0, 2])
def test_a_step_from_initial_masks(count: int) -> None:
    """The coarse mask learns nothing where the base network saw no click; the corrector learns from all."""
    torch.manual_seed(0)
    network = EmcNetwork(ModelSpec("mobilenet_v2", CorrectionSpec(width=16, templates=12))).train()
    training = EmcTraining(network, parse_recipe(recipe_text(Path("nowhere"))))
    given_batch = damaged_batch()
    given_step = StepInput(given_batch, count, 0, 3, 1, StageClock(), contextlib.nullcontext)
    losses = training(given_step)
    assert all(torch.isfinite(loss) for loss in losses.values())
    losses["total"].backward()
    assert network.corrector.predict.weight.grad is not None
    assert network.corrector.predict.weight.grad.abs().sum() > 0
    corrected = correct_first(given_batch, 3, ClickRecipe())
    assert (coarse_targets(corrected)[1] == -1).all()
    assert torch.equal(coarse_targets(corrected)[[0, 2]], given_batch.targets[[0, 2]])
    without = training(replace(given_step, batch=replace(given_batch, starts=None, initials=None)))
    assert float(without["corrected"]) != float(losses["corrected"])
