"""Pascal VOC 2012: the objects of the segmentation validation set, 3,427 on 1,449 images.

Layout (the `VOC2012` folder, or one that holds it): `ImageSets/Segmentation/val.txt`, `JPEGImages/NAME.jpg`,
`SegmentationObject/NAME.png`: indexed PNG, 0 background, 255 = ignored (the band around objects).
`SegmentationClass/NAME.png`, if present, gives each object its class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emclick.data.sample import Sample, SampleObject
from emclick.data.sources.labelmaps import check_same_size, read_indices, read_rgb, require_folders
from emclick.errors import DatasetError

IGNORED = 255
CLASSES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train"),
    "tvmonitor",
)


@dataclass(frozen=True)
class PascalVoc:
    """One sample per image of the split, one object per index of `SegmentationObject`."""

    root: Path
    keys: Sequence[str]
    name: str = "pascalvoc"

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, index: int) -> Sample:
        """Read image `index`.

        Raises:
            DatasetError: a file is missing, unreadable, not indexed or of another size than the image.
        """
        key = self.keys[index]
        image = read_rgb(self.root / "JPEGImages" / f"{key}.jpg")
        path = self.root / "SegmentationObject" / f"{key}.png"
        labels = read_indices(path)
        check_same_size(image, labels, path)
        classes = self._classes(key, image)
        objects = [
            SampleObject(str(value), value=value, label=_class_name(classes, labels == value))
            for value in np.unique(labels).tolist()
            if value not in (0, IGNORED)
        ]
        return Sample(key, image, [labels], objects, labels == IGNORED, source=self.name)

    def _classes(self, key: str, image: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
        path = self.root / "SegmentationClass" / f"{key}.png"
        if not path.is_file():
            return None
        classes = read_indices(path)
        check_same_size(image, classes, path)
        return classes


def _class_name(classes: NDArray[np.uint8] | None, where: NDArray[np.bool_]) -> str:
    """The commonest class below the object: SegmentationClass and -Object differ at a few pixels."""
    if classes is None:
        return ""
    number = int(np.bincount(classes[where]).argmax())
    return CLASSES[number] if number < len(CLASSES) else ""


def open_pascalvoc(root: Path, split: str = "val") -> PascalVoc:
    """Open VOC 2012 at its own folder or at one that holds `VOC2012` or `VOCdevkit/VOC2012`.

    Args:
        root: the dataset's folder.
        split: a list of `ImageSets/Segmentation`: "val" (the published set), "train", "trainval".

    Raises:
        DatasetError: a folder or the list is missing, or the list is empty.
    """
    for inner in (root / "VOCdevkit" / "VOC2012", root / "VOC2012"):
        if inner.is_dir():
            root = inner
            break
    require_folders("pascalvoc", root, "ImageSets/Segmentation", "JPEGImages", "SegmentationObject")
    listed = root / "ImageSets" / "Segmentation" / f"{split}.txt"
    try:
        keys = listed.read_text(encoding="utf-8").split()
    except OSError as error:
        raise DatasetError(f"pascalvoc: no list {listed}; splits are val, train and trainval") from error
    if not keys:
        raise DatasetError(f"pascalvoc: the list {listed} names no images")
    return PascalVoc(root, keys)
