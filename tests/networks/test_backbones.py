"""Every base network of the table against the contract, and what is special about each."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from contracts.backbone_contract import BackboneContract, Build, inputs
from emclick.errors import UnknownNameError
from emclick.networks.backbones import BASES
from emclick.networks.backbones.mobilenet_v2 import MobileNetV2, SameConv
from emclick.networks.blocks import ClickBranch
from emclick.networks.model import EmcNetwork
from emclick.spec import ModelSpec


class TestEveryBaseNetwork(BackboneContract):
    @pytest.fixture(scope="module", params=sorted(BASES))
    @classmethod
    def build(cls, request: pytest.FixtureRequest) -> Build:
        return BASES[request.param]


def test_an_unknown_base_network_is_refused_with_those_there_are() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown base network 'resnet'; choose from .*mobilenet_v2"):
        EmcNetwork(ModelSpec("resnet"))


def tensorflow_same(x: torch.Tensor, kernel: int, stride: int, dilation: int) -> torch.Tensor:
    """SAME by its definition: as much as makes ceil(n / stride) outputs, the odd one after."""
    pads = []
    for size in (x.shape[3], x.shape[2]):
        reach = (kernel - 1) * dilation + 1
        total = max((-(-size // stride) - 1) * stride + reach - size, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads)


@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2)])
@pytest.mark.parametrize("size", [(8, 8), (9, 8), (8, 11), (7, 9)])
@pytest.mark.parametrize("training", [False, True])
def test_same_padding_is_tensorflows_also_by_the_training_detours(
    stride: int, dilation: int, size: tuple[int, int], training: bool
) -> None:
    torch.manual_seed(0)
    conv = SameConv(6, 6, stride, dilation, groups=6).double().train(training)
    weights = list(conv.parameters())
    ours = torch.randn(2, 6, *size, dtype=torch.double, requires_grad=True)
    theirs = ours.detach().clone().requires_grad_()
    left = conv(ours)
    padded = tensorflow_same(theirs, 3, stride, dilation)
    right = F.conv2d(padded, conv.weight, conv.bias, stride, 0, dilation, groups=6)
    torch.testing.assert_close(left, right)
    direction = torch.randn_like(left)
    gradients = torch.autograd.grad((left * direction).sum(), [ours, *weights])
    expected = torch.autograd.grad((right * direction).sum(), [theirs, *weights])
    for own, other in zip(gradients, expected):
        torch.testing.assert_close(own, other)


def test_the_bf16_detour_is_as_near_as_bf16_is() -> None:
    torch.manual_seed(0)
    conv = SameConv(8, 8, 2, groups=8)
    x = torch.randn(2, 8, 16, 16)
    exact = conv.eval()(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = conv.train()(x.bfloat16())
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.float(), exact, rtol=0.02, atol=0.02)


@torch.no_grad()
def test_mobilenet_gives_the_same_in_training_and_use() -> None:
    torch.manual_seed(0)
    network = MobileNetV2()
    for size in ((52, 44), (64, 64)):
        image, click_map = inputs(2, *size)
        for used, trained in zip(network.eval()(image, click_map), network.train()(image, click_map)):
            torch.testing.assert_close(used, trained, rtol=1e-4, atol=1e-5)


def test_click_branch_is_two_convolutions_times_the_size_of_a_scale() -> None:
    torch.manual_seed(0)
    branch = ClickBranch(5)
    assert branch.scale.item() == pytest.approx(0.05)
    _, click_map = inputs(2)
    hidden = F.leaky_relu(F.conv2d(click_map, branch.expand.weight, branch.expand.bias), 0.2)
    expected = F.conv2d(hidden, branch.down.weight, branch.down.bias, 2, 1)
    torch.testing.assert_close(branch(click_map), expected * 0.05)
    branch.scale.data.fill_(-2.0)
    torch.testing.assert_close(branch(click_map), expected * 2)


def test_a_click_of_scale_zero_changes_nothing() -> None:
    """The click is added to the stem's output; it does not replace it."""
    torch.manual_seed(0)
    network = MobileNetV2().eval()
    image, click_map = inputs()
    network.click_branch.scale.data.zero_()
    without = network(image, torch.zeros_like(click_map))
    for left, right in zip(network(image, click_map), without):
        torch.testing.assert_close(left, right)
