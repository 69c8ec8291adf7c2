"""What a DeepLabV3+ model is; f-BRS and CDNet are made of one. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from emclick.errors import CheckpointError

BACKBONES = ("resnet34", "resnet50")


@dataclass(frozen=True)
class DeepLabSpec:
    """DeepLabV3+ and the heads on it.

    Attributes:
        base: name of the backbone, one of `BACKBONES`.
        width: channels of ASPP, decoder and heads.
    """

    base: str
    width: int = 128

    @property
    def min_cells(self) -> int:
        """Any frame will do."""
        return 1

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> DeepLabSpec:
        """The inverse of `to_dict`.

        Raises:
            CheckpointError: an unknown or missing name, an unknown backbone, or a width that is not even.
        """
        if sorted(values) != ["base", "width"]:
            raise CheckpointError(
                f"model specification holds {', '.join(map(str, values)) or 'nothing'}, not base and width"
            )
        base, width = values["base"], values["width"]
        if base not in BACKBONES:
            raise CheckpointError(f"unknown backbone {base!r}; choose from {', '.join(BACKBONES)}")
        if type(width) is not int or width < 2 or width % 2:
            raise CheckpointError(f"width is {width!r}; it must be an even number above 0")
        return cls(base, width)
