"""Images as a browser can show them, and masks as it sends them."""

from __future__ import annotations

import io
import tempfile
import warnings
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from emclick.annotations.errors import AnnotationError
from emclick.annotations.indexed import object_numbers, read_indexed
from emclick.annotations.model import Rle
from emclick.errors import ImageReadError, MaskError
from emclick.images import MAX_MEGAPIXELS, read_image, read_mask
from emclick.web.library import MAX_FILE_BYTES, read_size
from emclick.web.temporary import PREFIX

Pixels = NDArray[np.uint8]

THUMBNAIL_PX = 160
MAX_OBJECTS = 1000
"""In one mask file; a photograph saved as a mask would have thousands of colours."""

_AS_IT_IS = {"JPEG": ("image/jpeg", ("RGB", "L")), "PNG": ("image/png", ("RGB", "L", "1", "P")),
             "WEBP": ("image/webp", ("RGB",))}  # fmt: skip


def displayable(path: Path, pixels: Pixels | None = None) -> tuple[bytes, str]:
    """An image for a browser, upright and with 8 bits, and its media type.

    The file itself where a browser shows the same as `read_image` gives; else anew, as JPEG where it was one and
    without loss otherwise.

    Args:
        path: of the file.
        pixels: what `read_image` gave, if that is at hand.

    Raises:
        ImageReadError: it cannot be read.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ImageReadError(f"{path.name} is larger than {MAX_FILE_BYTES >> 20} MB")
        data = path.read_bytes()
    except OSError as error:
        if isinstance(error, ImageReadError):
            raise
        raise ImageReadError(f"cannot read {path.name}: {error.strerror or error}") from error
    read_size(path)  # too large, or no image: it says so
    file_format = "" if path.suffix.lower() == ".mpo" else _plain(data)
    if file_format in _AS_IT_IS:
        return data, _AS_IT_IS[file_format][0]
    shown = read_image(path) if pixels is None else pixels
    jpeg = data[:3] == b"\xff\xd8\xff"
    return _encoded(shown, ".jpg" if jpeg else ".png", 95), "image/jpeg" if jpeg else "image/png"


def _plain(data: bytes) -> str:
    """The format of a file that a browser shows as it is; "" otherwise."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=list(_AS_IT_IS)) as picture:
                deep = picture.format == "PNG" and data[24] > 8
                still = getattr(picture, "n_frames", 1) == 1 and "transparency" not in picture.info
                # Any mention of a turn: browsers and Pillow need not agree on where to look for it.
                metadata = {"exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif"} & set(picture.info)
                if picture.format == "JPEG" and metadata:
                    metadata = set() if picture.getexif().get(274, 1) == 1 else metadata
                fits = picture.mode in _AS_IT_IS[str(picture.format)][1]
                return str(picture.format) if fits and still and not deep and not metadata else ""
    except Exception:  # `read_image` says what is wrong
        return ""


def thumbnail(path: Path, pixels: Pixels | None = None) -> bytes:
    """A JPEG whose longer side is at most `THUMBNAIL_PX`.

    Raises:
        ImageReadError: it cannot be read.
    """
    shown = _reduced(path) if pixels is None else pixels
    height, width = shown.shape[:2]
    scale = min(1.0, THUMBNAIL_PX / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(shown, size, interpolation=cv2.INTER_AREA)
    return _encoded(small.astype(np.uint8, copy=False), ".jpg", 80)


def _reduced(path: Path) -> Pixels:
    """The image, smaller where the decoder can do that at once (an eighth of the time for a large JPEG)."""
    height, width = read_size(path)
    if height * width > MAX_MEGAPIXELS * 1e6:
        raise ImageReadError(f"{path.name} is above the limit of {MAX_MEGAPIXELS:g} megapixels")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=["JPEG"]) as picture:
                picture.draft("RGB", (2 * THUMBNAIL_PX, 2 * THUMBNAIL_PX))
                return read_image(picture)
    except Exception:  # another format, or damaged
        return read_image(path)


def _encoded(pixels: Pixels, suffix: str, quality: int) -> bytes:
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if suffix == ".jpg" else [cv2.IMWRITE_PNG_COMPRESSION, 1]
    done, data = cv2.imencode(suffix, cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), options)
    if not done:
        raise ImageReadError(f"an image of {pixels.shape[1]}x{pixels.shape[0]} pixels cannot be sent")
    return data.tobytes()


def read_masks(data: bytes, image_hw: tuple[int, int]) -> list[Rle]:
    """The masks in an image file: one for each value of a palette or 16-bit PNG (0 is background, and so is 255 in
    a palette that holds other numbers), else one of all that is not 0; none if it is all background.

    Raises:
        MaskError: another size than the image, more than `MAX_OBJECTS` values, or a photograph.
        ImageReadError: no image.
    """
    if _is_numbered(data):
        with tempfile.TemporaryDirectory(prefix=PREFIX) as folder:
            path = Path(folder, "mask.png")
            path.write_bytes(data)
            try:
                fits = read_size(path) == image_hw
                found = read_indexed(path) if fits else None
            except (AnnotationError, ImageReadError) as error:
                raise ImageReadError(str(error).replace(str(path), "the mask file")) from error
            if found is not None:
                values = object_numbers(found)
                if len(values) > MAX_OBJECTS:
                    raise MaskError(
                        f"the mask holds {len(values)} values; at most {MAX_OBJECTS} objects are taken"
                    )
                return [Rle.encode(found.values == each) for each in values]
    mask = read_mask(io.BytesIO(data), image_hw)
    if _is_photograph(data):
        raise MaskError(
            "the file looks like a photograph, not like a mask, which is black (0) where there is no object"
        )
    return [Rle.encode(mask)] if mask.any() else []


def _is_photograph(data: bytes) -> bool:
    """Whether an image without transparency is half-tones for the most part, and of many shades."""
    with Image.open(io.BytesIO(data)) as picture:
        if "A" in picture.getbands():
            return False
        grey = read_image(picture)[..., 1]
    counts = np.bincount(grey.reshape(-1), minlength=256)
    return bool(np.count_nonzero(counts) > 64 and counts[16:240].sum() > counts.sum() / 2)


def _is_numbered(data: bytes) -> bool:
    """Whether a PNG's values number objects: indices of a palette, or 16 bits of grey (IHDR: depth, colour type)."""
    return (
        data.startswith(b"\x89PNG\r\n\x1a\n")
        and len(data) > 33
        and (data[25] == 3 or data[24:26] == b"\x10\x00")
    )
