"""Says which extra a command needs, before an import fails."""

from __future__ import annotations

import importlib.util

from emclick.errors import MissingExtraError


def need_torch(command: str) -> None:
    """Raise `MissingExtraError` if PyTorch is not installed."""
    if importlib.util.find_spec("torch") is None:
        raise MissingExtraError(f'`emclick {command}` needs PyTorch: pip install "emclick[torch]"')
