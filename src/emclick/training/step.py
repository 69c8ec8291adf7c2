"""One training step of EMC: simulated clicks without gradient, then one forward with it (METHOD, "Training")."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, NamedTuple, TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from emclick.data.training_set import Batch
from emclick.methods.emc import MASK_LOGIT
from emclick.networks.base_network import BaseOutput
from emclick.networks.batched import FrozenCorrector, correct, image_cells, upsampled_probabilities
from emclick.networks.blocks import resize_maps
from emclick.networks.click_maps import CellMaps
from emclick.networks.correction import STRIDE
from emclick.networks.model import EmcNetwork
from emclick.training.clock import StageClock
from emclick.training.losses import binary_cross_entropy, normalized_focal_loss, pixel_weights
from emclick.training.recipe import ClickRecipe, LossRecipe, Recipe
from emclick.training.simulate import NextClick, click_rngs, next_clicks

# Network, cells of the images and what gives the base network's output in eval mode -> clicks, mask before the last.
Simulate = Callable[[EmcNetwork, Tensor, Callable[[], BaseOutput]], tuple[CellMaps, Tensor | None]]
_START_STREAM = 4  # keeps the generators of first clicks on initial masks apart from all others
Call = TypeVar("Call", bound=Callable[..., Any])


class Logits(NamedTuple):
    """What a training forward gives, at 1/4 of the crop: (B, 1, h, w) each, auxiliary ones where there are any; and
    the probabilities before the last click, (B, H, W) without gradient."""

    coarse: Tensor
    auxiliary: Tensor | None
    corrected: Tensor
    before: Tensor


@dataclass(frozen=True)
class DeviceBatch:
    """A batch on the training device.

    Attributes:
        images: (B, 3, h, w) float32 in [0, 1].
        targets: (B, h, w) int8 in {1, 0, -1}.
        first_clicks: (B, 2) float32 (row, column).
        numbers: the samples' numbers, which seed their simulated clicks.
        initials: (B, h, w) bool, masks to start from; None if no sample starts from one.
        starts: (B,) bool, which samples do.
        first_positive: (B,) bool, polarity of the first clicks; None if all are positive.
    """

    images: Tensor
    targets: Tensor
    first_clicks: Tensor
    numbers: tuple[int, ...]
    initials: Tensor | None = None
    starts: Tensor | None = None
    first_positive: Tensor | None = None

    @classmethod
    def move(cls, batch: Batch, device: torch.device) -> DeviceBatch:
        """Take a batch of uint8 images to the device."""
        images = batch.images.to(device, non_blocking=True).permute(0, 3, 1, 2).float() / 255
        return cls(
            images.contiguous(memory_format=torch.channels_last),
            batch.targets.to(device, non_blocking=True),
            batch.first_clicks.to(device, non_blocking=True).float(),
            tuple(batch.numbers.tolist()),
            *((batch.initials.to(device), batch.starts.to(device)) if batch.starts.any() else ()),
        )


@dataclass(frozen=True)
class StepInput:
    """What a step is made of, the same for every method.

    Attributes:
        batch: samples on the device.
        count: simulated clicks after the first.
        step: finished steps before this one.
        seed: the run's.
        threads: for simulated clicks.
        clock: measure simulated clicks as "simulate".
        autocast: the run's precision, as a context.
    """

    batch: DeviceBatch
    count: int
    step: int
    seed: int
    threads: int
    clock: StageClock
    autocast: Callable[[], contextlib.AbstractContextManager[object]]


UNPUBLISHED: Mapping[str, Callable[[Recipe], float]] = {
    "initial_probability": lambda recipe: max(phase.initial_probability for phase in recipe.phases),
    "clicks.stray": lambda recipe: recipe.clicks.stray,
    "loss.edge": lambda recipe: recipe.loss.edge,
    "loss.kept": lambda recipe: recipe.loss.kept,
}
"""A recipe's options that are in no published training: 0 for none."""


