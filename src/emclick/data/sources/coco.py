"""COCO instances (Lin et al., ECCV 2014), for training.

Layout: `annotations/instances_SPLIT.json` and `SPLIT/NAME.jpg`, SPLIT being `train2017` or `val2017`.
Objects may overlap: each lies on the first layer where it meets no other. Crowd regions are ignored
except where an object is labelled in them. Images without objects are left out.

The annotations are kept as one block of bytes per image: a tenth of what Python objects take, and
shared between forked workers. Opening reads the whole JSON once (train2017: 450 MB).
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from emclick.data.sample import Sample, SampleObject
from emclick.data.sources.labelmaps import check_same_size, read_rgb, require_folders
from emclick.errors import DatasetError, MissingExtraError

_KEPT = ("id", "category_id", "segmentation", "iscrowd")


@dataclass(frozen=True)
class Coco:
    """One sample per image of the split that has objects; `records` is parallel to `keys`."""

    images: Path
    keys: Sequence[str]
    records: Sequence[bytes]
    categories: Mapping[int, str]
    name: str = "coco"

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, index: int) -> Sample:
        """Read image `index`; layers are uint16.

        Raises:
            DatasetError: the image is missing or unreadable, or an annotation does not fit it.
            MissingExtraError: pycocotools is not installed.
        """
        record = json.loads(self.records[index])
        path = self.images / record["file_name"]
        image = read_rgb(path)
        found: list[tuple[dict[str, Any], NDArray[np.bool_]]] = []
        crowd = np.zeros(image.shape[:2], bool)
        for annotation in record["annotations"]:
            mask = decode_mask(annotation["segmentation"], record["height"], record["width"], path)
            check_same_size(image, mask, path)
            if annotation.get("iscrowd"):
                crowd |= mask
            elif mask.any():
                found.append((annotation, mask))
        layers, places = pack_layers([mask for _, mask in found], crowd.shape)
        objects = [
            SampleObject(str(a["id"]), value, layer, self.categories.get(a["category_id"], ""))
            for (a, _), (layer, value) in zip(found, places)
        ]
        for layer in layers:
            crowd &= layer == 0
        return Sample(
            self.keys[index], image, layers, objects, crowd if crowd.any() else None, source=self.name
        )


def open_coco(root: Path, split: str = "train2017") -> Coco:
    """Open COCO's instances of `split`.

    Raises:
        DatasetError: a folder or the JSON is missing, or the JSON is not COCO's.
    """
    require_folders("coco", root, "annotations", split)
    path = root / "annotations" / f"instances_{split}.json"
    data = read_json("coco", path)
    try:
        grouped = group_annotations(data)
        categories = {int(c["id"]): str(c["name"]) for c in data["categories"]}
        chosen = [
            (str(Path(image["file_name"]).stem), pack_record(image, image["file_name"], grouped[image["id"]]))
            for image in data["images"]
            if any(not annotation.get("iscrowd") for annotation in grouped.get(image["id"], ()))
        ]
    except (KeyError, TypeError) as error:
        raise DatasetError(f"coco: {path} is not laid out as COCO's: {error!r}") from error
    if not chosen:
        raise DatasetError(f"coco: {path} holds no objects")
    return Coco(root / split, [key for key, _ in chosen], [record for _, record in chosen], categories)


# --- shared with COCO+LVIS ------------------------------------------------------------------------------


def read_json(dataset: str, path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        DatasetError: it is missing or not JSON; names the file.
    """
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise DatasetError(f"{dataset}: no file {path}") from error
    except ValueError as error:
        raise DatasetError(f"{dataset}: {path} is not valid JSON: {error}") from error


def group_annotations(data: Mapping[str, Any]) -> dict[int, list[dict[str, Any]]]:
    """Annotations of a COCO or LVIS file by image id, with only the fields that are used."""
    grouped: defaultdict[int, list[dict[str, Any]]] = defaultdict(list)
    for annotation in data["annotations"]:
        kept = {field: annotation[field] for field in _KEPT if field in annotation}
        grouped[annotation["image_id"]].append(kept)
    return dict(grouped)


def pack_record(image: Mapping[str, Any], file_name: str, annotations: Sequence[dict[str, Any]]) -> bytes:
    """One image's annotations as bytes: file_name, height, width, annotations."""
    record = {
        "file_name": file_name,
        "height": image["height"],
        "width": image["width"],
        "annotations": list(annotations),
    }
    return json.dumps(record, separators=(",", ":")).encode()


def mask_api() -> Any:
    """`pycocotools.mask`.

    Raises:
        MissingExtraError: pycocotools is not installed.
    """
    try:
        from pycocotools import mask
    except ImportError as error:
        raise MissingExtraError("COCO masks need pycocotools; install emclick[torch]") from error
    return mask


def encode_rle(segmentation: Any, height: int, width: int, where: Path) -> dict[str, Any]:
    """COCO's `segmentation` (polygons, uncompressed or compressed RLE) as one compressed RLE.

    Raises:
        DatasetError: it is none of these; names `where`.
        MissingExtraError: pycocotools is not installed.
    """
    api = mask_api()
    try:
        if isinstance(segmentation, list):
            return api.merge(api.frPyObjects(segmentation, height, width))
        if isinstance(segmentation["counts"], list):
            return api.frPyObjects(segmentation, height, width)
        return segmentation
    except Exception as error:  # the C extension raises bare Exception
        raise DatasetError(f"the annotation of {where} has no usable segmentation: {error!r}") from error


def decode_mask(segmentation: Any, height: int, width: int, where: Path) -> NDArray[np.bool_]:
    """(height, width) bool of COCO's `segmentation`; errors as `encode_rle`."""
    mask = mask_api().decode(encode_rle(segmentation, height, width, where))
    return np.ascontiguousarray(mask.astype(bool))  # decoded in column order


def pack_layers(
    masks: Sequence[NDArray[np.bool_]], shape: tuple[int, ...]
) -> tuple[list[NDArray[np.uint16]], list[tuple[int, int]]]:
    """Put masks, which may overlap, on as few label maps as going through them once allows.

    Returns:
        The label maps, (H, W) uint16, and for each mask its (layer, value).
    """
    layers: list[NDArray[np.uint16]] = []
    counts: list[int] = []
    places: list[tuple[int, int]] = []
    for mask in masks:
        left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
        box = (slice(top, top + height), slice(left, left + width))
        inner = mask[box]
        number = next((i for i, layer in enumerate(layers) if not layer[box][inner].any()), len(layers))
        if number == len(layers):
            layers.append(np.zeros(shape, np.uint16))
            counts.append(0)
        counts[number] += 1
        layers[number][box][inner] = counts[number]
        places.append((number, counts[number]))
    return layers, places
