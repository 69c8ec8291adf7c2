"""What CDNet and f-BRS are made of: DeepLabV3+, f-BRS also HRNet with OCR. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from emclick.errors import CheckpointError

BACKBONES = ("resnet34", "resnet50")
HRNETS = ("hrnet18s", "hrnet18", "hrnet32")
WIDTH = 128


@dataclass(frozen=True)
class DeepLabSpec:
    """DeepLabV3+ and the heads on it.

    Attributes:
        base: name of the backbone, one of `BACKBONES`.
        width: channels of ASPP, decoder and heads.
    """

    base: str
    width: int = WIDTH

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


@dataclass(frozen=True)
class FbrsSpec:
    """DeepLabV3+ on a ResNet, or HRNet with OCR.

    Attributes:
        base: one of `BACKBONES` or of `HRNETS`.
        width: of DeepLabV3+, see `DeepLabSpec`; None with HRNet, whose widths are its own.
    """

    base: str
    width: int | None = None

    def __post_init__(self) -> None:
        if self.width is None and self.base in BACKBONES:
            object.__setattr__(self, "width", WIDTH)

    @property
    def min_cells(self) -> int:
        """Any frame will do."""
        return 1

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; no width where there is none."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> FbrsSpec:
        """The inverse of `to_dict`.

        Raises:
            CheckpointError: an unknown or missing name, an unknown base, or a width that does not go with it.
        """
        base = values.get("base") if isinstance(values, Mapping) else None
        if base is not None and base not in (*BACKBONES, *HRNETS):
            raise CheckpointError(f"unknown base {base!r}; choose from {', '.join((*BACKBONES, *HRNETS))}")
        if base not in HRNETS:
            return cls(**DeepLabSpec.from_dict(values).to_dict())
        if sorted(values) != ["base"]:
            raise CheckpointError(
                f"model specification holds {', '.join(map(str, values))}; {base} is its base alone"
            )
        return cls(base)
