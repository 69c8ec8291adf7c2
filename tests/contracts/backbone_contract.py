"""What every base network must do. Subclass `BackboneContract` as a `Test...` class with a `build` fixture.

`build()` returns the base network, as the table of base networks does. A parameter that is never used must
say so by having no gradient (`requires_grad_(False)`): processes that share gradients would wait for it.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from emclick.clicks import ClickMaps, disk_maps
from emclick.near import AROUND, scaled, within
from emclick.networks.base_network import BaseNetwork, BaseOutput

Build = Callable[[], BaseNetwork]
SIZES = [(100, 132), (52, 44)]  # whole cells at a stride of 4, and at no larger one


def inputs(batch: int = 1, height: int = 52, width: int = 44, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Images in [0, 1], and a disk map with one click each, at another place in each."""
    random = torch.Generator().manual_seed(seed)
    image = torch.rand(batch, 3, height, width, generator=random)
    click_map = torch.zeros(batch, 1, height, width)
    for number in range(batch):
        click_map[number, 0, 10 + 9 * number : 20 + 9 * number, 5:15] = 1
    return image, click_map


def enliven(network: nn.Module) -> None:
    """Weights through which signals neither vanish nor explode in a network without statistics."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")


def far(left: Tensor, right: Tensor) -> float:
    """Largest difference, in units of the largest value."""
    return float((left - right).abs().max() / left.abs().max())


def flat(output: BaseOutput) -> list[Tensor]:
    return [each for each in output if each is not None]


class BackboneContract:
    """Channels, strides, odd sizes, gradients, determinism, independence of the batch, use of the click."""

    @pytest.fixture(scope="module")
    @classmethod
    def build(cls) -> Build:
        raise NotImplementedError("give a build fixture")

    @pytest.fixture(scope="module")
    @classmethod
    def network(cls, build: Build) -> BaseNetwork:
        """Built once for all tests: none of them may change it."""
        torch.manual_seed(0)
        network = build()
        enliven(network)
        return network.eval()

    @torch.no_grad()
    @pytest.mark.parametrize(("height", "width"), SIZES)
    def test_channels_and_strides_are_the_declared_ones(
        self, network: BaseNetwork, height: int, width: int
    ) -> None:
        """At odd sizes too, and all values are numbers."""
        maps = network.backbone(*inputs(2, height, width))
        output = network.head(maps)
        backbone = network.backbone
        assert len(maps) == len(backbone.channels) == len(backbone.strides)
        assert list(backbone.strides) == sorted(backbone.strides)
        for each, channels, stride in zip(maps, backbone.channels, backbone.strides):
            assert tuple(each.shape) == (2, channels, math.ceil(height / stride), math.ceil(width / stride))
        grid = (height // 4, width // 4)
        assert tuple(output.features.shape) == (2, network.feature_channels, *grid)
        assert tuple(output.coarse_logits.shape) == (2, 1, *grid)
        if output.auxiliary_logits is not None:
            assert output.auxiliary_logits.shape == output.coarse_logits.shape
        assert all(each.isfinite().all() for each in flat(output))

    def test_gradients_reach_every_parameter(self, build: Build) -> None:
        torch.manual_seed(0)
        network = build().train()
        output = network(*inputs(batch=2))
        torch.stack([(each - 0.3).square().mean() for each in flat(output)]).sum().backward()
        for name, parameter in network.named_parameters():
            if parameter.requires_grad:
                assert parameter.grad is not None, name
                assert parameter.grad.isfinite().all(), name
            else:
                assert "unused" in name

    def test_gradients_reach_image_and_click(self, network: BaseNetwork) -> None:
        image, click_map = (each.requires_grad_() for each in inputs())
        loss = network(image, click_map).coarse_logits.square().sum()
        for each in torch.autograd.grad(loss, (image, click_map)):
            assert each.abs().sum() > 0

    @torch.no_grad()
    def test_eval_is_deterministic_and_blind_to_the_rest_of_the_batch(self, network: BaseNetwork) -> None:
        image, click_map = inputs(batch=2)
        before = {key: value.clone() for key, value in network.state_dict().items()}
        both, again = flat(network(image, click_map)), flat(network(image, click_map))
        alone = flat(network(image[1:], click_map[1:]))
        for first, second, single in zip(both, again, alone):
            assert torch.equal(first, second)
            assert far(first[1:], single) < 1e-4
            assert far(first[0], first[1]) > 1e-2
        assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())

    @torch.no_grad()
    def test_the_click_changes_the_answer_and_so_does_its_place(self, network: BaseNetwork) -> None:
        image, click_map = inputs()
        here, none = network(image, click_map), network(image, torch.zeros_like(click_map))
        there = network(image, click_map.flip(2))
        for other in (none, there):
            assert far(here.features, other.features) > 1e-4
            assert far(here.coarse_logits, other.coarse_logits) > 1e-4

    @torch.no_grad()
    @pytest.mark.parametrize("place", [(0, 0), (131, 172), (191.4, 251.4), (80, 3)])
    def test_its_first_layers_feel_a_click_near_it_alone(
        self, network: BaseNetwork, place: tuple[float, float]
    ) -> None:
        """And what `around_click` makes of the cells near it is what it makes of all. In float64; at an odd width."""
        frame_hw, grid_hw = (192, 252), (48, 63)
        backbone = copy.deepcopy(network.backbone).double()
        opened = backbone.before_click(torch.rand(1, 3, *frame_hw, dtype=torch.float64))
        maps = ClickMaps.of(np.array([place], np.float32), np.array([True]), frame_hw)
        disk = torch.from_numpy(
            disk_maps(np.array([place], np.float32), np.array([True]), frame_hw)[None, :1]
        ).double()
        [patch] = maps.patches
        used, changed = zip(
            *(AROUND.window(each, size) for each, size in zip((patch.rows, patch.columns), grid_hw))
        )

        def of(cells: tuple[slice, ...], map_hw: Sequence[int]) -> list[slice]:
            return list(map(scaled, cells, grid_hw, map_hw))

        whole, without = (
            backbone.around_click(opened, disk),
            backbone.around_click(opened, torch.zeros_like(disk)),
        )
        some = backbone.around_click(
            opened[:, :, *of(used, opened.shape[2:])], disk[:, :, *of(used, frame_hw)]
        )
        assert any(far(one, other) > 0 for one, other in zip(whole, without))
        for with_click, plain, found in zip(whole, without, some):
            places = of(changed, with_click.shape[2:])
            inside = list(map(within, places, of(used, with_click.shape[2:])))
            difference = with_click - plain
            difference[:, :, *places] = 0
            assert difference.abs().max() == 0
            torch.testing.assert_close(found[:, :, *inside], with_click[:, :, *places], atol=1e-9, rtol=1e-9)

    @torch.no_grad()
    def test_its_layers_after_a_click_are_those_in_two_steps(self, network: BaseNetwork) -> None:
        image, click_map = inputs()
        opened = network.backbone.before_click(image)
        found = network.backbone.beyond_click(network.backbone.around_click(opened, click_map))
        assert all(map(torch.equal, found, network.backbone(image, click_map)))
