"""The reference runtime: PyTorch in float32 on the CPU (or another device)."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch

from emclick.card import Card
from emclick.networks.checkpoint import load_model
from emclick.networks.correction import ClickInput
from emclick.networks.model import EmcNetwork
from emclick.runtimes.base import CorrectionInput, Float, Runtime


class TorchRuntime(Runtime):
    """Runs an `EmcNetwork` in eval mode, without gradients.

    Args:
        network: the model.
        device: where it runs.
        threads: CPU threads for PyTorch, a setting of the whole process; None leaves it as it is.
    """

    name = "torch"

    def __init__(self, network: EmcNetwork, device: str = "cpu", threads: int | None = None) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self.threads = torch.get_num_threads()
        self.device = torch.device(device)
        self.network = network.eval().to(self.device)

    @classmethod
    def from_folder(
        cls, folder: str | os.PathLike[str], *, device: str = "cpu", threads: int | None = None
    ) -> tuple[TorchRuntime, Card]:
        """Load a model folder. Raises as `load_model`."""
        network, card = load_model(folder)
        return cls(network, device, threads), card

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

    @torch.inference_mode()
    def open(self, frames: Float) -> torch.Tensor:
        return self._tensor(frames)

    @torch.inference_mode()
    def first(self, image: torch.Tensor, click_map: Float) -> tuple[Any, Float]:
        output = self.network.first(image, self._tensor(click_map))
        return output.features, output.coarse_logits.float().cpu().numpy()

    def _clicks(self, inputs: CorrectionInput) -> ClickInput:
        batch, count = inputs.points.shape[:2]
        positive = self._tensor(inputs.positive).expand(batch, count)
        return ClickInput(
            points=self._tensor(inputs.points),
            positive=positive,
            exists=torch.ones_like(positive),
            disks=self._tensor(inputs.disks),
            distances=self._tensor(inputs.distances),
        )

    @torch.inference_mode()
    def correct(self, image: torch.Tensor, features: torch.Tensor, inputs: CorrectionInput) -> Float:
        previous = self._tensor(inputs.previous_logits)
        logits = self.network.correct(image, features, self._clicks(inputs), previous)
        return logits.float().cpu().numpy()
