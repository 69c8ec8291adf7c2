"""Parts that compute the same sums another way while training: the two ways agree, gradients included."""

import pytest
import torch
from torch import nn

from emclick.networks.backbones.mobilenet_v2 import SameConv
from emclick.networks.blocks import ClickBranch


def gradients(module: nn.Module, x: torch.Tensor, training: bool) -> tuple[torch.Tensor, list[torch.Tensor]]:
    module.train(training)
    module.zero_grad()
    x = x.detach().requires_grad_(x.shape[1] > 1)
    out = module(x)
    out.backward(torch.linspace(-1, 1, out.numel()).view(out.shape))
    found = [x.grad] if x.grad is not None else []
    return out.detach(), found + [p.grad.clone() for p in module.parameters() if p.grad is not None]


def check(module: nn.Module, x: torch.Tensor) -> None:
    fast, slow = gradients(module, x, True), gradients(module, x, False)
    torch.testing.assert_close(fast[0], slow[0], rtol=1e-4, atol=1e-5)
    assert len(fast[1]) == len(slow[1]) > 0
    for one, other in zip(fast[1], slow[1]):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [(12, 12), (13, 16), (11, 9), (2, 3)])
def test_dilated_depthwise_convolution_by_phases(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    check(SameConv(6, 6, stride=1, dilation=2, groups=6), torch.randn(2, 6, *size))


@pytest.mark.parametrize("size", [(8, 8), (9, 7)])
def test_strided_depthwise_convolution(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    conv = SameConv(4, 4, stride=2, groups=4)
    check(conv, torch.randn(2, 4, *size))
    with torch.autocast("cpu", torch.bfloat16):
        fast, _ = gradients(conv, torch.randn(2, 4, *size).bfloat16(), True)
    assert fast.dtype == torch.bfloat16


def test_click_branch() -> None:
    torch.manual_seed(0)
    branch = ClickBranch(8)
    with torch.no_grad():
        branch.expand.bias.normal_()  # both signs, so that the leaky side of the ReLU counts
    check(branch, (torch.rand(2, 1, 20, 24) > 0.9).float())
