"""Zip files: every format at once, and any format inside one."""

from __future__ import annotations

import contextlib
import shutil
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import IO, ClassVar

from emclick.annotations.base import File, Format, check_names, checked_name, new_folder, photograph
from emclick.annotations.coco import Coco
from emclick.annotations.errors import AnnotationError
from emclick.annotations.instances import Instances
from emclick.annotations.labelme import LabelMe
from emclick.annotations.model import AnnotationSet
from emclick.annotations.reading import MAX_TEXT_BYTES, Sizes, portable_name
from emclick.annotations.voc import Voc
from emclick.annotations.yolo import Yolo
from emclick.errors import WriteError
from emclick.files import write_atomic

MAX_FILES = 500_000
MAX_BYTES = 8 << 30
"""What a zip may unpack to; more is refused before or while it is unpacked."""

FREE_TEXT_BYTES, MAX_RATIO = 16 << 20, 100
"""Text in a zip may be so large in any case, and beyond that so many times what it takes in the zip."""

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same annotations give the same bytes
_STORED = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".avif", ".zip")
_PARTS: tuple[type[Format], ...] = (Coco, LabelMe, Voc, Yolo, Instances)


@dataclass(frozen=True)
class Archive(Format):
    """One zip with a folder for each format, and with `images` the photographs in `images/`.

    `coco/annotations.json` in it is lossless and what `read` takes. A format that cannot say the
    annotations (VOC with more than 254 objects on an image) is left out, with a text file that says why.
    """

    name: ClassVar[str] = "zip"
    about: ClassVar[str] = "every format at once, as one zip"
    suffixes: ClassVar[tuple[str, ...]] = (".zip",)
    single_file: ClassVar[str | None] = "annotations.zip"

    def files(self, annotations: AnnotationSet) -> Iterator[File]:
        """The one file, made in memory; `export` writes it piece by piece instead."""
        data = BytesIO()
        write_zip(data, self.parts(annotations))
        yield "annotations.zip", data.getvalue()

    def parts(self, annotations: AnnotationSet) -> Iterator[File]:
        """The files inside the zip."""
        for part in _PARTS:
            made: list[File] = []
            try:
                for name, data in part().files(annotations):
                    made.append((f"{part.name}/{name}", data))
            except AnnotationError as error:
                if part is Coco:  # which says everything: then the annotations are wrong
                    raise
                yield f"{part.name}/not-written.txt", f"{error}\n".encode()
                continue
            yield from made

    def export(self, annotations: AnnotationSet, folder: Path, images: Path | None = None) -> list[Path]:
        """As `Format.export`: one file, `annotations.zip`."""
        check_names(annotations)
        photos = () if images is None else _photos(annotations, images)
        with new_folder(folder) as made:
            target = made / "annotations.zip"
            write_atomic(target, lambda file: write_zip(file, self.parts(annotations), photos))
        return [folder / "annotations.zip"]

    def parse(self, path: Path, images: Sizes) -> AnnotationSet:
        """As `Format.read`, for an unpacked zip, or a folder with one: what it holds of COCO."""
        if (path / "annotations.zip").is_file():
            with unpacked(path / "annotations.zip") as folder:
                return self.parse(folder, images)
        found = sorted(path.rglob("coco/annotations.json"))
        if not found:
            raise AnnotationError(
                f"{path} holds no coco/annotations.json; for a zip of another format name that format"
            )
        return Coco().parse(found[0], images)


def _photos(annotations: AnnotationSet, images: Path) -> Iterator[tuple[str, Path]]:
    for image in annotations.images:
        yield f"images/{portable_name(image.name)}", photograph(images, image.name)


def write_zip(file: IO[bytes], contents: Iterable[File], copies: Iterable[tuple[str, Path]] = ()) -> None:
    """Write a zip: names with bytes, then names with files to copy.

    Raises:
        WriteError: a file to copy cannot be read.
    """
    with zipfile.ZipFile(file, "w", allowZip64=True) as archive:
        for name, data in contents:
            archive.writestr(_entry(name), data)
        for name, source in copies:
            try:
                with source.open("rb") as stream, archive.open(_entry(name), "w", force_zip64=True) as target:
                    shutil.copyfileobj(stream, target, 1 << 20)
            except OSError as error:
                raise WriteError(f"cannot read the photograph {source}: {error.strerror or error}") from error


def pack(folder: Path, target: Path) -> Path:
    """Make a zip of all files in `folder`.

    Raises:
        WriteError: it could not be written.
    """
    found = sorted(each for each in folder.rglob("*") if each.is_file())
    copies = ((each.relative_to(folder).as_posix(), each) for each in found)
    return write_atomic(target, lambda file: write_zip(file, (), copies))


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(checked_name(name), _EPOCH)
    stored = PurePosixPath(name).suffix.lower() in _STORED
    entry.compress_type = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    return entry


# --- reading --------------------------------------------------------------------------------------------


def is_zip(path: Path) -> bool:
    """Whether `path` is a zip file, by its content."""
    return path.is_file() and zipfile.is_zipfile(path)


@contextlib.contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """The annotation files of a zip in a temporary folder, for as long as the context lasts.

    Photographs other than PNG (which may be masks) are not unpacked.

    Raises:
        AnnotationError: a damaged zip, one that is too large, or one with names outside its folder.
    """
    with tempfile.TemporaryDirectory(prefix="emclick-") as temporary:
        folder = Path(temporary)
        try:
            with zipfile.ZipFile(path) as archive:
                _unpack(archive, folder, path)
        except AnnotationError:
            raise
        except _DAMAGED as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise AnnotationError(f"cannot read the zip {path}: {reason}") from error
        yield folder


_DAMAGED = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    struct.error,
    NotImplementedError,  # a compression that Python lacks
    RuntimeError,  # a password
    EOFError,
    ValueError,
    OSError,
)
_TAKEN = (".json", ".txt", ".png", ".yaml", ".yml", ".names")


def _unpack(archive: zipfile.ZipFile, folder: Path, path: Path) -> None:
    entries = [each for each in archive.infolist() if not each.is_dir()]
    wanted = [each for each in entries if PurePosixPath(each.filename).suffix.lower() in _TAKEN]
    if len(wanted) > MAX_FILES or sum(each.file_size for each in wanted) > MAX_BYTES:
        raise AnnotationError(
            f"the zip {path} unpacks to more than {MAX_BYTES >> 30} GB or {MAX_FILES} files"
        )
    left = MAX_BYTES
    for each in wanted:
        # a text is read whole: a small zip must not fill the memory
        most = min(MAX_TEXT_BYTES, max(FREE_TEXT_BYTES, MAX_RATIO * each.compress_size))
        if not each.filename.lower().endswith(".png") and each.file_size > most:
            raise AnnotationError(f"the zip {path}: {each.filename!r} unpacks to more than {most >> 20} MB")
        name = each.filename.replace("\\", "/")  # some Windows tools write it so
        try:
            target = folder / checked_name(name)
        except AnnotationError as error:
            raise AnnotationError(f"the zip {path}: {error}") from error
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(each) as source, target.open("wb") as file:
            while piece := source.read(1 << 20):
                left -= len(piece)  # the sizes in a zip's directory may lie
                if left < 0:
                    raise AnnotationError(f"the zip {path} unpacks to more than {MAX_BYTES >> 30} GB")
                file.write(piece)
