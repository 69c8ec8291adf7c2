"""PyTorch: the CPU, CUDA, and half precision by autocast."""

from __future__ import annotations

import contextlib
import copy
import os
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emclick.card import Card
from emclick.cpus import usable_cpus
from emclick.graphs import GRAPHS
from emclick.networks.checkpoint import load_model
from emclick.networks.correction import STRIDE, ClickInput
from emclick.networks.model import EmcNetwork
from emclick.networks.split import split
from emclick.runtimes.base import Float, PartsRuntime, Runtime
from emclick.runtimes.network import PRECISIONS, NetworkRuntime, check_precision, no_device


class Plain:
    """`EmcNetwork` as it is, behind the calls of `emclick.networks.split`."""

    def __init__(self, network: EmcNetwork) -> None:
        self.network = network

    def image(self, frame: Tensor) -> tuple[Tensor, Tensor]:
        return frame, frame

    def first(self, frame: Tensor, click_map: Tensor) -> tuple[Tensor, Tensor]:
        output = self.network.first(frame, click_map)
        return output.coarse_logits, output.features

    def correction(
        self, frame: Tensor, features: Tensor, disks: Tensor, distances: Tensor, points: Tensor, positive: Tensor,
        previous_logits: Tensor,
    ) -> Tensor:  # fmt: skip
        maps = F.pixel_shuffle(disks.permute(0, 3, 1, 2), STRIDE)
        chosen = (positive > 0).expand(len(points), -1)
        clicks = ClickInput(points, chosen, torch.ones_like(chosen), maps, distances)
        return self.network.correct(frame, features, clicks, previous_logits)


class TorchRuntime(PartsRuntime):
    """Runs an `EmcNetwork` without gradients.

    In fp32 on the CPU it is the reference that other runtimes are held to: the network as it is, in the order of
    operations of the published one, since rounding may swap two templates that tie. Elsewhere it runs split.

    Args:
        network: the model; it is copied.
        device: where it runs ("cpu", "cuda", "cuda:1").
        threads: CPU threads for PyTorch, a setting of the whole process; None leaves it as it is.
        precision: "fp32", or "bf16" or "fp16" by autocast; template selection stays in float32.

    Raises:
        OptionError: the device is not there, or the precision unknown.
    """

    name = "torch"

    def __init__(
        self, network: EmcNetwork, device: str = "cpu", threads: int | None = None, precision: str = "fp32"
    ) -> None:
        check_precision(precision)
        if threads is not None:
            torch.set_num_threads(threads)
        self.threads = torch.get_num_threads()
        self.precision = precision
        try:
            self.device = torch.device(device)
            if precision == "fp32" and self.device.type == "cpu":
                plain, self.together = Plain(copy.deepcopy(network).eval()), True
                parts = (plain.image, plain.first, plain.correction)
            else:
                # the stubs know `memory_format` beside other arguments only
                moved: list[Any] = [part.to(self.device) for part in split(network)]
                parts = [part.to(memory_format=torch.channels_last) for part in moved]
            self.parts: dict[str, Callable[..., Any]] = dict(zip(GRAPHS, parts, strict=True))
        except (RuntimeError, AssertionError) as error:  # as torch says that there is no CUDA
            raise no_device(device, error) from error

    @classmethod
    def from_folder(
        cls,
        folder: str | os.PathLike[str],
        *,
        device: str = "cpu",
        threads: int | None = None,
        precision: str = "fp32",
    ) -> tuple[Runtime, Card]:
        """Load a model folder: EMC's for this class, another method's for `NetworkRuntime`.

        Raises as `load_model`, and as the class.
        """
        network, card = load_model(folder)
        # PyTorch knows what was asked of it (OMP_NUM_THREADS), and nothing of a container's share of the CPUs
        most = min(torch.get_num_threads(), usable_cpus())
        return torch_runtime(network, device, threads or most, precision), card

    @torch.inference_mode()
    def run(self, part: str, *arrays: Any) -> Sequence[Tensor]:
        inputs = [
            array if isinstance(array, Tensor) else torch.from_numpy(array).to(self.device, non_blocking=True)
            for array in arrays
        ]
        dtype = PRECISIONS[self.precision]
        half = torch.autocast(self.device.type, dtype) if dtype else contextlib.nullcontext()
        with half:
            outputs = self.parts[part](*inputs)
        return (outputs,) if isinstance(outputs, Tensor) else outputs

    def to_numpy(self, output: Tensor) -> Float:
        return output.float().cpu().numpy()


def torch_runtime(
    network: nn.Module, device: str = "cpu", threads: int | None = None, precision: str = "fp32"
) -> Runtime:
    """The runtime for a network of any method; the network is copied."""
    kind = TorchRuntime if isinstance(network, EmcNetwork) else NetworkRuntime
    return kind(network, device, threads, precision)  # pyright: ignore[reportArgumentType]
