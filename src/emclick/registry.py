"""One kind of table for everything that can be added: name -> object, built in or from an entry point.

A value is written `package.module:attribute` and imported when it is first asked for, so that listing
names costs nothing. Third parties add to a table with an entry point of the table's group, e.g.
`[project.entry-points."emclick.methods"] mine = "my_package.mine:MyMethod"`.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from typing import Any

from emclick.errors import UnknownNameError


class Registry(Mapping[str, Any]):
    """Names of one kind of thing, each imported on first use.

    Args:
        kind: what the names stand for, used in error messages ("dataset", "backbone", ...).
        group: entry point group that third parties register under, e.g. "emclick.datasets".
        builtin: name -> "package.module:attribute".
    """

    def __init__(self, kind: str, group: str, builtin: Mapping[str, str]) -> None:
        self.kind = kind
        self.group = group
        self._builtin = dict(builtin)

    def _table(self) -> dict[str, str]:
        added = {point.name: point.value for point in entry_points(group=self.group)}
        return {**added, **self._builtin}

    def __iter__(self) -> Iterator[str]:
        return iter(self._table())

    def __len__(self) -> int:
        return len(self._table())

    def __contains__(self, name: object) -> bool:
        return name in self._table()

    def __getitem__(self, name: str) -> Any:
        """The object behind `name`.

        Raises:
            UnknownNameError: no such name; the message lists those there are.
        """
        table = self._table()
        if name not in table:
            raise UnknownNameError(self.kind, name, sorted(table))
        return import_name(table[name])


def import_name(name: str) -> Any:
    """The object behind `package.module:attribute`."""
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)
