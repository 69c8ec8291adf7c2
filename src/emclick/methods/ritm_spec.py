"""What a RITM model is made of. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from emclick.errors import CheckpointError


@dataclass(frozen=True)
class RitmSpec:
    """One network that reads image, all clicks and the previous mask.

    Attributes:
        base: name of the base network in `emclick.networks.backbones.BASES`.
    """

    base: str

    @property
    def min_cells(self) -> int:
        """Any frame will do."""
        return 1

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"base": self.base}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RitmSpec:
        """The inverse of `to_dict`.

        Raises:
            CheckpointError: an unknown or missing entry, or a base that is not text.
        """
        if not isinstance(values, Mapping) or set(values) != {"base"} or not isinstance(values["base"], str):
            raise CheckpointError(
                f"not the specification of a RITM model, which is its base alone: {values!r:.80}"
            )
        return cls(values["base"])
