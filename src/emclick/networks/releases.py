"""Released checkpoints: which of their keys is which of ours, and which model a file holds.

A model is recognised from keys and shapes alone, strictly in both directions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from emclick.errors import CheckpointError, UnknownNameError
from emclick.methods import METHODS
from emclick.registry import import_name
from emclick.spec import Spec

Rewrites = Sequence[tuple[str, str]]
"""Our key -> the release's: successive (pattern, replacement)."""


def rewrite(key: str, rules: Rewrites) -> str:
    """`key` after all rules, in order."""
    for pattern, replacement in rules:
        key = re.sub(pattern, replacement, key)
    return key


@dataclass(frozen=True)
class Release:
    """A released model.

    Attributes:
        name: of the model in our zoo.
        method: its loop, in the table of methods.
        spec: its networks.
        rename: our key -> the release's.
        source: who released it, for the card.
        licence: of the weights, as stated.
        terms: what users have to mind.
        short_side: frame side for the card, px.
        zoom_in: for the card.
        unused: keys of the release that it never runs; all, some or none may be there.
        aliases: prefix of release keys -> other prefixes under which the release repeats them, equal.
        linear: matches release keys that are a linear layer there and a 1x1 convolution here.
    """

    name: str
    method: str
    spec: Spec
    rename: Callable[[str], str]
    source: str
    licence: str
    terms: str
    short_side: int = 384
    zoom_in: bool = False
    unused: Callable[[str], bool] = lambda key: False
    aliases: Mapping[str, Sequence[str]] = field(default_factory=dict)
    linear: str = r"(?!)"  # matches nothing

    @cached_property
    def expected(self) -> dict[str, tuple[str, torch.Size]]:
        """Release key -> (our key, our shape), without allocating the network."""
        with torch.device("meta"):
            state = import_name(METHODS[self.method].network)(self.spec).state_dict()
        return {self.rename(key): (key, value.shape) for key, value in state.items()}

    def names(self, key: str) -> list[str]:
        """All names of one entry of the release: `key`, and its aliases."""
        repeated = (
            other + key.removeprefix(prefix)
            for prefix, others in self.aliases.items()
            if key.startswith(prefix)
            for other in others
        )
        return [key, *repeated]

    def problems(self, state: Mapping[str, Tensor]) -> list[str]:
        """Every key that is missing, left over or of the wrong shape, in the release's names."""
        problems: list[str] = []
        known: set[str] = set()
        for theirs, (_, shape) in self.expected.items():
            wanted = shape[:2] if re.search(self.linear, theirs) else shape
            for name in self.names(theirs):
                known.add(name)
                if name not in state:
                    problems.append(f"missing key {name}")
                elif faults := _faults(name, state[name], wanted):
                    problems += faults
                elif name != theirs and theirs in state and not torch.equal(state[name], state[theirs]):
                    problems.append(f"key {name} differs from {theirs}, which names the same module")
        return problems + [
            f"left-over key {name}" for name in state if name not in known and not self.unused(name)
        ]

    def convert(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Our state dict of a release's that has no `problems`."""
        return {
            ours: state[theirs].reshape(shape).contiguous() for theirs, (ours, shape) in self.expected.items()
        }


def _faults(name: str, value: Tensor, shape: torch.Size) -> list[str]:
    if value.shape != shape:
        return [f"key {name} has shape {list(value.shape)}, not {list(shape)}"]
    counter = name.endswith("num_batches_tracked")
    if value.layout != torch.strided or (not value.is_floating_point() and not counter):
        return [f"key {name} holds {value.dtype} ({value.layout}), not plain floating-point numbers"]
    if not counter and not torch.isfinite(value).all():
        return [f"key {name} holds NaN or infinite values"]
    return []


def all_releases() -> list[Release]:
    """Those of all methods."""
    tables: Iterable[str] = (loop.releases for loop in METHODS.values() if loop.releases)
    return [release for table in tables for release in import_name(table)]


def recognise(
    state: Mapping[str, Tensor], releases: Sequence[Release] | None = None, name: str | None = None
) -> Release:
    """The release that `state` (its keys) is a checkpoint of.

    Args:
        state: of the checkpoint.
        releases: to choose from; None for all.
        name: what it must be; None for the first that fits.

    Raises:
        UnknownNameError: there is no release of that name.
        CheckpointError: no model fits; the message names the nearest and what differs.
    """
    candidates = all_releases() if releases is None else releases
    if name is not None:
        known = {release.name: release for release in candidates}
        if name not in known:
            raise UnknownNameError("released model", name, sorted(known))
        candidates = [known[name]]
    found: list[tuple[list[str], Release]] = []
    for release in candidates:
        found.append((release.problems(state), release))
        if not found[-1][0]:
            return release
    problems, nearest = min(found, key=lambda pair: len(pair[0]))
    shown = "; ".join(problems[:8]) + (f"; and {len(problems) - 8} more" if len(problems) > 8 else "")
    kind = "released checkpoint; nearest is" if name is None else "checkpoint of"
    raise CheckpointError(f"not a {kind} {nearest.name}: {shown}")


def recognised(name: str) -> Release:
    """The release of that name.

    Raises:
        UnknownNameError: there is none.
    """
    known = {release.name: release for release in all_releases()}
    if name not in known:
        raise UnknownNameError("released model", name, sorted(known))
    return known[name]


def twins(release: Release) -> list[str]:
    """Names of other releases whose checkpoints have the same keys and shapes: they are told apart by name alone."""
    shapes = {key: shape for key, (_, shape) in release.expected.items()}
    return [
        each.name
        for each in all_releases()
        if (each.method, each.spec.base) == (release.method, release.spec.base)
        and each.name != release.name
        and {key: shape for key, (_, shape) in each.expected.items()} == shapes
    ]
