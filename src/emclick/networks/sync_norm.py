"""BatchNorm over the samples of all processes. PyTorch's own covers GPUs; this one serves the CPU too."""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn


class _SumOverProcesses(torch.autograd.Function):
    """The sum over all processes; its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        total = value.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        total = grad_outputs[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total


def all_reduce(value: Tensor) -> Tensor:
    """Differentiable sum of `value` over all processes."""
    return cast(Tensor, _SumOverProcesses.apply(value))


class SyncNorm(nn.BatchNorm2d):
    """`nn.BatchNorm2d` whose training statistics are those of all processes' samples together."""

    def forward(self, input: Tensor) -> Tensor:
        if not (self.training and dist.is_initialized() and dist.get_world_size() > 1):
            return super().forward(input)
        x = input.float()
        # In two passes: the mean of squares less the squared mean loses all digits where features hardly vary.
        total = all_reduce(torch.cat([x.sum((0, 2, 3)), x.new_tensor([x.numel() / x.shape[1]])]))
        count = total[-1]
        mean = total[:-1] / count
        centred = x - mean[:, None, None]
        variance = all_reduce((centred * centred).sum((0, 2, 3))) / count
        if self.track_running_stats and self.running_mean is not None and self.running_var is not None:
            rate = self.momentum if self.momentum is not None else 0.1
            with torch.no_grad():
                self.running_mean.lerp_(mean, rate)
                self.running_var.lerp_(variance * count / (count - 1), rate)
                if self.num_batches_tracked is not None:
                    self.num_batches_tracked.add_(1)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(input.dtype)


def synchronise(module: nn.Module) -> nn.Module:
    """Replace every `BatchNorm2d` inside by a synchronised one with the same weights and statistics."""
    for name, child in module.named_children():
        if type(child) is nn.BatchNorm2d:
            device = child.weight.device
            norm = SyncNorm(child.num_features, child.eps, child.momentum).to(device)
            norm.load_state_dict(child.state_dict())
            setattr(module, name, norm.train(child.training))
        else:
            synchronise(child)
    return module
