"""Results files: what commands that measure leave behind, and tables are made from."""

from __future__ import annotations

import json
from collections.abc import Callable
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
