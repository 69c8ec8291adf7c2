"""Results files: what commands that measure leave behind, and tables are made from."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from emclick.errors import DatasetError


def read_results_file(path: Path, command: str, fits: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The content of a results file (JSON).

    Args:
        path: of the file.
        command: that writes such files, for the message.
        fits: whether the content is one of them.

    Raises:
        DatasetError: it is missing, or not a results file of that command.
    """
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DatasetError(f"cannot read the results {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise DatasetError(f"{path} is not a results file: {error}") from error
    if not isinstance(results, dict) or not fits(results):
        raise DatasetError(f"{path} is not a results file of `emclick {command}`")
    return results


def markdown_table(heads: Sequence[str], lines: Iterable[Sequence[str]], words: Iterable[str] | int) -> str:
    """A markdown table ending in a newline.

    Args:
        heads: of the columns.
        lines: the cells, as many as heads each.
        words: the heads of columns that hold words, which are set left, or how many columns from the first on do;
            numbers are set right.
    """
    left = range(words) if isinstance(words, int) else [heads.index(name) for name in words]
    rules = [":--" if place in left else "--:" for place in range(len(heads))]
    return "".join("| " + " | ".join(line) + " |\n" for line in (heads, rules, *lines))
