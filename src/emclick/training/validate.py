"""Validation during training: the real robot user on a small set, through the same path that users take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from emclick.networks.model import EmcNetwork
from emclick.training.recipe import Recipe


def make_validation(recipe: Recipe) -> Callable[[EmcNetwork], dict[str, Any]]:
    """A function that evaluates a network as `recipe.validation` says: NoC at 85 and 90, failures, mIoU."""
    from emclick.card import Card
    from emclick.evaluation.benchmark import evaluate
    from emclick.runtimes.torch import TorchRuntime
    from emclick.zoo import Model

    settings = recipe.validation
    card = Card(recipe.name, recipe.model, recipe.short_side)

    def validate(network: EmcNetwork) -> dict[str, Any]:
        model = Model(card, TorchRuntime(network))
        summary = evaluate(
            model, settings.dataset, settings.root, limit=settings.limit, progress=False,
            short_side=settings.short_side or None, max_clicks=settings.clicks,
        ).summary  # fmt: skip
        return {
            "noc85": summary["noc"]["85"],
            "noc90": summary["noc"]["90"],
            "nof90": summary["nof"]["90"],
            "miou3": summary["miou_at"]["3"],
        }

    return validate
