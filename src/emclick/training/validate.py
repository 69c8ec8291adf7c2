"""Validation during training: the real robot user on a small set, through the same path that users take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from emclick.training.recipe import Recipe


def make_validation(recipe: Recipe) -> Callable[[nn.Module], dict[str, Any]]:
    """A function that evaluates a network as `recipe.validation` says: NoC at 85 and 90, failures, mIoU."""
    from emclick.card import Card
    from emclick.data.sources import open_source
    from emclick.evaluation.benchmark import evaluate
    from emclick.runtimes.torch import torch_runtime
    from emclick.zoo import Model

    settings = recipe.validation
    source = open_source(settings.dataset, settings.root)  # a wrong root shows now, not after hours
    card = Card(recipe.name, recipe.model, recipe.short_side, method=recipe.method, zoom_in=recipe.zoom_in)

    def validate(network: nn.Module) -> dict[str, Any]:
        model = Model(card, torch_runtime(network, str(next(network.parameters()).device)))
        summary = evaluate(
            model, source, limit=settings.limit, progress=False,
            short_side=settings.short_side or None, max_clicks=settings.clicks,
        ).summary  # fmt: skip
        return {
            "noc85": summary["noc"]["85"],
            "noc90": summary["noc"]["90"],
            "nof90": summary["nof"]["90"],
            "miou3": summary["miou_at"].get("3"),
        }

    return validate
