"""The journal of an evaluation under way: a header line, then one line per finished object.

A run that was stopped goes on from its journal. Only the last line can be half written; it is dropped.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NotRequired, TypedDict

from emclick.errors import OptionError, WriteError


class Record(TypedDict):
    """One object of an evaluation.

    id: sample key and object id, `KEY#ID`.
    clicks: [x, y, positive] in the order made.
    iou: IoU after each click; longer than `clicks` where no wrong pixel was left to click on.
    ms: milliseconds of each click.
    start_iou: IoU of the initial mask, where there was one.
    """

    id: str
    clicks: list[tuple[int, int, bool]]
    iou: list[float]
    ms: list[float]
    start_iou: NotRequired[float]


class Line(TypedDict):
    """One finished object: its sample, how many objects that sample has, and the run's wall time so far."""

    sample: str
    of: int
    wall_s: float
    record: Record


class Journal:
    """Finished objects of one run, kept in `path`; a context manager that closes the file.

    Args:
        path: created with its header if missing; else read and continued. None keeps nothing.
        header: the settings of the run; a journal is continued only by a run of the same settings.

    Raises:
        OptionError: `path` was begun with other settings, or is not a journal.
        WriteError: `path` cannot be written.
    """

    def __init__(self, path: Path | None, header: Mapping[str, Any]) -> None:
        self.lines: list[Line] = []
        self._file = None
        if path is None:
            return
        header = json.loads(json.dumps(header))
        try:
            content = path.read_bytes() if path.exists() else b""
            whole = content[: content.rfind(b"\n") + 1]
            if whole:
                self.lines = _parse(path, whole, header)
            self._file = path.open("r+b" if content else "wb")
            self._file.truncate(len(whole))
            self._file.seek(len(whole))
            if not whole:
                self._write(header)
        except OSError as error:
            if self._file is not None:
                self._file.close()
            raise WriteError(f"cannot keep the journal {path}: {error.strerror or error}") from error

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()

    @property
    def wall_s(self) -> float:
        """Wall seconds up to the last line."""
        return self.lines[-1]["wall_s"] if self.lines else 0.0

    def by_sample(self) -> dict[str, tuple[list[Record], bool]]:
        """Sample key -> its finished objects, and whether those are all it has."""
        found: dict[str, tuple[list[Record], bool]] = {}
        for line in self.lines:
            records, _ = found.get(line["sample"], ([], False))
            records.append(line["record"])
            found[line["sample"]] = (records, len(records) == line["of"])
        return found

    def append(self, line: Line) -> None:
        """Add a finished object."""
        if self._file is not None:
            try:
                self._write(line)
            except OSError as error:
                raise WriteError(f"cannot write to the journal: {error.strerror or error}") from error

    def _write(self, value: object) -> None:
        assert self._file is not None
        self._file.write(json.dumps(value, ensure_ascii=False).encode() + b"\n")
        self._file.flush()


def _parse(path: Path, content: bytes, header: Mapping[str, Any]) -> list[Line]:
    try:
        values = [json.loads(line) for line in content.splitlines()]
        found, lines = values[0], values[1:]
        if not isinstance(found, dict) or not all(set(line) == set(Line.__annotations__) for line in lines):
            raise ValueError("unknown content")
        for line in lines:  # JSON knows no tuples
            line["record"]["clicks"] = [tuple(click) for click in line["record"]["clicks"]]
    except (ValueError, TypeError, KeyError) as error:
        raise OptionError(
            f"{path} is not a journal of an evaluation; delete it or choose another name"
        ) from error
    differing = [name for name in sorted({*found, *header}) if found.get(name) != header.get(name)]
    if differing:
        changes = ", ".join(f"{name} {found.get(name)!r}, now {header.get(name)!r}" for name in differing)
        raise OptionError(
            f"{path} was begun with other settings ({changes}); "
            "repeat those, delete the journal, or choose another output"
        )
    return lines


def remove_journal(path: Path) -> None:
    """Delete a journal that is no longer needed; one that cannot be deleted is left."""
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
