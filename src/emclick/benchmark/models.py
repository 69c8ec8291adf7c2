"""Model folders to measure: what is here as it is, the rest made for the occasion."""

from __future__ import annotations

import importlib.util
import shutil
from dataclasses import dataclass
from pathlib import Path

from emclick.benchmark.costs import Costs, costs_of
from emclick.card import CARD_NAME, WEIGHTS_NAME, Card, read_card
from emclick.errors import MissingExtraError, UnknownNameError, WeightsError
from emclick.graphs import has_graphs
from emclick.methods import METHODS
from emclick.spec import ModelSpec
from emclick.zoo import DEFAULT_MODEL, find_folder

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
        costs: see `Costs`.
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
    graphs = graphs and "onnx" in METHODS[read_card(folder).method].runtimes
    if graphs and not has_graphs(folder) and all(map(importlib.util.find_spec, EXPORT_NEEDS)):
        folder = _with_graphs(folder, target)
    return Subject(Path(name).name, folder, seeded, costs_of(folder))


def seeded_model_folder(name: str, target: Path) -> Path:
    """A model folder for a name of the zoo, with random weights that are always the same. Needs PyTorch.

    Args:
        name: of the zoo.
        target: made if missing.

    Raises:
        UnknownNameError: nothing is known of it but its name.
    """
    import torch

    from emclick.networks.checkpoint import build_network, save_model
    from emclick.networks.releases import all_releases

    about = {"weights": f"random, seed {SEED}: for measuring time alone"}
    cards = {DEFAULT_MODEL: Card(DEFAULT_MODEL, ModelSpec("mobilenet_v2"), about=about)}
    for each in all_releases():
        cards[each.name] = Card(
            each.name, each.spec, each.short_side, about=about, method=each.method, zoom_in=each.zoom_in
        )
    if name not in cards:
        raise UnknownNameError("model to make with random weights", name, list(cards))
    card = cards[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        network = build_network(card.method, card.spec)
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
