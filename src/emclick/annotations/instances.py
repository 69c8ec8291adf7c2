"""Instances: a 16-bit grey PNG per image, whose values number the objects, and one JSON with the rest.

Where objects overlap, the PNG shows the later one; the JSON then also has the whole mask of the one below
as RLE, so nothing is lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from emclick.annotations.base import File, Format, number_labels, stems, to_json
from emclick.annotations.errors import AnnotationError
from emclick.annotations.indexed import deep_png, paint, picture_size, read_indexed
from emclick.annotations.model import AnnotatedImage, AnnotatedObject, AnnotationSet, Rle
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
    size_differs,
)

_LARGEST = 65_535
_LIST = "instances.json"


@dataclass(frozen=True)
class Instances(Format):
    """`instances/NAME.png`, 16 bits, and `instances.json`."""

    name: ClassVar[str] = "instances"
    about: ClassVar[str] = "16-bit PNG of object numbers, with a JSON of labels"
    suffixes: ClassVar[tuple[str, ...]] = (".png", ".json")

    def files(self, annotations: AnnotationSet) -> Iterator[File]:
        """The PNGs, then `instances.json`."""
        names = stems(annotations)
        records: list[dict[str, Any]] = []
        for image in annotations.images:
            if len(image.objects) > _LARGEST:
                raise AnnotationError(
                    f"instances: {image.name} has {len(image.objects)} objects; 16 bits number 65535"
                )
            values = paint(enumerate(image.objects, 1), image.image_hw, np.uint16)
            file = f"instances/{names[image.name]}.png"
            yield file, deep_png(values.astype(np.uint16))
            records.append(_record(image, file, values))
        labels = [label for label in number_labels(annotations) if label]
        yield _LIST, to_json({"version": 1, "labels": labels, "images": records})

    def photo_path(self, annotations: AnnotationSet, name: str) -> str:
        return f"images/{portable_name(name)}"

    def parse(self, path: Path, images: Sizes) -> AnnotationSet:
        """As `Format.read`: the export's folder or its JSON, a folder of numbered PNGs, or one PNG."""
        collected = Collected(images)
        listing = path if path.suffix.lower() == ".json" else path / _LIST
        if not listing.is_file():
            listing = next(iter(sorted(path.rglob(_LIST))), None) if path.is_dir() else None
        if listing is not None:
            _read_listed(listing, collected)
        else:
            _read_bare(path, collected)
        return collected.result()


def _record(image: AnnotatedImage, file: str, values: NDArray[Any]) -> dict[str, Any]:
    shown = np.bincount(values.ravel(), minlength=len(image.objects) + 1)
    objects: list[dict[str, Any]] = []
    for number, each in enumerate(image.objects, 1):
        entry: dict[str, Any] = {"id": number, "label": each.label}
        if each.color is not None:
            entry["color"] = each.color
        if each.mask.area != shown[number]:  # partly below another
            entry |= {"rle": each.mask.to_json(), "shown": int(shown[number])}
        objects.append(entry)
    height, width = image.image_hw
    return {
        "name": image.name,
        "file": file,
        "width": width,
        "height": height,
        "status": image.status,
        "objects": objects,
    }


def _read_listed(path: Path, out: Collected) -> None:
    data = read_json(path)
    if not isinstance(data, Mapping) or not isinstance(data.get("images"), list):
        raise AnnotationError(f"instances: {path} has no list 'images'")
    labels = data.get("labels", [])
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise AnnotationError(f"instances: {path}: labels is a list of names")
    out.labels += labels
    names = Names.of(out.images)
    for number, record in enumerate(data["images"], 1):
        where = f"instances: {path.name}, image {number}"
        if not isinstance(record, Mapping) or not all(
            isinstance(record.get(key), str) for key in ("name", "file")
        ):
            raise AnnotationError(f"{where}: an image has a name and a file")
        name, why = names.find(record["name"])
        file = _inside(path.parent, record["file"], where)
        if name is not None and picture_size(file) != tuple(out.images[name]):
            name, why = None, size_differs(name, out.images[name], picture_size(file))
        if name is None:
            out.skipped.append(f"{where}: {why}")
            continue
        values = read_indexed(file).values
        out.add(name, _objects(record.get("objects"), values, where), record.get("status"))


def _inside(folder: Path, name: str, where: str) -> Path:
    try:
        path = (folder / name.replace("\\", "/")).resolve()
    except ValueError:  # a character that no file name has
        path = folder
    if not path.is_relative_to(folder.resolve()) or not path.is_file():
        raise AnnotationError(f"{where}: there is no file {name!r} beside the JSON")
    return path


def _objects(entries: Any, values: NDArray[np.int32], where: str) -> list[AnnotatedObject]:
    if not isinstance(entries, list):
        raise AnnotationError(f"{where}: objects is a list")
    objects: list[AnnotatedObject] = []
    for position, entry in enumerate(entries, 1):
        here = f"{where}, object {position}"
        if (
            not isinstance(entry, Mapping)
            or not is_number(entry.get("id"))
            or not isinstance(entry.get("label", ""), str)
        ):
            raise AnnotationError(f"{here}: an object has an id and a label")
        mask = values == entry["id"]
        rle = None
        if "rle" in entry:
            hw = (values.shape[0], values.shape[1])
            rle = decode_rle(entry["rle"], hw, here)
            # Another program may have changed the PNG, which then is right.
            if int(mask.sum()) != entry.get("shown") or not rle.decode()[mask].all():
                rle = None
        found = Rle.encode(mask) if rle is None else rle
        objects.append(AnnotatedObject(found, entry.get("label", ""), read_color(entry.get("color"))))
    return objects


def _read_bare(path: Path, out: Collected) -> None:
    root = path if path.is_dir() else path.parent
    pictures = find_files(path, ".png")
    if not pictures:
        raise AnnotationError(f"instances: {path} holds no {_LIST} and no PNG")
    names = Names.of(out.images, suffix=False)
    for picture in pictures:
        relative = picture.relative_to(root)
        name, why = names.find(relative.with_suffix("").as_posix())
        if name is not None and picture_size(picture) != tuple(out.images[name]):
            name, why = None, size_differs(name, out.images[name], picture_size(picture))
        if name is None:
            out.skipped.append(f"instances: {relative.as_posix()}: {why}")
            continue
        values = read_indexed(picture).values
        numbers = [int(each) for each in np.unique(values) if each != 0]
        out.add(name, [AnnotatedObject(Rle.encode(values == number)) for number in numbers])
