"""Files of other programs, with what they do that ours do not: a right answer, or an error that names the place."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from contracts.format_contract import HW, image_of, masks
from emclick.annotations import make_format
from emclick.annotations.errors import AnnotationError
from emclick.annotations.indexed import voc_palette
from emclick.annotations.model import AnnotationSet
from emclick.annotations.names_yaml import read_names
from emclick.errors import OptionError, UnknownNameError

HEIGHT, WIDTH = HW
IMAGES: dict[str, tuple[int, int]] = {"a.jpg": HW}


def write_json(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def box(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    mask = np.zeros(HW, np.bool_)
    mask[y0:y1, x0:x1] = True
    return mask


# --- COCO -----------------------------------------------------------------------------------------------


def coco(*annotations: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "images": [{"id": 5, "file_name": "a.jpg", "width": WIDTH, "height": HEIGHT, "license": 3}],
        "annotations": [{"id": 1, "image_id": 5, "category_id": 9, **each} for each in annotations],
        "categories": [{"id": 9, "name": "dog", "supercategory": "animal"}, {"id": 2, "name": "cat"}],
        **changes,
    }


def read_coco(tmp_path: Path, value: Any, images: dict[str, tuple[int, int]] = IMAGES) -> AnnotationSet:
    return make_format("coco").read(write_json(tmp_path / "coco.json", value), images)


def only_mask(annotations: AnnotationSet) -> np.ndarray:
    (image,) = annotations.images
    (each,) = image.objects
    return each.mask.decode()


@pytest.mark.parametrize(
    "segmentation",
    [
        [[3, 4, 12, 4, 12, 9, 3, 9]],
        [[3, 9, 12, 9, 12, 4, 3, 4]],  # the other way round
        [[3.0, 4.0, 12.0, 4.0, 12.0, 9.0, 3.0, 9.0, 3.0, 4.0]],  # closed
        [[3, 4, 8, 4, 8, 9, 3, 9], [8, 4, 12, 4, 12, 9, 8, 9]],
        [[3, 4, 9, 4, 9, 9, 3, 9], [7, 4, 12, 4, 12, 9, 7, 9]],  # parts that overlap
        [[3, 4, 12, 4, 12, 9, 3, 9], [1, 1], [1, 1, 2, 2], []],  # crumbs
        [3, 4, 12, 4, 12, 9, 3, 9],
    ],
)
def test_coco_polygons(segmentation: Any, tmp_path: Path) -> None:
    found = read_coco(tmp_path, coco({"segmentation": segmentation}))
    assert np.array_equal(only_mask(found), box(3, 4, 12, 9))
    assert found.images[0].objects[0].label == "dog"
    assert found.labels == ("cat", "dog")
    assert found.skipped == ()


def test_coco_polygon_beyond_the_image(tmp_path: Path) -> None:
    found = read_coco(tmp_path, coco({"segmentation": [[-10, -20, 12, -20, 12, 500, -10, 500]]}))
    assert np.array_equal(only_mask(found), box(0, 0, 12, HEIGHT))
    found = read_coco(tmp_path, coco({"segmentation": [[100, 100, 120, 100, 120, 110]]}))
    assert not only_mask(found).any()


def test_coco_uncompressed_and_crowd_rle_with_odd_extras(tmp_path: Path) -> None:
    runs = [1, 2, HEIGHT * WIDTH - 3.0]
    entry = {
        "segmentation": {"size": [HEIGHT, WIDTH], "counts": runs, "x": 1},
        "iscrowd": 1,
        "area": "?",
        "score": 0.5,
    }
    assert np.array_equal(only_mask(read_coco(tmp_path, coco(entry))), box(0, 1, 1, 3))


@pytest.mark.parametrize(
    ("file_name", "images"),
    [
        ("C:\\data\\photos\\a.jpg", IMAGES),
        ("./a.jpg", IMAGES),
        ("/mnt/photos/a.jpg", IMAGES),
        ("../a.jpg", IMAGES),
        ("a.jpg", {"deep/er/a.jpg": HW}),
        ("er\\a.jpg", {"deep/er/a.jpg": HW, "a.jpg.png": HW}),
        ("A.JPG", IMAGES),
        ("ha\u0308user.jpg", {"häuser.jpg": HW}),
    ],
)
def test_coco_finds_the_image(file_name: str, images: dict[str, tuple[int, int]], tmp_path: Path) -> None:
    value = coco({"segmentation": [[3, 4, 12, 4, 12, 9, 3, 9]]}, images=[{"id": 5, "file_name": file_name}])
    found = read_coco(tmp_path, value, images)
    assert [image.name for image in found.images] == [next(iter(images))]


def test_coco_names_that_fit_several_images_or_one_twice(tmp_path: Path) -> None:
    polygon = {"segmentation": [[3, 4, 12, 4, 12, 9, 3, 9]]}
    value = coco(polygon, images=[{"id": 5, "file_name": "x/a.jpg"}, {"id": 6, "file_name": "y/a.jpg"}])
    found = read_coco(tmp_path, value)
    assert len(found.images[0].objects) == 1
    assert "both" in found.skipped[0]
    found = read_coco(tmp_path, coco(polygon), {"b/a.jpg": HW, "c/a.jpg": HW})
    assert "any of b/a.jpg, c/a.jpg" in found.skipped[0]


def test_coco_boxes_without_masks_are_named(tmp_path: Path) -> None:
    found = read_coco(tmp_path, coco({"bbox": [1, 2, 3, 4]}, {"id": 77, "segmentation": []}))
    assert [line.split(": ")[1] for line in found.skipped] == [
        "coco.json, annotation 1",
        "coco.json, annotation 77",
    ]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"image_id": 6}, "image 6"),
        ({"category_id": 1}, "category 1"),
        ({"category_id": [9]}, "category"),
        ({"segmentation": [[1, 2, 3]]}, "polygon"),
        ({"segmentation": [[1, 2, 3, 4, 5, "6"]]}, "polygon"),
        ({"segmentation": [[1, 2, 3, 4, 5, True]]}, "polygon"),
        ({"segmentation": [[0, 0, float("nan"), 4, 5, 6]]}, "finite"),
        ({"segmentation": [[0, 0, 1e300, 4, 5, 6]]}, "outside"),
        ({"segmentation": [[0, 0, 90_000, 0] * 200]}, "long"),
        ({"segmentation": "x"}, "segmentation"),
        ({"segmentation": {"size": [HEIGHT, WIDTH], "counts": [1]}}, "fill"),
        ({"segmentation": {"size": [WIDTH, HEIGHT], "counts": [HEIGHT * WIDTH]}}, "same size"),
    ],
)
def test_coco_entries_that_are_wrong(change: dict[str, Any], named: str, tmp_path: Path) -> None:
    entry = {"segmentation": [[3, 4, 12, 4, 12, 9, 3, 9]], **change, "id": 41}
    with pytest.raises(AnnotationError, match=rf"coco\.json, annotation 41.*{named}"):
        read_coco(tmp_path, coco(entry))


@pytest.mark.parametrize(
    "value",
    [
        [],
        {},
        {"images": [], "annotations": {}},
        coco(categories=5),
        coco(categories=[{"id": 1}]),
        coco(images=[{"id": 1}]),
        coco(images=[7]),
        coco(annotations=[7]),
        coco(images=[{"id": 5, "file_name": "a.jpg", "width": 3.5, "height": 2}]),
        coco(images=[{"id": 5, "file_name": "a.jpg", "width": "31", "height": 24}]),
    ],
)
def test_coco_files_that_are_wrong(value: Any, tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match=r"coco\.json"):
        read_coco(tmp_path, value)


@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b"{", b"[" * 100_000, b"[1e999999]", b"null"])
@pytest.mark.parametrize("name", ["coco", "labelme"])
def test_files_that_are_no_json(name: str, data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "broken.json"
    path.write_bytes(data)
    with pytest.raises(AnnotationError, match=r"broken\.json"):
        make_format(name).read(path, IMAGES)


@pytest.mark.parametrize("options", [{}, {"polygons": True}, {"polygons": True, "bridge_holes": True}])
def test_pycocotools_loads_what_we_write(options: dict[str, bool], tmp_path: Path) -> None:
    shapes = masks()
    given = AnnotationSet(
        (image_of("ä b.jpg", *((mask, case) for case, mask in shapes.items())),), tuple(shapes)
    )
    (path,) = make_format("coco", **options).export(given, tmp_path / "out")
    api = COCO(str(path))
    assert api.getCatIds() == list(range(1, len(shapes) + 1))
    annotations = api.loadAnns(api.getAnnIds())
    assert len(annotations) == len(shapes)
    for entry in annotations:
        mask = shapes[api.loadCats(entry["category_id"])[0]["name"]]
        assert np.array_equal(api.annToMask(entry).astype(bool), mask)
        assert entry["area"] == mask.sum()
        theirs = coco_mask.toBbox(coco_mask.encode(np.asfortranarray(mask.astype(np.uint8))))
        assert entry["bbox"] == theirs.tolist()
    kinds = {type(entry["segmentation"]) for entry in annotations if entry["area"]}
    assert kinds == ({dict} if not options else {list} if "bridge_holes" in options else {dict, list})


def test_a_real_coco_evaluation_of_ours_against_ours_is_perfect(tmp_path: Path) -> None:
    from pycocotools.cocoeval import COCOeval

    given = AnnotationSet((image_of("a.jpg", (masks()["hole"], "x"), (masks()["islands"], "y")),), ("x", "y"))
    (path,) = make_format("coco").export(given, tmp_path / "out")
    truth = COCO(str(path))
    results = [
        {key: entry[key] for key in ("image_id", "category_id", "segmentation")} | {"score": 1.0}
        for entry in truth.dataset["annotations"]
    ]
    evaluation = COCOeval(truth, truth.loadRes(results), "segm")  # pyright: ignore[reportArgumentType] - takes a list as well
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1.0)


# --- LabelMe --------------------------------------------------------------------------------------------


def labelme(*shapes: dict[str, Any], **changes: Any) -> dict[str, Any]:
    base = {"label": "dog", "group_id": None, "shape_type": "polygon", "flags": {}, "other": [1]}
    return {
        "version": "4.5.6",
        "shapes": [{**base, **shape} for shape in shapes],
        "imagePath": "..\\photos\\a.jpg",
        "imageData": "////",
        "imageHeight": HEIGHT,
        "imageWidth": WIDTH,
        **changes,
    }


def read_labelme(tmp_path: Path, value: Any, images: dict[str, tuple[int, int]] = IMAGES) -> AnnotationSet:
    return make_format("labelme").read(write_json(tmp_path / "a.json", value), images)


@pytest.mark.parametrize(
    "shape",
    [
        {"points": [[3, 4], [12, 4], [12.0, 9], [3, 9]]},
        {"points": [[3, 9], [12, 9], [12, 4], [3, 4]], "shape_type": None},
        {"points": [[12, 9], [3, 4]], "shape_type": "rectangle"},
        {"points": [[3, 4], [12, 4], [12, 9], [3, 9]], "shape_type": "rectangle"},
        {"points": [[3, 4], [12, 4], [12, 9], [3, 9]], "shape_type": "oriented_rectangle"},
        {"points": [[2.6, 3.7], [12.4, 3.7], [12.4, 9.3], [2.6, 9.3]]},
    ],
)
def test_labelme_shapes(shape: dict[str, Any], tmp_path: Path) -> None:
    assert np.array_equal(only_mask(read_labelme(tmp_path, labelme(shape))), box(3, 4, 12, 9))


def test_labelme_circle(tmp_path: Path) -> None:
    found = read_labelme(tmp_path, labelme({"points": [[10, 10], [10, 14]], "shape_type": "circle"}))
    rows, columns = np.indices(HW) + 0.5
    assert np.array_equal(only_mask(found), (rows - 10) ** 2 + (columns - 10) ** 2 <= 16)


def png(array: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def test_labelme_masks_also_beyond_the_image(tmp_path: Path) -> None:
    patch = np.zeros((6, 10), np.uint8)
    patch[1:, 1:] = 1  # a grey level of 1 is object, as in LabelMe
    shape = {"shape_type": "mask", "mask": png(patch)}
    found = read_labelme(tmp_path, labelme({**shape, "points": [[2, 3], [11, 8]]}))
    assert np.array_equal(only_mask(found), box(3, 4, 12, 9))
    found = read_labelme(tmp_path, labelme({**shape, "points": [[-4, -3], [5, 2]]}))
    assert np.array_equal(only_mask(found), box(0, 0, 6, 3))
    found = read_labelme(tmp_path, labelme({**shape, "points": [[28, 20], [37, 25]]}))
    assert np.array_equal(only_mask(found), box(29, 21, 31, 24))
    found = read_labelme(tmp_path, labelme({**shape, "points": [[500, 500], [509, 505]]}))
    assert not only_mask(found).any()


def test_labelme_masks_are_written_by_its_own_rule(tmp_path: Path) -> None:
    mask = masks()["islands"]
    given = AnnotationSet((image_of("a.jpg", (mask, "dog")),), ("dog",))
    (path,) = make_format("labelme").export(given, tmp_path / "out")
    (shape,) = json.loads(path.read_text(encoding="utf-8"))["shapes"]
    (x1, y1), (x2, y2) = ((int(x), int(y)) for x, y in shape["points"])
    patch = np.asarray(Image.open(io.BytesIO(base64.b64decode(shape["mask"])))).astype(bool)
    assert patch.shape == (y2 - y1 + 1, x2 - x1 + 1)  # LabelMe's points are the first and the last pixel
    theirs = np.zeros(HW, np.bool_)
    theirs[y1 : y2 + 1, x1 : x2 + 1] = patch
    assert np.array_equal(theirs, mask)


def test_labelme_groups_are_one_object_per_label(tmp_path: Path) -> None:
    left, right = [[0, 0], [5, 0], [5, 5], [0, 5]], [[10, 0], [15, 0], [15, 5], [10, 5]]
    found = read_labelme(
        tmp_path,
        labelme(
            {"points": left, "group_id": 1},
            {"points": left, "group_id": 1, "label": "cat"},
            {"points": right, "group_id": 1},
            {"points": right},
        ),
    )
    assert [(each.label, each.mask.area) for each in found.images[0].objects] == [
        ("dog", 50),
        ("cat", 25),
        ("dog", 25),
    ]


def test_labelme_points_and_lines_are_named(tmp_path: Path) -> None:
    shapes = [
        {"points": [[1, 1], [2, 2]], "shape_type": kind} for kind in ("point", "line", "linestrip", "points")
    ]
    found = read_labelme(tmp_path, labelme(*shapes))
    assert len(found.skipped) == 4
    assert "a.json, shape 2: a line" in found.skipped[1]


def test_labelme_without_sizes_and_by_the_name_of_its_file(tmp_path: Path) -> None:
    shape = {"points": [[3, 4], [12, 4], [12, 9], [3, 9]]}
    value = labelme(shape, imageHeight=None, imageWidth=None, imagePath="renamed since.jpg")
    assert np.array_equal(only_mask(read_labelme(tmp_path, value)), box(3, 4, 12, 9))


@pytest.mark.parametrize(
    "shape",
    [
        {"points": [[1, 2, 3]]},
        {"points": "x"},
        {"points": [[1, "2"]]},
        {"points": [[1, float("inf")]]},
        {"points": [7]},
        {"label": 5, "points": []},
        {"points": [[1, 1]], "shape_type": "rectangle"},
        {"points": [[1, 1]], "shape_type": "circle"},
        {"points": [[1, 1], [2, 2]], "shape_type": "mask"},
        {"points": [[1, 1], [2, 2]], "shape_type": "mask", "mask": "!"},
        {"points": [[1, 1], [2, 2]], "shape_type": "mask", "mask": 5},
        {"points": [[1, 1], [2, 2]], "shape_type": "mask", "mask": "AAAA"},
    ],
)
def test_labelme_shapes_that_are_wrong(shape: dict[str, Any], tmp_path: Path) -> None:
    good = {"points": [[3, 4], [12, 4], [12, 9], [3, 9]]}
    with pytest.raises(AnnotationError, match=r"a\.json, shape 2"):
        read_labelme(tmp_path, labelme(good, shape))


# --- VOC, DAVIS, instances ------------------------------------------------------------------------------


def save(path: Path, image: Image.Image, **more: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **more)


def labels_picture() -> np.ndarray:
    values = np.zeros(HW, np.uint8)
    values[3:9, 3:9], values[3:9, 20:25], values[9:12, 3:9] = 1, 2, 255
    return values


def test_voc_palette_is_the_published_one() -> None:
    assert voc_palette()[[0, 1, 2, 3, 20, 255]].tolist() == [
        [0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [0, 64, 128], [224, 224, 192],
    ]  # fmt: skip


def test_voc_as_published_with_void_and_transparency(tmp_path: Path) -> None:
    objects = Image.fromarray(labels_picture())
    objects.putpalette(voc_palette().tobytes())
    save(tmp_path / "VOC2012" / "SegmentationObject" / "a.png", objects, transparency=0)
    classes = Image.fromarray(np.where(labels_picture() == 2, 15, labels_picture()).astype(np.uint8))
    classes.putpalette(voc_palette().tobytes())
    save(tmp_path / "VOC2012" / "SegmentationClass" / "a.png", classes)
    for path in (tmp_path, tmp_path / "VOC2012", tmp_path / "VOC2012" / "SegmentationObject"):
        found = make_format("voc").read(path, IMAGES)
        assert [(each.label, each.mask.area) for each in found.images[0].objects] == [
            ("aeroplane", 36),
            ("person", 30),
        ]


def test_voc_classes_of_another_size_are_not_decoded(tmp_path: Path) -> None:
    save(tmp_path / "SegmentationObject" / "a.png", Image.fromarray(labels_picture()))
    save(tmp_path / "SegmentationClass" / "a.png", Image.new("L", (2000, 2000)))
    path = tmp_path / "SegmentationClass" / "a.png"
    path.write_bytes(path.read_bytes()[:60])  # what would be decoded is damaged: it does not come to that
    with pytest.raises(AnnotationError, match="another size"):
        make_format("voc").read(tmp_path, IMAGES)


def test_voc_classes_alone_are_an_object_each(tmp_path: Path) -> None:
    classes = Image.fromarray(labels_picture())
    classes.putpalette(voc_palette().tobytes())
    save(tmp_path / "SegmentationClass" / "a.png", classes)
    found = make_format("voc").read(tmp_path, IMAGES)
    assert [each.label for each in found.images[0].objects] == ["aeroplane", "bicycle"]


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_voc_in_colours_with_a_labelmap(mode: str, tmp_path: Path) -> None:
    colors = np.zeros((*HW, 3), np.uint8)
    colors[3:9, 3:9], colors[3:9, 20:25] = (250, 50, 83), (51, 221, 255)
    save(tmp_path / "SegmentationClass" / "a.png", Image.fromarray(colors).convert(mode))
    save(tmp_path / "SegmentationObject" / "a.png", Image.fromarray(colors // 2).convert(mode))
    text = "# label:color_rgb:parts:actions\nbackground:0,0,0::\nbig dog:250,50,83::\ncat:51,221,255::\n"
    (tmp_path / "labelmap.txt").write_text(text)
    found = make_format("voc").read(tmp_path, IMAGES)
    assert found.labels == ("big dog", "cat")
    assert sorted((each.label, each.mask.area) for each in found.images[0].objects) == [
        ("big dog", 36),
        ("cat", 30),
    ]


def test_davis_folders_and_binary_masks(tmp_path: Path) -> None:
    images = {"bear/00000.jpg": HW, "cows/00000.jpg": HW}
    save(tmp_path / "Annotations" / "480p" / "bear" / "00000.png", Image.fromarray(labels_picture()))
    save(tmp_path / "Annotations" / "480p" / "cows" / "00000.png", Image.fromarray(box(1, 1, 4, 4)))
    binary = Image.fromarray(box(1, 1, 4, 4).astype(np.uint8) * np.uint8(255))
    found = {image.name: image.objects for image in make_format("voc").read(tmp_path, images).images}
    assert [each.mask.area for each in found["bear/00000.jpg"]] == [36, 30]
    assert [each.mask.area for each in found["cows/00000.jpg"]] == [9]
    save(tmp_path / "one" / "a.png", binary)  # DAVIS 2016: 255 is the object
    assert only_mask(make_format("voc").read(tmp_path / "one" / "a.png", IMAGES)).sum() == 9


@pytest.mark.parametrize("name", ["voc", "instances"])
def test_too_many_objects_for_a_format(name: str, tmp_path: Path) -> None:
    speck = masks()["one pixel"]
    given = AnnotationSet((image_of("a.jpg", *[(speck, "x")] * 300),), ("x",))
    if name == "voc":
        with pytest.raises(AnnotationError, match=r"a\.jpg has 300 objects.*instances"):
            make_format("voc").export(given, tmp_path / "out")
        assert list(tmp_path.iterdir()) == []  # nor what had been written until then
        with zipfile.ZipFile(make_format("zip").export(given, tmp_path / "zip")[0]) as archive:
            assert b"300 objects" in archive.read("voc/not-written.txt")
            assert "instances/instances.json" in archive.namelist()
    else:
        make_format("instances").export(given, tmp_path / "out")
        assert len(make_format("instances").read(tmp_path / "out", IMAGES).images[0].objects) == 300


def test_bare_16_bit_instances(tmp_path: Path) -> None:
    values = np.zeros(HW, np.uint16)
    values[1:3, 1:3], values[5:8, 5:8], values[10:12, 10:12] = 255, 1000, 65535
    save(tmp_path / "a.png", Image.fromarray(values))
    for path in (tmp_path, tmp_path / "a.png"):
        found = make_format("instances").read(path, IMAGES)
        assert [each.mask.area for each in found.images[0].objects] == [4, 9, 4]


def test_an_instance_picture_that_was_edited_wins_over_its_rle(tmp_path: Path) -> None:
    given = AnnotationSet((image_of("a.jpg", (box(0, 0, 10, 10), "x"), (box(5, 5, 12, 12), "x")),), ("x",))
    make_format("instances").export(given, tmp_path / "out")
    values = np.array(Image.open(tmp_path / "out" / "instances" / "a.png"))
    values[0, 0] = 0
    save(tmp_path / "out" / "instances" / "a.png", Image.fromarray(values))
    found = make_format("instances").read(tmp_path / "out", IMAGES)
    assert [each.mask.area for each in found.images[0].objects] == [74, 49]


def test_an_instances_json_cannot_reach_outside(tmp_path: Path) -> None:
    save(tmp_path / "secret.png", Image.fromarray(labels_picture()))
    (tmp_path / "in").mkdir()
    record = {"name": "a.jpg", "file": "../secret.png", "objects": []}
    write_json(tmp_path / "in" / "instances.json", {"labels": [], "images": [record]})
    with pytest.raises(AnnotationError, match="secret"):
        make_format("instances").read(tmp_path / "in", IMAGES)
    record["file"] = "a\0b.png"
    write_json(tmp_path / "in" / "instances.json", {"labels": [], "images": [record]})
    with pytest.raises(AnnotationError, match="image 1: there is no file"):
        make_format("instances").read(tmp_path / "in", IMAGES)


# --- YOLO -----------------------------------------------------------------------------------------------


def read_yolo(tmp_path: Path, text: str, names: str | None = None) -> AnnotationSet:
    (tmp_path / "labels").mkdir(exist_ok=True)
    (tmp_path / "labels" / "a.txt").write_text(text, encoding="utf-8")
    if names is not None:
        (tmp_path / "data.yaml").write_text(names, encoding="utf-8")
    return make_format("yolo").read(tmp_path, IMAGES)


def normalised(*points: float) -> str:
    return " ".join(f"{value / (WIDTH, HEIGHT)[number % 2]:.6f}" for number, value in enumerate(points))


def test_yolo_polygons_and_boxes(tmp_path: Path) -> None:
    text = f"0.0 {normalised(3, 4, 12, 4, 12, 9, 3, 9)}\r\n\r\n1 {normalised(7.5, 6.5, 9, 5)}\n"
    found = read_yolo(tmp_path, text, "nc: 2\nnames: [dog, 'cat, small']  # two\n")
    objects = found.images[0].objects
    assert [each.label for each in objects] == ["dog", "cat, small"]
    assert all(np.array_equal(each.mask.decode(), box(3, 4, 12, 9)) for each in objects)


def test_yolo_names_beside_or_none(tmp_path: Path) -> None:
    line = f"1 {normalised(3, 4, 12, 4, 12, 9)}"
    assert read_yolo(tmp_path, line).images[0].objects[0].label == "1"
    (tmp_path / "labels" / "classes.txt").write_text("dog\ncat\n")
    assert make_format("yolo").read(tmp_path / "labels", IMAGES).images[0].objects[0].label == "cat"
    found = make_format("yolo").read(tmp_path / "labels" / "a.txt", IMAGES)
    assert found.images[0].objects[0].label == "cat"


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("x 0 0 1 1 1 0", "class number"),
        ("-1 0 0 1 1 1 0", "class number"),
        ("0.5 0 0 1 1 1 0", "class number"),
        ("nan 0 0 1 1 1 0", "class number"),
        ("inf 0 0 1 1 1 0", "class number"),
        ("7 0 0 1 1 1 0", "class 7"),
        ("0 0 0 1 1 1", "three points"),
        ("0 0 0 1 1 1 0 1", "three points"),
        ("0", "three points"),
        ("0 0 0 nan 1 1 0", "coordinate"),
        ("0 100 100 200 200 300 300", "between 0 and 1"),
        ("0 0 0 1,0 1 1 0", "coordinate"),
    ],
)
def test_yolo_lines_that_are_wrong(line: str, named: str, tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match=rf"a\.txt, line 2.*{named}"):
        read_yolo(tmp_path, f"0 0 0 1 0 1 1\n{line}\n", "names: [dog]")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("names: [a, b]", {0: "a", 1: "b"}),
        ("names: ['it''s', \"x\\ty\", c d ]\nnc: 3", {0: "it's", 1: "x\ty", 2: "c d"}),
        ("names:\n  0: person\n  7: 'a: b' # c\n\nval: x\n", {0: "person", 7: "a: b"}),
        ("names:\n- a\n- b # c\n- c#d\nother:\n- x\n", {0: "a", 1: "b", 2: "c#d"}),
        ('names:\n    - a\n    - "\\U0001f600"\n', {0: "a", 1: "😀"}),
        ("names: {0: a, 1: 'b, c'}", {0: "a", 1: "b, c"}),
        ("names: [a,\n  b,  # c\n  d,\n]\n", {0: "a", 1: "b", 2: "d"}),
        ("path: .\ntrain: [x, y]\nnames: # these\n  # none\n  0: a\n", {0: "a"}),
        ("\ufeffnames: []", {}),
        ("names: [don't, o'clock]", {0: "don't", 1: "o'clock"}),
    ],
)
def test_names_as_yaml_writers_put_them(text: str, names: dict[int, str], tmp_path: Path) -> None:
    path = tmp_path / "data.yaml"
    path.write_text(text, encoding="utf-8")
    assert read_names(path) == names


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nc: 3",
        "names: 5",
        "names: [a, [b]]",
        "names: [a",
        "names: 'a",
        "names:\n  0: !!python/object:os.system x",
        "names: &x [a]",
        "names:\n  0: *x",
        "names:\n  a: b",
        "names:\n  0: a\n  0: b",
        "names:\n  0: 'a",
        'names:\n  0: "\\q"',
        "names:\n  0: |\n    a",
        "names: {0: a",
        "names: {a: 0}",
        'names: ["a',
        "names: {0: {1: 2}}",
    ],
)
def test_names_that_are_not_understood(text: str, tmp_path: Path) -> None:
    path = tmp_path / "data.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(AnnotationError, match=r"data\.yaml"):
        read_names(path)


# --- zips and the table ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["../evil.json", "/evil.json", "a/../../evil.json", "C:/evil.json", "..\\evil.json"]
)
def test_zips_that_leave_their_folder(name: str, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "x.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, "{}")
    with pytest.raises(AnnotationError, match=r"x\.zip"):
        make_format("coco").read(path, IMAGES)
    assert not list(tmp_path.rglob("evil*"))


def test_zips_that_are_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.json", b" " * 3_000_000)
    monkeypatch.setattr("emclick.annotations.archive.MAX_BYTES", 2_000_000)
    with pytest.raises(AnnotationError, match="unpacks to more"):
        make_format("coco").read(path, IMAGES)


def test_texts_that_are_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emclick.annotations.reading.MAX_TEXT_BYTES", 100)
    for name, file in (("coco", "a.json"), ("yolo", "a.txt"), ("yolo", "data.yaml"), ("voc", "labelmap.txt")):
        folder = tmp_path / file.replace(".", "-")
        folder.mkdir()
        (folder / "a.txt").write_text("")
        save(folder / "a.png", Image.fromarray(labels_picture()))
        (folder / file).write_text(" " * 101)
        with pytest.raises(AnnotationError, match=rf"{file} is larger"):
            make_format(name).read(folder, IMAGES)


def test_a_small_zip_does_not_unpack_to_a_large_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emclick.annotations.archive.FREE_TEXT_BYTES", 1 << 20)
    content = json.dumps(coco()).encode()
    for size, taken in ((1 << 20, True), (2 << 20, False)):
        path = tmp_path / f"{size}.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.json", content.ljust(size))
        if taken:
            assert make_format("coco").read(path, IMAGES).images
            continue
        with pytest.raises(AnnotationError, match=r"'a\.json' unpacks to more than 1 MB"):
            make_format("coco").read(path, IMAGES)
    with zipfile.ZipFile(path, "w") as archive:  # as large in the zip
        archive.writestr("a.json", content.ljust(2 << 20))
    assert make_format("coco").read(path, IMAGES).images


def test_zips_damaged_at_any_byte(tmp_path: Path) -> None:
    given = AnnotationSet((image_of("a.jpg", (masks()["hole"], "x")),), ("x",))
    (path,) = make_format("zip").export(given, tmp_path / "out")
    data = path.read_bytes()
    rng = np.random.default_rng(0)
    for at in rng.integers(0, len(data), 60):
        path.write_bytes(data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :])
        with contextlib.suppress(AnnotationError):  # and nothing else is raised
            make_format("zip").read(path, IMAGES)


def test_options_and_names_are_checked() -> None:
    with pytest.raises(OptionError, match="tolerance_px"):
        make_format("yolo", polygons=True)
    with pytest.raises(UnknownNameError, match="labelme"):
        make_format("pascal")