class MethodTraining(nn.Module, ABC):
    """A method's share of a training step: simulated clicks, forward, losses. One module, so that processes
    share gradients of all that it uses.

    Attributes:
        unpublished: whether it knows the options of `UNPUBLISHED`.

    Args:
        network: of the method, in training mode; the loop owns optimiser, averages and checkpoints.
        recipe: the run's.
    """

    unpublished: ClassVar[bool] = False

    def __init__(self, network: Any, recipe: Recipe) -> None:
        super().__init__()
        self.network: Any = network
        self.recipe = recipe

    @abstractmethod
    def forward(self, given: StepInput) -> dict[str, Tensor]:
        """The losses by name; "total" is what to differentiate. Random draws come from `given` alone."""


class TrainingForward(nn.Module):
    """Base network, simulated clicks and corrector in one forward, so that gradients can be shared by processes."""

    def __init__(self, network: EmcNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, images: Tensor, click_map: Tensor, simulate: Simulate,
        start: Callable[[Tensor], Tensor] = lambda coarse: coarse,
    ) -> Logits:  # fmt: skip
        """Logits in training mode, after the clicks that `simulate` makes on the base network's eval-mode output.

        Where it makes none, `start` gives the mask before the first click from the coarse one. A backbone that is the
        same in both modes runs once; its maps, cut off, then serve the simulation.
        """
        base = self.network.base
        shared = base.backbone(images, click_map) if base.backbone.same_in_training else None
        cells = image_cells(self.network.corrector, images)

        def in_eval() -> BaseOutput:
            with evaluating(base):
                if shared is None:
                    return base(images, click_map)
                return base.head([each.detach() for each in shared])

        clicks, probabilities = simulate(self.network, cells, in_eval)
        output: BaseOutput = base(images, click_map) if shared is None else base.head(shared)
        if probabilities is None:
            probabilities = start(upsampled_probabilities(output.coarse_logits))
        corrected = correct(self.network.corrector, cells, output.features, clicks, probabilities)
        return Logits(output.coarse_logits, output.auxiliary_logits, corrected, probabilities.detach())


class EmcTraining(MethodTraining):
    """EMC-Click's (METHOD, "Training")."""

    unpublished = True

    def __init__(self, network: EmcNetwork, recipe: Recipe) -> None:
        super().__init__(network, recipe)
        self.run = TrainingForward(network)

    def forward(self, given: StepInput) -> dict[str, Tensor]:
        batch = correct_first(given.batch, given.seed, self.recipe.clicks)

        def simulate(
            network: EmcNetwork, cells: Tensor, base: Callable[[], BaseOutput]
        ) -> tuple[CellMaps, Tensor | None]:
            with given.clock.measure("simulate"):
                return simulate_clicks(
                    network, cells, base, batch, given.count, self.recipe.clicks, given.seed, given.threads
                )

        with given.autocast():
            click_map = first_clicks(batch).first_click_map()
            logits = self.run(batch.images, click_map, simulate, partial(start_from, batch))
        return compute_loss(logits, batch.targets, self.recipe.loss, coarse_targets(batch))


