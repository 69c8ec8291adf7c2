"""What weights a run starts from: fresh ones, a pretrained backbone, or a model folder."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from emclick.errors import CheckpointError, WeightsError
from emclick.networks.checkpoint import load_model, load_state
from emclick.networks.deeplab_keys import public_resnet_key
from emclick.networks.model import EmcNetwork
from emclick.networks.official import official_key
from emclick.training.schedule import NEW_IN_BACKBONE

PREFIX = "base.backbone."


def _mobilenet_key(key: str, base: str) -> str:
    return re.sub(r"^blocks\.(\d+)\.", r"block\1.", key.removeprefix(PREFIX))


def _published_key(key: str, base: str) -> str:
    return official_key(key, base).removeprefix("feature_extractor.").removeprefix("backbone.")


@dataclass(frozen=True)
class PublicFile:
    """What is known of the public weights of a backbone.

    Attributes:
        rename: (our key, base network) -> key in the file.
        useless: matches keys of the file that we have no use for.
        optional: matches keys that stay as initialised if the file holds none of them.
    """

    rename: Callable[[str, str], str]
    useless: str
    optional: str = r"(?!)"  # matches nothing


_HRNET = PublicFile(_published_key, r"(incre_modules|downsamp_modules|final_layer|classifier|head)\.")
_SEGFORMER = PublicFile(_published_key, r"head\.")
PRETRAINED = {
    # a file from plain ImageNet training has no ASPP
    "mobilenet_v2": PublicFile(_mobilenet_key, r"classifier\.", r"aspp\."),
    **dict.fromkeys(("hrnet18s", "hrnet18", "hrnet32"), _HRNET),
    **dict.fromkeys(("segformer_b0", "segformer_b3"), _SEGFORMER),
    # the Gluon variants v1b (34) and v1s (50), from which the releases of f-BRS and CDNet start
    **dict.fromkeys(("resnet34", "resnet50"), PublicFile(public_resnet_key, r"fc\.")),
}


def initialise(network: nn.Module) -> None:
    """Xavier-gaussian of magnitude 2 for convolutions and linear layers, zero biases (METHOD, "Training")."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.xavier_normal_(module.weight, gain=math.sqrt(2))
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def load_pretrained(network: Any, path: str | os.PathLike[str]) -> None:
    """Fill the backbone from a safetensors file of public pretrained weights, strictly.

    Everything in the backbone but the click branch must be in the file, and everything in the file but its
    classifier must have a place. MobileNetV2's ASPP stays as it is if the file holds none of it.

    Raises:
        WeightsError: the file is missing or damaged.
        CheckpointError: names what is missing, left over or of the wrong shape.
    """
    if not Path(path).is_file():
        raise WeightsError(
            f"no pretrained weights at {path}; make them with `emclick convert` (docs/training.md)"
        )
    try:
        given: Mapping[str, Tensor] = load_file(path)
    except Exception as error:  # safetensors raises its own Rust error type
        raise WeightsError(f"{path} is damaged: {error}") from error
    base = network.spec.base
    if base not in PRETRAINED:
        raise CheckpointError(f"no pretrained weights are known for {base}; leave `pretrained` empty")
    public = PRETRAINED[base]
    own = network.state_dict()
    skipped = (*NEW_IN_BACKBONE, "unused_norm", "num_batches_tracked")
    wanted = {
        public.rename(key, base): key
        for key in own
        if key.startswith(PREFIX) and not any(part in key for part in skipped)
    }
    if not any(re.match(public.optional, key) for key in given):
        wanted = {key: ours for key, ours in wanted.items() if not re.match(public.optional, key)}
    problems = [f"missing key {key}" for key in wanted if key not in given]
    problems += [
        f"left-over key {key}"
        for key in given
        if key not in wanted and not re.match(public.useless, key) and not key.endswith("num_batches_tracked")
    ]
    problems += [
        f"key {key} has shape {list(given[key].shape)}, not {list(own[ours].shape)}"
        for key, ours in wanted.items()
        if key in given and given[key].shape != own[ours].shape
    ]
    if problems:
        raise CheckpointError(f"{path} does not fit {base}: {'; '.join(problems[:8])}")
    with torch.no_grad():
        for key, ours in wanted.items():
            own[ours].copy_(given[key])


def start_network(network: Any, pretrained: str, start_from: str, start_base: str = "") -> None:
    """Give a new network its first weights; a model folder wins over a base network, and that over a backbone.

    Args:
        network: a network of any method, its base network another model's with `start_base`.
        pretrained, start_from, start_base: see `Recipe`.

    Raises:
        CheckpointError: what is given does not fit.
        WeightsError: it is missing or cannot be read.
    """
    if start_from:
        load_state(network, load_model(start_from)[0].state_dict(), start_from)
        return
    initialise(network)
    if start_base:
        given = load_model(start_base)[0]
        if not (isinstance(network, EmcNetwork) and isinstance(given, EmcNetwork)):
            raise CheckpointError(
                f"start_base is for models of EMC, on both sides; {start_base} or the recipe is none"
            )
        load_state(network.base, given.base.state_dict(), start_base)
    elif pretrained:
        load_pretrained(network, pretrained)
