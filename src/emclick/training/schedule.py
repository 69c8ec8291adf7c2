"""Learning rate as a pure function of the step, and the optimiser's parameter groups."""

from __future__ import annotations

import math

import torch
from torch import nn

from emclick.training.recipe import OptimiserRecipe

OPTIMISERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
# Parts of a backbone that no pretraining has seen; they learn at the full rate.
NEW_IN_BACKBONE = ("click_branch", "click_embedding")


def _cosine(progress: float, recipe: OptimiserRecipe) -> float:
    return recipe.final_factor + (1 - recipe.final_factor) * 0.5 * (
        1 + math.cos(math.pi * min(progress, 1.0))
    )


def _multistep(progress: float, recipe: OptimiserRecipe) -> float:
    return 0.1 ** sum(progress >= milestone for milestone in recipe.milestones)


SCHEDULES = {"cosine": _cosine, "multistep": _multistep}


def rate_factor(step: int, steps: int, recipe: OptimiserRecipe) -> float:
    """What the learning rate is multiplied by at `step` of `steps`: warm-up times schedule."""
    warmup = min(1.0, (step + 1) / (recipe.warmup_steps + 1))
    return warmup * SCHEDULES[recipe.schedule](step / steps, recipe)


def build_optimiser(network: nn.Module, recipe: OptimiserRecipe) -> torch.optim.Optimizer:
    """Two learning rates (pretrained backbone, everything else), each with and without weight decay.

    The pretrained backbone is what stands under `base.backbone` in the network, whatever the method.
    Each group's `base_lr` is its rate at factor 1.
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        slow = name.startswith("base.backbone.") and not any(part in name for part in NEW_IN_BACKBONE)
        groups.setdefault((slow, parameter.ndim > 1), []).append(parameter)
    return OPTIMISERS[recipe.name](
        [
            {
                "params": parameters,
                "weight_decay": recipe.weight_decay if decays else 0.0,
                "base_lr": recipe.lr * (recipe.backbone_factor if slow else 1.0),
            }
            for (slow, decays), parameters in sorted(groups.items(), key=lambda item: item[0])
        ],
        lr=recipe.lr,
        betas=recipe.betas,
        fused=True,  # one pass over each tensor (docs/log.md)
    )


def set_rate(optimiser: torch.optim.Optimizer, factor: float) -> None:
    """Set every group's learning rate to its base rate times `factor`."""
    for group in optimiser.param_groups:
        group["lr"] = group["base_lr"] * factor
