"""COCO: one JSON with images, categories and objects, masks as RLE (default) or polygons.

Polygons in COCO lie on pixel corners, as ours do; pycocotools gives the very mask back. They know no
holes: an object with holes is written as RLE unless `bridge_holes` is set. A size is that of the image as
displayed (EXIF applied).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pycocotools import mask as coco_mask

from emclick.annotations.base import (
    File,
    Format,
    check_tolerance,
    number_labels,
    option,
    to_json,
    written_label,
)
from emclick.annotations.errors import AnnotationError
from emclick.annotations.model import AnnotatedObject, AnnotationSet, Rle
from emclick.annotations.polygons import join, simplify, trace
from emclick.annotations.reading import (
    Collected,
    Names,
    Sizes,
    decode_rle,
    find_files,
    is_number,
    portable_name,
    read_color,
    read_json,
    read_label,
    read_side,
    size_differs,
)

_FARTHEST = 100_000  # pixels outside which a coordinate is a mistake
_LONGEST = 10_000_000  # pixels around a polygon; pycocotools takes memory for each, unchecked


@dataclass(frozen=True)
class Coco(Format):
    """COCO's instances.

    Attributes:
        polygons: write polygons where they say the same, else RLE for all.
        bridge_holes: with `polygons`, objects with holes too: each hole is joined to the outside by a
            line there and back, which pycocotools fills right and some programs draw.
        tolerance_px: with `polygons`, how far an edge may move to save vertices; 0 is exact.
    """

    name: ClassVar[str] = "coco"
    about: ClassVar[str] = "COCO JSON, masks as RLE or polygons"
    suffixes: ClassVar[tuple[str, ...]] = (".json",)
    single_file: ClassVar[str | None] = "annotations.json"

    polygons: bool = option(False, "polygons instead of RLE, where they say the same")
    bridge_holes: bool = option(
        False, "with polygons: also for objects with holes, joined to the outside by a line"
    )
    tolerance_px: float = option(
        0.0, "lets a polygon's edge move by so many pixels to save points; 0 is exact"
    )

    def __post_init__(self) -> None:
        check_tolerance(self.tolerance_px)

    def files(self, annotations: AnnotationSet) -> Iterator[File]:
        """`annotations.json`."""
        numbers = number_labels(annotations)
        images: list[dict[str, Any]] = []
        entries: list[dict[str, Any]] = []
        for image_id, image in enumerate(annotations.images, 1):
            height, width = image.image_hw
            record: dict[str, Any] = {
                "id": image_id,
                "file_name": image.name,
                "width": width,
                "height": height,
            }
            images.append(record if image.status == "todo" else {**record, "status": image.status})
            for each in image.objects:
                entry = {
                    "id": len(entries) + 1,
                    "image_id": image_id,
                    "category_id": numbers[each.label] + 1,
                    "segmentation": self._segmentation(each.mask),
                    "area": each.mask.area,
                    "bbox": list(each.mask.box),
                    "iscrowd": 0,
                }
                entries.append(entry if each.color is None else {**entry, "color": each.color})
        categories = [
            {"id": number + 1, "name": written_label(label), "supercategory": ""}
            for label, number in numbers.items()
        ]
        yield (
            "annotations.json",
            to_json(
                {
                    "info": {"description": "made with emclick", "version": "1.0"},
                    "licenses": [],
                    "images": images,
                    "annotations": entries,
                    "categories": categories,
                }
            ),
        )

    def photo_path(self, annotations: AnnotationSet, name: str) -> str:
        return f"images/{portable_name(name)}"

    def _segmentation(self, rle: Rle) -> Any:
        if not self.polygons:
            return rle.to_json()
        islands = trace(rle.decode())
        if any(island.holes for island in islands) and not self.bridge_holes:
            return rle.to_json()
        kept = [found for island in islands if (found := simplify(island, self.tolerance_px)) is not None]
        if not kept:  # an empty list is no segmentation to pycocotools
            return rle.to_json()
        return [join(island.rings).ravel().tolist() for island in kept]

    def parse(self, path: Path, images: Sizes) -> AnnotationSet:
        """As `Format.read`: a JSON file, or a folder with one or more of COCO's."""
        collected = Collected(images)
        sources = [(each, read_json(each)) for each in find_files(path, ".json")]
        if path.is_dir():  # other JSON may lie beside it
            sources = [
                (each, data) for each, data in sources if isinstance(data, dict) and "annotations" in data
            ]
        if not sources:
            raise AnnotationError(f"coco: {path} holds no COCO file (.json)")
        for source, data in sources:
            _read_one(source, data, collected)
        return collected.result()


