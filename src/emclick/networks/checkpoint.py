"""A model on disk: a folder with `model.safetensors` and a readable `model.json`. Nothing in it is ever run."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn

from emclick.card import CARD_NAME, WEIGHTS_NAME, Card, read_card, verify_weights
from emclick.errors import CheckpointError, WeightsError
from emclick.files import make_folder, write_bytes, write_text
from emclick.methods import METHODS
from emclick.registry import import_name
from emclick.spec import Spec

# How `torch.load` says that a file wants more than tensors and plain containers.
_ASKS_FOR_CODE = ("Unsupported global", "Unsupported class", "Trying to load unsupported")


def save_model(
    folder: str | os.PathLike[str], state: Mapping[str, Tensor], card: Card, dtype: torch.dtype | None = None
) -> Path:
    """Write weights and card; the card's checksum is filled in. Each file is replaced whole.

    Args:
        folder: made if missing.
        state: our state dict.
        card: what the model is.
        dtype: floating weights are stored in it (float16 for release); None keeps theirs.

    Raises:
        WriteError: the folder is not writable or the disk is full.
    """
    target = make_folder(folder)
    stored = {
        key: (value.to(dtype) if dtype and value.is_floating_point() else value).contiguous().cpu().clone()
        for key, value in state.items()
    }
    data = save_safetensors(stored)
    complete = card.with_checksum(hashlib.sha256(data).hexdigest())
    write_bytes(target / WEIGHTS_NAME, data)
    write_text(target / CARD_NAME, json.dumps(complete.to_dict(), indent=2, ensure_ascii=False) + "\n")
    return target


def load_state(network: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Load strictly: every key present, none left over, every shape right; cast to the network's dtype.

    Raises:
        CheckpointError: names what differs.
    """
    own = network.state_dict()
    problems = [f"missing key {key}" for key in own.keys() - state.keys()]
    problems += [f"left-over key {key}" for key in state.keys() - own.keys()]
    problems += [
        f"key {key} has shape {list(state[key].shape)}, not {list(own[key].shape)}"
        for key in own.keys() & state.keys()
        if own[key].shape != state[key].shape
    ]
    if problems:
        raise CheckpointError(f"{where} does not fit {_base(network)}: {'; '.join(sorted(problems)[:8])}")
    network.load_state_dict(dict(state))


def _base(network: nn.Module) -> str:
    return str(getattr(getattr(network, "spec", None), "base", type(network).__name__))


def build_network(method: str, spec: Spec) -> Any:
    """The network of a method, with fresh weights: the class that the method's loop names.

    Raises:
        UnknownNameError: no such method, or no such backbone.
    """
    return import_name(METHODS[method].network)(spec)


def load_model(folder: str | os.PathLike[str]) -> tuple[Any, Card]:
    """Read a model folder: verify, build, load strictly; weights become float32, mode is eval.

    Raises:
        WeightsError: a file is missing, truncated or fails its checksum.
        CheckpointError: the card does not parse or the weights do not fit.
    """
    card = read_card(folder)
    data = verify_weights(folder, card)
    try:
        state = load_safetensors(data)
    except Exception as error:  # safetensors raises its own Rust error type
        raise WeightsError(f"{Path(folder) / WEIGHTS_NAME} is damaged: {error}; get it again") from error
    network = build_network(card.method, card.spec)
    load_state(network, state, str(Path(folder) / WEIGHTS_NAME))
    return network.eval(), card


def read_untrusted(path: str | os.PathLike[str]) -> dict[str, Any]:
    """`torch.load` restricted to tensors and plain containers.

    Raises:
        WeightsError: missing, truncated or not a torch file.
        CheckpointError: it asks for classes, which are never imported.
    """
    file = Path(path)
    if not file.is_file():
        raise WeightsError(f"no file {file}")
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        message = str(error)
        if any(sign in message for sign in _ASKS_FOR_CODE):
            raise CheckpointError(
                f"{file} asks for classes to be imported, which emclick never does"
            ) from error
        reason = type(error).__name__
        raise WeightsError(f"{file} is damaged or not a torch checkpoint ({reason})") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{file} holds a {type(content).__name__}, not a checkpoint dictionary")
    return content
