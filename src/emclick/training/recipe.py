"""A training recipe: one TOML file, read into frozen dataclasses. Field names are the command line's too."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
import tomllib
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast

from emclick.data.augment import Augmentation
from emclick.data.objects import ObjectRule
from emclick.errors import CheckpointError, RecipeError
from emclick.geometry import MAX_SHORT_SIDE
from emclick.methods import METHODS
from emclick.spec import Spec


@dataclass(frozen=True)
class SourceRecipe:
    """One training source.

    Attributes:
        dataset: name in the table of datasets.
        root: its folder; `--root NAME=DIR` on the command line replaces it.
        options: passed to the dataset's opener (split, pattern, ...).
        weight: share of the samples, or a table of shares per collection within the source.
    """

    dataset: str
    root: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    weight: float | Mapping[str, float] = 1.0


@dataclass(frozen=True)
class Phase:
    """A stretch of training with one crop and batch size.

    Attributes:
        steps: optimiser steps.
        batch: samples per step, over all processes.
        crop_hw: crop in px, multiples of 4.
        scale: range of the random scale, see `Augmentation.scale`.
        zoom_probability, zoom: how often the scale is the object's instead, see `Augmentation`.
        initial_probability, initial_iou: how often a damaged mask is to be corrected, see `Augmentation`.
    """

    steps: int
    batch: int
    crop_hw: tuple[int, int]
    scale: tuple[float, float]
    zoom_probability: float = 0.0
    zoom: tuple[float, float] = (0.5, 1.1)
    initial_probability: float = 0.0
    initial_iou: tuple[float, float] = (0.6, 0.93)


@dataclass(frozen=True)
class ClickRecipe:
    """Simulated clicks after the first (METHOD, "Training").

    Attributes:
        maximum, gamma: at most `maximum`, n of them with probability proportional to gamma^n.
        threshold: object pixels below it and background pixels above it are errors.
        stray: chance that a click falls anywhere on the error instead of deep inside it (not published).
    """

    maximum: int = 23
    gamma: float = 0.8
    threshold: float = 0.49
    stray: float = 0.0


@dataclass(frozen=True)
class OptimiserRecipe:
    """Optimiser and schedule.

    Attributes:
        name: "adam" or "adamw".
        lr: peak learning rate.
        backbone_factor: the pretrained backbone learns at `lr` times this.
        weight_decay: on matrices and kernels only.
        betas: of Adam.
        clip_norm: largest gradient norm; 0 does not clip.
        schedule: "cosine" to `lr * final_factor`, or "multistep" by 0.1 at `milestones` (shares of the run).
        warmup_steps: linear rise from 0.
    """

    name: Literal["adam", "adamw"] = "adam"
    lr: float = 1e-3
    backbone_factor: float = 0.1
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    clip_norm: float = 0.0
    schedule: Literal["cosine", "multistep"] = "multistep"
    milestones: tuple[float, ...] = (200 / 230, 220 / 230)
    warmup_steps: int = 0
    final_factor: float = 0.0


@dataclass(frozen=True)
class LossRecipe:
    """Weights of the losses.

    Attributes:
        coarse, corrected: of the normalised focal losses.
        auxiliary: of the auxiliary cross-entropy.
        edge, kept: added to a pixel's weight in EMC's `corrected`, see `losses.pixel_weights` (not published).
    """

    coarse: float = 1.0
    corrected: float = 1.0
    auxiliary: float = 0.4
    edge: float = 0.0
    kept: float = 0.0


@dataclass(frozen=True)
class ValidationRecipe:
    """The real robot on a small set while training.

    Attributes:
        dataset: name in the table of datasets; empty for none.
        root: its folder.
        limit: objects.
        every_steps: how often.
        clicks: clicks per object.
        short_side: frame; 0 takes the recipe's.
    """

    dataset: str = ""
    root: str = ""
    limit: int = 20
    every_steps: int = 2000
    clicks: int = 10
    short_side: int = 0


@dataclass(frozen=True)
class Recipe:
    """Everything a training run is made of.

    Attributes:
        name: name of the model that comes out.
        model: its networks, a specification of the method's class.
        method: name in the table of methods.
        short_side: frame the card will name.
        zoom_in: whether the card will say that the model is meant for zoom-in.
        sources: training data.
        phases: crop and batch sizes, in order.
        pretrained: weights of the backbone to start from (`emclick convert` makes them); empty for none.
        start_from: a model folder whose weights to start from; empty for none.
        start_base: a model folder of EMC whose base network to start from, the mask correction being fresh; empty
            for none.
        scale_base: what a scale of 1 means, see `Augmentation`.
        padding_target: label of what lies beyond the image, see `Augmentation`.
        precision: "fp32" or "bf16" (autocast).
        ema: decay of the averaged weights that are evaluated and saved; 0 for none.
        workers: data processes per training process.
        checkpoint_minutes: how often everything is saved.
        compile: run the training step through `torch.compile` (needs a C++ compiler).
        licence, about: go to the model card.
    """

    name: str
    model: Spec
    sources: tuple[SourceRecipe, ...]
    phases: tuple[Phase, ...]
    method: str = "emc"
    short_side: int = 384
    zoom_in: bool = False
    pretrained: str = ""
    start_from: str = ""
    start_base: str = ""
    scale_base: str = "image"
    padding_target: int = -1
    seed: int = 0
    precision: Literal["fp32", "bf16"] = "fp32"
    ema: float = 0.0
    workers: int = 1
    checkpoint_minutes: float = 5.0
    compile: bool = False
    objects: ObjectRule = field(default_factory=ObjectRule)
    clicks: ClickRecipe = ClickRecipe()
    optimiser: OptimiserRecipe = OptimiserRecipe()
    loss: LossRecipe = LossRecipe()
    validation: ValidationRecipe = ValidationRecipe()
    licence: str = "unknown"
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole run."""
        return sum(phase.steps for phase in self.phases)

    def augmentation(self, phase: Phase) -> Augmentation:
        """What `phase` does to its samples."""
        return Augmentation(
            crop_hw=phase.crop_hw,
            scale=phase.scale,
            zoom_probability=phase.zoom_probability,
            zoom=phase.zoom,
            initial_probability=phase.initial_probability,
            initial_iou=phase.initial_iou,
            scale_base=self.scale_base,
            padding_target=self.padding_target,
        )

    def locate(self, step: int) -> tuple[Phase, int, int]:
        """(phase, number of its first step, number of its first sample) at `step`."""
        first_step = first_sample = 0
        for phase in self.phases[:-1]:
            if step < first_step + phase.steps:
                return phase, first_step, first_sample
            first_step += phase.steps
            first_sample += phase.steps * phase.batch
        return self.phases[-1], first_step, first_sample


