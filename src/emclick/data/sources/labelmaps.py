"""What image-and-mask datasets share: listing folders, reading images, masks and indexed PNGs.

`MaskPairs` is the source of every dataset that keeps one mask file per object (GrabCut, Berkeley, DAVIS,
COCO-MVal, DAVIS-585, a plain folder); those differ in where the files lie and in what their grey levels say.
"""

from __future__ import annotations

import contextlib
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from emclick.data.sample import Sample, SampleObject
from emclick.errors import DatasetError, ImageReadError
from emclick.images import read_image

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif")

Decode = Callable[[NDArray[np.uint8]], NDArray[np.int8]]
"""Grey levels (H, W) uint8 -> (H, W) int8: 1 object, 0 background, -1 ignored."""


# --- folders --------------------------------------------------------------------------------------------


def require_folders(dataset: str, root: Path, *names: str) -> list[Path]:
    """The folders `names` below `root`.

    Raises:
        DatasetError: one is missing; the message lists the layout looked for.
    """
    folders = [root / name for name in names]
    missing = [name for name, folder in zip(names, folders) if not folder.is_dir()]
    if missing:
        raise DatasetError(
            f"{dataset}: no folder {', '.join(missing)} in {root}; "
            f"its root holds {', '.join(f'{name}/' for name in names)}"
        )
    return folders


def image_files(dataset: str, folder: Path) -> dict[str, Path]:
    """Image files of `folder` by stem, in order of stem; hidden and other files are left out.

    Stems are in Unicode NFC, so that names written by different systems match.

    Raises:
        DatasetError: there is none, or two differ only in their suffix.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir(), key=lambda p: p.name):
        if path.name.startswith(".") or path.suffix.lower() not in IMAGE_SUFFIXES or not path.is_file():
            continue
        stem = unicodedata.normalize("NFC", path.stem)
        if stem in found:
            raise DatasetError(
                f"{dataset}: {found[stem].name} and {path.name} in {folder} share a name; keep one"
            )
        found[stem] = path
    if not found:
        raise DatasetError(f"{dataset}: no images in {folder}")
    return dict(sorted(found.items()))


# --- files ----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    try:
        with Image.open(path) as image:
            image.load()
            yield image
    except FileNotFoundError as error:
        raise DatasetError(f"no file {path}") from error
    except DatasetError:
        raise
    # Pillow's decoders raise these, depending on the format and on where the file breaks off.
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise DatasetError(f"cannot read {path}: {error}") from error


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB of an image file, turned as its EXIF orientation says (`emclick.images`).

    Raises:
        DatasetError: the file is missing or not a readable image; the message names it.
    """
    try:
        return read_image(path)
    except ImageReadError as error:
        raise DatasetError(str(error)) from error


def read_grey(path: Path) -> NDArray[np.uint8]:
    """(H, W) uint8 grey levels of a mask file; colours of a palette are looked up, 16 bits scaled to 8.

    Raises:
        DatasetError: as `read_rgb`.
    """
    with _opened(path) as image:
        if image.mode.startswith("I"):
            levels = np.asarray(image)
            if levels.max(initial=0) > 255:  # else 8-bit levels were stored in 16-bit samples
                levels = np.round(levels / 257.0)
            return levels.clip(0, 255).astype(np.uint8)
        return np.asarray(image.convert("L"))


def read_largest_channel(path: Path) -> NDArray[np.uint8]:
    """(H, W) uint8, the largest of the colour channels (a coloured mask is non-zero where any channel is).

    Raises:
        DatasetError: as `read_rgb`.
    """
    with _opened(path) as image:
        return np.asarray(image.convert("RGB")).max(axis=2)


def read_indices(path: Path) -> NDArray[np.uint8]:
    """(H, W) uint8 palette indices of an indexed PNG (the levels themselves if it is grey).

    Raises:
        DatasetError: as `read_rgb`, or the file holds colours instead of indices.
    """
    with _opened(path) as image:
        if image.mode not in ("P", "L"):
            raise DatasetError(
                f"{path} is not an indexed PNG (mode {image.mode}); use the files as published"
            )
        return np.asarray(image)


