"""Writing files so that a reader never sees half of one: temporary file, fsync, rename."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

from emclick.errors import WriteError


def write_atomic(path: str | os.PathLike[str], write: Callable[[IO[bytes]], object]) -> Path:
    """Create or replace `path` with what `write(binary_file)` puts into it, all or nothing.

    The temporary file lies in the same folder, is flushed to disk and renamed; on any failure it is
    removed and an existing `path` stays as it was.

    Raises:
        WriteError: the folder does not exist or is not writable, or the disk is full.
    """
    target = Path(path)
    if "\0" in str(target):  # which the system reports as a ValueError of its own
        raise WriteError(f"cannot write {str(target)!r}: a name cannot hold a null character")
    temporary: str | None = None
    try:
        target = target.resolve()  # a link stays a link, its file is replaced
        if target.exists() and not target.is_file():
            raise WriteError(f"cannot write {target}: it is there and no regular file; nothing was changed")
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name[:40]}.", suffix=".tmp")
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        if os.name == "posix":  # mkstemp is private to the user; give what open() would have given
            umask = os.umask(0)
            os.umask(umask)
            Path(temporary).chmod(0o666 & ~umask)
        Path(temporary).replace(target)
    except BaseException as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()
        if isinstance(error, OSError) and not isinstance(error, WriteError):
            reason = error.strerror or str(error)
            raise WriteError(f"cannot write {target}: {reason}; nothing was changed") from error
        raise
    return Path(path)


def write_bytes(path: str | os.PathLike[str], data: bytes) -> Path:
    """`write_atomic` for bytes in memory."""
    return write_atomic(path, lambda file: file.write(data))


def write_text(path: str | os.PathLike[str], text: str) -> Path:
    """`write_atomic` for text, as UTF-8 with the newlines given."""
    return write_bytes(path, text.encode("utf-8"))


def require_folder(path: str | os.PathLike[str]) -> None:
    """Check before long work that the folder which `path` will be written to is there.

    Raises:
        WriteError: it is not.
    """
    folder = Path(path).resolve().parent
    if not folder.is_dir():
        raise WriteError(f"cannot write {path}: there is no folder {folder}")


def make_folder(path: str | os.PathLike[str]) -> Path:
    """Make a folder and those above it, if they are not there.

    Raises:
        WriteError: a file is in the way, or the place is not writable.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteError(f"cannot make folder {folder}: {error.strerror or error}") from error
    return folder
