"""What every format reads and writes: images, their objects, and the objects' masks as COCO RLE.

A mask is run lengths down the columns, background first, written as COCO's compressed string: lossless,
small (13 KB for a large object in a photograph) and what browsers and pycocotools both read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from emclick.annotations.errors import AnnotationError
from emclick.errors import MaskError

Mask = NDArray[np.bool_]
Runs = NDArray[np.int64]

MAX_PIXELS = 2**31 - 1
"""Largest mask that an RLE may describe; pycocotools counts in 32 bits."""

STATUSES = ("todo", "work", "done")

_COLOR = re.compile(r"#[0-9a-fA-F]{6}")
_RAGGED = 64  # pixels to a change, down the columns, below which sorting the changes costs more than it saves
_LONGEST = 2, 16  # characters or numbers of an RLE: so many to a pixel, and so many more
_LONGEST_NUMBER = 7  # characters of 5 bits each: 35 bits hold every length and every difference of two


@dataclass(frozen=True, slots=True)
class Rle:
    """A mask as run lengths. Make one with `encode` or `from_json`, which hold it to the rules.

    Attributes:
        size_hw: (H, W) of the mask.
        counts: the runs in pycocotools' compressed form, ASCII.
    """

    size_hw: tuple[int, int]
    counts: str

    @classmethod
    def encode(cls, mask: NDArray[Any]) -> Rle:
        """The RLE of an (H, W) mask; any dtype, what is not 0 is object.

        Raises:
            MaskError: `mask` is no array of (H, W) with pixels.
        """
        if not isinstance(mask, np.ndarray) or mask.ndim != 2 or mask.size == 0:
            shape = getattr(mask, "shape", type(mask).__name__)
            raise MaskError(f"a mask to encode must be an array of (height, width), not {shape}")
        if mask.size > MAX_PIXELS:
            raise MaskError(f"a mask of {mask.shape[1]}x{mask.shape[0]} pixels is too large for RLE")
        levels = np.ascontiguousarray(mask != 0 if mask.dtype != np.bool_ else mask).view(np.uint8)
        height, width = levels.shape
        turns = np.flatnonzero(levels[1:] != levels[:-1])
        if turns.size > levels.size // _RAGGED:
            counts = coco_mask.encode(np.asarray(cv2.transpose(levels), np.uint8).T)["counts"]
        else:  # a smooth mask has few places where a column changes: finding them takes a third of encoding it
            rows, columns = np.divmod(turns, width)
            tops = np.flatnonzero(np.concatenate([levels[:1, 0], levels[0, 1:] != levels[-1, :-1]]))
            places = np.sort(np.concatenate([columns * height + rows + 1, tops * height]))
            runs = np.diff(places, prepend=0, append=levels.size).tolist()
            counts = coco_mask.frPyObjects({"size": [height, width], "counts": runs}, height, width)["counts"]
        return cls((height, width), counts if isinstance(counts, str) else counts.decode("ascii"))

    @classmethod
    def empty(cls, size_hw: tuple[int, int]) -> Rle:
        """The RLE of a mask without object pixels."""
        return cls.from_json({"size": list(size_hw), "counts": [size_hw[0] * size_hw[1]]})

    @classmethod
    def from_json(cls, value: Any, image_hw: tuple[int, int] | None = None) -> Rle:
        """Read `{"size": [H, W], "counts": ...}`, counts a compressed string or a list of lengths.

        Args:
            value: parsed JSON, trusted in nothing.
            image_hw: the (H, W) that the mask must have, if given.

        Raises:
            MaskError: not an RLE, lengths that do not fill the size, or another size than `image_hw`.
        """
        if not isinstance(value, Mapping) or "size" not in value or "counts" not in value:
            raise MaskError('an RLE is {"size": [height, width], "counts": ...}')
        size_hw = _size(value["size"])
        if image_hw is not None and size_hw != tuple(image_hw):
            raise MaskError(
                f"the mask is {size_hw[1]}x{size_hw[0]} pixels (width x height) but the image is "
                f"{image_hw[1]}x{image_hw[0]}; they must be the same size"
            )
        counts = value["counts"]
        if isinstance(counts, bytes):
            counts = counts.decode("ascii", "replace")
        if (
            isinstance(counts, (list, str))
            and len(counts) > _LONGEST[0] * size_hw[0] * size_hw[1] + _LONGEST[1]
        ):
            raise MaskError(f"the counts of an RLE are too long for {size_hw[1]}x{size_hw[0]} pixels")
        if isinstance(counts, list):
            runs = _checked(_whole_numbers(counts), size_hw)
            return cls.encode(_filled(runs, size_hw))
        if not isinstance(counts, str):
            raise MaskError(f"the counts of an RLE are text or a list, not {type(counts).__name__}")
        runs = _checked(_parsed(counts), size_hw)
        if (runs[1:] == 0).any():  # allowed by the notation, but not what an encoder writes
            return cls.encode(_filled(runs, size_hw))
        return cls(size_hw, counts)

    def to_json(self) -> dict[str, Any]:
        """`{"size": [H, W], "counts": str}`."""
        return {"size": list(self.size_hw), "counts": self.counts}

    def decode(self) -> Mask:
        """The mask, (H, W) bool.

        Raises:
            MaskError: the counts are damaged.
        """
        return _filled(self.runs(), self.size_hw)

    def runs(self) -> Runs:
        """Run lengths down the columns, int64: background, object, background, ...

        Raises:
            MaskError: the counts are damaged.
        """
        return _checked(_parsed(self.counts), self.size_hw)

    @property
    def area(self) -> int:
        """Number of object pixels."""
        return int(self.runs()[1::2].sum())

    @property
    def box(self) -> tuple[int, int, int, int]:
        """(x, y, w, h) of the smallest rectangle around the object, in pixels; all 0 if there is none."""
        runs = self.runs()
        ends = np.cumsum(runs)
        first, last = (ends - runs)[1::2], ends[1::2] - 1
        used = last >= first
        first, last = first[used], last[used]
        if not first.size:
            return (0, 0, 0, 0)
        height = self.size_hw[0]
        left, right = int(first[0]) // height, int(last[-1]) // height
        if (first // height != last // height).any():  # a run that goes on in the next column
            top, bottom = 0, height - 1
        else:
            top, bottom = int((first % height).min()), int((last % height).max())
        return (left, top, right - left + 1, bottom - top + 1)


@dataclass(frozen=True, slots=True)
class AnnotatedObject:
    """One object: its mask, its label ("" for none) and its colour ("#rrggbb" or None).

    Raises:
        AnnotationError: a colour of another form.
    """

    mask: Rle
    label: str = ""
    color: str | None = None

    def __post_init__(self) -> None:
        if self.color is not None and not is_color(self.color):
            raise AnnotationError(f"a colour is written #rrggbb, not {self.color!r}")


@dataclass(frozen=True, slots=True)
class AnnotatedImage:
    """One image with its objects, the first drawn first.

    Attributes:
        name: path relative to the project's folder, with "/" between its parts.
        image_hw: (H, W) as displayed, that is, turned as EXIF says.
        objects: in order of drawing; their masks have the image's size.
        status: "todo", "work" or "done".

    Raises:
        AnnotationError: an unknown status.
        MaskError: a mask of another size.
    """

    name: str
    image_hw: tuple[int, int]
    objects: tuple[AnnotatedObject, ...] = ()
    status: str = "todo"

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise AnnotationError(
                f"{self.name}: a status is one of {', '.join(STATUSES)}, not {self.status!r}"
            )
        for number, each in enumerate(self.objects, 1):
            if each.mask.size_hw != self.image_hw:
                raise MaskError(
                    f"{self.name}, object {number}: the mask is {each.mask.size_hw} (height, width), "
                    f"the image {self.image_hw}"
                )


@dataclass(frozen=True, slots=True)
class AnnotationSet:
    """Images with their objects.

    Attributes:
        images: one entry per image.
        labels: the labels in the order that formats number them by.
        skipped: one line for each thing that a file held and that could not be taken; set by reading.
    """

    images: tuple[AnnotatedImage, ...]
    labels: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()


def is_color(text: str) -> bool:
    """Whether `text` is a colour as #rrggbb."""
    return _COLOR.fullmatch(text) is not None