def read_recipe(path: str | os.PathLike[str]) -> Recipe:
    """Read a recipe.

    Raises:
        RecipeError: the file is missing or not TOML, or a field is unknown, missing or of the wrong type.
    """
    try:
        return parse_recipe(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"cannot read recipe {path}: {error.strerror}") from error
    except (RecipeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: {error}") from error


def parse_recipe(text: str) -> Recipe:
    """A recipe from its TOML text; raises `RecipeError` as `read_recipe`."""
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"not TOML: {error}") from error
    return _check(cast(Recipe, _build(Recipe, values, "recipe")))


def with_seed(text: str, seed: int) -> str:
    """A recipe's text with another seed."""
    line = f"seed = {seed}"
    changed, found = re.subn(r"^seed *=.*$", line, text, count=1, flags=re.MULTILINE)
    return changed if found else f"{line}\n{text}"


def same_training(text: str, other: str) -> bool:
    """Whether two recipe texts train the same weights: they may differ in card, validation, workers and saving."""
    if text == other:
        return True
    try:
        recipes = [parse_recipe(each) for each in (text, other)]
    except RecipeError:
        return False
    first, second = (
        replace(
            recipe,
            validation=ValidationRecipe(),
            workers=0,
            checkpoint_minutes=0.0,
            licence="",
            about={},
            short_side=0,
            zoom_in=False,
        )
        for recipe in recipes
    )
    return first == second


