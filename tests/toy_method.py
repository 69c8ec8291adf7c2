"""A method that is not EMC, over `NetworkRuntime`, for tests of what takes any method; see `registered`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from emclick.background import Background
from emclick.card import Card
from emclick.clicks import Click, disk_maps
from emclick.errors import MaskError, OptionError
from emclick.geometry import View
from emclick.methods import METHODS
from emclick.methods.base import Method, Options
from emclick.networks.checkpoint import save_model
from emclick.prediction import Prediction, sigmoid

SIDE, CHANNELS = 32, 8
OPEN_MACS = SIDE**2 * 3 * CHANNELS
CONVOLUTION_MACS = SIDE**2 * (CHANNELS + 1) * CHANNELS * 9
ATTENTION_MACS = 2 * 64 * 64 * CHANNELS  # of the 8 x 8 cells, twice
LAST_MACS = SIDE**2 * CHANNELS
CLICK_MACS = CONVOLUTION_MACS + ATTENTION_MACS + LAST_MACS


@dataclass(frozen=True)
class ToySpec:
    base: str = "toy"
    min_cells: int = 1

    def to_dict(self) -> dict[str, Any]:
        return {"base": self.base}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ToySpec:
        return cls(values["base"])


class ToyNetwork(nn.Module):
    """A 1x1 convolution of the image, done early; a 3x3 one with the disks; attention over 8 x 8 cells."""

    def __init__(self, spec: ToySpec) -> None:
        super().__init__()
        self.spec = spec
        self.image = nn.Conv2d(3, CHANNELS, 1)
        self.mix = nn.Conv2d(CHANNELS + 1, CHANNELS, 3, padding=1)
        self.last = nn.Conv2d(CHANNELS, 1, 1)

    def open(self, image: torch.Tensor) -> torch.Tensor:
        return self.image(image)

    def forward(self, opened: torch.Tensor, disks: torch.Tensor) -> torch.Tensor:
        mixed = self.mix(torch.cat([opened, disks], 1))
        cells = F.adaptive_avg_pool2d(mixed, 8).flatten(2).mT
        asked = F.scaled_dot_product_attention(cells, cells, cells).mT.unflatten(2, (8, 8))
        return self.last(mixed + F.interpolate(asked, mixed.shape[-2:]))


@dataclass(frozen=True, eq=False)
class ToyOpened:
    view: View
    prepared: Background[Any]


@dataclass(frozen=True, eq=False)
class ToyState:
    opened: ToyOpened
    clicks: tuple[Click, ...] = ()
    logits: NDArray[np.float32] | None = None


class ToyMethod(Method[ToyOpened, ToyState]):
    spec = ToySpec
    network = "toy_method:ToyNetwork"

    def __init__(self, runtime: Any, options: Options) -> None:
        if options.flip:
            raise OptionError("the toy has no flip")
        self.runtime, self.options = runtime, options

    @classmethod
    def over(cls, runtime: Any, spec: ToySpec, options: Options) -> ToyMethod:
        return cls(runtime, options)

    def open(self, image: NDArray[np.uint8]) -> ToyOpened:
        view = View.fit((image.shape[0], image.shape[1]), self.options.short_side)
        frame = view.image_to_frame(image)[None]
        return ToyOpened(view, Background(lambda: self.runtime.call(self.runtime.network.open, frame)[0]))

    def start(self, opened: ToyOpened, initial_mask: NDArray[np.bool_] | None = None) -> ToyState:
        if initial_mask is not None:
            raise MaskError("the toy takes no mask")
        return ToyState(opened)

    def step(self, state: ToyState, click: Click) -> tuple[ToyState, Prediction]:
        clicks = (*state.clicks, click)
        view = state.opened.view
        row, column = (
            click.y * view.frame_hw[0] / view.image_hw[0],
            click.x * view.frame_hw[1] / view.image_hw[1],
        )
        disks = disk_maps(np.array([[row, column]], np.float32), np.array([click.positive]), view.frame_hw)
        sign = (disks[:1] - disks[1:])[None]
        with self.runtime.lock:
            (logits,) = self.runtime.call(self.runtime.network, state.opened.prepared.result(), sign)
        before = 0 if state.logits is None else state.logits
        new = before + logits.numpy()[0, 0] + 30 * sign[0, 0]
        state = replace(state, clicks=clicks, logits=new.astype(np.float32))
        return state, self.predict(state)

    def set_mask(self, state: ToyState, mask: NDArray[np.bool_]) -> ToyState:
        raise MaskError("the toy takes no mask")

    def predict(self, state: ToyState) -> Prediction:
        return Prediction(state.opened.view, None if state.logits is None else sigmoid(state.logits))

    def compact(self, state: ToyState) -> ToyState:
        return state


def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The toy in the table of methods, of this process."""
    monkeypatch.setitem(METHODS._builtin, "toy", "toy_method:ToyMethod")


def toy_folder(folder: Path, name: str = "toy", seed: int = 0) -> Path:
    """A model folder of it; the toy must be registered."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = ToyNetwork(ToySpec())
    return save_model(folder, network.state_dict(), Card(name, ToySpec(), SIDE, method="toy"))
