"""Depthwise 3x3 convolutions with a gradient that is faster on CPUs in bfloat16; the same sums (docs/log.md)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Values of a map that are brought to float32 at a time: they stay in a core's cache.
CHUNK_VALUES = 1_000_000


def depthwise_conv(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """`conv(x)` of a depthwise 3x3 `conv` with bias, stride 1, padding 1.

    Where CPU autocast would compute in bfloat16 and a gradient is wanted, that gradient is computed another way.
    """
    if x.device.type == "cpu" and torch.is_grad_enabled() and autocast_dtype("cpu") is torch.bfloat16:
        x = x.to(torch.bfloat16)
        return _Depthwise.apply(x, conv.weight, conv.bias)  # pyright: ignore[reportReturnType]
    return conv(x)


def autocast_dtype(device: str) -> torch.dtype | None:
    """What autocast computes convolutions in on a kind of device; None where it is off."""
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None


class _Depthwise(torch.autograd.Function):
    """The gradient of the input is a convolution with the turned kernel; the kernel's is summed in float32."""

    @staticmethod
    def forward(ctx: Any, *args: Any) -> Tensor:
        x, weight, bias = args
        ctx.save_for_backward(x, weight)
        return F.conv2d(x, weight.to(x.dtype), bias.to(x.dtype), padding=1, groups=x.shape[1])

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        grad = grad_outputs[0].contiguous(memory_format=torch.channels_last)
        grad_x = None
        if ctx.needs_input_grad[0]:
            turned = weight.flip(2, 3).to(grad.dtype)
            grad_x = F.conv2d(grad, turned, padding=1, groups=x.shape[1])
        return grad_x, *_kernel_gradients(x, grad, weight)


def _kernel_gradients(x: Tensor, grad: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients (C, 1, 3, 3) and (C,) of kernel and bias, from maps before and gradients after, (B, C, h, w)."""
    channels = len(weight)
    totals = torch.zeros_like(weight), weight.new_zeros(channels)
    samples = max(1, CHUNK_VALUES * len(x) // x.numel())
    for some, some_grad in zip(x.split(samples), grad.split(samples)):
        _, *shares = torch.ops.aten.convolution_backward(
            some_grad.float(), some.float(), weight, [channels], [1, 1], [1, 1], [1, 1], False, [0, 0], channels,
            [False, True, True],
        )  # fmt: skip
        for total, share in zip(totals, shares):
            total += share
    return totals
