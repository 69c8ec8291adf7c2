"""What a model is made of, apart from its weights. No torch here: the zoo and the runtimes read it too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Protocol, Self

from emclick.errors import CheckpointError


class Spec(Protocol):
    """What the networks of a model are, whatever its method: a frozen dataclass, see `methods.base.Method.spec`."""

    @property
    def base(self) -> str:
        """Name of the backbone, for messages and tables."""
        ...

    @property
    def min_cells(self) -> int:
        """Cells of 4x4 px that a frame must have at least."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        ...

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`; unknown or missing names, or values out of range, are a `CheckpointError`."""
        ...


@dataclass(frozen=True)
class CorrectionSpec:
    """The mask correction network and its ablations (paper, tables 4 and 5).

    Attributes:
        width: channels C at 1/4 resolution.
        templates: templates T per polarity.
        heads: attention heads.
        attention: use click-guided self-attention.
        correlation: use click-guided correlation.
        selection: rank templates by similarity to the clicks and distance; off: by distance alone.
        attention_negatives: attention reads negative templates too.
        correlation_negatives: correlation reads negative templates too.
    """

    width: int = 64
    templates: int = 64
    heads: int = 4
    attention: bool = True
    correlation: bool = True
    selection: bool = True
    attention_negatives: bool = True
    correlation_negatives: bool = True

    def checked(self) -> CorrectionSpec:
        """This, if a network can be built from it.

        Raises:
            CheckpointError: a value of the wrong type, below 1, or a width that the heads do not divide.
        """
        for name in ("width", "templates", "heads"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise CheckpointError(f"correction {name} is {value!r}; it must be a whole number above 0")
        for field in fields(self):
            if field.type == "bool" and type(getattr(self, field.name)) is not bool:
                raise CheckpointError(f"correction {field.name} must be true or false")
        if self.width % self.heads:
            raise CheckpointError(
                f"correction width {self.width} is not a multiple of its {self.heads} heads"
            )
        return self


@dataclass(frozen=True)
class ModelSpec:
    """A first-click network with the corrector on top of it.

    Attributes:
        base: name of the base network in `emclick.networks.backbones.BASES`.
        correction: the mask correction network.
    """

    base: str
    correction: CorrectionSpec = CorrectionSpec()

    @property
    def min_cells(self) -> int:
        """A frame must hold the templates of one polarity."""
        return self.correction.templates

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelSpec:
        """The inverse of `to_dict`; unknown or missing names are an error.

        Raises:
            CheckpointError: the mapping is not a model specification; the message says why.
        """
        try:
            correction = dict(values["correction"])
            known = {field.name for field in fields(CorrectionSpec)}
            if unknown := sorted(set(correction) - known | set(values) - {"base", "correction"}):
                raise CheckpointError(f"model specification holds unknown entries: {', '.join(unknown)}")
            return cls(base=str(values["base"]), correction=CorrectionSpec(**correction).checked())
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, CheckpointError):
                raise
            raise CheckpointError(f"not a model specification: {error!r}") from error
