"""PyTorch: the CPU, CUDA, and half precision by autocast."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emclick.card import Card
from emclick.cpus import usable_cpus
from emclick.networks.checkpoint import load_model
from emclick.networks.correction import STRIDE, ClickInput
from emclick.networks.model import EmcNetwork
from emclick.networks.split import split
from emclick.runtimes.base import (
    CorrectionInput,
    EmcRuntime,
    Float,
    FusedFrame,
    KeptFrame,
    PartsRuntime,
    Runtime,
)
from emclick.runtimes.network import NetworkRuntime


class ReferenceRuntime(NetworkRuntime, EmcRuntime):
    """An `EmcNetwork` as it is: what other runtimes are held to.

    In the order of operations of the published network, a batch of two with flip included, since rounding may swap
    two templates that tie. Arguments as of `NetworkRuntime`.
    """

    def open(self, frames: Float) -> Tensor:
        return self.to_tensor(frames)

    def first(self, image: Tensor, click_map: Float) -> tuple[Tensor, Float]:
        features, coarse_logits, *_ = self.call(self.network.first, image, click_map)
        return features, to_numpy(coarse_logits)

    def correct(self, image: Tensor, features: Tensor, inputs: CorrectionInput, fused: None = None) -> Float:
        [logits] = self.call(
            self._correct, image, features, inputs.disks, inputs.distances, inputs.points, inputs.positive,
            inputs.previous_logits,
        )  # fmt: skip
        return to_numpy(logits)

    def _correct(
        self, image: Tensor, features: Tensor, disks: Tensor, distances: Tensor, points: Tensor, positive: Tensor,
        previous_logits: Tensor,
    ) -> Tensor:  # fmt: skip
        maps = F.pixel_shuffle(disks.permute(0, 3, 1, 2), STRIDE)
        chosen = positive.expand(len(points), -1)
        clicks = ClickInput(points, chosen, torch.ones_like(chosen), maps, distances)
        return self.network.correct(image, features, clicks, previous_logits)


class TorchRuntime(NetworkRuntime, PartsRuntime):
    """An `EmcNetwork` split into parts: for CUDA, and for half precision.

    Args:
        network: the model; it is copied.
        device, threads, precision: as of `NetworkRuntime`; template selection stays in float32.
    """

    def __init__(
        self, network: EmcNetwork, device: str = "cpu", threads: int | None = None, precision: str = "fp32"
    ) -> None:
        parts: Any = nn.ModuleDict(split(network)._asdict())  # the stubs lack `memory_format` alone
        super().__init__(parts.to(memory_format=torch.channels_last), device, threads, precision)

    @classmethod
    def from_folder(
        cls,
        folder: str | os.PathLike[str],
        *,
        device: str = "cpu",
        threads: int | None = None,
        precision: str = "fp32",
    ) -> tuple[Runtime, Card]:
        """Load a model folder; see `torch_runtime`. Raises as `load_model` and as the class."""
        network, card = load_model(folder)
        # PyTorch knows what was asked of it (OMP_NUM_THREADS), and nothing of a container's share of the CPUs
        most = min(torch.get_num_threads(), usable_cpus())
        return torch_runtime(network, device, threads or most, precision), card

    def run(self, part: str, *arrays: Any, brief: bool = False) -> Sequence[Tensor]:
        return self.call(self.network[part], *arrays)

    @torch.inference_mode()
    def correct(
        self, image: list[KeptFrame], features: list[Any], inputs: CorrectionInput,
        fused: list[FusedFrame] | None = None,
    ) -> Float:  # fmt: skip
        return super().correct(image, features, inputs, fused)

    def to_numpy(self, output: Tensor) -> Float:
        return to_numpy(output)

    def duplicate(self, output: Tensor) -> Tensor:
        return output.clone()


def to_numpy(output: Tensor) -> Float:
    """Float32 on the CPU."""
    return output.float().cpu().numpy()


def torch_runtime(
    network: nn.Module, device: str = "cpu", threads: int | None = None, precision: str = "fp32"
) -> Runtime:
    """The runtime for a network of any method; the network is copied.

    EMC's in fp32 on the CPU is the reference, elsewhere it runs split.

    Raises:
        OptionError: the device is not there, or the precision unknown.
    """
    kind: Any = NetworkRuntime
    if isinstance(network, EmcNetwork):
        plain = precision == "fp32" and device.partition(":")[0] == "cpu"
        kind = ReferenceRuntime if plain else TorchRuntime
    return kind(network, device, threads, precision)
