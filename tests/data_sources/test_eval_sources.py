"""The evaluation datasets, on tiny trees in their published layouts, and on the real ones where present."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from contracts.dataset_contract import DatasetContract
from emclick.data.sample import Source
from emclick.data.sources import open_source
from emclick.data.sources.labelmaps import read_grey
from emclick.errors import DatasetError, UnknownNameError

REAL = Path(__file__).parents[2] / ".." / "shared" / "data" / "eval"
HEIGHT, WIDTH = 12, 20


def picture(red: int = 10) -> np.ndarray:
    """(12, 20, 3) uint8, different in every direction and channel."""
    rows, columns = np.indices((HEIGHT, WIDTH))
    return np.stack([np.full_like(rows, red), rows * 10, columns * 10], axis=2).astype(np.uint8)


def box(
    x0: int, y0: int, x1: int, y1: int, value: int = 255, size: tuple[int, int] = (HEIGHT, WIDTH)
) -> np.ndarray:
    """A mask with `value` at x0 <= x < x1, y0 <= y < y1."""
    mask = np.zeros(size, np.uint8)
    mask[y0:y1, x0:x1] = value
    return mask


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def save_indexed(path: Path, labels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(labels, "P")
    palette = np.random.default_rng(0).integers(0, 256, 768, np.uint8)  # colours that are not the indices
    image.putpalette(palette.tobytes())
    image.save(path)


def target(source: Source, key: str, obj_id: str = "1") -> np.ndarray:
    sample = source[list(source.keys).index(key)]
    return sample.target(next(obj for obj in sample.objects if obj.id == obj_id))


class TestGrabCut(DatasetContract):
    dataset, samples, objects, keys = "grabcut", 4, 4, ("a", "b", "c", "d.1")
    broken = "boundary_GT/b.png"

    def build(self, root: Path) -> None:
        for red, name in enumerate(("a.jpg", "b.JPG", "c.png", "d.1.bmp")):
            save(root / "data_GT" / name, picture(red))
        for stem in ("a", "b", "c", "d.1"):
            save(root / "boundary_GT" / f"{stem}.png", box(3, 2, 9, 8) | box(9, 2, 11, 8, 128))
        (root / "data_GT" / "Thumbs.db").write_bytes(b"x")
        (root / "data_GT" / "._a.jpg").write_bytes(b"x")

    def test_values(self, source: Source) -> None:
        expected = box(3, 2, 9, 8, 1).astype(np.int8)
        expected[2:8, 9:11] = -1
        assert np.array_equal(target(source, "c"), expected)
        assert np.array_equal(source[2].image, picture(2))

    def test_image_without_mask(self, root: Path) -> None:
        save(root / "data_GT" / "lonely.png", picture())
        with pytest.raises(DatasetError, match=r"lonely\.png has no mask"):
            open_source("grabcut", root)

    def test_two_images_of_one_name(self, root: Path) -> None:
        save(root / "data_GT" / "a.png", picture())
        with pytest.raises(DatasetError, match=r"a\.jpg and a\.png"):
            open_source("grabcut", root)

    def test_mask_of_another_size(self, root: Path) -> None:
        save(root / "boundary_GT" / "a.png", box(1, 1, 3, 3, size=(WIDTH, HEIGHT)))
        with pytest.raises(DatasetError, match=r"a\.png is 12x20 pixels, but its image 20x12"):
            open_source("grabcut", root)[0]

    def test_empty_mask(self, root: Path) -> None:
        save(root / "boundary_GT" / "a.png", box(0, 0, 5, 5, 128))
        with pytest.raises(DatasetError, match=r"a\.png holds no object"):
            open_source("grabcut", root)[0]

    def test_missing_mask_file(self, source: Source, root: Path) -> None:
        (root / "boundary_GT" / "c.png").unlink()
        with pytest.raises(DatasetError, match=r"no file .*c\.png"):
            source[2]


class TestBerkeley(DatasetContract):
    dataset, samples, objects, keys = "berkeley", 2, 4, ("12003", "239007")
    broken = "masks/239007b.png"

    def build(self, root: Path) -> None:
        for stem in ("12003", "239007", "239007a", "239007b"):
            save(root / "images" / f"{stem}.jpg", picture())
        save(root / "masks" / "12003.png", box(0, 0, 4, 4, 197))
        save(root / "masks" / "239007.png", box(1, 1, 9, 9))
        save(root / "masks" / "239007a.png", box(5, 5, 19, 11))
        save(root / "masks" / "239007b.png", box(2, 2, 3, 3, 243))

    def test_repeated_images_are_one_sample_whose_objects_may_overlap(self, source: Source) -> None:
        assert [obj.id for obj in source[1].objects] == ["1", "a", "b"]
        assert np.array_equal(target(source, "239007") == 1, box(1, 1, 9, 9) > 0)
        assert np.array_equal(target(source, "239007", "a") == 1, box(5, 5, 19, 11) > 0)
        assert np.array_equal(target(source, "239007", "b") == 1, box(2, 2, 3, 3) > 0)
        assert np.array_equal(target(source, "12003") == 1, box(0, 0, 4, 4) > 0)


class TestDavis(DatasetContract):
    dataset, samples, objects, keys = "davis", 2, 2, ("bear_0", "bear_1")
    broken = "img/bear_1.jpg"

    def build(self, root: Path) -> None:
        for k in range(2):
            save(root / "img" / f"bear_{k}.jpg", picture())
        colour = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        colour[2:5, 3:9] = (0, 0, 128)  # dark in grey, but not 0
        save(root / "gt" / "bear_0.png", colour)
        save(root / "gt" / "bear_1.png", box(3, 2, 9, 5, 128))

    def test_any_colour_is_object(self, source: Source) -> None:
        for key in source.keys:
            assert np.array_equal(target(source, key), box(3, 2, 9, 5, 1))


class TestCocoMVal(DatasetContract):
    dataset, samples, objects, keys = "coco_mval", 1, 1, ("000000000139",)
    broken = "gt/000000000139.png"

    def build(self, root: Path) -> None:
        save(root / "img" / "000000000139.jpg", picture())
        save(root / "gt" / "000000000139.png", box(3, 2, 9, 5))


class TestPascalVoc(DatasetContract):
    dataset, samples, objects, keys = "pascalvoc", 2, 3, ("2007_000033", "2007_000042")
    broken = "SegmentationObject/2007_000042.png"

    def build(self, root: Path) -> None:
        listed = root / "ImageSets" / "Segmentation" / "val.txt"
        listed.parent.mkdir(parents=True)
        listed.write_text("2007_000033\n2007_000042\n")
        for key in ("2007_000033", "2007_000042", "2007_000063"):
            save(root / "JPEGImages" / f"{key}.jpg", picture())
        one, two = box(0, 0, 8, 8, 1), box(0, 0, 3, 3, 1)
        one[:, 8:10] = 255
        two[5:9, 5:9] = 3
        save_indexed(root / "SegmentationObject" / "2007_000033.png", one)
        save_indexed(root / "SegmentationObject" / "2007_000042.png", two)
        save_indexed(
            root / "SegmentationClass" / "2007_000042.png",
            np.where(two == 1, 15, 8 * (two > 0)).astype(np.uint8),
        )

    def test_indices_not_colours(self, source: Source) -> None:
        expected = box(0, 0, 8, 8, 1).astype(np.int8)
        expected[:, 8:10] = -1
        assert np.array_equal(target(source, "2007_000033"), expected)
        assert np.array_equal(target(source, "2007_000042", "3"), box(5, 5, 9, 9, 1))

    def test_classes(self, source: Source) -> None:
        assert [(obj.id, obj.label) for obj in source[1].objects] == [("1", "person"), ("3", "cat")]
        assert [obj.label for obj in source[0].objects] == [""]

    @pytest.mark.parametrize("inner", ["VOC2012", "VOCdevkit/VOC2012"])
    def test_a_folder_that_holds_it(self, tmp_path: Path, inner: str) -> None:
        (tmp_path / "up" / inner).mkdir(parents=True)
        self.build(tmp_path / "up" / inner)
        assert tuple(open_source("pascalvoc", tmp_path / "up").keys) == self.keys

    def test_colours_are_refused(self, root: Path) -> None:
        save(root / "SegmentationObject" / "2007_000033.png", picture())
        with pytest.raises(DatasetError, match="not an indexed PNG"):
            open_source("pascalvoc", root)[0]

    def test_unknown_split(self, root: Path) -> None:
        with pytest.raises(DatasetError, match=r"test\.txt"):
            open_source("pascalvoc", root, split="test")


class TestDavis585(DatasetContract):
    dataset, samples, objects, keys = "davis585", 2, 3, ("bear/00009", "car/00000")
    broken = "bear/init_sp_object1_00009.png"

    def build(self, root: Path) -> None:
        for video, frame, objects in (("car", "00000", (1, 2)), ("bear", "00009", (1,))):
            save(root / video / f"{frame}.jpg", picture())
            for k in objects:
                save(root / video / f"object{k}_{frame}.png", box(k, 1, 9, 9))
                save(root / video / f"init_sp_object{k}_{frame}.png", box(k, 4, 9, 12))
                save(root / video / f"init_stm_object{k}_{frame}.png", box(0, 0, k, 1))

    @pytest.mark.parametrize(
        ("initial", "expected"), [("sp", box(2, 4, 9, 12)), ("stm", box(0, 0, 2, 1)), ("none", None)]
    )
    def test_initial_masks(self, root: Path, initial: str, expected: np.ndarray | None) -> None:
        obj = open_source("davis585", root, initial=initial)[1].objects[1]
        assert obj.id == "object2"
        if expected is None:
            assert obj.initial_mask is None
        else:
            assert obj.initial_mask is not None
            assert np.array_equal(obj.initial_mask, expected > 0)

    def test_targets_are_the_masks(self, source: Source) -> None:
        assert np.array_equal(target(source, "car/00000", "object2"), box(2, 1, 9, 9, 1))

    def test_missing_files_are_named(self, root: Path) -> None:
        (root / "bear" / "init_stm_object1_00009.png").unlink()
        open_source("davis585", root)  # not needed
        with pytest.raises(DatasetError, match="init_stm_object1_00009"):
            open_source("davis585", root, initial="stm")
        (root / "car" / "00000.jpg").unlink()
        with pytest.raises(DatasetError, match=r"00000\.jpg"):
            open_source("davis585", root)
        with pytest.raises(UnknownNameError, match="none, sp, stm"):
            open_source("davis585", root, initial="yes")


class TestFolder(DatasetContract):
    dataset, samples, objects = "folder", 4, 6
    name = "the däta"
    keys = ("cat", "cat_2", "no suffix.v1", "Ünï_7")
    broken = "masks/cat_10.png"

    def build(self, root: Path) -> None:
        for name in ("cat.jpg", "cat_2.png", "no suffix.v1.PNG", "unused.png"):
            save(root / "images" / name, picture())
        # written by another system: decomposed, while the mask's name is composed
        save(root / "images" / (unicodedata.normalize("NFD", "Ünï_7") + ".png"), picture())
        save(root / "masks" / "cat_3.png", box(0, 0, 4, 4))
        save(root / "masks" / "cat_10.png", box(2, 2, 8, 8) | box(8, 2, 9, 8, 128))
        save(root / "masks" / "cat.png", box(5, 5, 6, 6))
        save(root / "masks" / "cat_2.png", box(1, 1, 3, 3))
        save(root / "masks" / "no suffix.v1_1.png", box(1, 1, 3, 3))
        save(root / "masks" / (unicodedata.normalize("NFC", "Ünï_7") + ".png"), box(1, 1, 3, 3))

    def test_masks_find_their_image(self, source: Source) -> None:
        ids = {sample.key: [obj.id for obj in sample.objects] for sample in map(source.__getitem__, range(4))}
        assert ids == {"cat": ["1", "3", "10"], "cat_2": ["1"], "no suffix.v1": ["1"], "Ünï_7": ["1"]}

    def test_each_object_ignores_its_own_band(self, source: Source) -> None:
        assert source[0].ignore is None
        with_band = box(2, 2, 8, 8, 1).astype(np.int8)
        with_band[2:8, 8] = -1
        assert np.array_equal(target(source, "cat", "10"), with_band)
        assert np.array_equal(target(source, "cat", "3"), box(0, 0, 4, 4, 1))

    def test_a_band_that_all_ignore_is_the_samples(self, root: Path) -> None:
        for name in ("cat", "cat_3", "cat_10"):
            save(root / "masks" / f"{name}.png", box(0, 0, 4, 4) | box(0, 6, 20, 8, 128))
        ignore = open_source("folder", root)[0].ignore
        assert ignore is not None
        assert np.array_equal(ignore, box(0, 6, 20, 8) > 0)

    def test_mask_without_image(self, root: Path) -> None:
        save(root / "masks" / "dog_1.png", box(1, 1, 3, 3))
        with pytest.raises(DatasetError, match=r"dog_1\.png has no image"):
            open_source("folder", root)

    def test_one_and_unnumbered_keep_apart(self, root: Path) -> None:
        save(root / "masks" / "cat_1.png", box(1, 1, 3, 3))
        assert [obj.id for obj in open_source("folder", root)[0].objects] == ["whole", "1", "3", "10"]


@pytest.mark.parametrize("mode", ["L", "P", "RGB", "1", "I;16", "I;16 of 8 bits"])
def test_grey_levels_of_every_kind_of_png(tmp_path: Path, mode: str) -> None:
    levels = box(3, 2, 9, 8) | box(9, 2, 11, 8, 128 if mode != "1" else 0)
    image = Image.fromarray(levels)
    if mode == "I;16":
        image = Image.fromarray(levels.astype(np.uint16) * 257)
    elif mode == "I;16 of 8 bits":
        image = Image.fromarray(levels.astype(np.uint16))
    elif mode == "P":  # a palette in another order than the levels
        image = Image.fromarray((levels == 0).astype(np.uint8) + 2 * (levels == 128).astype(np.uint8), "P")
        image.putpalette(bytes([255] * 3 + [0] * 3 + [128] * 3))
    elif mode != "L":
        image = image.convert(mode)
    image.save(tmp_path / "m.png")
    assert np.array_equal(read_grey(tmp_path / "m.png"), levels)


@pytest.mark.parametrize(
    ("dataset", "folder", "images", "objects"),
    [("grabcut", "GrabCut", 50, 50), ("berkeley", "Berkeley", 96, 100), ("folder", "VOCHoldout", 150, 182)],
)
def test_the_real_sets(dataset: str, folder: str, images: int, objects: int) -> None:
    if not (REAL / folder).is_dir():
        pytest.skip(f"the evaluation set {folder} is not here")
    source = open_source(dataset, REAL / folder)
    assert len(source) == images
    found = 0
    for index in range(len(source)):
        sample = source[index]
        found += len(sample.objects)
        for obj in sample.objects:
            assert (sample.target(obj) == 1).any()
    assert found == objects
