"""BatchNorm over the samples of all processes. PyTorch's own covers GPUs; this one serves the CPU too."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce


class SyncNorm(nn.BatchNorm2d):
    """`nn.BatchNorm2d` whose training statistics are those of all processes' samples together."""

    def forward(self, input: Tensor) -> Tensor:
        if not (self.training and dist.is_initialized() and dist.get_world_size() > 1):
            return super().forward(input)
        x = input.float()
        local = torch.cat([x.sum((0, 2, 3)), (x * x).sum((0, 2, 3)), x.new_tensor([x.numel() / x.shape[1]])])
        total = all_reduce(local)
        channels = x.shape[1]
        count = total[-1]
        mean = total[:channels] / count
        variance = (total[channels : 2 * channels] / count - mean * mean).clamp_min(0)
        if self.track_running_stats and self.running_mean is not None and self.running_var is not None:
            rate = self.momentum if self.momentum is not None else 0.1
            with torch.no_grad():
                self.running_mean.lerp_(mean, rate)
                self.running_var.lerp_(variance * count / (count - 1), rate)
                if self.num_batches_tracked is not None:
                    self.num_batches_tracked.add_(1)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        shift = self.bias - mean * scale
        return (x * scale[:, None, None] + shift[:, None, None]).to(input.dtype)


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
