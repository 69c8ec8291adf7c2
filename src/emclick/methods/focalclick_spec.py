"""What a FocalClick model is made of, apart from its weights. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from emclick.errors import CheckpointError

PIPELINES = {"s1": 2, "s2": 1}
"""The published pipelines: what the coarse segmentor's frame is divided by before its backbone."""

RADIUS_PX = 5
"""Radius of a click's disk in the refiner, and in the coarse segmentor of S2, px of the frame."""

_S1_RADIUS_PX = {"hrnet18s": 2, "hrnet18": 2, "hrnet32": 2}
_OTHER_S1_RADIUS_PX = 3


@dataclass(frozen=True)
class FocalClickSpec:
    """A coarse segmentor and the refiner on top of it.

    Attributes:
        base: name of the base network in `emclick.networks.backbones.BASES`.
        pipeline: "s2", or "s1", whose coarse segmentor looks at half the frame's side. The weights of both have
            the same keys and shapes.
    """

    base: str
    pipeline: str = "s2"

    @property
    def min_cells(self) -> int:
        """8x8 cells of 4x4 px reach the backbone."""
        return (8 * self.divisor) ** 2

    @property
    def divisor(self) -> int:
        """Frame pixels per pixel that the coarse segmentor sees, along a side."""
        return PIPELINES[self.pipeline]

    @property
    def coarse_radius_px(self) -> int:
        """Radius of a click's disk in the coarse segmentor, px of the frame, as released."""
        if self.divisor == 1:
            return RADIUS_PX
        return _S1_RADIUS_PX.get(self.base, _OTHER_S1_RADIUS_PX)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> FocalClickSpec:
        """The inverse of `to_dict`.

        Raises:
            CheckpointError: a name is missing or unknown, or the pipeline is not one of the published.
        """
        if not isinstance(values, Mapping):
            raise CheckpointError(f"a FocalClick specification is a table, not {values!r:.40}")
        if unknown := sorted(set(map(str, values)) - {field.name for field in fields(cls)}):
            raise CheckpointError(f"FocalClick specification holds unknown entries: {', '.join(unknown)}")
        base, pipeline = values.get("base"), values.get("pipeline", "s2")
        if not isinstance(base, str):
            raise CheckpointError(f"FocalClick specification: base is {base!r}; give the name of a backbone")
        if not isinstance(pipeline, str) or pipeline not in PIPELINES:
            choices = ", ".join(PIPELINES)
            raise CheckpointError(
                f"FocalClick specification: pipeline is {pipeline!r}; choose from {choices}"
            )
        return cls(base, pipeline)
