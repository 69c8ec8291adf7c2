"""A folder of one's own: `images/` and `masks/`, one mask file per object.

Layout: `images/NAME.*` and `masks/NAME.*` or `masks/NAME_N.*` (0 background, 128 = ignored, above it
object). A mask belongs to the image of its full name if there is one, else to that of its name without `_N`,
a number. Images without a mask are left out.
"""

from __future__ import annotations

import re
from pathlib import Path

from emclick.data.sources.labelmaps import (
    ImageEntry,
    MaskPairs,
    ObjectFile,
    image_files,
    object_or_ignored,
    require_folders,
)
from emclick.errors import DatasetError

_NUMBERED = re.compile(r"(?P<name>.+)_(?P<number>[0-9]+)")


def open_folder(root: Path) -> MaskPairs:
    """Open the folder that holds `images` and `masks`; the source bears the folder's name.

    Object ids are the number N of the mask's name, or "1" without one ("whole" if 1 is taken).

    Raises:
        DatasetError: a folder is missing or empty, or a mask has no image.
    """
    images_folder, masks_folder = require_folders("folder", root, "images", "masks")
    images = image_files("folder", images_folder)
    masks: dict[str, dict[str, Path]] = {}
    for stem, path in image_files("folder", masks_folder).items():
        name, number = _owner(stem, images, path)
        masks.setdefault(name, {})[number] = path
    entries = [
        ImageEntry(name, images[name], tuple(_objects(masks[name]))) for name in images if name in masks
    ]
    return MaskPairs(root.resolve().name or "folder", entries, object_or_ignored)


def _owner(stem: str, images: dict[str, Path], path: Path) -> tuple[str, str]:
    if stem in images:
        return stem, ""
    match = _NUMBERED.fullmatch(stem)
    if match and match["name"] in images:
        return match["name"], match["number"]
    raise DatasetError(
        f"folder: the mask {path} has no image; name it NAME.png or NAME_N.png after images/NAME.*"
    )


def _objects(masks: dict[str, Path]) -> list[ObjectFile]:
    def order(number: str) -> tuple[int, str]:
        return (int(number) if number else -1, number)

    unnumbered = "whole" if "1" in masks else "1"
    return [ObjectFile(number or unnumbered, masks[number]) for number in sorted(masks, key=order)]
