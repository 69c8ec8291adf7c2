"""GrabCut: 50 images with one object each (Rother, Kolmogorov and Blake, 2004).

Layout: `data_GT/NAME.*` images, `boundary_GT/NAME.*` masks (0 background, 128 = ignored, above it object).
"""

from __future__ import annotations

from pathlib import Path

from emclick.data.sources.labelmaps import (
    MaskPairs,
    image_files,
    object_or_ignored,
    pair_by_stem,
    require_folders,
)


def open_grabcut(root: Path) -> MaskPairs:
    """Open the folder that holds `data_GT` and `boundary_GT`.

    Raises:
        DatasetError: a folder is missing, or an image has no mask or a mask no image.
    """
    images, masks = require_folders("grabcut", root, "data_GT", "boundary_GT")
    entries = pair_by_stem("grabcut", image_files("grabcut", images), image_files("grabcut", masks))
    return MaskPairs("grabcut", entries, object_or_ignored)
