"""Pascal VOC (SegmentationObject and SegmentationClass) and DAVIS: indexed PNGs with the VOC palette.

A pixel has one number, so where objects overlap the later one is kept; objects without pixels are lost.
Read are also colour PNGs with a `labelmap.txt`, as CVAT writes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from emclick.annotations.base import File, Format, number_labels, option, stems, written_label
from emclick.annotations.errors import AnnotationError
from emclick.annotations.indexed import (
    VOID,
    Indexed,
    Indices,
    object_numbers,
    paint,
    palette_png,
    picture_size,
    read_indexed,
    voc_palette,
)
from emclick.annotations.model import AnnotatedObject, AnnotationSet, Rle
from emclick.annotations.reading import (
    Collected,
    Names,
    Sizes,
    find_files,
    portable_name,
    read_label,
    read_text,
    size_differs,
)

_HEAD = "# label:color_rgb:parts:actions"
_VOC_CLASSES = [
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
]  # fmt: skip


@dataclass(frozen=True)
class Voc(Format):
    """Pascal VOC's segmentation, or DAVIS.

    Attributes:
        davis: write only `Annotations/NAME.png` with the objects' numbers, without classes.
    """

    name: ClassVar[str] = "voc"
    about: ClassVar[str] = "Pascal VOC or DAVIS palette PNGs; no overlaps, at most 254 objects per image"
    suffixes: ClassVar[tuple[str, ...]] = (".png",)
    lossy: ClassVar[bool] = True

    davis: bool = option(False, "DAVIS: one PNG of the objects' numbers, without classes")

    def files(self, annotations: AnnotationSet) -> Iterator[File]:
        """SegmentationObject/, SegmentationClass/, the list of images and `labelmap.txt`."""
        names = stems(annotations)
        numbers = {label: number + 1 for label, number in number_labels(annotations).items()}
        if len(numbers) >= VOID and not self.davis:
            raise AnnotationError(f"voc: {len(numbers)} labels, but the format numbers at most {VOID - 1}")
        for image in annotations.images:
            if len(image.objects) >= VOID:
                raise AnnotationError(
                    f"voc: {image.name} has {len(image.objects)} objects, but the format numbers at most "
                    f"{VOID - 1}; export as instances"
                )
            stem = names[image.name]
            objects = paint(enumerate(image.objects, 1), image.image_hw, np.uint8)
            yield f"{'Annotations' if self.davis else 'SegmentationObject'}/{stem}.png", palette_png(objects)
            if not self.davis:
                table = np.zeros(256, np.uint8)
                for number, each in enumerate(image.objects, 1):
                    table[number] = numbers[each.label]
                yield f"SegmentationClass/{stem}.png", palette_png(table[objects])
        if not self.davis:
            listed = "".join(f"{names[image.name]}\n" for image in annotations.images)
            yield "ImageSets/Segmentation/default.txt", listed.encode("utf-8", "surrogatepass")
            yield "labelmap.txt", _labelmap(numbers).encode("utf-8")

    def photo_path(self, annotations: AnnotationSet, name: str) -> str:
        return f"JPEGImages/{portable_name(name)}"

    def parse(self, path: Path, images: Sizes) -> AnnotationSet:
        """As `Format.read`: the dataset's folder, a folder of PNGs, or one PNG."""
        collected = Collected(images)
        found = next(iter(_folders(path, "SegmentationObject")), None)
        classes = next(iter(_folders(path, "SegmentationClass")), None)
        by_class = found is None and classes is not None
        folder = found or classes or next(iter(_folders(path, "Annotations")), path)
        pictures = find_files(folder, ".png")
        if not pictures:
            raise AnnotationError(f"voc: {path} holds no SegmentationObject/ and no PNG")
        labels = _Labels.of(path, None if path.is_file() else folder.parent)
        if classes is not None:
            collected.labels += labels.declared
        names = Names.of(images, suffix=False)
        root = folder if folder.is_dir() else folder.parent
        for picture in pictures:
            relative = picture.relative_to(root)
            name = _known(picture, relative, names, collected)
            if name is None:
                continue
            indexed = read_indexed(picture)
            if by_class:
                collected.add(name, _by_class(indexed, labels))
            else:
                beside = None if classes is None else classes / relative
                collected.add(name, _by_object(indexed, beside, labels, collected.skipped))
        return collected.result()


