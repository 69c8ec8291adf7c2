"""The folder: what is found, in which order, and sizes as `read_image` gives them."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

import emclick
from emclick.errors import ImageReadError, MaskError
from emclick.images import read_image
from emclick.web.errors import ProjectError
from emclick.web.library import find_images, natural_key, read_size
from emclick.web.pictures import displayable, read_masks, thumbnail
from emclick.web.store import Project
from helpers import picture

RGB = picture(41, 67)


def saved(path: Path, form: str, image: Image.Image | None = None, **options) -> Path:
    (image or Image.fromarray(RGB)).save(path, form, **options)
    return path


def turned(value: int) -> Image.Exif:
    exif = Image.Exif()
    exif[274] = value
    return exif


def xmp(value: int) -> bytes:
    return (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="%d"/></rdf:RDF></x:xmpmeta>'
        % value
    )


def late_exif_png() -> bytes:
    """eXIf after the pixels, where PNG allows it."""
    file = io.BytesIO()
    Image.fromarray(RGB).save(file, "PNG", exif=turned(6))
    data = file.getvalue()
    start = data.index(b"eXIf") - 4
    (length,) = struct.unpack(">I", data[start : start + 4])
    chunk = data[start : start + 12 + length]
    rest = data[:start] + data[start + 12 + length :]
    return rest[:-12] + chunk + rest[-12:]


CASES = {
    "plain.jpg": ("JPEG", {}),
    "progressive.jpg": ("JPEG", {"progressive": True}),
    "comment.jpg": ("JPEG", {"comment": b"x" * 40_000}),
    "xmp6.jpg": ("JPEG", {"xmp": xmp(6)}),
    "exif1xmp8.jpg": ("JPEG", {"exif": turned(1), "xmp": xmp(8)}),
    "exif99.jpg": ("JPEG", {"exif": turned(99)}),
    "plain.png": ("PNG", {}),
    "plain.webp": ("WEBP", {}),
    "turned.webp": ("WEBP", {"exif": turned(6)}),
    "plain.tif": ("TIFF", {}),
    "turned.tif": ("TIFF", {"exif": turned(6)}),
    "plain.bmp": ("BMP", {}),
    "plain.gif": ("GIF", {}),
    "plain.ppm": ("PPM", {}),
    **{f"exif{value}.jpg": ("JPEG", {"exif": turned(value)}) for value in range(1, 9)},
    **{f"exif{value}.png": ("PNG", {"exif": turned(value)}) for value in (3, 6, 8)},
}


@pytest.mark.parametrize("name", CASES)
def test_sizes_are_those_of_read_image(name: str, tmp_path: Path) -> None:
    form, options = CASES[name]
    path = saved(tmp_path / name, form, **options)
    assert read_size(path) == read_image(path).shape[:2]


def test_a_turn_told_after_the_pixels_counts(tmp_path: Path) -> None:
    path = tmp_path / "late.png"
    path.write_bytes(late_exif_png())
    assert read_size(path) == read_image(path).shape[:2] == (67, 41)


@pytest.mark.parametrize("name", CASES)
def test_what_a_browser_gets_is_what_the_model_sees(name: str, tmp_path: Path) -> None:
    form, options = CASES[name]
    path = saved(tmp_path / name, form, **options)
    data, media_type = displayable(path)
    with Image.open(io.BytesIO(data)) as shown:
        assert shown.getexif().get(274, 1) == 1 or data != path.read_bytes()
        assert f"image/{str(shown.format).lower()}" == media_type
        got = np.asarray(shown.convert("RGB")).astype(int)
    expected = read_image(path).astype(int)
    assert got.shape == expected.shape
    assert np.abs(got - expected).mean() < (6 if media_type == "image/jpeg" else 1e-9)


def test_deep_and_transparent_files_are_sent_in_8_bits(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "deep.png"), (RGB.astype(np.uint16) * 16)[..., ::-1])
    alpha = np.dstack([RGB, np.full(RGB.shape[:2], 90, np.uint8)])
    saved(tmp_path / "alpha.png", "PNG", Image.fromarray(alpha))
    for name in ("deep.png", "alpha.png"):
        data, _ = displayable(tmp_path / name)
        with Image.open(io.BytesIO(data)) as shown:
            assert shown.mode == "RGB"
            assert np.array_equal(np.asarray(shown), read_image(tmp_path / name))


def test_thumbnails_are_small_and_upright(tmp_path: Path) -> None:
    large = Image.fromarray(picture(400, 900))
    path = saved(tmp_path / "large.jpg", "JPEG", large, exif=turned(6))
    with Image.open(io.BytesIO(thumbnail(path))) as small:
        assert small.size == (71, 160)
    with Image.open(io.BytesIO(thumbnail(saved(tmp_path / "small.png", "PNG")))) as small:
        assert small.size == (67, 41)


def test_the_folder_is_walked_in_natural_order(tmp_path: Path) -> None:
    for name in (
        "b10.png",
        "b2.PNG",
        "a/z.jpg",
        "a/ä.tiff",
        "notes.txt",
        ".hidden.png",
        ".git/x.png",
        "a/b/c.gif",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert [each.name for each in find_images(tmp_path)] == [
        "a/b/c.gif",
        "a/z.jpg",
        "a/ä.tiff",
        "b2.PNG",
        "b10.png",
    ]
    assert natural_key("x9") < natural_key("x10") < natural_key("x10a")


@pytest.mark.skipif(sys.platform == "win32", reason="links and names of bytes are POSIX's")
def test_links_to_folders_and_names_that_are_no_text_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    saved(tmp_path / "in" / "a.png", "PNG")
    (tmp_path / "in" / "round").symlink_to(tmp_path)
    with contextlib.suppress(OSError):  # where the file system takes only text
        (Path(os.fsdecode(os.fsencode(tmp_path) + b"/in/\xff.png"))).write_bytes(b"x")
    assert [each.name for each in find_images(tmp_path / "in")] == ["a.png"]


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="no folder"):
        Project.open(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff\xd8\xff", b"\xff\xd8\xff\xe1\xff\xff" + b"E" * 9, b"\x89PNG\r\n\x1a\n" + b"\0" * 30, b"GIF89a",
     b"II*\0"],
)  # fmt: skip
def test_damaged_files_are_told(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bad.jpg"
    path.write_bytes(data)
    for read in (read_size, displayable, thumbnail):
        with pytest.raises(ImageReadError):
            read(path)


def test_a_jpeg_that_was_cut_off_is_told(tmp_path: Path) -> None:
    path = saved(tmp_path / "cut.jpg", "JPEG", exif=turned(1))
    whole = path.read_bytes()
    path.write_bytes(whole + b"\0 what a telephone adds")
    assert read_size(path) == read_image(path).shape[:2]
    for end in (len(whole) // 2, len(whole) - 60, len(whole) - 2):
        path.write_bytes(whole[:end])
        with pytest.raises(ImageReadError):
            read_size(path)


def test_bombs_are_refused_by_their_header(tmp_path: Path) -> None:
    file = io.BytesIO()
    Image.new("1", (8, 8)).save(file, "PNG")
    data = bytearray(file.getvalue())
    data[16:24] = struct.pack(">II", 60_000, 60_000)
    (tmp_path / "bomb.png").write_bytes(data)
    jpeg = bytearray(saved(tmp_path / "bomb.jpg", "JPEG").read_bytes())
    at = jpeg.index(b"\xff\xc0") + 5
    jpeg[at : at + 4] = struct.pack(">HH", 60_000, 60_000)
    (tmp_path / "bomb.jpg").write_bytes(jpeg)
    began = time.perf_counter()
    for name in ("bomb.png", "bomb.jpg"):
        with pytest.raises(ImageReadError, match="megapixels"):
            displayable(tmp_path / name)
    assert time.perf_counter() - began < 5  # 3.6 gigapixels take far longer to decode


def test_masks_of_files(tmp_path: Path) -> None:
    values = np.zeros((40, 56), np.uint8)
    values[3:9, 4:20], values[20:30, 30:50], values[35:38, 2:5] = 1, 2, 255
    palette = Image.fromarray(values)
    palette.putpalette(list(range(256)) * 3)
    hw = (40, 56)
    assert [each.area for each in read_masks(saved(tmp_path / "p.png", "PNG", palette).read_bytes(), hw)] == [
        96,
        200,
    ]
    binary = Image.fromarray(np.where(values == 1, 255, 0).astype(np.uint8))
    binary.putpalette(list(range(256)) * 3)  # 0 and 255 alone: a mask, and no "ignore"
    assert [each.area for each in read_masks(saved(tmp_path / "b.png", "PNG", binary).read_bytes(), hw)] == [
        96
    ]
    deep = cv2.imencode(".png", values.astype(np.uint16) * 100)[1].tobytes()
    assert [each.area for each in read_masks(deep, hw)] == [96, 200, 9]
    grey = cv2.imencode(".png", values)[1].tobytes()
    assert [each.area for each in read_masks(grey, hw)] == [305]
    assert read_masks(cv2.imencode(".png", values * 0)[1].tobytes(), hw) == []
    with pytest.raises(ValueError, match="same size"):
        read_masks(deep, (40, 57))
    with pytest.raises(ImageReadError):
        read_masks(b"no image", hw)


@pytest.mark.parametrize("kind", [".png", ".jpg"])
def test_a_photograph_is_no_mask(kind: str) -> None:
    pixels = read_image(Path(emclick.__file__).parent / "assets" / "cat.jpg")
    photograph = cv2.imencode(kind, pixels[..., ::-1])[1].tobytes()
    with pytest.raises(MaskError, match="looks like a photograph"):
        read_masks(photograph, pixels.shape[:2])
    # a mask with soft edges is one, and so is a cut-out, by what is transparent
    soft = cv2.GaussianBlur((pixels[..., 1] > 128).astype(np.uint8) * 255, (0, 0), 2)
    assert len(read_masks(cv2.imencode(kind, soft)[1].tobytes(), pixels.shape[:2])) == 1
    if kind == ".png":
        cut = np.dstack([pixels, np.where(pixels[..., 1] > 128, 255, 0).astype(np.uint8)])
        assert len(read_masks(cv2.imencode(kind, cut)[1].tobytes(), pixels.shape[:2])) == 1


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("count", "limit_s"), [(1000, 15), pytest.param(10_000, 3, marks=pytest.mark.slow)], ids=["few", "many"]
)
def test_many_images_open_in_time(
    count: int, limit_s: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sizes are read once; the few may be on a slow and busy machine."""
    data = cv2.imencode(".jpg", picture(60, 80))[1].tobytes()
    for number in range(count):
        place = tmp_path / f"part{number % 10}"
        place.mkdir(exist_ok=True)
        (place / f"{number}.jpg").write_bytes(data)
    read: list[str] = []
    measure = Project._all_measured

    def noted(project: Project, images: Sequence[tuple[str, str]]) -> list[Any]:
        read.extend(name for _, name in images)
        return measure(project, images)

    monkeypatch.setattr(Project, "_all_measured", noted)
    began = time.process_time()  # not the wall's: the machine may be shared
    with Project.open(tmp_path, exclusive=True) as project:
        project.read_sizes(budget_s=1)
        found = project.images.all()
        first = time.process_time() - began
        project.read_sizes()
        assert all(each.image_hw == (60, 80) for each in project.images.all())
    assert len(read) == len(set(read)) == count
    began = time.process_time()
    with Project.open(tmp_path, exclusive=True) as project:
        assert len(project.images.all()) == len(found) == count
        assert project.read_sizes(budget_s=1)
    again = time.process_time() - began
    assert len(read) == count
    assert first < limit_s, f"{first:.1f} s the first time"
    assert again < limit_s, f"{again:.1f} s again"
