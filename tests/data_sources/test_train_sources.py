"""Sources of training data, each on a tiny tree built here: shards, SBD, COCO, COCO+LVIS."""

from __future__ import annotations

import io
import json
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from contracts.dataset_contract import DatasetContract
from emclick.data.objects import WHOLE_ID
from emclick.data.sample import Sample, Source
from emclick.data.sources.coco import pack_layers
from emclick.data.sources.coco_lvis import drop_repeated, drop_same, open_coco_lvis, read_panoptic
from emclick.data.sources.sbd import open_sbd
from emclick.data.sources.shards import open_shards
from emclick.errors import DatasetError, MissingExtraError

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "train"


def photo(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    small = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def encoded(array: NDArray[Any], suffix: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, suffix)
    return buffer.getvalue()


def write_tar(path: Path, files: Mapping[str, bytes]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def sample_files(
    key: str, ids: NDArray[Any], meta: Mapping[str, Any], image: str = "webp"
) -> dict[str, bytes]:
    pixels = photo(*ids.shape)
    return {
        f"{key}.{image}": encoded(pixels, "jpeg" if image == "jpg" else image),
        f"{key}.png": encoded(ids, "png"),
        f"{key}.json": json.dumps(meta).encode(),
    }


def target_of(sample: Sample, object_id: str) -> NDArray[np.int8]:
    return sample.target(next(obj for obj in sample.objects if obj.id == object_id))


# --- shards ---------------------------------------------------------------------------------------------

ANIMALS = np.zeros((20, 30), np.uint8)
ANIMALS[2:8, 3:11] = 1
ANIMALS[10:18, 15:28] = 2
ANIMALS[8:10, 3:11] = 255
GARMENTS = np.zeros((24, 16), np.uint8)
GARMENTS[1:6, 4:9] = 1
GARMENTS[6:20, 3:12] = 2
GARMENTS[20:22, 3:12] = 255


class TestShards(DatasetContract):
    dataset = "shards"
    samples = 2
    objects = 4
    broken = "a-01.tar"

    def build(self, root: Path) -> None:
        animals = {
            "source": "pets",
            "objects": [{"id": 1, "cls": 7, "boxes": 1}, {"id": 2, "cls": 8, "boxes": 2}],
        }
        garments = {"source": "ccp", "objects": [{"id": 1}, {"id": 2}], "whole": "ids>0"}
        write_tar(root / "a-01.tar", sample_files("sub/pets", ANIMALS, animals))
        write_tar(root / "a-00.tar", sample_files("ccp_1", GARMENTS, garments, "jpg"))

    keys = ("ccp_1", "sub/pets")

    def test_touching_animals_are_background(self, source: Source) -> None:
        sample = source[1]
        assert [(obj.id, obj.label) for obj in sample.objects] == [("1", "7")]
        target = target_of(sample, "1")
        assert (target[ANIMALS == 2] == 0).all()
        assert (target[ANIMALS == 255] == -1).all()
        assert np.array_equal(target == 1, ANIMALS == 1)

    def test_whole_is_the_union(self, source: Source) -> None:
        sample = source[0]
        assert sample.source == "ccp"
        assert [obj.id for obj in sample.objects] == ["1", "2", WHOLE_ID]
        target = target_of(sample, WHOLE_ID)
        assert np.array_equal(target == 1, (GARMENTS == 1) | (GARMENTS == 2))
        assert np.array_equal(target == -1, GARMENTS == 255)

    def test_groups(self, root: Path) -> None:
        assert list(open_shards(root).groups) == ["ccp", "pets"]
        assert list(open_shards(root, "*-01.tar").keys) == ["sub/pets"]

    def test_image_channels_are_rgb(self, tmp_path: Path) -> None:
        ids = np.zeros((16, 16), np.uint8)
        ids[4:12, 4:12] = 1
        red = np.zeros((16, 16, 3), np.uint8)
        red[..., 0] = 250
        files = sample_files("k", ids, {"objects": [{"id": 1}]}) | {"k.webp": encoded(red, "webp")}
        write_tar(tmp_path / "s.tar", files)
        image = open_shards(tmp_path)[0].image
        assert image[..., 0].min() > 200
        assert image[..., 2].max() < 50

    def test_palette_ids_are_read_as_numbers(self, tmp_path: Path) -> None:
        ids = Image.fromarray(ANIMALS).convert("P")
        ids.putdata(ANIMALS.ravel().tolist())
        ids.putpalette([c for i in range(256) for c in (255 - i, i // 2, 7)])
        buffer = io.BytesIO()
        ids.save(buffer, "png")
        files = sample_files("k", ANIMALS, {"objects": [{"id": 1}, {"id": 2}]}) | {"k.png": buffer.getvalue()}
        write_tar(tmp_path / "s.tar", files)
        assert np.array_equal(open_shards(tmp_path)[0].layers[0], ANIMALS)

    def test_sixteen_bit_ids(self, tmp_path: Path) -> None:
        ids = ANIMALS.astype(np.uint16)
        ids[ids == 2] = 700
        write_tar(tmp_path / "s.tar", sample_files("k", ids, {"objects": [{"id": 1}, {"id": 700}]}))
        sample = open_shards(tmp_path)[0]
        assert np.array_equal(target_of(sample, "700") == 1, ANIMALS == 2)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"k.webp": None}, "k lacks an image"),
            ({"k.png": None}, "k lacks its ids"),
            ({"k.json": None}, "k lacks its description"),
            ({"k.json": b"{"}, r"k\.json"),
            ({"k.json": b'{"objects": [{"id": 255}]}'}, "255"),
            ({"k.json": b'{"objects": [], "whole": "ids>3"}'}, "ids>3"),
            ({"k.webp": b"no image"}, "s.tar: k: the image does not decode"),
            ({"k.png": b"no image"}, r"s.tar: k: the ids \(png\) do not decode"),
            ({"k.png": encoded(photo(20, 30), "png")}, "RGB"),
            ({"k.png": encoded(ANIMALS[:-1], "png")}, "differ in size"),
        ],
    )
    def test_broken_samples_are_named(self, tmp_path: Path, change: Mapping[str, Any], message: str) -> None:
        files = sample_files("k", ANIMALS, {"objects": [{"id": 1}]}) | dict(change)
        write_tar(tmp_path / "s.tar", {name: data for name, data in files.items() if data is not None})
        with pytest.raises(DatasetError, match=message):
            open_shards(tmp_path)[0]

    def test_repeated_key(self, tmp_path: Path) -> None:
        for name in ("a.tar", "b.tar"):
            write_tar(tmp_path / name, sample_files("same", ANIMALS, {"objects": [{"id": 1}]}))
        with pytest.raises(DatasetError, match="'same' occurs twice"):
            open_shards(tmp_path)

    def test_shard_cut_after_indexing(self, root: Path) -> None:
        source = open_shards(root)
        path = root / "a-01.tar"
        path.write_bytes(path.read_bytes()[:600])
        with pytest.raises(DatasetError, match=r"a-01\.tar"):
            source[1]

    def test_the_shared_mix(self) -> None:
        if not SHARED.is_dir():
            pytest.skip("the shared training mix is not here")
        source = open_shards(SHARED)
        assert len(source) == 7004
        groups = list(source.groups)
        assert groups.count("voc_animals") == 3449
        assert groups.count("ccp") == 1003
        sample = source[groups.index("ccp")]
        assert sample.objects[-1].id == WHOLE_ID
        parts = sum((sample.target(obj) == 1).sum() for obj in sample.objects[:-1])
        assert (sample.target(sample.objects[-1]) == 1).sum() == parts


# --- SBD ------------------------------------------------------------------------------------------------


class TestSbd(DatasetContract):
    dataset = "sbd"
    samples = 2
    objects = 3
    keys = ("2008_000002", "2008_000001")
    broken = "inst/2008_000001.mat"

    def build(self, root: Path) -> None:
        scipy_io = pytest.importorskip("scipy.io")
        for folder in ("img", "inst"):
            (root / folder).mkdir()
        (root / "val.txt").write_text("2008_000002\n2008_000001\n", encoding="utf-8")
        (root / "train.txt").write_text("2008_000001\n", encoding="utf-8")
        for key, ids, classes in (
            ("2008_000001", ANIMALS, [[12], [8]]),
            ("2008_000002", (ANIMALS == 1).astype(np.uint8), [[15]]),
        ):
            (root / "img" / f"{key}.jpg").write_bytes(encoded(photo(*ids.shape), "jpeg"))
            truth = {"Segmentation": ids, "Boundaries": [], "Categories": np.array(classes, np.float64)}
            scipy_io.savemat(root / "inst" / f"{key}.mat", {"GTinst": truth})

    def test_objects_and_classes(self, source: Source) -> None:
        sample = source[1]
        assert [(obj.id, obj.label) for obj in sample.objects] == [("1", "dog"), ("2", "cat")]
        assert np.array_equal(target_of(sample, "2") == 1, ANIMALS == 2)
        assert np.array_equal(target_of(sample, "2") == -1, ANIMALS == 255)

    def test_splits_and_published_folder(self, root: Path, tmp_path: Path) -> None:
        assert list(open_sbd(root, split="train").keys) == ["2008_000001"]
        with pytest.raises(DatasetError, match=r"nope\.txt"):
            open_sbd(root, split="nope")
        outer = tmp_path / "outer" / "benchmark_RELEASE"
        outer.mkdir(parents=True)
        root.rename(outer / "dataset")
        assert len(open_sbd(tmp_path / "outer")) == 2

    def test_an_object_that_hardly_fills_its_box_is_background_where_asked(self, root: Path) -> None:
        scipy_io = pytest.importorskip("scipy.io")
        ids = np.zeros((20, 30), np.uint8)
        ids[2:8, 3:11] = 1
        ids[np.arange(20), np.arange(20)] = 2  # 20 of 20 x 20 px
        truth = {"Segmentation": ids, "Boundaries": [], "Categories": np.array([[12], [8]], np.float64)}
        scipy_io.savemat(root / "inst" / "2008_000001.mat", {"GTinst": truth})
        assert [each.id for each in open_sbd(root)[1].objects] == ["1", "2"]
        assert [each.id for each in open_sbd(root, min_fill=0.05)[1].objects] == ["1", "2"]
        sample = open_sbd(root, "train", min_fill=0.06)[0]
        assert [each.id for each in sample.objects] == ["1"]
        assert (target_of(sample, "1")[ids == 2] == 0).all()
        with pytest.raises(DatasetError, match="min_fill is 2"):
            open_sbd(root, min_fill=2)

    def test_without_scipy(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        source = open_sbd(root)
        monkeypatch.setitem(sys.modules, "scipy.io", None)
        with pytest.raises(MissingExtraError, match="scipy"):
            source[0]


# --- COCO -----------------------------------------------------------------------------------------------


def box(left: int, top: int, right: int, bottom: int) -> list[list[int]]:
    return [[left, top, right, top, right, bottom, left, bottom]]


def run_lengths(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """COCO's uncompressed RLE: column by column, background first."""
    flat = mask.ravel(order="F")
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flat, [not flat[-1]]])))
    return {"size": list(mask.shape), "counts": np.diff(np.concatenate([[0], edges])).tolist()}


