"""The folder of images: which files there are, and how large each is as it will be shown.

Sizes are read from file headers, without decoding, where that is certain; the rest is asked of `read_image`, whose
word is final.
"""

from __future__ import annotations

import os
import re
import struct
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from PIL import Image

from emclick.errors import ImageReadError
from emclick.images import MAX_MEGAPIXELS, read_image
from emclick.web.errors import ProjectError

SUFFIXES = frozenset({
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".tif", ".tiff", ".bmp", ".dib", ".gif", ".ppm",
    ".pgm", ".pbm", ".pnm", ".jp2", ".avif",
})  # fmt: skip
"""Files that are taken for images."""

MAX_FILE_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file by suffix.

    Attributes:
        name: path below the folder, parts separated by "/".
        mtime_ns, bytes: as the file system says.
    """

    name: str
    mtime_ns: int
    bytes: int


def find_images(folder: Path) -> list[FoundFile]:
    """All images in a folder and below it, in natural order. Names with a leading dot are left out, and so are
    links to folders, names that are not text, and what cannot be listed.

    Raises:
        ProjectError: the folder itself cannot be listed.
    """
    found: list[FoundFile] = []
    pending = [(folder, "")]
    while pending:
        place, prefix = pending.pop()
        try:
            entries = list(os.scandir(place))
        except OSError as error:
            if place == folder:
                raise ProjectError(f"cannot list the folder {folder}: {error.strerror or error}") from error
            continue
        for entry in entries:
            try:
                entry.name.encode()  # fails on bytes that are no text, which JSON cannot carry
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    pending.append((Path(entry.path), f"{prefix}{entry.name}/"))
                elif os.path.splitext(entry.name)[1].lower() in SUFFIXES and entry.is_file():  # noqa: PTH122
                    status = entry.stat()
                    found.append(FoundFile(prefix + entry.name, status.st_mtime_ns, status.st_size))
            except (OSError, UnicodeEncodeError):
                continue
    return sorted(found, key=lambda file: (natural_key(file.name), file.name))


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sorts "a2" before "a10", and folders' content together."""
    parts = re.split(r"(\d+)", name.casefold())
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part]


def read_size(path: Path) -> tuple[int, int]:
    """(H, W) of an image as `read_image` gives it.

    Raises:
        ImageReadError: it cannot be read, or is too large.
    """
    try:
        with path.open("rb") as file:
            image_hw = _from_header(file)
    except OSError as error:
        raise ImageReadError(f"cannot read {path}: {error.strerror or error}") from error
    if image_hw is None:
        image_hw = _from_pillow(path)
    if image_hw is None:
        height, width, _ = read_image(path).shape
        return height, width
    if image_hw[0] * image_hw[1] > MAX_MEGAPIXELS * 1e6:
        raise ImageReadError(
            f"{path} is {image_hw[1]}x{image_hw[0]} pixels, above the limit of {MAX_MEGAPIXELS:g} megapixels"
        )
    return image_hw


def _from_header(file: IO[bytes]) -> tuple[int, int] | None:
    start = file.read(16)
    try:
        for magic, parse in _PARSERS:
            if start.startswith(magic):
                return parse(file)
    except (struct.error, IndexError, ValueError):
        pass
    return None


def _jpeg(file: IO[bytes]) -> tuple[int, int] | None:
    """From the frame header, unless metadata may turn the image."""
    file.seek(2)
    turned = 1
    for _ in range(1000):
        marker = file.read(2)
        while marker[1:] == b"\xff":
            marker = marker[1:] + file.read(1)
        if marker[0] != 0xFF:
            return None
        (length,) = struct.unpack(">H", file.read(2))
        kind = marker[1]
        if 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):
            _, height, width = struct.unpack(">BHH", file.read(5))
            if not height or not width or not _ends(file):
                return None
            return (width, height) if turned >= 5 else (height, width)
        if kind == 0xE1:
            content = file.read(length - 2)
            exif = content.startswith(b"Exif\0\0")
            orientation = _exif_orientation(content[6:]) if exif else turned
            if orientation is None or (not exif and b"rientation" in content):  # XMP may turn too
                return None
            turned = orientation
        else:
            file.seek(length - 2, os.SEEK_CUR)
    return None


def _ends(file: IO[bytes]) -> bool:
    """Whether a JPEG's end mark comes after its frame header, mostly as the file's last bytes. Its pixels' bytes never
    hold one: a file that was cut off has none."""
    start = file.tell()
    file.seek(-2, os.SEEK_END)
    if file.read(2) == b"\xff\xd9":
        return True
    file.seek(start)
    last = b""
    while piece := file.read(1 << 20):
        if b"\xff\xd9" in last + piece:
            return True
        last = piece[-1:]
    return False


def _exif_orientation(block: bytes) -> int | None:
    """1 to 8; None where only a full parser can tell."""
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None:
        return None
    (start,) = struct.unpack_from(order + "I", block, 4)
    (count,) = struct.unpack_from(order + "H", block, start)
    for number in range(count):
        tag, kind, length, value = struct.unpack_from(order + "HHIH", block, start + 2 + 12 * number)
        if tag == 0x0112:
            return value if kind == 3 and length == 1 and 1 <= value <= 8 else None
    return 1


def _png(file: IO[bytes]) -> tuple[int, int] | None:
    """From IHDR, unless a chunk may turn the image; those may stand at the end."""
    file.seek(8)
    width = height = 0
    for _ in range(100_000):
        length, kind = struct.unpack(">I4s", file.read(8))
        if kind == b"IHDR":
            width, height = struct.unpack(">II", file.read(8))
            length -= 8
        elif kind == b"IEND":
            return (height, width) if width and height else None
        elif kind in (b"eXIf", b"iTXt", b"zTXt", b"tEXt"):
            keyword = file.read(min(length, 80)).split(b"\0")[0].lower()
            length -= min(length, 80)
            if kind == b"eXIf" or b"xmp" in keyword or b"exif" in keyword:
                return None
        file.seek(length + 4, os.SEEK_CUR)
    return None


_PARSERS: tuple[tuple[bytes, Callable[[IO[bytes]], tuple[int, int] | None]], ...] = (
    (b"\xff\xd8\xff", _jpeg),
    (b"\x89PNG\r\n\x1a\n", _png),
)


def _from_pillow(path: Path) -> tuple[int, int] | None:
    """Where the header says it and nothing can turn the image; None where it must be decoded."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=["WEBP", "BMP", "DIB", "GIF", "PPM"]) as picture:
                if picture.format == "WEBP" and ("exif" in picture.info or "xmp" in picture.info):
                    return None
                return picture.size[1], picture.size[0]
    except Exception:  # decoders raise any kind; read_image then says what is wrong
        return None
