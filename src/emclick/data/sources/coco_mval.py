"""COCO-MVal: 800 objects, 10 of each COCO class, one per image, as f-BRS and the RITM family publish it.

Layout: `img/NAME.jpg` images, `gt/NAME.png` masks (object wherever any channel is not 0), as DAVIS.
"""

from __future__ import annotations

from pathlib import Path

from emclick.data.sources.davis import open_img_gt
from emclick.data.sources.labelmaps import MaskPairs


def open_coco_mval(root: Path) -> MaskPairs:
    """Open the folder that holds `img` and `gt`.

    Raises:
        DatasetError: a folder is missing, or an image has no mask or a mask no image.
    """
    return open_img_gt("coco_mval", root)