def override(
    recipe: Recipe,
    *,
    roots: Sequence[str] = (),
    pretrained: str | None = None,
    start_from: str | None = None,
    start_base: str | None = None,
) -> Recipe:
    """The recipe with data folders and start weights of this machine.

    Args:
        roots: "NAME=DIR" each; NAME is a source's dataset, or "validation".

    Raises:
        RecipeError: a root that names no source of the recipe, or is not written NAME=DIR.
    """
    for text in roots:
        name, separator, folder = text.partition("=")
        known = {source.dataset for source in recipe.sources} | {"validation"}
        if not separator or not folder or name not in known:
            raise RecipeError(f"root {text!r}; give NAME=DIR with a NAME of {', '.join(sorted(known))}")
        if name == "validation":
            recipe = replace(recipe, validation=replace(recipe.validation, root=folder))
        sources = (replace(s, root=folder) if s.dataset == name else s for s in recipe.sources)
        recipe = replace(recipe, sources=tuple(sources))
    given = {"pretrained": pretrained, "start_from": start_from, "start_base": start_base}
    return replace(recipe, **{name: value for name, value in given.items() if value is not None})


# Field -> (its values, the smallest and the largest that they may be).
_WITHIN: Mapping[str, Callable[[Recipe], tuple[Sequence[float], float, float]]] = {
    "short_side": lambda recipe: ((recipe.short_side,), 4, MAX_SHORT_SIDE),
    "seed": lambda recipe: ((recipe.seed,), 0, math.inf),
    "optimiser.backbone_factor": lambda recipe: ((recipe.optimiser.backbone_factor,), 0, math.inf),
    "optimiser.betas": lambda recipe: (recipe.optimiser.betas, 0, math.nextafter(1, 0)),
    "optimiser.milestones": lambda recipe: (recipe.optimiser.milestones, 0, 1),
    "optimiser.clip_norm": lambda recipe: ((recipe.optimiser.clip_norm,), 0, math.inf),
    "optimiser.weight_decay": lambda recipe: ((recipe.optimiser.weight_decay,), 0, math.inf),
    "optimiser.warmup_steps": lambda recipe: ((recipe.optimiser.warmup_steps,), 0, math.inf),
    "loss.coarse": lambda recipe: ((recipe.loss.coarse,), 0, math.inf),
    "loss.corrected": lambda recipe: ((recipe.loss.corrected,), 0, math.inf),
    "loss.auxiliary": lambda recipe: ((recipe.loss.auxiliary,), 0, math.inf),
    "loss.edge": lambda recipe: ((recipe.loss.edge,), 0, math.inf),
    "loss.kept": lambda recipe: ((recipe.loss.kept,), 0, math.inf),
    "workers": lambda recipe: ((recipe.workers,), 0, math.inf),
    "clicks.maximum": lambda recipe: ((recipe.clicks.maximum,), 0, math.inf),
    "clicks.stray": lambda recipe: ((recipe.clicks.stray,), 0, 1),
    "validation.every_steps": lambda recipe: ((recipe.validation.every_steps,), 1, math.inf),
    "validation.limit": lambda recipe: ((recipe.validation.limit,), 1, math.inf),
    "validation.clicks": lambda recipe: ((recipe.validation.clicks,), 1, 1000),
    "validation.short_side": lambda recipe: ((recipe.validation.short_side or 4,), 4, MAX_SHORT_SIDE),
}


