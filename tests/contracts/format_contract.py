"""What every annotation format must pass: out and in again, with all that formats stumble over.

Use: subclass as `class TestMine(FormatContract)` and set the attributes; a format that loses something
overrides `expected` and says there, exactly, what.
"""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image

from emclick.annotations import FORMATS, make_format
from emclick.annotations.archive import pack
from emclick.annotations.base import Format
from emclick.annotations.errors import AnnotationError
from emclick.annotations.model import AnnotatedImage, AnnotatedObject, AnnotationSet, Rle
from emclick.errors import WriteError
from emclick.images import read_image

HW = (24, 31)


def masks(hw: tuple[int, int] = HW) -> dict[str, np.ndarray]:
    """Shapes that polygons and palettes get wrong, (H, W) bool each; none overlaps within itself."""
    height, width = hw
    blank = np.zeros(hw, np.bool_)

    def box(
        *boxes: tuple[int, int, int, int], minus: tuple[tuple[int, int, int, int], ...] = ()
    ) -> np.ndarray:
        mask = blank.copy()
        for x0, y0, x1, y1 in boxes:
            mask[y0:y1, x0:x1] = True
        for x0, y0, x1, y1 in minus:
            mask[y0:y1, x0:x1] = False
        return mask

    island_in_hole = box((2, 2, 20, 20), minus=((4, 4, 18, 18),)) | box(
        (8, 8, 14, 14), minus=((10, 10, 12, 12),)
    )
    diagonal = blank.copy()
    diagonal[np.arange(height), np.arange(height) % width] = True
    checkered = (np.indices(hw).sum(axis=0) % 2).astype(np.bool_)
    return {
        "box": box((3, 4, 12, 9)),
        "hole": box((3, 4, 22, 19), minus=((6, 8, 10, 12),)),
        "holes that touch": box((3, 4, 22, 19), minus=((6, 8, 8, 10), (8, 10, 10, 12))),
        "islands": box((0, 0, 5, 5), (20, 2, 30, 7), (9, 15, 11, 24)),
        "island in a hole": island_in_hole,
        "whole image": ~blank,
        "image but a pixel": box((0, 0, width, height), minus=((15, 11, 16, 12),)),
        "frame": box((0, 0, width, height), minus=((1, 1, width - 1, height - 1),)),
        "one pixel": box((7, 7, 8, 8)),
        "first pixel": box((0, 0, 1, 1)),
        "last pixel": box((width - 1, height - 1, width, height)),
        "last row": box((0, height - 1, width, height)),
        "last column": box((width - 1, 0, width, height)),
        "diagonal": diagonal,
        "checkered": checkered,
        "nothing": blank,
    }


def image_of(
    name: str, *objects: tuple[np.ndarray, str], hw: tuple[int, int] = HW, **more: Any
) -> AnnotatedImage:
    """An image with objects of (mask, label)."""
    return AnnotatedImage(
        name, hw, tuple(AnnotatedObject(Rle.encode(m), label) for m, label in objects), **more
    )


def sizes(annotations: AnnotationSet) -> dict[str, tuple[int, int]]:
    return {image.name: image.image_hw for image in annotations.images}


def painted(annotations: AnnotationSet) -> AnnotationSet:
    """Later objects over earlier ones, and those left without a pixel gone."""
    images = []
    for image in annotations.images:
        covered = np.zeros(image.image_hw, np.bool_)
        kept: list[AnnotatedObject] = []
        for each in reversed(image.objects):
            mask = each.mask.decode()
            seen = mask & ~covered
            covered |= mask
            if seen.any():
                kept.insert(0, replace(each, mask=Rle.encode(seen)))
        images.append(replace(image, objects=tuple(kept)))
    return replace(annotations, images=tuple(images))


def without_empty(annotations: AnnotationSet) -> AnnotationSet:
    """Without objects that have no pixels."""
    images = (
        replace(image, objects=tuple(each for each in image.objects if each.mask.area))
        for image in annotations.images
    )
    return replace(annotations, images=tuple(images))


def plain(annotations: AnnotationSet) -> AnnotationSet:
    """Without colours and statuses."""
    images = (
        replace(image, status="todo", objects=tuple(replace(each, color=None) for each in image.objects))
        for image in annotations.images
    )
    return replace(annotations, images=tuple(images))