def _read_one(path: Path, data: Any, out: Collected) -> None:
    for key in ("images", "annotations"):
        if not isinstance(data, Mapping) or not isinstance(data.get(key), list):
            raise AnnotationError(f"coco: {path} has no list {key!r}; a COCO file has images and annotations")
    labels = _labels(data.get("categories", []), path)
    out.labels += labels.values()
    known = _images(data["images"], path, out)
    for position, entry in enumerate(data["annotations"]):
        where = f"coco: {path.name}, annotation {_id_of(entry, position)}"
        if not isinstance(entry, Mapping):
            raise AnnotationError(f"{where}: not an object")
        image_id = entry.get("image_id")
        if not _is_id(image_id) or image_id not in known:
            raise AnnotationError(f"{where}: image {image_id!r} is not in the file")
        name = known[image_id]
        if name is None:
            continue  # its image is in `skipped`
        label = _label_of(entry, labels, where)
        mask = _mask(entry, out.images[name], where)
        if mask is None:
            out.skipped.append(f"{where}: no segmentation")
            continue
        out.add(name, [AnnotatedObject(mask, label, read_color(entry.get("color")))])


def _images(records: list[Any], path: Path, out: Collected) -> dict[Any, str | None]:
    """Image id -> known name, or None for one that cannot be taken."""
    names = Names.of(out.images)
    known: dict[Any, str | None] = {}
    meant: dict[str, str] = {}
    for position, record in enumerate(records):
        where = f"coco: {path.name}, image {_id_of(record, position)}"
        if not isinstance(record, Mapping) or not _is_id(record.get("id")):
            raise AnnotationError(f"{where}: an image has an id and a file_name")
        file_name = record.get("file_name")
        if not isinstance(file_name, str):
            raise AnnotationError(f"{where}: the file_name is missing")
        name, why = names.find(file_name)
        if name is not None and "height" in record and "width" in record:
            found_hw = (read_side(record["height"], where), read_side(record["width"], where))
            if found_hw != tuple(out.images[name]):
                why = size_differs(name, out.images[name], found_hw)
                name = None
        if name is not None and meant.setdefault(name, file_name) != file_name:
            why, name = f"both {meant[name]!r} and {file_name!r} would be {name}", None
        known[record["id"]] = name
        if name is None:
            out.skipped.append(f"{where}: {why}")
        else:
            out.add(name, (), record.get("status"))
    return known


def _labels(categories: Any, path: Path) -> dict[Any, str]:
    """Category id -> label, in order of id."""
    if not isinstance(categories, list):
        raise AnnotationError(f"coco: {path}: categories is not a list")
    found: dict[Any, str] = {}
    for position, category in enumerate(categories):
        if (
            not isinstance(category, Mapping)
            or not _is_id(category.get("id"))
            or not isinstance(category.get("name"), str)
        ):
            raise AnnotationError(f"coco: {path}, category {position + 1}: a category has an id and a name")
        found[category["id"]] = read_label(category["name"])
    return dict(sorted(found.items(), key=lambda item: (isinstance(item[0], str), item[0])))


def _label_of(entry: Mapping[str, Any], labels: Mapping[Any, str], where: str) -> str:
    category = entry.get("category_id")
    if category is None and not labels:
        return ""
    if not _is_id(category) or category not in labels:
        raise AnnotationError(f"{where}: category {category!r} is not in the file")
    return labels[category]


def _mask(entry: Mapping[str, Any], image_hw: tuple[int, int], where: str) -> Rle | None:
    found = entry.get("segmentation")
    if isinstance(found, Mapping):
        return decode_rle(found, image_hw, where)
    if not found:
        return None
    if not isinstance(found, list):
        raise AnnotationError(f"{where}: a segmentation is a list of polygons or an RLE")
    flat = [_polygon(each, where) for each in (found if isinstance(found[0], list) else [found])]
    drawn = [each for each in flat if len(each) >= 6]  # fewer points enclose nothing
    if not drawn:
        return Rle.encode(np.zeros(image_hw, np.bool_))
    polygons: Any = drawn  # its stubs know lists of whole numbers only
    merged = coco_mask.merge(coco_mask.frPyObjects(polygons, *image_hw))
    return decode_rle(merged, image_hw, where)


def _polygon(values: Any, where: str) -> list[float]:
    if not isinstance(values, list) or len(values) % 2 or not all(is_number(each) for each in values):
        raise AnnotationError(f"{where}: a polygon is a list of x, y, x, y, ...")
    flat = np.array(values, np.float64)
    if not (np.abs(flat) <= _FARTHEST).all():  # NaN compares False
        raise AnnotationError(f"{where}: a polygon's coordinate is not finite or far outside the image")
    points = flat.reshape(-1, 2)
    if np.abs(points - np.roll(points, 1, axis=0)).max(axis=1, initial=0).sum() > _LONGEST:
        raise AnnotationError(f"{where}: a polygon is too long")
    return flat.tolist()


def _is_id(value: Any) -> bool:
    return isinstance(value, str) or is_number(value)


def _id_of(entry: Any, position: int) -> Any:
    return entry.get("id", position + 1) if isinstance(entry, Mapping) else position + 1
