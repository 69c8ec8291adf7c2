"""COCO with LVIS masks and COCO panoptic regions: the "C+L" training set of the RITM family.

Layout, all files as published:
    annotations/lvis_v1_SPLIT.json              LVIS v1, SPLIT being `train` or `val`
    annotations/panoptic_FOLDER.json            COCO panoptic, FOLDER being `train2017` or `val2017`
    annotations/panoptic_FOLDER/NAME.png
    FOLDER/NAME.jpg                             COCO images; LVIS val has images of both folders

The rule of combination is the RITM family's (Sofiiuk et al., 2021, and their published conversion): an
image's objects are its LVIS masks, plus the panoptic "things" that overlap no LVIS mask by an IoU above
0.70; of two LVIS masks with an IoU above 0.85 the later one stays; objects under 80 px are dropped.
Panoptic "stuff", less all objects, is kept from 501 px on as `whole=False`. Images that are not in both
annotations are left out; one whose objects are all too small has none.

Differences: panoptic crowds are ignored regions here, and parts of larger objects (a wheel of a car)
are offered like any other object.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from emclick.data.sample import Sample, SampleObject
from emclick.data.sources.coco import (
    encode_rle,
    group_annotations,
    mask_api,
    pack_layers,
    pack_record,
    read_json,
)
from emclick.data.sources.labelmaps import check_same_size, read_rgb, require_folders
from emclick.errors import DatasetError

SAME_IOU = 0.70
REPEATED_IOU = 0.85
MIN_OBJECT_PX = 80
MIN_STUFF_PX = 501


@dataclass(frozen=True)
class CocoLvis:
    """One sample per image; `records` and `segments` (panoptic entries as bytes) are parallel to `keys`.

    Attributes:
        lvis_names: LVIS category number -> name.
        coco_names: COCO panoptic category number -> (name, is it a thing).
    """

    root: Path
    keys: Sequence[str]
    records: Sequence[bytes]
    segments: Sequence[bytes]
    lvis_names: Mapping[int, str]
    coco_names: Mapping[int, tuple[str, bool]]
    name: str = "coco_lvis"

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, index: int) -> Sample:
        """Read image `index`; layers are uint16.

        Raises:
            DatasetError: a file is missing, unreadable or of another size than the image.
            MissingExtraError: pycocotools is not installed.
        """
        record, panoptic = json.loads(self.records[index]), json.loads(self.segments[index])
        path = self.root / record["file_name"]
        image = read_rgb(path)
        folder = path.parent.name
        png = self.root / "annotations" / f"panoptic_{folder}" / panoptic["file_name"]
        regions = read_panoptic(png)
        check_same_size(image, regions, png)

        lvis = self._lvis(record, path)
        for _, mask in lvis:
            check_same_size(image, mask, path)
        things, stuff, crowd = self._panoptic(panoptic, regions)
        objects = drop_same(things, lvis) + drop_repeated(lvis)
        taken = np.zeros(regions.shape, bool)
        for _, mask in objects:
            taken |= mask
        for obj, mask in stuff:
            mask &= ~taken
            if np.count_nonzero(mask) >= MIN_STUFF_PX:
                objects.append((obj, mask))
        layers, places = pack_layers([mask for _, mask in objects], taken.shape)
        placed = [
            SampleObject(obj.id, value, layer, obj.label, obj.whole)
            for (obj, _), (layer, value) in zip(objects, places)
        ]
        crowd &= ~taken
        ignore = crowd if crowd.any() else None
        return Sample(self.keys[index], image, layers, placed, ignore, source=self.name)

    def _lvis(self, record: Mapping[str, Any], path: Path) -> list[_Masked]:
        api = mask_api()
        found: list[_Masked] = []
        for annotation in record["annotations"]:
            rle = encode_rle(annotation["segmentation"], record["height"], record["width"], path)
            if api.area(rle) >= MIN_OBJECT_PX:
                label = self.lvis_names.get(annotation["category_id"], "")
                obj = SampleObject(f"lvis-{annotation['id']}", value=1, label=label)
                found.append((obj, np.ascontiguousarray(api.decode(rle).astype(bool))))
        return found

    def _panoptic(
        self, panoptic: Mapping[str, Any], regions: NDArray[np.int64]
    ) -> tuple[list[_Masked], list[_Masked], NDArray[np.bool_]]:
        """Things, stuff and the union of crowds."""
        things: list[_Masked] = []
        stuff: list[_Masked] = []
        crowd = np.zeros(regions.shape, bool)
        for segment in panoptic["segments_info"]:
            mask = regions == segment["id"]
            label, thing = self.coco_names[segment["category_id"]]
            if segment.get("iscrowd"):
                crowd |= mask
            elif not thing:
                stuff.append((SampleObject(f"stuff-{segment['id']}", 1, label=label, whole=False), mask))
            elif np.count_nonzero(mask) >= MIN_OBJECT_PX:
                things.append((SampleObject(f"coco-{segment['id']}", 1, label=label), mask))
        return things, stuff, crowd


_Masked = tuple[SampleObject, NDArray[np.bool_]]


def open_coco_lvis(root: Path, split: str = "train") -> CocoLvis:
    """Open COCO+LVIS, `split` being "train" or "val".

    Raises:
        DatasetError: a folder or file is missing, or a JSON is not laid out as published.
    """
    require_folders("coco_lvis", root, "annotations")
    path = root / "annotations" / f"lvis_v1_{split}.json"
    data = read_json("coco_lvis", path)
    try:
        grouped = group_annotations(data)
        lvis_names = {int(c["id"]): str(c["name"]) for c in data["categories"]}
        listed = [
            (_location(image), pack_record(image, "/".join(_location(image)), grouped[image["id"]]))
            for image in data["images"]
            if image["id"] in grouped
        ]
    except (KeyError, TypeError, IndexError) as error:
        raise DatasetError(f"coco_lvis: {path} is not laid out as LVIS v1: {error!r}") from error
    folders = sorted({folder for (folder, _), _ in listed})
    if not folders:
        raise DatasetError(f"coco_lvis: {path} holds no objects")
    require_folders("coco_lvis", root, *folders, *(f"annotations/panoptic_{folder}" for folder in folders))
    panoptic: dict[tuple[str, str], bytes] = {}
    coco_names: dict[int, tuple[str, bool]] = {}
    for folder in folders:
        names, entries = _read_panoptic_json(root / "annotations" / f"panoptic_{folder}.json")
        coco_names |= names
        panoptic |= {(folder, stem): entry for stem, entry in entries.items()}
    both = [
        (Path(name).stem, record, panoptic[folder, Path(name).stem])
        for (folder, name), record in listed
        if (folder, Path(name).stem) in panoptic
    ]
    if not both:
        raise DatasetError(f"coco_lvis: no image of {path} is in panoptic_{'/'.join(folders)}.json")
    keys, records, segments = zip(*both)
    return CocoLvis(root, keys, records, segments, lvis_names, coco_names)


def read_panoptic(path: Path) -> NDArray[np.int64]:
    """(H, W) int64 segment ids of a COCO panoptic PNG: R + 256 G + 65536 B.

    Raises:
        DatasetError: the file is missing or not a readable image.
    """
    try:
        with Image.open(path) as image:
            rgb = np.asarray(image.convert("RGB"), np.int64)
    except (OSError, SyntaxError, ValueError) as error:
        raise DatasetError(f"coco_lvis: cannot read {path}: {error}") from error
    return rgb @ np.array([1, 256, 65536])


def drop_same(things: Sequence[_Masked], lvis: Sequence[_Masked]) -> list[_Masked]:
    """The things whose IoU with every LVIS mask is at most `SAME_IOU`."""
    if not things or not lvis:
        return list(things)
    best = _ious(things, lvis).max(axis=1)
    return [item for item, iou in zip(things, best) if iou <= SAME_IOU]


def drop_repeated(lvis: Sequence[_Masked]) -> list[_Masked]:
    """LVIS masks without those that a later one repeats (IoU above `REPEATED_IOU`)."""
    if len(lvis) < 2:
        return list(lvis)
    later = np.triu(_ious(lvis, lvis), k=1).max(axis=1)
    return [item for item, iou in zip(lvis, later) if iou <= REPEATED_IOU]


def _ious(first: Sequence[_Masked], second: Sequence[_Masked]) -> NDArray[np.float64]:
    """(first, second) intersection over union of masks."""
    api = mask_api()
    rles = [
        [api.encode(np.asfortranarray(mask.view(np.uint8))) for _, mask in items] for items in (first, second)
    ]
    return np.asarray(api.iou(rles[0], rles[1], [False] * len(second)))


def _location(image: Mapping[str, Any]) -> tuple[str, str]:
    """Folder and file of an LVIS image: the end of its COCO address."""
    folder, name = str(image["coco_url"]).split("/")[-2:]
    return folder, name


def _read_panoptic_json(path: Path) -> tuple[dict[int, tuple[str, bool]], dict[str, bytes]]:
    """Categories, and each image's entry as bytes by the stem of its PNG."""
    data = read_json("coco_lvis", path)
    try:
        names = {int(c["id"]): (str(c["name"]), bool(c["isthing"])) for c in data["categories"]}
        entries = {
            Path(entry["file_name"]).stem: json.dumps(
                {"file_name": entry["file_name"], "segments_info": entry["segments_info"]}
            ).encode()
            for entry in data["annotations"]
        }
    except (KeyError, TypeError) as error:
        raise DatasetError(f"coco_lvis: {path} is not laid out as COCO panoptic: {error!r}") from error
    return names, entries
