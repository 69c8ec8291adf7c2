"""YOLO segmentation (Ultralytics): a text file per image, a line per object, and `data.yaml`.

A line is `class x y x y ...`, the polygon's corners divided by the image's width and height; 0 and 1 are
the image's edges, so pixel corners need no shift. A line has one polygon: islands and holes are joined to it
by lines there and back, which enclose nothing. Objects without pixels are left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from emclick.annotations.base import (
    File,
    Format,
    check_tolerance,
    number_labels,
    option,
    stems,
    written_label,
)
from emclick.annotations.errors import AnnotationError
from emclick.annotations.model import AnnotatedImage, AnnotatedObject, AnnotationSet, Rle
from emclick.annotations.names_yaml import read_names, write_names
from emclick.annotations.polygons import fill, join, simplify, trace
from emclick.annotations.reading import (
    Collected,
    Names,
    Sizes,
    find_files,
    portable_name,
    read_label,
    read_text,
)

_DIGITS = 8  # a thousandth of a pixel in an image of 100 000
_BESIDE = ("data.yaml", "data.yml", "dataset.yaml", "classes.txt", "obj.names")
_LISTS = ("classes.txt", "train.txt", "val.txt", "test.txt")


@dataclass(frozen=True)
class Yolo(Format):
    """YOLO-seg.

    Attributes:
        tolerance_px: how far an edge may move to save vertices; 0 is exact.
    """

    name: ClassVar[str] = "yolo"
    about: ClassVar[str] = "YOLO segmentation text files with data.yaml; no empty objects"
    suffixes: ClassVar[tuple[str, ...]] = (".txt", ".yaml", ".yml")
    lossy: ClassVar[bool] = True

    tolerance_px: float = option(
        0.0, "lets a polygon's edge move by so many pixels to save points; 0 is exact"
    )

    def __post_init__(self) -> None:
        check_tolerance(self.tolerance_px)

    def files(self, annotations: AnnotationSet) -> Iterator[File]:
        """`labels/train/NAME.txt` for every image, and `data.yaml`."""
        numbers = number_labels(annotations)
        names = stems(annotations)
        for image in annotations.images:
            lines = [
                line
                for each in image.objects
                if (line := self._line(each, numbers[each.label], image)) is not None
            ]
            yield f"labels/train/{names[image.name]}.txt", "".join(lines).encode("ascii")
        head = "# Photographs belong into images/train, laid out as labels/train.\npath: .\ntrain: images/train\n"
        text = head + "val: images/train\n" + write_names([written_label(label) for label in numbers])
        yield "data.yaml", text.encode("utf-8")

    def photo_path(self, annotations: AnnotationSet, name: str) -> str:
        return f"images/train/{portable_name(name)}"

    def _line(self, each: AnnotatedObject, number: int, image: AnnotatedImage) -> str | None:
        islands = [simplify(island, self.tolerance_px) for island in trace(each.mask.decode())]
        rings = [ring for island in islands if island is not None for ring in island.rings]
        if not rings:
            return None
        height, width = image.image_hw
        scaled = join(rings) / (width, height)
        return " ".join([str(number), *(f"{value:.{_DIGITS}g}" for value in scaled.ravel())]) + "\n"

    def parse(self, path: Path, images: Sizes) -> AnnotationSet:
        """As `Format.read`: the dataset's folder, its data.yaml, a folder of text files, or one of them."""
        if path.suffix.lower() in (".yaml", ".yml"):
            path = path.parent
        collected = Collected(images)
        labels = _labels(path)
        collected.labels += labels.values()
        names = Names.of(images, suffix=False)
        root = path if path.is_dir() else path.parent
        labels_root = root / "labels"
        sources = [
            each
            for each in find_files(labels_root if path.is_dir() and labels_root.is_dir() else path, ".txt")
            if each.name not in _LISTS or names.find(each.stem)[0] is not None
        ]
        if not sources:
            raise AnnotationError(f"yolo: {path} holds no text files of labels")
        for source in sources:
            relative = source.relative_to(root)
            name, why = names.find(relative.with_suffix("").as_posix(), _below_split(relative))
            if name is None:
                collected.skipped.append(f"yolo: {relative.as_posix()}: {why}")
                continue
            collected.add(name, list(_read_one(source, relative.as_posix(), images[name], labels)))
        return collected.result()


def _below_split(relative: Path) -> str:
    """`labels/train/a/b.txt` -> `a/b`."""
    parts = list(relative.with_suffix("").parts)
    for known in (("labels",), ("train", "val", "test")):
        if len(parts) > 1 and parts[0] in known:
            parts = parts[1:]
    return "/".join(parts)


def _labels(path: Path) -> dict[int, str]:
    """Labels by number, of the first file that lists them in or up to three folders above; {} if none does."""
    for folder in ([path] if path.is_dir() else []) + list(path.parents)[:3]:
        for beside in _BESIDE:
            if (folder / beside).is_file():
                found = read_names(folder / beside)
                return {number: read_label(label) for number, label in sorted(found.items())}
    return {}


def _read_one(
    path: Path, shown: str, image_hw: tuple[int, int], labels: Mapping[int, str]
) -> Iterator[AnnotatedObject]:
    text = read_text(path)
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words:
            continue
        where = f"yolo: {shown}, line {number}"
        label = _label(words[0], labels, where)
        values = [_coordinate(word, where) for word in words[1:]]
        if len(values) == 4:
            x, y, w, h = values  # a box: centre and size
            corners = [x - w / 2, y - h / 2, x + w / 2, y - h / 2, x + w / 2, y + h / 2, x - w / 2, y + h / 2]
            values = corners
        if len(values) < 6 or len(values) % 2:
            raise AnnotationError(f"{where}: expected a class and x y for three points or more")
        points = np.array(values).reshape(-1, 2) * (image_hw[1], image_hw[0])
        try:
            mask = fill([points], image_hw)
        except AnnotationError as error:
            raise AnnotationError(f"{where}: {error}") from error
        yield AnnotatedObject(Rle.encode(mask), label)


def _label(word: str, labels: Mapping[int, str], where: str) -> str:
    try:
        value = float(word)  # some tools write 0.0
        number = int(value)
    except (ValueError, OverflowError):
        raise AnnotationError(f"{where}: {word[:40]!r} is no class number") from None
    if value != number or number < 0:
        raise AnnotationError(f"{where}: {word[:40]!r} is no class number")
    if labels and number not in labels:
        raise AnnotationError(f"{where}: class {number} is not among the {len(labels)} names")
    return labels.get(number, str(number))


def _coordinate(word: str, where: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not -1 <= value <= 2:
        raise AnnotationError(f"{where}: {word[:40]!r} is no coordinate between 0 and 1")
    return value