@contextlib.contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Eval mode and no gradients; the module is left in the mode it was in."""
    training = module.training
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        module.train(training)


def uncompiled(function: Call) -> Call:
    """`function`, which a compiled network calls as it is."""
    return cast(Call, torch.compiler.disable(function))


@uncompiled
@torch.no_grad()
def simulate_clicks(
    network: EmcNetwork, cells: Tensor, base: Callable[[], BaseOutput], batch: DeviceBatch, count: int,
    recipe: ClickRecipe, seed: int, threads: int = 1,
) -> tuple[CellMaps, Tensor | None]:  # fmt: skip
    """The first click and `count` simulated ones, each placed on the errors of the correction before it.

    The corrector acts as in eval mode; features are computed once.

    Args:
        network: whose corrector corrects.
        cells: (B, 48, H/4, W/4) of the images, see `image_cells`.
        base: gives the base network's output in eval mode; asked only if `count` is not 0.
        batch: targets, first clicks and the numbers that seed the clicks.
        count: further clicks.
        recipe: their threshold, and how many stray.
        seed: the run's.
        threads: samples are shared among this many; the result does not depend on it.

    Returns:
        The clicks, and the probabilities before the last click, (B, H, W) float32, None for `count` 0.
    """
    maps = first_clicks(batch, cells.dtype)
    if count == 0:
        return maps, None
    output = base()
    corrector = FrozenCorrector(network.corrector, cells, output.features)
    rngs, targets = click_rngs(seed, batch.numbers), batch.targets.cpu().numpy()
    probabilities = start_from(batch, upsampled_probabilities(output.coarse_logits))
    with ThreadPoolExecutor(threads) as pool:
        share = pool.map if threads > 1 else map
        for _ in range(count):
            probabilities = upsampled_probabilities(corrector.correct(maps, probabilities))
            found = next_clicks(
                probabilities.cpu().numpy(), targets, rngs, recipe.threshold, share, stray=recipe.stray
            )
            maps.add(*_as_tensors(found, batch.images.device))
    return maps, probabilities


def first_clicks(batch: DeviceBatch, dtype: torch.dtype = torch.float32) -> CellMaps:
    """The maps of the first clicks, cells of `dtype`."""
    maps = CellMaps(len(batch.images), batch.images.shape[-2:], batch.images.device, dtype)
    everyone = torch.ones(len(batch.images), dtype=torch.bool, device=batch.images.device)
    maps.add(batch.first_clicks, everyone if batch.first_positive is None else batch.first_positive, everyone)
    return maps


@torch.no_grad()
def correct_first(batch: DeviceBatch, seed: int, recipe: ClickRecipe) -> DeviceBatch:
    """The batch with first clicks on the errors of the initial masks, where there are any."""
    if batch.starts is None or batch.initials is None:
        return batch
    numbers = batch.starts.nonzero().flatten().tolist()
    rngs = [np.random.default_rng((seed, batch.numbers[i], _START_STREAM)) for i in numbers]
    masks, targets = (each[batch.starts].cpu().numpy() for each in (batch.initials, batch.targets))
    points, positive = batch.first_clicks.clone(), torch.ones_like(batch.starts)
    found = next_clicks(masks.astype(np.float32), targets, rngs, recipe.threshold, stray=recipe.stray)
    for i, click in zip(numbers, found):
        if click is not None:  # else the click on the object stays
            points[i] = torch.tensor([click.row, click.column], dtype=points.dtype)
            positive[i] = click.positive
    return replace(batch, first_clicks=points, first_positive=positive)


@torch.no_grad()
def start_from(batch: DeviceBatch, coarse: Tensor) -> Tensor:
    """Mask before the first click, (B, H, W) probabilities: the initial mask as sessions bring it in, else coarse."""
    if batch.starts is None or batch.initials is None:
        return coarse
    grid = [side // STRIDE for side in coarse.shape[-2:]]
    logits = MASK_LOGIT * (2 * resize_maps(batch.initials.float(), grid) - 1)
    return torch.where(batch.starts[:, None, None], upsampled_probabilities(logits[:, None]), coarse)


def coarse_targets(batch: DeviceBatch) -> Tensor:
    """Targets (B, H, W) of the coarse mask: none where the base network saw no click."""
    if batch.first_positive is None:
        return batch.targets
    return batch.targets.masked_fill(~batch.first_positive[:, None, None], -1)


def _as_tensors(found: Sequence[NextClick | None], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Points (B, 2), positive (B,), exists (B,)."""
    points = [(click.row, click.column) if click else (0, 0) for click in found]
    return (
        torch.tensor(points, dtype=torch.float32, device=device),
        torch.tensor([bool(click and click.positive) for click in found], device=device),
        torch.tensor([click is not None for click in found], device=device),
    )


def compute_loss(
    logits: Logits, targets: Tensor, weights: LossRecipe, coarse: Tensor | None = None
) -> dict[str, Tensor]:
    """The losses on targets (B, H, W), for the base network on `coarse`; "total" is what to differentiate."""
    first = targets if coarse is None else coarse
    losses = {
        "coarse": normalized_focal_loss(logits.coarse, first),
        "corrected": normalized_focal_loss(
            logits.corrected,
            targets,
            weight=pixel_weights(targets, logits.before, weights.edge, weights.kept),
        ),
    }
    total = weights.coarse * losses["coarse"] + weights.corrected * losses["corrected"]
    if logits.auxiliary is not None:
        losses["auxiliary"] = binary_cross_entropy(logits.auxiliary, first)
        total = total + weights.auxiliary * losses["auxiliary"]
    return {**losses, "total": total}