class TestCoco(DatasetContract):
    dataset = "coco"
    options: ClassVar[Mapping[str, Any]] = {"split": "val2017"}
    samples = 2
    objects = 4
    keys = ("000000000009", "000000000025")
    broken = "val2017/000000000025.jpg"

    def build(self, root: Path) -> None:
        pytest.importorskip("pycocotools")
        (root / "annotations").mkdir()
        (root / "val2017").mkdir()
        crowd = np.zeros((40, 50), bool)
        crowd[0:20, 0:20] = True
        images, annotations = [], []
        for number in (9, 25, 31):
            name = f"{number:012d}.jpg"
            images.append({"id": number, "file_name": name, "height": 40, "width": 50})
            (root / "val2017" / name).write_bytes(encoded(photo(40, 50, number), "jpeg"))
        rle = run_lengths(crowd)
        for number, image, segmentation, is_crowd in (
            (101, 9, box(5, 10, 25, 30), 0),
            (102, 9, box(20, 25, 45, 38), 0),  # overlaps 101
            (103, 9, rle, 1),
            (104, 25, box(1, 1, 9, 9), 0),
            (105, 25, run_lengths(np.roll(crowd, (15, 25), (0, 1))), 0),
            (106, 31, rle, 1),  # an image with a crowd only
        ):
            annotations.append(
                {
                    "id": number,
                    "image_id": image,
                    "category_id": 18,
                    "segmentation": segmentation,
                    "iscrowd": is_crowd,
                }
            )
        data = {
            "images": images,
            "annotations": annotations,
            "categories": [{"id": 18, "name": "dog"}],
        }
        (root / "annotations" / "instances_val2017.json").write_text(json.dumps(data), encoding="utf-8")

    def test_overlap_and_crowd(self, source: Source) -> None:
        sample = source[0]
        assert [(obj.id, obj.label) for obj in sample.objects] == [("101", "dog"), ("102", "dog")]
        assert len(sample.layers) == 2
        first, second = target_of(sample, "101"), target_of(sample, "102")
        assert (first[11:29, 6:24] == 1).all()
        assert (second[26:37, 21:44] == 1).all()
        assert first[27, 22] == second[27, 22] == 1
        assert first[2, 2] == -1  # crowd
        assert first[15, 10] == 1  # crowd below an object stays an object
        assert second[2, 30] == 0

    def test_run_lengths_are_read_by_column(self, source: Source) -> None:
        target = target_of(source[1], "105")
        assert (target[15:35, 25:45] == 1).all()
        assert (target == 1).sum() == 400

    def test_objects_apart_share_a_layer(self, source: Source) -> None:
        assert len(source[1].layers) == 1

    def test_bad_json(self, root: Path) -> None:
        path = root / "annotations" / "instances_val2017.json"
        for text, message in (("{", "not valid JSON"), ("{}", "not laid out")):
            path.write_text(text, encoding="utf-8")
            with pytest.raises(DatasetError, match=message):
                type(self).reopen(root)

    def test_bad_segmentation_names_the_image(self, root: Path) -> None:
        path = root / "annotations" / "instances_val2017.json"
        data = json.loads(path.read_text(encoding="utf-8"))
        data["annotations"][0]["segmentation"] = 5
        path.write_text(json.dumps(data), encoding="utf-8")
        with pytest.raises(DatasetError, match=r"000000000009\.jpg"):
            type(self).reopen(root)[0]

    def test_without_pycocotools(self, source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "pycocotools", None)
        with pytest.raises(MissingExtraError, match="pycocotools"):
            source[0]

    @staticmethod
    def reopen(root: Path) -> Source:
        from emclick.data.sources.coco import open_coco

        return open_coco(root, "val2017")