def check_same_size(image: NDArray[np.uint8], labels: NDArray[np.generic], path: Path) -> None:
    """Raise `DatasetError` naming `path` unless `labels` (H, W) has the size of `image` (H, W, 3)."""
    if labels.shape != image.shape[:2]:
        height, width = image.shape[:2]
        raise DatasetError(
            f"{path} is {labels.shape[1]}x{labels.shape[0]} pixels, but its image {width}x{height}"
        )


# --- one mask file per object ---------------------------------------------------------------------------


def object_above_zero(levels: NDArray[np.uint8]) -> NDArray[np.int8]:
    """1 wherever the mask is not 0."""
    return (levels > 0).astype(np.int8)


def object_above_128(levels: NDArray[np.uint8]) -> NDArray[np.int8]:
    """1 where the level exceeds 128."""
    return (levels > 128).astype(np.int8)


def object_or_ignored(levels: NDArray[np.uint8]) -> NDArray[np.int8]:
    """1 where the level exceeds 128, -1 where it is 128, 0 below."""
    labels = (levels > 128).astype(np.int8)
    labels[levels == 128] = -1
    return labels


@dataclass(frozen=True)
class ObjectFile:
    """One object: its id within the image, its mask and, if given, the mask to start from."""

    id: str
    mask: Path
    initial: Path | None = None


@dataclass(frozen=True)
class ImageEntry:
    """One image of `MaskPairs` with its objects."""

    key: str
    image: Path
    objects: tuple[ObjectFile, ...]


@dataclass(frozen=True)
class MaskPairs:
    """A source with one mask file per object; each object lies on its own layer, so they may overlap.

    Attributes:
        name: the dataset's name.
        entries: one per image, in order.
        decode: what the grey levels of a mask say (module-level, so that the source can be pickled).
        read: reads a mask file to (H, W) uint8.
    """

    name: str
    entries: Sequence[ImageEntry]
    decode: Decode
    read: Callable[[Path], NDArray[np.uint8]] = read_grey

    @property
    def keys(self) -> Sequence[str]:
        return [entry.key for entry in self.entries]

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> Sample:
        """Read image `index` with all its masks.

        Raises:
            DatasetError: a file is missing, unreadable, of another size than the image, or a mask is empty.
        """
        entry = self.entries[index]
        image = read_rgb(entry.image)
        layers: list[NDArray[np.int8]] = []
        objects: list[SampleObject] = []
        for obj in entry.objects:
            labels = self._labels(obj.mask, image)
            if not (labels == 1).any():
                raise DatasetError(f"{self.name}: the mask {obj.mask} holds no object")
            initial = None if obj.initial is None else self._labels(obj.initial, image) == 1
            objects.append(SampleObject(obj.id, value=1, layer=len(layers), initial_mask=initial))
            layers.append(labels)
        # Each layer keeps its own ignored pixels; those that no object counts are the sample's as well.
        ignore = np.logical_and.reduce([labels < 0 for labels in layers]) if layers else None
        if ignore is not None and not ignore.any():
            ignore = None
        return Sample(entry.key, image, layers, objects, ignore, source=self.name)

    def _labels(self, path: Path, image: NDArray[np.uint8]) -> NDArray[np.int8]:
        levels = self.read(path)
        check_same_size(image, levels, path)
        return self.decode(levels)


def pair_by_stem(dataset: str, images: Mapping[str, Path], masks: Mapping[str, Path]) -> list[ImageEntry]:
    """One entry per image, its one object from the mask of the same stem.

    Raises:
        DatasetError: an image without a mask or a mask without an image; the message names the first.
    """
    lonely = sorted(set(images) ^ set(masks))
    if lonely:
        stem = lonely[0]
        have, lack = ("image", "mask") if stem in images else ("mask", "image")
        raise DatasetError(
            f"{dataset}: the {have} {(images.get(stem) or masks[stem])} has no {lack} "
            f"({len(lonely)} such file{'s' if len(lonely) > 1 else ''})"
        )
    return [ImageEntry(stem, path, (ObjectFile("1", masks[stem]),)) for stem, path in images.items()]