def _check(recipe: Recipe) -> Recipe:
    try:
        type(recipe.model).from_dict(recipe.model.to_dict())
    except CheckpointError as error:
        raise RecipeError(f"model: {error}") from error
    if not recipe.phases or not recipe.sources:
        raise RecipeError("a recipe needs at least one phase and one source")
    for phase in recipe.phases:
        if phase.steps < 1 or phase.batch < 1:
            raise RecipeError(
                f"phase with {phase.steps} steps of {phase.batch} samples; both must be at least 1"
            )
        if any(side % 4 or side < 4 for side in phase.crop_hw):
            raise RecipeError(f"crop {phase.crop_hw} must be multiples of 4")
        if phase.crop_hw[0] * phase.crop_hw[1] // 16 < recipe.model.min_cells:
            raise RecipeError(f"crop {phase.crop_hw} has fewer 1/4 pixels than the model has templates")
        recipe.augmentation(phase)  # refuses what it cannot do
    for name, limits in _WITHIN.items():
        values, low, high = limits(recipe)
        if bad := [value for value in values if not low <= value <= high or math.isinf(value)]:
            bounds = f"at least {low}" if math.isinf(high) else f"{low} to {high:.6g}"
            raise RecipeError(f"{name} is {bad[0]}; it must be {bounds}")
    for name, value in (("optimiser.lr", recipe.optimiser.lr), ("clicks.gamma", recipe.clicks.gamma)):
        if not 0 < value < math.inf:
            raise RecipeError(f"{name} is {value}; it must be above 0")
    if not 0 < recipe.clicks.threshold < 1:
        raise RecipeError(f"clicks.threshold is {recipe.clicks.threshold}; it must lie between 0 and 1")
    try:
        json.dumps(dict(recipe.about))
    except TypeError as error:
        raise RecipeError(
            f"about goes to the model card, which is JSON: {error}; write it as text"
        ) from error
    if not 0 <= recipe.ema < 1:
        raise RecipeError(f"ema is {recipe.ema}; give a decay in 0..1, 1 excluded")
    return recipe


def _build(kind: Any, value: Any, where: str) -> Any:
    """`value` as TOML gave it, as an instance of the annotated type `kind`."""
    origin = typing.get_origin(kind)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _build_dataclass(kind, value, where)
    if origin is tuple:
        return _build_tuple(typing.get_args(kind), value, where)
    if origin is Literal:
        if value not in typing.get_args(kind):
            raise RecipeError(
                f"{where} is {value!r}; choose from {', '.join(map(str, typing.get_args(kind)))}"
            )
        return value
    if origin in (typing.Union, types.UnionType):
        for option in typing.get_args(kind):
            try:
                return _build(option, value, where)
            except RecipeError:
                continue
        raise RecipeError(f"{where} is {value!r}, which fits none of {kind}")
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise RecipeError(f"{where} must be a table")
        inner = typing.get_args(kind)[1]
        return (
            dict(value) if inner is Any else {k: _build(inner, v, f"{where}.{k}") for k, v in value.items()}
        )
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    plain = cast(type, kind)
    if not isinstance(value, plain) or (plain is int and isinstance(value, bool)):
        raise RecipeError(f"{where} is {value!r}; give {'an' if plain is int else 'a'} {plain.__name__}")
    return value


def _spec_class(method: Any) -> type:
    if method not in METHODS:
        raise RecipeError(f"unknown method {method!r}; choose from {', '.join(sorted(METHODS))}")
    if not METHODS[method].training:
        raise RecipeError(f"method {method} cannot be trained here")
    return METHODS[method].spec


def _build_tuple(inner: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise RecipeError(f"{where} must be a list")
    repeated = len(inner) == 2 and inner[1] is Ellipsis
    if not repeated and len(value) != len(inner):
        raise RecipeError(f"{where} must have {len(inner)} entries")
    kinds = [inner[0]] * len(value) if repeated else inner
    return tuple(_build(kind, item, f"{where}[{i}]") for i, (kind, item) in enumerate(zip(kinds, value)))


def _build_dataclass(kind: type, value: Any, where: str) -> Any:
    if not isinstance(value, Mapping):
        raise RecipeError(f"{where} must be a table")
    hints = typing.get_type_hints(kind)
    if kind is Recipe:
        hints["model"] = _spec_class(value.get("method", "emc"))
    fields = {f.name: f for f in dataclasses.fields(kind) if f.init}
    if unknown := sorted(set(value) - set(fields)):
        raise RecipeError(f"{where}: unknown {', '.join(unknown)}; choose from {', '.join(fields)}")
    missing = [
        name for name, f in fields.items()
        if name not in value and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]  # fmt: skip
    if missing:
        raise RecipeError(f"{where}: {', '.join(missing)} missing")
    built = {name: _build(hints[name], item, f"{where}.{name}") for name, item in value.items()}
    try:
        return kind(**built)
    except (TypeError, ValueError) as error:
        raise RecipeError(f"{where}: {error}") from error
