"""DAVIS-585: 585 objects with initial masks to correct (FocalClick, CVPR 2022).

Layout: one folder per video, each with frames `FRAME.jpg`, masks `OBJECT_FRAME.png`, and for each mask the
initial masks `init_sp_OBJECT_FRAME.png` (super-pixels with simulated defects, the published "from init") and
`init_stm_OBJECT_FRAME.png` (a video tracker's output). Above 128 is object.
"""

from __future__ import annotations

from pathlib import Path

from emclick.data.sources.labelmaps import (
    ImageEntry,
    MaskPairs,
    ObjectFile,
    object_above_128,
)
from emclick.errors import DatasetError, UnknownNameError

INITIAL_MASKS = {"sp": "init_sp_", "stm": "init_stm_", "none": ""}


def open_davis585(root: Path, initial: str = "sp") -> MaskPairs:
    """Open the folder that holds one folder per video.

    Args:
        root: the dataset's folder.
        initial: which initial masks the objects carry: "sp", "stm" or "none" (start from nothing).

    Raises:
        UnknownNameError: no such kind of initial mask.
        DatasetError: no videos, or a frame or an initial mask is missing; the message names it.
    """
    if initial not in INITIAL_MASKS:
        raise UnknownNameError("initial mask", initial, sorted(INITIAL_MASKS))
    entries = [
        entry
        for video in sorted(
            path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")
        )
        for entry in _video(video, INITIAL_MASKS[initial])
    ]
    if not entries:
        raise DatasetError(
            f"davis585: no masks in {root}; its root holds a folder per video with OBJECT_FRAME.png"
        )
    return MaskPairs("davis585", entries, object_above_128)


def _video(folder: Path, prefix: str) -> list[ImageEntry]:
    names = {
        p.name: p for p in folder.iterdir() if p.suffix in (".jpg", ".png") and not p.name.startswith(".")
    }
    frames: dict[str, list[ObjectFile]] = {}
    for name in sorted(names):
        if not name.endswith(".png") or name.startswith("init_"):
            continue
        obj, _, frame = Path(name).stem.rpartition("_")
        needed = [f"{frame}.jpg", *([prefix + name] if prefix else [])]
        missing = [other for other in needed if other not in names]
        if not obj or missing:
            raise DatasetError(
                f"davis585: {folder / name} wants {' and '.join(missing or ['a name OBJECT_FRAME'])}"
            )
        frames.setdefault(frame, []).append(
            ObjectFile(obj, names[name], names[prefix + name] if prefix else None)
        )
    return [
        ImageEntry(f"{folder.name}/{frame}", names[f"{frame}.jpg"], tuple(objects))
        for frame, objects in sorted(frames.items())
    ]
