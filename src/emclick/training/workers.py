"""This process's place among the training processes that `torchrun` started."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn

from emclick.errors import OptionError
from emclick.networks.sync_norm import synchronise

BACKENDS = {"cpu": "gloo", "cuda": "nccl"}


def check_device(device: str) -> None:
    """Raise `OptionError` for a device that is not known or not there."""
    if device not in BACKENDS:
        raise OptionError(f"unknown device {device!r}; choose from {', '.join(BACKENDS)}")
    if device == "cuda" and not torch.cuda.is_available():
        raise OptionError("no CUDA device here; leave --device out to train on the CPU")


@dataclass(frozen=True)
class Workers:
    """Rank and number of the training processes; (0, 1) without `torchrun`."""

    rank: int = 0
    count: int = 1
    local_rank: int = 0

    @classmethod
    @contextlib.contextmanager
    def join(cls, device: str) -> Iterator[Workers]:
        """Join the process group that the environment describes, and leave it at the end."""
        count = int(os.environ.get("WORLD_SIZE", "1"))
        if count == 1:
            yield cls()
            return
        local_rank = int(os.environ.get("LOCAL_RANK", "0"))
        if device == "cuda":
            torch.cuda.set_device(local_rank)  # what says "cuda" alone means this process's own
        dist.init_process_group(BACKENDS[torch.device(device).type])
        try:
            yield cls(dist.get_rank(), count, local_rank)
        finally:
            dist.destroy_process_group()

    def device(self, kind: str) -> str:
        """This process's own device of a kind: one GPU each, or the CPU."""
        return f"cuda:{self.local_rank}" if kind == "cuda" else kind

    def synchronise_norms(self, network: nn.Module) -> nn.Module:
        """BatchNorm statistics over all processes' samples."""
        return synchronise(network) if self.count > 1 else network

    def any(self, flag: bool) -> bool:
        """True on every process if `flag` is true on one, so that all stop at the same step."""
        if self.count == 1:
            return flag
        device = "cuda" if dist.get_backend() == "nccl" else "cpu"
        votes = torch.tensor(int(flag), device=device)
        dist.all_reduce(votes)
        return bool(votes)

    def wait(self) -> None:
        """Until every process is here."""
        if self.count > 1:
            dist.barrier()
