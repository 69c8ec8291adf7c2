"""What a format is, and what formats share: finding images by name, numbering labels, reading JSON.

A format's `files` only makes names and bytes; writing them to a folder or into a zip is done here and in
`archive`, the same for all. All names in files have "/" between their parts.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath, PurePosixPath
from typing import Any, ClassVar

from emclick.annotations.errors import AnnotationError
from emclick.annotations.model import AnnotationSet
from emclick.annotations.reading import UNLABELLED, Sizes, portable_name, without_suffix
from emclick.errors import OptionError, WriteError
from emclick.files import make_folder, write_bytes

File = tuple[str, bytes]
"""Path relative to the export's folder, and content."""


def option(default: Any, about: str) -> Any:
    """A field of a format: one of its options, with a line for people who choose."""
    return dataclasses.field(default=default, metadata={"about": about})


def check_tolerance(tolerance_px: float) -> None:
    """Raise `OptionError` unless an edge can move by so much."""
    if not (math.isfinite(tolerance_px) and tolerance_px >= 0):
        raise OptionError(f"tolerance_px is a number of pixels from 0 on, not {tolerance_px}")


class Format(ABC):
    """One annotation format. Subclasses are frozen dataclasses whose fields, made by `option`, are the format's
    options.

    Attributes:
        name: as in the table.
        about: one line for people.
        suffixes: of the files that `read` takes, in small letters.
        single_file: name of the one file that `export` writes, None if it writes several.
        lossy: True if masks may come back changed with the default options.
    """

    name: ClassVar[str]
    about: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]]
    single_file: ClassVar[str | None] = None
    lossy: ClassVar[bool] = False

    @abstractmethod
    def files(self, annotations: AnnotationSet) -> Iterator[File]:
        """The files of an export, one at a time.

        Raises:
            AnnotationError: something that the format cannot say; the message names it.
        """

    def photo_path(self, annotations: AnnotationSet, name: str) -> str:
        """Where the export keeps the photograph `name`."""
        return portable_name(name)

    def export(self, annotations: AnnotationSet, folder: Path, images: Path | None = None) -> list[Path]:
        """Write all files below `folder`, which must be new or empty; it appears whole or not at all.

        Args:
            annotations: what to write.
            folder: made if missing, the folders above it too.
            images: the photographs' folder; if given, they are copied to where the format keeps them.

        Returns:
            The files written.

        Raises:
            AnnotationError: something that the format cannot say.
            WriteError: `folder` is not empty or not writable, or a photograph is missing.
        """
        check_names(annotations)
        with new_folder(folder) as made:
            written = [_write(made, name, data) for name, data in self.files(annotations)]
            if images is not None:
                written += [
                    _copy(images, name, made, self.photo_path(annotations, name))
                    for name in (image.name for image in annotations.images)
                ]
        return [folder / path.relative_to(made) for path in written]

    def read(self, path: Path, images: Sizes) -> AnnotationSet:
        """Read a file or folder of this format, or a zip of either.

        Args:
            path: what to read.
            images: the known images; others are left out and named in `skipped`.

        Raises:
            AnnotationError: not of this format or damaged; the message names file and entry.
        """
        from emclick.annotations.archive import is_zip, unpacked  # which lists the formats

        try:
            if is_zip(path):
                with unpacked(path) as folder:
                    return self.parse(folder, images)
            if not path.exists():
                raise AnnotationError(f"{self.name}: there is no file or folder {path}")
            return self.parse(path, images)
        except (OSError, RecursionError) as error:
            reason = getattr(error, "strerror", None) or error
            raise AnnotationError(f"{self.name}: cannot read {path}: {reason}") from error

    @abstractmethod
    def parse(self, path: Path, images: Sizes) -> AnnotationSet:
        """`read`, for a file or folder that is there."""


# --- writing --------------------------------------------------------------------------------------------


