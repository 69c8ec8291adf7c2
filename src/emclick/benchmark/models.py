"""Model folders to measure: what is here as it is, the rest made for the occasion."""

from __future__ import annotations

import importlib.util
import shutil
from dataclasses import dataclass
from pathlib import Path

from emclick.benchmark.costs import Costs, costs_of
from emclick.card import CARD_NAME, WEIGHTS_NAME, read_card
from emclick.errors import MissingExtraError, WeightsError
from emclick.graphs import has_graphs
from emclick.zoo import find_folder

SEED = 0
EXPORT_NEEDS = ("torch", "onnx", "onnxscript")
"""Modules; without them models that have no graphs run in PyTorch alone."""


@dataclass(frozen=True)
class Subject:
    """A model that can be measured.

    Attributes:
        name: as asked for; of a folder, its last part.
        folder: where every runtime that was asked for finds what it needs, if it could be made.
        seeded: its weights are random.
        costs: of its plain network.
    """

    name: str
    folder: Path
    seeded: bool
    costs: Costs


def prepare_model(name: str, target: Path, graphs: bool) -> Subject:
    """Find a model, or make in the folder `target` what is missing: random weights, and ONNX graphs if `graphs`.

    Raises:
        UnknownNameError: no such model.
        MissingExtraError: it has no weights, or costs that are not known, and PyTorch is not installed.
        WeightsError, CheckpointError: what is there is damaged.
    """
    try:
        folder, seeded = find_folder(name), False
    except WeightsError:
        if importlib.util.find_spec("torch") is None:
            raise MissingExtraError(
                f'{name} has no weights here, and random ones need PyTorch: pip install "emclick[torch]"'
            ) from None
        folder, seeded = seeded_model_folder(name, target), True
    card = read_card(folder)
    if graphs and not has_graphs(folder) and all(map(importlib.util.find_spec, EXPORT_NEEDS)):
        folder = _with_graphs(folder, target)
    return Subject(Path(name).name, folder, seeded, costs_of(card.spec))


def seeded_model_folder(name: str, target: Path) -> Path:
    """A model folder for a name of the zoo, with random weights that are always the same. Needs PyTorch.

    Args:
        name: of the zoo.
        target: made if missing.
    """
    import torch

    from emclick.card import Card
    from emclick.networks.checkpoint import save_model
    from emclick.networks.model import EmcNetwork
    from emclick.networks.official import OFFICIAL_SPECS
    from emclick.spec import ModelSpec
    from emclick.zoo import DEFAULT_MODEL

    spec = {**OFFICIAL_SPECS, DEFAULT_MODEL: ModelSpec("mobilenet_v2")}[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        network = EmcNetwork(spec)
    card = Card(name, spec, about={"weights": f"random, seed {SEED}: for measuring time alone"})
    return save_model(target, network.state_dict(), card)


def _with_graphs(folder: Path, target: Path) -> Path:
    """`folder`, or a copy of its model in `target`, with ONNX graphs beside the weights."""
    from emclick.networks.export import export_model

    if folder != target:
        target.mkdir(parents=True, exist_ok=True)
        for file in (WEIGHTS_NAME, CARD_NAME):
            shutil.copyfile(folder / file, target / file)
    export_model(target, check=False)  # time alone is of interest
    return target
