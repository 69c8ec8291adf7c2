"""Foreign weights into ours: released checkpoints of all methods, and the public TFLite files of MobileNetV2."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from safetensors.numpy import save as save_arrays
from torch import Tensor

from emclick.card import Card
from emclick.errors import CheckpointError, WeightsError
from emclick.files import make_folder, write_bytes
from emclick.networks.checkpoint import read_untrusted, save_model
from emclick.networks.releases import recognise


def convert_official(
    path: str | os.PathLike[str], folder: str | os.PathLike[str], name: str | None = None
) -> Card:
    """A released checkpoint (`{"state_dict", "config"}` or the state dict itself) to a model folder in float32.

    Strict: the model is recognised from keys and shapes; `config` is not looked at.

    Args:
        path: of the checkpoint.
        folder: to write, made if missing.
        name: what the model must be, in the zoo; None for the first that fits. Some differ in their use alone.

    Raises:
        UnknownNameError: no released model has that name.
        WeightsError: the file is missing, truncated or no torch checkpoint.
        CheckpointError: it is no released model; names the keys that are missing, left over or misshapen.
        WriteError: the folder cannot be written.
    """
    content = read_untrusted(path)
    tensors = any(isinstance(each, Tensor) for each in content.values())
    state = content.get("state_dict", content if tensors else None)
    if not isinstance(state, dict):
        raise CheckpointError(
            f'{path} holds no "state_dict"; its entries are {", ".join(map(str, content)) or "none"}'
        )
    odd = [
        str(key) for key, value in state.items() if not (isinstance(key, str) and isinstance(value, Tensor))
    ]
    if odd:
        raise CheckpointError(f"{path}: entries of the state dict that are no tensors: {', '.join(odd[:8])}")
    release = recognise(state, name=name)
    about = {
        "source": f"converted from a checkpoint of {release.source}, {Path(path).name}",
        "terms": release.terms,
    }
    card = Card(
        release.name, release.spec, release.short_side, release.licence, about,
        method=release.method, zoom_in=release.zoom_in,
    )  # fmt: skip
    save_model(folder, release.convert(state), card, torch.float32)
    return card


def convert_pretrained(path: str | os.PathLike[str], folder: str | os.PathLike[str]) -> Path:
    """A public 8-bit MobileNetV2 TFLite file to float32 backbone weights, `FOLDER/NAME.safetensors`.

    Raises:
        WeightsError: the file is missing or damaged.
        CheckpointError: it is no MobileNetV2 of a known layout.
        MissingExtraError: the reader of TFLite files is not installed.
        WriteError: the folder cannot be written.
    """
    from emclick.networks.tflite import convert_tflite

    if not Path(path).is_file():
        raise WeightsError(f"no file {path}")
    arrays = convert_tflite(path)
    target = make_folder(folder) / f"{Path(path).stem}.safetensors"
    return write_bytes(target, save_arrays(arrays, {"source": Path(path).name}))