@contextlib.contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder that takes the place of `folder`, new or empty, when all went well.

    Raises:
        WriteError: `folder` holds something or cannot be made.
    """
    target = Path(os.path.abspath(folder))  # noqa: PTH100 - `resolve` would follow a link that is replaced
    make_folder(target.parent)
    try:
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise WriteError(f"cannot write to {folder}: it is there and not an empty folder; name a new one")
        temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name[:40]}.", suffix=".tmp"))
    except WriteError:
        raise
    except OSError as error:
        raise WriteError(f"cannot write to {folder}: {error.strerror or error}") from error
    try:
        if os.name == "posix":  # mkdtemp is private to the user; give what mkdir would have given
            umask = os.umask(0)
            os.umask(umask)
            temporary.chmod(0o777 & ~umask)
        yield temporary
        if target.exists():
            target.rmdir()
        temporary.replace(target)
    except OSError as error:
        if isinstance(error, WriteError):
            raise
        raise WriteError(f"cannot write to {folder}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write(folder: Path, name: str, data: bytes) -> Path:
    target = folder / checked_name(name)
    make_folder(target.parent)
    return write_bytes(target, data)


def _copy(images: Path, name: str, folder: Path, relative: str) -> Path:
    target = folder / checked_name(relative)
    make_folder(target.parent)
    try:
        shutil.copyfile(photograph(images, name), target)
    except OSError as error:
        raise WriteError(f"cannot copy the photograph {name}: {error.strerror or error}") from error
    return target


def checked_name(name: str) -> str:
    """`name`, a relative path that stays in its folder on every system.

    Raises:
        AnnotationError: it does not.
    """
    path = PurePosixPath(name)
    if (
        not name
        or "\\" in name
        or "\0" in name
        or ":" in name[:2]
        or path.is_absolute()
        or ".." in path.parts
    ):
        raise AnnotationError(f"{name!r} is no path inside a folder")
    return name


def check_names(annotations: AnnotationSet) -> None:
    """`checked_name` for every image, as it will be written."""
    for image in annotations.images:
        checked_name(portable_name(image.name))


def photograph(images: Path, name: str) -> Path:
    """Where the photograph `name` is, which may hold any character that names on this system may.

    Raises:
        AnnotationError: not inside `images`.
    """
    path = PurePath(name)
    if path.is_absolute() or path.drive or ".." in path.parts:
        raise AnnotationError(f"{name!r} is no path inside a folder")
    return images / path


def stems(annotations: AnnotationSet) -> dict[str, str]:
    """Image name -> its path as written, without suffix, for files that stand for an image; with the suffix where
    two images would share it (also on file systems that ignore case)."""
    written = {image.name: portable_name(image.name) for image in annotations.images}
    without = {name: without_suffix(path) for name, path in written.items()}
    stem_times = Counter(stem.casefold() for stem in without.values())
    paths = {path.casefold() for path in written.values()}
    return {
        name: stem if stem_times[stem.casefold()] == 1 and stem.casefold() not in paths else written[name]
        for name, stem in without.items()
    }


def to_json(value: Mapping[str, Any]) -> bytes:
    """JSON in UTF-8; of the top level's lists each entry has one line."""
    parts: list[str] = []
    for key, entry in value.items():
        if isinstance(entry, list) and entry:
            lines = ",\n".join("  " + _dumped(each) for each in entry)
            parts.append(f" {_dumped(key)}: [\n{lines}\n ]")
        else:
            parts.append(f" {_dumped(key)}: {_dumped(entry)}")
    return ("{\n" + ",\n".join(parts) + "\n}\n").encode("utf-8", "surrogatepass")


def _dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


# --- labels ---------------------------------------------------------------------------------------------


def number_labels(annotations: AnnotationSet) -> dict[str, int]:
    """Label -> its number from 0: `annotations.labels` in their order, then those that only objects have."""
    used = (each.label for image in annotations.images for each in image.objects)
    return {label: number for number, label in enumerate(dict.fromkeys((*annotations.labels, *used)))}


def written_label(label: str) -> str:
    """The label as files have it: not empty."""
    return label or UNLABELLED
