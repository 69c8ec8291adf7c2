"""DAVIS: 345 frames of the DAVIS 2016 videos with one object each, as the RITM family evaluates it.

Layout: `img/NAME.*` images, `gt/NAME.*` masks (object wherever any channel is not 0; nothing is ignored).
"""

from __future__ import annotations

from pathlib import Path

from emclick.data.sources.labelmaps import (
    MaskPairs,
    image_files,
    object_above_zero,
    pair_by_stem,
    read_largest_channel,
    require_folders,
)


def open_davis(root: Path) -> MaskPairs:
    """Open the folder that holds `img` and `gt`.

    Raises:
        DatasetError: a folder is missing, or an image has no mask or a mask no image.
    """
    return open_img_gt("davis", root)


def open_img_gt(dataset: str, root: Path) -> MaskPairs:
    """The layout `img`, `gt` with equal stems, shared with COCO-MVal; raises as `open_davis`."""
    images, masks = require_folders(dataset, root, "img", "gt")
    entries = pair_by_stem(dataset, image_files(dataset, images), image_files(dataset, masks))
    return MaskPairs(dataset, entries, object_above_zero, read_largest_channel)
