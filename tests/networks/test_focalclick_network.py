"""FocalClick's parts: cropping and disks against cases worked by hand, the network's shapes and gradients."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from emclick.clicks import disk_maps
from emclick.methods.focalclick_spec import FocalClickSpec
from emclick.networks.focalclick import FocalClickNetwork, Refined, click_disks, crop


def test_a_crop_worked_by_hand() -> None:
    ramp = torch.arange(9.0).view(1, 1, 3, 3)  # value 3 * row + column at whole places
    # a box of 2x2 px from 0.5 to 2.5: cells of 1 px, centres at 1 and 2, which are places 0.5 and 1.5
    inner = crop(ramp, torch.tensor([[0.5, 0.5, 2.5, 2.5]]) / 3, (2, 2))
    torch.testing.assert_close(inner[0, 0], torch.tensor([[2.0, 3.0], [5.0, 6.0]]))
    # all of it at its own size is itself; at twice the size the first centre, -0.25, is clamped to 0
    whole = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
    torch.testing.assert_close(crop(ramp, whole, (3, 3)), ramp)
    rows = crop(ramp, whole, (6, 3))[0, 0, :, 0]
    torch.testing.assert_close(rows, 3 * torch.tensor([0.0, 0.25, 0.75, 1.25, 1.75, 2.0]))


def test_each_sample_has_its_own_crop() -> None:
    x = torch.rand(2, 3, 8, 12)
    boxes = torch.tensor([[0.1, 0.2, 0.6, 0.9], [0.0, 0.5, 1.0, 1.0]])
    both = crop(x, boxes, (5, 6))
    for number in range(2):
        torch.testing.assert_close(
            both[number], crop(x[number : number + 1], boxes[number : number + 1], (5, 6))[0]
        )


@pytest.mark.parametrize("radius", [2, 3, 5])
def test_disks_are_those_of_the_definition(radius: int) -> None:
    random = np.random.default_rng(radius)
    points = random.uniform(0, 40, (2, 6, 2)).astype(np.float32)
    points[0, 0], points[0, 1], points[1, 2] = (-3, 7), (7, 43.5), (20, 20)  # beyond the edges; whole
    sides = np.array([[1, -1, 1, 0, -1, 1]] * 2, np.float32)
    maps = click_disks(torch.from_numpy(points), torch.from_numpy(sides), (40, 40), radius).numpy()
    rows, columns = np.mgrid[:40, :40]
    for number in range(2):
        for side, sign in enumerate((1, -1)):
            expected = np.zeros((40, 40), bool)
            for row, column in points[number][sides[number] == sign]:
                expected |= (rows - row) ** 2 + (columns - column) ** 2 <= radius**2
            assert np.array_equal(maps[number, side] > 0, expected)
    assert set(np.unique(maps)) == {0, 1}


def test_disks_of_five_are_those_of_other_methods() -> None:
    points = np.array([[3.3, 4.2], [20.0, 31.5], [0.0, 0.0]], np.float32)
    sides = torch.tensor([[1.0, -1.0, 1.0]])
    ours = click_disks(torch.from_numpy(points)[None], sides, (32, 32), 5)[0].numpy()
    assert np.array_equal(ours, disk_maps(points, np.array([True, False, True]), (32, 32)))


def test_a_point_negative_in_both_is_none() -> None:
    at_corner = torch.tensor([[[-1.0, -1.0], [-1.0, 0.0]]])
    assert click_disks(at_corner[:, :1], torch.ones(1, 1), (16, 16), 5).sum() == 0
    assert click_disks(at_corner[:, 1:], torch.ones(1, 1), (16, 16), 5).sum() > 0


def test_the_trimap_chooses_between_detail_and_coarse() -> None:
    detail, coarse = torch.full((1, 1, 2, 2), 3.0), torch.full((1, 1, 4, 4), -2.0)
    for logit, expected in ((40.0, 3.0), (-40.0, -2.0), (0.0, 0.5)):
        refined = Refined(detail, torch.full((1, 1, 2, 2), logit), coarse)
        torch.testing.assert_close(refined.logits(), torch.full((1, 1, 4, 4), expected))


@pytest.mark.parametrize(
    ("base", "pipeline"), [("mobilenet_v2", "s2"), ("segformer_b0", "s1"), ("hrnet18s", "s1")]
)
def test_shapes_and_gradients(base: str, pipeline: str) -> None:
    torch.manual_seed(0)
    network = FocalClickNetwork(FocalClickSpec(base, pipeline)).train()
    side = 64
    image, previous = torch.rand(2, 3, side, side), torch.rand(2, 1, side, side)
    points, sides = torch.rand(2, 3, 2) * side, torch.tensor([[1.0, -1.0, 0.0]] * 2)
    features, logits, _ = network.coarse(image, previous, points, sides)
    grid = side // (4 * network.spec.divisor)
    assert logits.shape == (2, 1, grid, grid)
    assert features.shape == (2, network.base.feature_channels, grid, grid)
    boxes = torch.tensor([[0.1, 0.2, 0.7, 0.9], [0.0, 0.0, 1.0, 1.0]])
    refined = network.refine(image, points, sides, features, logits, boxes)
    assert refined.detail.shape == refined.trimap.shape == (2, 1, side // 2, side // 2)
    assert refined.logits().shape == (2, 1, side, side)
    (logits.sum() + refined.logits().square().sum()).backward()
    unused = [name for name, each in network.named_parameters() if each.grad is None]
    assert all("auxiliary" in name for name in unused), unused
    assert not any("unused_norm" in key for key in network.state_dict())


@pytest.mark.parametrize("base", ["mobilenet_v2", "segformer_b0", "hrnet18s"])
@torch.inference_mode()
def test_the_network_for_inference_gives_the_same(base: str) -> None:
    torch.manual_seed(0)
    network = FocalClickNetwork(FocalClickSpec(base))
    for name, value in network.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            value.uniform_(0.5, 1.5)
    network.eval()
    image, previous = torch.rand(1, 3, 64, 64), torch.rand(1, 1, 64, 64)
    points, sides = torch.tensor([[[20.0, 30.0], [50.0, 40.0]]]), torch.tensor([[1.0, -1.0]])
    box = torch.tensor([[0.1, 0.2, 0.7, 0.9]])

    def answers(given: FocalClickNetwork) -> list[torch.Tensor]:
        features, logits, _ = given.coarse(image, previous, points, sides)
        return [logits, given.refine(image, points, sides, features, logits, box).logits()]

    wanted = answers(network)
    fast = copy.deepcopy(network).for_inference()
    assert not any(isinstance(each, torch.nn.BatchNorm2d) for each in fast.base.backbone.modules())
    for found, expected in zip(answers(fast), wanted, strict=True):
        assert float((found - expected).abs().max() / expected.abs().max()) < 1e-4
