"""The model card: the JSON beside the weights, which says what they are, whence, and under what terms."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from emclick.errors import CheckpointError, UnknownNameError, WeightsError
from emclick.methods import METHODS
from emclick.spec import Spec

CARD_NAME = "model.json"
WEIGHTS_NAME = "model.safetensors"
FORMAT = "emclick-model-1"


@dataclass(frozen=True)
class Card:
    """What a model is.

    Attributes:
        name: the model's name.
        spec: its networks.
        short_side: frame side the model is meant for, in pixels.
        licence: of the weights.
        about: free text fields: source, training data, terms, recipe, command, time, machine class.
        metrics: evaluation summaries, keyed by dataset and setting.
        sha256: of the weights file, hexadecimal.
        method: its interaction loop, in the table of methods.
        zoom_in: whether it is meant to look at the object once there is a mask, see `methods.zoom`.
    """

    name: str
    spec: Spec
    short_side: int = 384
    licence: str = "unknown"
    about: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    sha256: str = ""
    method: str = "emc"
    zoom_in: bool = False

    def with_checksum(self, sha256: str) -> Card:
        return replace(self, sha256=sha256)

    def to_dict(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "name": self.name,
            "method": self.method,
            "spec": self.spec.to_dict(),
            "preprocessing": {
                "image": "RGB, float in [0, 1]; each network normalises for itself",
                "short_side": self.short_side,
                "frame": METHODS[self.method].frame,
                "zoom_in": self.zoom_in,
            },
            "licence": self.licence,
            "about": dict(self.about),
            "metrics": dict(self.metrics),
            "sha256": self.sha256,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Card:
        """The inverse of `to_dict`.

        Raises:
            CheckpointError: the mapping is not a card of a format known here.
        """
        if values.get("format") != FORMAT:
            raise CheckpointError(
                f"model card of format {values.get('format')!r}; this version reads {FORMAT!r}"
            )
        try:
            method = str(values["method"])
            return cls(
                name=str(values["name"]),
                spec=METHODS[method].spec.from_dict(values["spec"]),
                short_side=int(values["preprocessing"]["short_side"]),
                licence=str(values["licence"]),
                about=dict(values["about"]),
                metrics=dict(values["metrics"]),
                sha256=str(values["sha256"]),
                method=method,
                zoom_in=values["preprocessing"].get("zoom_in", False) is True,
            )
        except UnknownNameError as error:
            raise CheckpointError(f"model card: {error}") from error
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(f"model card is incomplete: {error!r}") from error


def read_card(folder: str | os.PathLike[str]) -> Card:
    """Read `model.json` of a model folder.

    Raises:
        WeightsError: the folder or the file is missing.
        CheckpointError: the file does not parse as a card.
    """
    path = Path(folder) / CARD_NAME
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise WeightsError(f"{folder} is not a model folder: no {CARD_NAME} in it") from error
    except ValueError as error:
        raise CheckpointError(f"{path} is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} is not a model card")
    return Card.from_dict(values)


def verify_weights(folder: str | os.PathLike[str], card: Card) -> bytes:
    """Read the weights file and hold it to the card's SHA-256.

    Raises:
        WeightsError: the file is missing, truncated or changed.
    """
    path = Path(folder) / WEIGHTS_NAME
    try:
        data = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror}") from error
    if hashlib.sha256(data).hexdigest() != card.sha256:
        raise WeightsError(f"{path} is truncated or changed: its SHA-256 is not the card's; get it again")
    return data