# --- the notation ---------------------------------------------------------------------------------------


def _size(value: Any) -> tuple[int, int]:
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise MaskError("the size of an RLE is [height, width]")
    height, width = _whole_numbers(value).tolist()
    if height < 1 or width < 1 or height * width > MAX_PIXELS:
        raise MaskError(f"an RLE of {width}x{height} pixels cannot be used")
    return height, width


def _whole_numbers(values: Any) -> Runs:
    """int64 of a list of JSON numbers; 3.0 passes, 3.5, True and "3" do not."""
    if any(isinstance(value, bool) or not isinstance(value, (int, float)) for value in values):
        raise MaskError("the numbers of an RLE must be whole numbers")
    array = np.asarray(values, np.float64)
    if not (np.abs(array) <= MAX_PIXELS).all() or (array != np.rint(array)).any():
        raise MaskError("the numbers of an RLE must be whole numbers")
    return array.astype(np.int64)


def _parsed(counts: str) -> Runs:
    """Run lengths of the compressed form: 5 bits per character, lowest first, 32 saying that more follow;
    signed; from the fourth on a number is the difference to the one two before."""
    try:
        codes = np.frombuffer(counts.encode("ascii"), np.uint8).astype(np.int64) - 48
    except UnicodeEncodeError as error:
        raise MaskError("the counts of an RLE are damaged: not ASCII") from error
    if not codes.size or codes.min() < 0 or codes.max() > 63 or codes[-1] & 32:
        raise MaskError("the counts of an RLE are damaged: not COCO's compressed form")
    last = np.flatnonzero(codes < 32)
    first = np.concatenate(([0], last[:-1] + 1))
    length = last - first + 1
    if length.max() > _LONGEST_NUMBER:
        raise MaskError("the counts of an RLE are damaged: a number is too long")
    shift = 5 * (np.arange(codes.size) - np.repeat(first, length))
    runs = np.add.reduceat((codes & 31) << shift, first)
    runs -= ((codes[last] >> 4) & 1) << (5 * length)  # the highest bit is the sign
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return runs


def _checked(runs: Runs, size_hw: tuple[int, int]) -> Runs:
    if not runs.size or runs.min() < 0 or int(runs.sum()) != size_hw[0] * size_hw[1]:
        raise MaskError(
            f"the counts of an RLE are damaged: they do not fill {size_hw[1]}x{size_hw[0]} pixels"
        )
    return runs


def _filled(runs: Runs, size_hw: tuple[int, int]) -> Mask:
    values = (np.arange(runs.size) & 1).astype(np.uint8)
    return cv2.transpose(np.repeat(values, runs).reshape(size_hw[1], size_hw[0])).view(np.bool_)
