"""The full state of a run on disk: weights, averages, optimiser, position, random state. Saved whole or not at all."""

from __future__ import annotations

import copy
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from emclick.errors import CheckpointError, WeightsError
from emclick.files import write_bytes
from emclick.training.recipe import same_training

STATE_NAME = "state.pt"
_ENTRIES = {"recipe", "step", "seconds", "network", "optimiser", "random"}


class Average:
    """Exponential moving average of weights; BatchNorm statistics are averaged too, counters copied.

    The decay grows as (1 + n) / (10 + n) until it reaches `decay`, so that the start is forgotten.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.network = copy.deepcopy(network).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        pairs = list(zip(self.network.state_dict().values(), network.state_dict().values()))
        averaged = [pair for pair in pairs if pair[0].is_floating_point()]
        lerp_all = torch._foreach_lerp_  # pyright: ignore[reportPrivateImportUsage]
        lerp_all([own for own, _ in averaged], [new for _, new in averaged], 1 - decay)
        for own, new in pairs:
            if not own.is_floating_point():
                own.copy_(new)


@dataclass
class RunState:
    """All that a run needs to go on as if it had not stopped.

    Attributes:
        step: finished steps.
        seconds: what they took.
        cpu_seconds: CPU time that they took, over all threads and data workers of this process.
    """

    network: nn.Module
    optimiser: torch.optim.Optimizer
    average: Average | None
    step: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0

    def save(self, folder: Path, recipe_text: str) -> None:
        """Write `state.pt`, replacing the one before only when complete."""
        content: dict[str, Any] = {
            "recipe": recipe_text,
            "step": self.step,
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "random": _random_state(),
        }
        if self.average is not None:
            content["average"] = self.average.network.state_dict()
            content["average_updates"] = self.average.updates
        buffer = io.BytesIO()
        torch.save(content, buffer)
        write_bytes(folder / STATE_NAME, buffer.getvalue())

    def restore(self, folder: Path, recipe_text: str) -> bool:
        """Go on from `state.pt` if there is one; False if there is none.

        Raises:
            WeightsError: the file is damaged.
            CheckpointError: it belongs to another recipe.
        """
        path = folder / STATE_NAME
        if not path.exists():
            return False
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise WeightsError(f"{path} is damaged ({reason}); move it away to start anew") from error
        if not isinstance(content, dict) or not content.keys() >= _ENTRIES:
            raise WeightsError(f"{path} is not the state of a run; move it away to start anew")
        if not same_training(content["recipe"], recipe_text):
            raise CheckpointError(
                f"{path} belongs to another recipe; give another --output, or move the folder away to start anew"
            )
        try:
            self.network.load_state_dict(content["network"])
            self.optimiser.load_state_dict(content["optimiser"])
            if self.average is not None:
                self.average.network.load_state_dict(content["average"])
                self.average.updates = content["average_updates"]
            _restore_random_state(content["random"])
        except (KeyError, RuntimeError, ValueError) as error:
            reason = (str(error).splitlines() or [""])[0]
            raise CheckpointError(f"{path} was written by another version of emclick: {reason}") from error
        self.step, self.seconds = content["step"], content["seconds"]
        self.cpu_seconds = content.get("cpu_seconds", 0.0)  # states before 0.1.0 have none
        return True


def _random_state() -> dict[str, Tensor]:
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def _restore_random_state(state: dict[str, Tensor]) -> None:
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