def test_pack_layers_keeps_every_mask() -> None:
    rng = np.random.default_rng(3)
    masks = []
    for _ in range(12):
        mask = np.zeros((30, 40), bool)
        top, left = rng.integers(0, 20), rng.integers(0, 30)
        mask[top : top + 9, left : left + 8] = True
        masks.append(mask)
    layers, places = pack_layers(masks, (30, 40))
    assert 1 < len(layers) < 12
    for mask, (layer, value) in zip(masks, places):
        assert np.array_equal(layers[layer] == value, mask)


# --- COCO + LVIS ----------------------------------------------------------------------------------------


class TestCocoLvis(DatasetContract):
    dataset = "coco_lvis"
    samples = 1
    objects = 4
    keys = ("000000000009",)
    broken = "annotations/panoptic_train2017/000000000009.png"

    def build(self, root: Path) -> None:
        pytest.importorskip("pycocotools")
        (root / "annotations" / "panoptic_train2017").mkdir(parents=True)
        (root / "train2017").mkdir()
        (root / "train2017" / "000000000009.jpg").write_bytes(encoded(photo(60, 80), "jpeg"))
        address = "http://images.cocodataset.org/train2017/"
        lvis = {
            "images": [
                {"id": 9, "coco_url": f"{address}000000000009.jpg", "height": 60, "width": 80},
                {
                    "id": 11,
                    "coco_url": f"{address}000000000011.jpg",
                    "height": 60,
                    "width": 80,
                },  # not in COCO's
            ],
            "annotations": [
                {"id": 1, "image_id": 9, "category_id": 3, "segmentation": box(10, 10, 30, 30)},
                {"id": 2, "image_id": 9, "category_id": 3, "segmentation": box(10, 10, 30, 31)},  # repeats 1
                {"id": 3, "image_id": 9, "category_id": 3, "segmentation": box(15, 15, 25, 25)},  # a part
                {"id": 4, "image_id": 9, "category_id": 3, "segmentation": box(1, 1, 6, 6)},  # too small
                {"id": 5, "image_id": 11, "category_id": 3, "segmentation": box(10, 10, 30, 30)},
            ],
            "categories": [{"id": 3, "name": "acorn"}],
        }
        (root / "annotations" / "lvis_v1_train.json").write_text(json.dumps(lvis), encoding="utf-8")
        regions = np.full((60, 80), 70_000)  # sky; reaches the third byte
        regions[11:31, 11:31] = 300  # the same as LVIS 1 and 2
        regions[35:50, 10:30] = 301
        regions[0:10, 60:80] = 302  # crowd
        regions[55:60, 0:80] = 303  # stuff of 400 px: too small
        png = np.stack([regions % 256, regions // 256 % 256, regions // 65536], 2).astype(np.uint8)
        (root / "annotations" / "panoptic_train2017" / "000000000009.png").write_bytes(encoded(png, "png"))
        segments = [
            {"id": 300, "category_id": 18, "iscrowd": 0},
            {"id": 301, "category_id": 18, "iscrowd": 0},
            {"id": 302, "category_id": 18, "iscrowd": 1},
            {"id": 303, "category_id": 187, "iscrowd": 0},
            {"id": 70_000, "category_id": 187, "iscrowd": 0},
        ]
        panoptic = {
            "annotations": [{"file_name": "000000000009.png", "segments_info": segments}],
            "categories": [
                {"id": 18, "name": "dog", "isthing": 1},
                {"id": 187, "name": "sky", "isthing": 0},
            ],
        }
        (root / "annotations" / "panoptic_train2017.json").write_text(json.dumps(panoptic), encoding="utf-8")

    def test_combination(self, source: Source) -> None:
        sample = source[0]
        found = {obj.id: obj for obj in sample.objects}
        assert set(found) == {"coco-301", "lvis-2", "lvis-3", "stuff-70000"}
        assert (found["lvis-2"].label, found["coco-301"].label) == ("acorn", "dog")
        assert [obj.id for obj in sample.objects if not obj.whole] == ["stuff-70000"]
        sky = sample.target(found["stuff-70000"])
        assert sky[12, 12] == 0  # less the objects
        assert sky[5, 40] == 1
        assert sky[5, 70] == -1  # crowd
        assert sample.target(found["lvis-2"])[20, 20] == sample.target(found["lvis-3"])[20, 20] == 1

    def test_no_common_image(self, root: Path) -> None:
        path = root / "annotations" / "panoptic_train2017.json"
        data = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps(data | {"annotations": []}), encoding="utf-8")
        with pytest.raises(DatasetError, match="no image"):
            open_coco_lvis(root)


def test_panoptic_ids(tmp_path: Path) -> None:
    pixels = np.array([[[1, 2, 3], [255, 0, 0]]], np.uint8)
    (tmp_path / "p.png").write_bytes(encoded(pixels, "png"))
    assert read_panoptic(tmp_path / "p.png").tolist() == [[1 + 2 * 256 + 3 * 65536, 255]]


def test_dropping_with_nothing_to_compare() -> None:
    assert drop_same([], []) == []
    assert drop_repeated([]) == []
