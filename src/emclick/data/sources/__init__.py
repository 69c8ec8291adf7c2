"""The table of datasets. One file each; `open_source(name, root)` opens one.

Each entry is a callable `(root: Path, **options) -> Source` that raises `DatasetError`, naming what it
looked for, when `root` is not laid out as published.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from emclick.data.sample import Source
from emclick.errors import DatasetError
from emclick.registry import Registry

SOURCES = Registry(
    "dataset",
    "emclick.datasets",
    {
        "grabcut": "emclick.data.sources.grabcut:open_grabcut",
        "berkeley": "emclick.data.sources.berkeley:open_berkeley",
        "davis": "emclick.data.sources.davis:open_davis",
        "sbd": "emclick.data.sources.sbd:open_sbd",
        "pascalvoc": "emclick.data.sources.pascalvoc:open_pascalvoc",
        "coco_mval": "emclick.data.sources.coco_mval:open_coco_mval",
        "davis585": "emclick.data.sources.davis585:open_davis585",
        "folder": "emclick.data.sources.folder:open_folder",
        "shards": "emclick.data.sources.shards:open_shards",
        "coco": "emclick.data.sources.coco:open_coco",
        "coco_lvis": "emclick.data.sources.coco_lvis:open_coco_lvis",
    },
)


def open_source(name: str, root: str | os.PathLike[str], **options: Any) -> Source:
    """Open dataset `name` at folder `root`.

    Raises:
        UnknownNameError: no such dataset.
        DatasetError: `root` is missing or not laid out as that dataset is published.
    """
    opener = SOURCES[name]
    folder = Path(root)
    if not folder.is_dir():
        raise DatasetError(f"{name}: no folder {folder}; give the dataset's root folder")
    return opener(folder, **options)
