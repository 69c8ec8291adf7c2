"""Parameters and multiply-adds: of EMC's plain networks as METHOD's table counts them, of others as they run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from emclick.card import read_card
from emclick.errors import MissingExtraError
from emclick.spec import CorrectionSpec, ModelSpec

FRAME_SIDE = 384
"""Height and width of the picture that costs are counted on, and `first` and `correction` measured; EMC's frame."""


@dataclass(frozen=True)
class Costs:
    """Of EMC's plain network on a 384x384 frame; of another method's on a 384x384 picture, at its own frame.

    Attributes:
        params: parameters in all.
        correction_params: those that a later click runs; of EMC those of the mask correction network.
        first_macs: multiply-adds of a first click, of EMC its correction included.
        correction_macs: multiply-adds of a later click.
    """

    params: int
    correction_params: int
    first_macs: int
    correction_macs: int


# (base network, width, templates) -> what `count_costs` counts, for machines without PyTorch
COSTS: Mapping[tuple[str, int, int], Costs] = {
    ("mobilenet_v2", 64, 64): Costs(2309923, 104449, 3233955840, 1112866816),
    ("hrnet18s", 64, 64): Costs(4322416, 102401, 9223912192, 1093992448),
    ("hrnet18", 96, 96): Costs(10239828, 207841, 16308439808, 2286157824),
    ("hrnet32", 96, 96): Costs(31171460, 220129, 40222834688, 2399404032),
    ("segformer_b0", 64, 64): Costs(3828770, 112641, 5313445888, 1188364288),
    ("segformer_b3", 96, 96): Costs(45896738, 244705, 32189054976, 2625896448),
}


def costs_of(folder: Path) -> Costs:
    """Of the model in `folder`, whatever its method.

    Raises:
        MissingExtraError: they have to be counted, and PyTorch is not installed.
        WeightsError, CheckpointError: the folder is no model's, or damaged.
    """
    card = read_card(folder)
    if isinstance(card.spec, ModelSpec):
        return emc_costs(card.spec)
    try:
        from emclick.benchmark.counting import count_clicks, count_parameters
        from emclick.networks.checkpoint import load_model
    except ImportError as error:
        raise MissingExtraError(
            f'counting the operations of {card.name} needs PyTorch: pip install "emclick[torch]"'
        ) from error
    network, card = load_model(folder)
    params = count_parameters(network)
    return Costs(params, params, *count_clicks(card, network, FRAME_SIDE))


def emc_costs(spec: ModelSpec) -> Costs:
    """From the table, else counted.

    Raises:
        MissingExtraError: not in the table, and PyTorch is not installed.
        UnknownNameError: no base network of that name.
    """
    correction = spec.correction
    known = COSTS.get((spec.base, correction.width, correction.templates))
    if known is not None and correction == CorrectionSpec(correction.width, correction.templates):
        return known
    try:
        return count_costs(spec)
    except ImportError as error:
        raise MissingExtraError(
            f'counting the operations of {spec.base} needs PyTorch: pip install "emclick[torch]"'
        ) from error


def count_costs(spec: ModelSpec) -> Costs:
    """Count with PyTorch's FLOP counter, on tensors without data; a multiply-add is two FLOPs. One click."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from emclick.networks.correction import STRIDE, ClickInput
    from emclick.networks.model import EmcNetwork

    side, cells = FRAME_SIDE, FRAME_SIDE // STRIDE
    with torch.device("meta"), torch.inference_mode():
        network = EmcNetwork(spec).eval()
        yes = torch.ones(1, 1, dtype=torch.bool)
        disks, distances = torch.zeros(1, 2, side, side), torch.zeros(1, 2, cells, cells)
        clicks = ClickInput(torch.zeros(1, 1, 2), yes, yes, disks, distances)
        image = torch.zeros(1, 3, side, side)
        with FlopCounterMode(display=False) as base:
            output = network.first(image, torch.zeros(1, 1, side, side))
        with FlopCounterMode(display=False) as correction:
            network.correct(image, output.features, clicks, output.coarse_logits)
    base_macs, correction_macs = base.get_total_flops() // 2, correction.get_total_flops() // 2
    return Costs(
        sum(each.numel() for each in network.parameters()),
        sum(each.numel() for each in network.corrector.parameters()),
        base_macs + correction_macs,
        correction_macs,
    )
