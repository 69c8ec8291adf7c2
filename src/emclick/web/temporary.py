"""Temporary folders, which nobody who asks from elsewhere is to read about."""

from __future__ import annotations

import re
import tempfile

PREFIX = "emclick-"
"""Of the names of temporary folders, `emclick.annotations.archive`'s too."""


def without_temporary(text: str) -> str:
    """A message with the names of files as they were sent, or as they are in a zip that was."""
    folder = rf"{re.escape(tempfile.gettempdir())}[\\/]+{PREFIX}\w+"
    return re.sub(folder, "the zip", re.sub(rf"{folder}[\\/]+", "", text))
