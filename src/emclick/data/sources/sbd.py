"""SBD, the Semantic Boundaries Dataset (Hariharan et al., ICCV 2011): train and val, 6,671 objects in val.

Layout (the `dataset` folder, or one that holds `dataset` or `benchmark_RELEASE/dataset`): `train.txt`,
`val.txt`, `img/NAME.jpg`, `inst/NAME.mat`: `GTinst.Segmentation` is the map of objects (0 background, 255
ignored), `GTinst.Categories` the VOC class number of object 1, 2, ... (`cls/` is not needed.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from emclick.data.sample import Sample, SampleObject
from emclick.data.sources.labelmaps import check_same_size, read_rgb, require_folders
from emclick.data.sources.pascalvoc import CLASSES
from emclick.errors import DatasetError, MissingExtraError

IGNORED = 255


@dataclass(frozen=True)
class Sbd:
    """One sample per image of the split, one object per number of the object map.

    Attributes:
        root: the dataset's folder.
        keys: names of the images.
        min_fill: an object that fills less than this share of its box is background.
    """

    root: Path
    keys: Sequence[str]
    min_fill: float = 0.0
    name: str = "sbd"

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, index: int) -> Sample:
        """Read image `index`.

        Raises:
            DatasetError: a file is missing, unreadable or of another size than the image.
            MissingExtraError: scipy, which reads the .mat files, is not installed.
        """
        key = self.keys[index]
        image = read_rgb(self.root / "img" / f"{key}.jpg")
        path = self.root / "inst" / f"{key}.mat"
        labels, categories = _read_mat(path)
        check_same_size(image, labels, path)
        objects = [
            SampleObject(str(value), value=value, label=_class_name(categories, value))
            for value in np.unique(labels).tolist()
            if value not in (0, IGNORED) and self._is_whole(labels == value)
        ]
        ignore = labels == IGNORED
        return Sample(key, image, [labels], objects, ignore if ignore.any() else None, source=self.name)

    def _is_whole(self, mask: NDArray[np.bool_]) -> bool:
        if not self.min_fill:
            return True
        _, _, width, height = cv2.boundingRect(mask.view(np.uint8))
        return int(np.count_nonzero(mask)) >= self.min_fill * width * height


def open_sbd(root: Path, split: str = "val", min_fill: float = 0.0) -> Sbd:
    """Open SBD.

    Args:
        root: the dataset's folder.
        split: a list beside the folders: "val" (the published evaluation set) or "train".
        min_fill: objects that fill less than this share of their box are left out, in 0..1. Published trainings leave
            out those below 0.08, which are faults of the labels.

    Raises:
        DatasetError: a folder or the list is missing, the list is empty, or `min_fill` is out of range.
    """
    if not 0 <= min_fill <= 1:
        raise DatasetError(f"sbd: min_fill is {min_fill}; it must lie in 0..1")
    for inner in (root / "benchmark_RELEASE" / "dataset", root / "dataset"):
        if inner.is_dir():
            root = inner
            break
    require_folders("sbd", root, "img", "inst")
    listed = root / f"{split}.txt"
    try:
        keys = listed.read_text(encoding="utf-8").split()
    except OSError as error:
        raise DatasetError(f"sbd: no list {listed}; splits are val and train") from error
    if not keys:
        raise DatasetError(f"sbd: the list {listed} names no images")
    return Sbd(root, keys, min_fill)


def _read_mat(path: Path) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
    """The object map (H, W) and the class numbers of objects 1, 2, ..."""
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise MissingExtraError("SBD's .mat files need scipy; install emclick[torch]") from error
    if not path.is_file():
        raise DatasetError(f"sbd: no file {path}")
    try:
        truth = loadmat(path)["GTinst"]
        labels = np.asarray(truth["Segmentation"][0, 0])
        categories = np.asarray(truth["Categories"][0, 0]).ravel().astype(np.int64)
    except Exception as error:  # scipy raises whatever its decoder runs into
        raise DatasetError(f"sbd: cannot read GTinst of {path}: {error!r}") from error
    if labels.ndim != 2 or not np.issubdtype(labels.dtype, np.integer):
        raise DatasetError(f"sbd: {path} holds no map of objects but {labels.dtype} {labels.shape}")
    return labels, categories


def _class_name(categories: NDArray[np.integer], value: int) -> str:
    number = int(categories[value - 1]) if value <= categories.size else 0
    return CLASSES[number] if 0 < number < len(CLASSES) else ""