class FormatContract:
    """Attributes of a subclass:

    format_name, options: of `make_format`.
    broken: a file of an export of the image "a.jpg" that is cut short: reading must raise and name it.
    """

    format_name: ClassVar[str]
    options: ClassVar[Mapping[str, Any]] = {}
    broken: ClassVar[str]

    def expected(self, annotations: AnnotationSet) -> AnnotationSet:
        """What comes back."""
        return annotations

    @property
    def made(self) -> Format:
        return make_format(self.format_name, **self.options)

    def there_and_back(self, annotations: AnnotationSet, folder: Path) -> AnnotationSet:
        self.made.export(annotations, folder / "out")
        return self.made.read(folder / "out", sizes(annotations))

    # --- what is kept -----------------------------------------------------------------------------------

    def test_each_shape_comes_back(self, tmp_path: Path) -> None:
        images = (image_of(f"{case}.jpg", (mask, "thing")) for case, mask in masks().items())
        given_set = AnnotationSet(tuple(images), ("thing",))
        found = {image.name: image for image in self.there_and_back(given_set, tmp_path).images}
        wrong = [image.name for image in self.expected(given_set).images if found.get(image.name) != image]
        assert wrong == []

    def test_many_objects_with_overlaps_come_back_in_order(self, tmp_path: Path) -> None:
        shapes = masks()
        objects = [(mask, f"label {number % 3}") for number, mask in enumerate(shapes.values())]
        labels = ("label 2", "label 0", "label 1")
        given_set = AnnotationSet((image_of("a.jpg", *objects),), labels)
        assert self.there_and_back(given_set, tmp_path) == self.expected(given_set)

    def test_one_object_below_another_and_twice_the_same(self, tmp_path: Path) -> None:
        shapes = masks()
        objects = [
            (shapes["hole"], "x"),
            (shapes["hole"], "x"),
            (shapes["whole image"], "y"),
            (shapes["box"], "y"),
        ]
        given_set = AnnotationSet((image_of("a.jpg", *objects),), ("x", "y"))
        assert self.there_and_back(given_set, tmp_path) == self.expected(given_set)

    def test_names_of_all_kinds(self, tmp_path: Path) -> None:
        names = (
            "a.jpg", "b/a.jpg", "b/c/a.jpg", "same.jpg", "same.png", "same.png.jpg",
            "Straße 日本 😀.JPG", "dot.ted.name.tif",
            "train/a.jpg", "labels/train/a.jpg", "it's #1: 100 %.png", "instances.jpg", "val.jpg",
        )  # fmt: skip
        shapes = list(masks().values())
        given_set = AnnotationSet(
            tuple(image_of(name, (shapes[number], "thing")) for number, name in enumerate(names)), ("thing",)
        )
        found = self.there_and_back(given_set, tmp_path)
        assert found.skipped == ()
        assert {image.name: image for image in found.images} == {
            image.name: image for image in self.expected(given_set).images
        }

    def test_names_that_not_every_system_has(self, tmp_path: Path) -> None:
        names = (
            "2:30.png", "C:/a.jpg", "b\\a.jpg", "b/a.jpg", "at 2:30.png", "50%3a.jpg", "a%5Cb.jpg",
            "a\\..\\b.jpg",
        )  # fmt: skip
        boxes = list(masks().values())
        given_set = AnnotationSet(
            tuple(image_of(name, (boxes[number], "thing")) for number, name in enumerate(names)), ("thing",)
        )
        found = self.there_and_back(given_set, tmp_path)
        assert {image.name: image for image in found.images} == {
            image.name: image for image in self.expected(given_set).images
        }
        written = [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")]
        assert [path for path in written if ":" in path or "\\" in path] == []
        places = [self.made.photo_path(given_set, name) for name in names]
        assert len(set(places)) == len(names)
        assert not any(":" in place or "\\" in place for place in places)

    @pytest.mark.skipif(os.name == "nt", reason="there are no such names")
    def test_photographs_whose_names_not_every_system_has(self, tmp_path: Path) -> None:
        (tmp_path / "photos").mkdir()
        (tmp_path / "photos" / "2:30.png").write_bytes(b"pixels")
        given_set = AnnotationSet((image_of("2:30.png", (masks()["box"], "thing")),), ("thing",))
        written = self.made.export(given_set, tmp_path / "out", tmp_path / "photos")
        if self.format_name == "zip":
            with zipfile.ZipFile(written[0]) as archive:
                assert archive.read("images/2%3A30.png") == b"pixels"
        else:
            copied = tmp_path / "out" / self.made.photo_path(given_set, "2:30.png")
            assert copied in written
            assert copied.read_bytes() == b"pixels"

    def test_labels_of_all_kinds(self, tmp_path: Path) -> None:
        labels = (
            "z", "a", "Hülle", "貓", "😀", "two words", "a:b", "it's", 'say "hi"', "# no comment", "- dash",
            "yes", "null", "1", "1.5", "{x}", "[x]", "a, b", "\\n", "key: value", "!tag", "&x", "*x", "%", "@", "`",
            "background", "x # y", "'",
        )  # fmt: skip
        cells = np.zeros((len(labels), *HW), np.bool_)
        for number in range(len(labels)):
            cells[number, number // 8 * 3 : number // 8 * 3 + 2, number % 8 * 3 : number % 8 * 3 + 2] = True
        objects = [(cells[number], label) for number, label in enumerate(labels)]
        given_set = AnnotationSet((image_of("a.jpg", *objects),), labels)
        assert self.there_and_back(given_set, tmp_path) == self.expected(given_set)

    def test_an_object_without_label(self, tmp_path: Path) -> None:
        shapes = masks()
        objects = [(shapes["first pixel"], ""), (shapes["box"], "thing"), (shapes["last pixel"], "")]
        given_set = AnnotationSet((image_of("a.jpg", *objects),), ("thing",))
        assert self.there_and_back(given_set, tmp_path) == self.expected(given_set)

    def test_images_without_objects_and_an_empty_set(self, tmp_path: Path) -> None:
        given_set = AnnotationSet(
            (image_of("a.jpg"), image_of("b.jpg", (masks()["box"], "thing"))), ("thing",)
        )
        found = self.there_and_back(given_set, tmp_path)
        assert found == self.expected(given_set)
        self.made.export(AnnotationSet(()), tmp_path / "empty")

    def test_colours_and_statuses(self, tmp_path: Path) -> None:
        shapes = masks()
        objects = (
            AnnotatedObject(Rle.encode(shapes["first pixel"]), "thing", "#12abEF"),
            AnnotatedObject(Rle.encode(shapes["box"]), "thing"),
        )
        given_set = AnnotationSet(
            (
                AnnotatedImage("a.jpg", HW, objects, "done"),
                AnnotatedImage("b.jpg", HW, objects, "work"),
                AnnotatedImage("c.jpg", HW, objects),
            ),
            ("thing",),
        )
        assert self.there_and_back(given_set, tmp_path) == self.expected(given_set)

    @settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.differing_executors])
    @given(
        data=st.data(),
        hws=st.lists(st.tuples(st.integers(1, 14), st.integers(1, 14)), min_size=1, max_size=5),
    )
    def test_random_masks(self, data: st.DataObject, hws: list[tuple[int, int]]) -> None:
        images = []
        for number, hw in enumerate(hws):
            masks = npst.arrays(np.bool_, hw, elements=st.booleans())
            found = data.draw(st.lists(masks, min_size=1, max_size=3))
            images.append(image_of(f"{number}.jpg", *((mask, "thing") for mask in found), hw=hw))
        given_set = AnnotationSet(tuple(images), ("thing",))
        with tempfile.TemporaryDirectory() as folder:
            found = self.there_and_back(given_set, Path(folder)).images
            assert {image.name: image for image in found} == {
                image.name: image for image in self.expected(given_set).images
            }

    def test_photographs_turned_by_exif_and_of_16_bits(self, tmp_path: Path) -> None:
        photos = tmp_path / "photos"
        (photos / "deep").mkdir(parents=True)
        exif = Image.Exif()
        exif[274] = 6  # turned by a quarter
        Image.new("RGB", (40, 30), (200, 10, 10)).save(photos / "turned.jpg", exif=exif)
        Image.fromarray(np.full((20, 50), 40_000, np.uint16)).save(photos / "deep" / "sixteen.png")
        names = ("turned.jpg", "deep/sixteen.png")
        shown = {name: read_image(photos / name).shape[:2] for name in names}
        assert shown == {"turned.jpg": (40, 30), "deep/sixteen.png": (20, 50)}
        images = []
        for name, (height, width) in shown.items():
            mask = np.zeros((height, width), np.bool_)
            mask[5 : height - 1, 2:20] = True
            images.append(image_of(name, (mask, "thing"), hw=(height, width)))
        given_set = AnnotationSet(tuple(images), ("thing",))
        written = self.made.export(given_set, tmp_path / "out", photos)
        assert all(path.is_file() for path in written)
        found = self.made.read(tmp_path / "out", shown)
        assert {image.name: image for image in found.images} == {
            image.name: image for image in self.expected(given_set).images
        }
        if self.format_name != "zip":
            for name in names:
                copied = tmp_path / "out" / self.made.photo_path(given_set, name)
                assert copied.read_bytes() == (photos / name).read_bytes()

    # --- what is refused or left out --------------------------------------------------------------------

    def test_images_that_are_not_here_are_named(self, tmp_path: Path) -> None:
        box = masks()["box"]
        given_set = AnnotationSet(
            (image_of("a.jpg", (box, "thing")), image_of("b/gone.jpg", (box, "thing"))), ("thing",)
        )
        self.made.export(given_set, tmp_path / "out")
        found = self.made.read(tmp_path / "out", {"a.jpg": HW})
        assert [image.name for image in found.images] == ["a.jpg"]
        assert len(found.skipped) == 1
        assert "gone" in found.skipped[0]

    def test_images_of_another_size_are_named(self, tmp_path: Path) -> None:
        if self.format_name == "yolo":
            pytest.skip("the format does not know sizes")
        given_set = AnnotationSet((image_of("a.jpg", (masks()["box"], "thing")),), ("thing",))
        self.made.export(given_set, tmp_path / "out")
        found = self.made.read(tmp_path / "out", {"a.jpg": (HW[1], HW[0])})
        assert not any(image.objects for image in found.images)
        (line,) = found.skipped
        assert "a.jpg" in line
        assert "EXIF" in line

    def test_a_damaged_file_is_named(self, tmp_path: Path) -> None:
        given_set = AnnotationSet((image_of("a.jpg", (masks()["hole"], "thing")),), ("thing",))
        self.made.export(given_set, tmp_path / "out")
        path = tmp_path / "out" / self.broken
        data = path.read_bytes()
        for length in (len(data) * 2 // 3, 10):
            path.write_bytes(data[:length])
            with pytest.raises(AnnotationError, match=path.name):
                self.made.read(tmp_path / "out", sizes(given_set))

    def test_what_is_not_there_or_empty(self, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        for path in (tmp_path / "nothing", tmp_path / "empty"):
            with pytest.raises(AnnotationError, match=path.name):
                self.made.read(path, {"a.jpg": HW})

    def test_a_name_that_leaves_the_folder_is_refused(self, tmp_path: Path) -> None:
        for name in ("../a.jpg", "/a.jpg", "b/../../a.jpg", "a\0.jpg"):
            given_set = AnnotationSet((image_of(name, (masks()["box"], "thing")),), ("thing",))
            with pytest.raises(AnnotationError):
                self.made.export(given_set, tmp_path / "deep" / "out")
            assert not (tmp_path / "deep" / "out").exists()
        assert list(tmp_path.rglob("*")) == []

    # --- files ------------------------------------------------------------------------------------------

    def test_a_folder_with_something_in_it_is_left_alone(self, tmp_path: Path) -> None:
        (tmp_path / "mine.txt").write_text("mine")
        with pytest.raises(WriteError, match="empty"):
            self.made.export(AnnotationSet((image_of("a.jpg"),)), tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]

    def test_the_same_goes_out_the_same(self, tmp_path: Path) -> None:
        given_set = AnnotationSet(
            (image_of("a.jpg", (masks()["hole"], "thing")), image_of("b/c.jpg")), ("thing",)
        )
        first = self.made.export(given_set, tmp_path / "one")
        second = self.made.export(given_set, tmp_path / "two")
        assert [path.relative_to(tmp_path / "one") for path in first] == [
            path.relative_to(tmp_path / "two") for path in second
        ]
        for one, two in zip(first, second):
            assert one.read_bytes() == two.read_bytes()
        assert sorted(path for path in (tmp_path / "one").rglob("*") if path.is_file()) == sorted(first)

    def test_a_zip_of_an_export_is_read_too(self, tmp_path: Path) -> None:
        given_set = AnnotationSet((image_of("b/a.jpg", (masks()["hole"], "thing")),), ("thing",))
        self.made.export(given_set, tmp_path / "out")
        if self.made.single_file == "annotations.zip":
            (tmp_path / "out" / "annotations.zip").rename(tmp_path / "out.zip")
        else:
            pack(tmp_path / "out", tmp_path / "out.zip")
        assert self.made.read(tmp_path / "out.zip", sizes(given_set)) == self.expected(given_set)

    def test_the_table_says_what_it_is(self) -> None:
        kind = FORMATS[self.format_name]
        assert kind.name == self.format_name
        assert kind.about
        assert kind.suffixes
        single = [name for name, _ in self.made.files(AnnotationSet((image_of("a.jpg"),)))]
        assert (kind.single_file is None) == (single != [kind.single_file])