def _known(picture: Path, relative: Path, names: Names, out: Collected) -> str | None:
    name, why = names.find(relative.with_suffix("").as_posix())
    if name is not None:
        found_hw = picture_size(picture)
        if found_hw != tuple(out.images[name]):
            name, why = None, size_differs(name, out.images[name], found_hw)
    if name is None:
        out.skipped.append(f"voc: {relative.as_posix()}: {why}")
    return name


def _folders(path: Path, name: str) -> list[Path]:
    if not path.is_dir():
        return []
    if path.name == name:
        return [path]
    if (path / name).is_dir():
        return [path / name]
    beside = path.parent / name  # given SegmentationObject itself, its sister is meant too
    if path.name.startswith("Segmentation") and beside.is_dir():
        return [beside]
    return sorted(each for each in path.rglob(name) if each.is_dir())


# --- labels ---------------------------------------------------------------------------------------------


def _labelmap(numbers: Mapping[str, int]) -> str:
    palette = voc_palette().tolist()
    rows = {0: "background", **{number: written_label(label) for label, number in numbers.items()}}
    lines = [
        f"{' '.join(name.split())}:{','.join(map(str, palette[number]))}::" for number, name in rows.items()
    ]
    return "\n".join([_HEAD, *lines]) + "\n"


@dataclass(frozen=True)
class _Labels:
    """Labels by class number and by colour."""

    by_number: Mapping[int, str]
    by_color: Mapping[tuple[int, int, int], str]
    declared: Sequence[str]

    @classmethod
    def of(cls, path: Path, parent: Path | None) -> _Labels:
        """From `labelmap.txt` in or above the folders given; else VOC's own twenty."""
        for folder in (path, parent):
            if folder is not None and (folder / "labelmap.txt").is_file():
                return cls._read(folder / "labelmap.txt")
        return cls(dict(enumerate(_VOC_CLASSES)), {}, ())

    @classmethod
    def _read(cls, path: Path) -> _Labels:
        by_number: dict[int, str] = {}
        by_color: dict[tuple[int, int, int], str] = {}
        for line in read_text(path).splitlines():
            name, *rest = line.rsplit(":", 3)
            parts = rest[0].split(",") if len(rest) == 3 else []
            if len(parts) != 3 or not all(part.strip().isdecimal() and int(part) < 256 for part in parts):
                continue  # a comment or an empty line
            by_number[len(by_number)] = read_label(name)
            red, green, blue = (int(part) for part in parts)
            by_color[red, green, blue] = read_label(name)
        declared = [label for color, label in by_color.items() if color != (0, 0, 0)]
        colors = {tuple(color): number for number, color in enumerate(voc_palette().tolist())}
        palette = {colors[color]: label for color, label in by_color.items() if color in colors}
        return cls({**by_number, **palette}, by_color, declared)

    def name(self, number: int, indexed: Indexed) -> str:
        """The label of a class number; the number itself where nothing names it."""
        color = indexed.colors.get(number)
        if color is not None and color in self.by_color:
            return self.by_color[color]
        return self.by_number.get(number, "#{:02x}{:02x}{:02x}".format(*color) if color else str(number))


# --- objects --------------------------------------------------------------------------------------------


def _by_object(
    indexed: Indexed, class_file: Path | None, labels: _Labels, skipped: list[str]
) -> list[AnnotatedObject]:
    classes: Indexed | None = None
    if class_file is not None:
        if not class_file.is_file():
            skipped.append(
                f"voc: {class_file.name}: no such file in SegmentationClass; its objects have no label"
            )
        else:
            if picture_size(class_file) != indexed.values.shape:
                raise AnnotationError(f"voc: {class_file} has another size than its SegmentationObject")
            classes = read_indexed(class_file)
    objects: list[AnnotatedObject] = []
    for number in object_numbers(indexed, alone=classes is None):
        mask = indexed.values == number
        kind = 0 if classes is None else _usual(classes, mask)
        label = "" if classes is None or kind == 0 else labels.name(kind, classes)
        objects.append(AnnotatedObject(Rle.encode(mask), label))
    return objects


def _by_class(indexed: Indexed, labels: _Labels) -> list[AnnotatedObject]:
    return [
        AnnotatedObject(Rle.encode(indexed.values == number), labels.name(number, indexed))
        for number in object_numbers(indexed, alone=False)
    ]


def _usual(classes: Indexed, mask: np.ndarray) -> int:
    inside: Indices = classes.values[mask]
    numbers, times = np.unique(inside[(inside != 0) & (inside != VOID)], return_counts=True)
    return int(numbers[np.argmax(times)]) if numbers.size else 0
