"""Every format against the contract; what one loses is written in its `expected`."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest

from contracts.format_contract import FormatContract, painted, plain, without_empty
from emclick.annotations import FORMATS, make_format
from emclick.annotations.model import AnnotationSet
from emclick.errors import OptionError


def only_used(annotations: AnnotationSet) -> AnnotationSet:
    """Labels in the order in which objects have them: the format has no list."""
    used = (each.label for image in annotations.images for each in image.objects if each.label)
    return replace(annotations, labels=tuple(dict.fromkeys(used)))


class TestCoco(FormatContract):
    format_name = "coco"
    broken = "annotations.json"


class TestCocoPolygons(FormatContract):
    format_name, options = "coco", {"polygons": True}
    broken = "annotations.json"


class TestCocoBridgedPolygons(FormatContract):
    format_name, options = "coco", {"polygons": True, "bridge_holes": True}
    broken = "annotations.json"


class TestLabelMe(FormatContract):
    format_name = "labelme"
    broken = "a.json"

    def expected(self, annotations: AnnotationSet) -> AnnotationSet:
        return only_used(annotations)


class TestLabelMePolygons(TestLabelMe):
    options = {"polygons": True}  # noqa: RUF012 - declared a ClassVar by the contract


class TestVoc(FormatContract):
    format_name = "voc"
    broken = "SegmentationObject/a.png"

    def expected(self, annotations: AnnotationSet) -> AnnotationSet:
        return painted(plain(annotations))


class TestDavis(FormatContract):
    format_name, options = "voc", {"davis": True}
    broken = "Annotations/a.png"

    def expected(self, annotations: AnnotationSet) -> AnnotationSet:
        seen = painted(plain(annotations))
        images = (
            replace(image, objects=tuple(replace(each, label="") for each in image.objects))
            for image in seen.images
        )
        return AnnotationSet(tuple(images))


class TestYolo(FormatContract):
    format_name = "yolo"
    broken = "data.yaml"

    def expected(self, annotations: AnnotationSet) -> AnnotationSet:
        return without_empty(plain(annotations))


class TestInstances(FormatContract):
    format_name = "instances"
    broken = "instances/a.png"


class TestArchive(FormatContract):
    format_name = "zip"
    broken = "annotations.zip"


def test_every_format_of_the_table_is_held_to_the_contract() -> None:
    held = {kind.format_name for kind in FormatContract.__subclasses__()}
    assert held == set(FORMATS)


def test_every_option_says_what_it_does_and_a_tolerance_is_a_length() -> None:
    for name, kind in FORMATS.items():
        assert all(each.metadata["about"] for each in fields(kind))
        if "tolerance_px" in [each.name for each in fields(kind)]:
            for wrong in (-1.0, float("nan"), float("inf")):
                with pytest.raises(OptionError, match="tolerance_px"):
                    make_format(name, tolerance_px=wrong)


def test_every_format_and_option_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")
    for name, kind in FORMATS.items():
        assert f"| `{name}` |" in text
        for option in fields(kind):
            assert f"| `{option.name}` |" in text
