"""Pictures whose pixel values are numbers of objects or classes: palette PNGs and deeper ones."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from emclick.annotations.errors import AnnotationError
from emclick.annotations.model import AnnotatedObject

Indices = NDArray[np.int32]

VOID = 255
"""Pascal VOC's value for "ignore": the line around objects."""

_OWN = 1 << 24  # added to colours that the palette does not hold


@dataclass(frozen=True)
class Indexed:
    """An indexed picture as read.

    Attributes:
        values: (H, W) int32; 0 is background.
        colors: value -> (r, g, b) for pictures in colours, where the values are made up; else empty.
        deep: more than 8 bits, where no value means "ignore".
    """

    values: Indices
    colors: Mapping[int, tuple[int, int, int]]
    deep: bool


@cache
def voc_palette() -> NDArray[np.uint8]:
    """(256, 3) uint8, the colours of Pascal VOC and DAVIS: bits 0, 3, 6 of the index make the highest bits
    of red, bits 1, 4, 7 of green, 2, 5 of blue, and so on down."""
    index = np.arange(256)
    palette = np.zeros((256, 3), np.uint8)
    for level in range(3):
        for channel in range(3):
            bit = (index >> (3 * level + channel)) & 1
            palette[:, channel] |= (bit << (7 - level)).astype(np.uint8)
    palette.setflags(write=False)
    return palette


def palette_png(values: NDArray[np.uint8]) -> bytes:
    """A PNG of (H, W) indices with the VOC palette."""
    image = Image.fromarray(values)
    image.putpalette(voc_palette().tobytes())
    return _png(image)


def deep_png(values: NDArray[np.uint16]) -> bytes:
    """A 16-bit grey PNG of (H, W) numbers."""
    return _png(Image.fromarray(values))


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def paint(
    objects: Iterable[tuple[int, AnnotatedObject]], size_hw: tuple[int, int], dtype: type[np.unsignedinteger]
) -> NDArray[np.unsignedinteger]:
    """(H, W) of each object's number, later objects over earlier ones."""
    values = np.zeros(size_hw, dtype)
    for number, each in objects:
        x, y, width, height = each.mask.box
        part = (slice(y, y + height), slice(x, x + width))
        values[part][each.mask.decode()[part]] = number
    return values


def picture_size(path: Path) -> tuple[int, int]:
    """(H, W) of a PNG, without decoding it.

    Raises:
        AnnotationError: it is not a PNG.
    """
    with _opened(path) as image:
        return image.size[1], image.size[0]


def read_indexed(path: Path) -> Indexed:
    """The values of a PNG: palette indices (transparency ignored), grey levels of 1 to 16 bits, or colours.

    Colours of the VOC palette get its index, others a number of their own; fully transparent pixels are 0.

    Raises:
        AnnotationError: it is not a PNG, or damaged.
    """
    with _opened(path) as image:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow repairs some flaws and says so
                image.load()
            mode = image.mode
            samples = np.asarray(image if mode not in ("CMYK", "YCbCr") else image.convert("RGB"))
        except Exception as error:  # decoders meet damaged files with any kind
            raise AnnotationError(f"cannot read {path}: damaged ({error})") from error
    if samples.ndim == 3 and samples.shape[2] == 2:
        samples = samples[..., 0]
    if samples.ndim == 2:
        return Indexed(samples.astype(np.int32), {}, mode.startswith("I"))
    rgb = samples[..., :3].astype(np.int32)
    packed = (rgb[..., 0] << 16) | (rgb[..., 1] << 8) | rgb[..., 2]
    if samples.shape[2] == 4:
        packed[samples[..., 3] == 0] = 0
    found, inverse = np.unique(packed, return_inverse=True)
    triples = [(int(each) >> 16, int(each) >> 8 & 255, int(each) & 255) for each in found]
    known = {(r, g, b): index for index, (r, g, b) in enumerate(voc_palette().tolist())}
    numbers = [known.get(triple, _OWN + int(each)) for triple, each in zip(triples, found)]
    values = np.array(numbers, np.int32)[inverse].reshape(packed.shape)
    return Indexed(values, dict(zip(numbers, triples)), False)


def object_numbers(indexed: Indexed, alone: bool = True) -> list[int]:
    """The values that stand for objects, smallest first.

    Args:
        indexed: the picture.
        alone: nothing beside it says what its values mean: one of nothing but 0 and 255 is a mask, not void.
    """
    found = [int(each) for each in np.unique(indexed.values) if each != 0]
    if indexed.deep or (alone and found == [VOID]):
        return found
    return [each for each in found if each != VOID]


def _opened(path: Path) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # large sizes are compared with the image's before decoding
            return Image.open(path, formats=["PNG"])
    except Exception as error:
        raise AnnotationError(f"cannot read {path}: it is no PNG ({error})") from error
