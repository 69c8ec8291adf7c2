"""Images and masks of every kind, in and out."""

from __future__ import annotations

import io
import struct
import warnings
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from emclick.clicks import Click
from emclick.errors import (
    ImageReadError,
    ImageTypeError,
    ImageValueError,
    MaskError,
    UnknownNameError,
    WriteError,
)
from emclick.images import overlay, read_image, read_mask, to_8_bit, write_mask, write_overlay
from helpers import blob, picture

RGB = picture()


def encoded(image: Image.Image, kind: str, **options) -> io.BytesIO:
    file = io.BytesIO()
    image.save(file, kind, **options)
    file.seek(0)
    return file


def png16(array: np.ndarray) -> io.BytesIO:
    """Grey, RGB or RGBA uint16 as a PNG."""
    if array.ndim == 3:
        array = array[..., [2, 1, 0, 3][: array.shape[2]]]
    return io.BytesIO(cv2.imencode(".png", array)[1].tobytes())


def tiff16_rgb(array: np.ndarray, orientation: int = 1) -> io.BytesIO:
    """An uncompressed little-endian TIFF of (H, W, 3) uint16, with its orientation tag."""
    height, width, _ = array.shape
    short, long = 3, 4
    after = 8 + 2 + 10 * 12 + 4
    entries = [
        (256, long, 1, width),
        (257, long, 1, height),
        (258, short, 3, after),
        (259, short, 1, 1),
        (262, short, 1, 2),
        (273, long, 1, after + 6),
        (274, short, 1, orientation),
        (277, short, 1, 3),
        (278, long, 1, height),
        (279, long, 1, array.size * 2),
    ]
    data = struct.pack("<2sHIH", b"II", 42, 8, len(entries))
    data += b"".join(struct.pack("<HHII", *entry) for entry in entries) + struct.pack("<I3H", 0, 16, 16, 16)
    return io.BytesIO(data + array.astype("<u2").tobytes())


def check(image: np.ndarray, expected: np.ndarray, atol: int = 0) -> None:
    assert image.dtype == np.uint8
    assert image.shape == expected.shape
    np.testing.assert_allclose(image.astype(int), expected.astype(int), atol=atol)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_files_come_back(kind, tmp_path):
    path = tmp_path / "ünïcode 画像.dat"  # by content, not by suffix
    Image.fromarray(RGB).save(path, kind)
    for source in (path, str(path), io.BytesIO(path.read_bytes())):
        check(read_image(source), RGB)
    with path.open("rb") as file:
        check(read_image(file), RGB)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "AVIF", "JPEG2000", "GIF"])
def test_lossy_files_come_back_about_right(kind):
    smooth = np.repeat(np.repeat(RGB[::8, ::8], 8, axis=0), 8, axis=1)
    image = read_image(encoded(Image.fromarray(smooth), kind, **({} if kind == "GIF" else {"quality": 95})))
    assert np.abs(image.astype(int) - smooth).mean() < 8


def test_a_pillow_image_is_taken():
    check(read_image(Image.fromarray(RGB)), RGB)
    check(
        read_image(Image.fromarray(RGB).convert("L")),
        np.repeat(np.asarray(Image.fromarray(RGB).convert("L"))[..., None], 3, 2),
    )


def test_grey_one_bit_and_cmyk():
    grey = RGB[..., 0]
    check(read_image(encoded(Image.fromarray(grey), "PNG")), np.repeat(grey[..., None], 3, axis=2))
    check(
        read_image(encoded(Image.fromarray(blob()), "PNG")),
        np.repeat(blob()[..., None] * np.uint8(255), 3, axis=2),
    )
    cmyk = Image.fromarray(RGB).convert("CMYK")
    check(read_image(encoded(cmyk, "TIFF")), RGB, atol=2)
    jpeg = read_image(encoded(cmyk, "JPEG", quality=98))
    assert np.abs(jpeg.astype(int) - RGB).mean() < 8


def test_transparency_is_laid_on_white():
    alpha = np.zeros(RGB.shape[:2], np.uint8)
    alpha[:20], alpha[20:30] = 255, 128
    rgba = np.dstack([RGB, alpha])
    expected = RGB.copy()
    expected[20:30] = np.rint(255 - 128 / 255 * (255.0 - RGB[20:30]))
    expected[30:] = 255
    check(read_image(encoded(Image.fromarray(rgba), "PNG")), expected)
    check(read_image(rgba), expected)
    grey = read_image(encoded(Image.fromarray(rgba).convert("LA"), "PNG"))
    assert (grey[30:] == 255).all()
    assert (grey[..., 0] == grey[..., 2]).all()


def test_palettes_with_and_without_transparency():
    image = Image.fromarray((np.arange(40 * 56).reshape(40, 56) % 3).astype(np.uint8)).convert("P")
    image.putpalette([10, 20, 30, 200, 100, 50, 0, 255, 0])
    colours = np.array([[10, 20, 30], [200, 100, 50], [0, 255, 0]], np.uint8)
    expected = colours[np.arange(40 * 56).reshape(40, 56) % 3]
    check(read_image(encoded(image, "PNG")), expected)
    clear = read_image(encoded(image, "PNG", transparency=1))
    expected[expected[..., 0] == 200] = 255
    check(clear, expected)
    check(read_image(encoded(image, "GIF", transparency=1)), expected)


@pytest.mark.parametrize("shape", [(40, 56), (40, 56, 3), (40, 56, 4)])
@pytest.mark.parametrize("bits", [10, 12, 16])
def test_sixteen_bits_never_look_black(shape, bits):
    random = np.random.default_rng(0)
    array = random.integers(0, 1 << bits, shape).astype(np.uint16)
    array[0, 0] = (1 << bits) - 1
    if len(shape) == 3 and shape[2] == 4:
        array[..., 3] = 65535
    colour = array[..., :3] if array.ndim == 3 else array[..., None]
    expected = np.rint(colour * (255 / ((1 << bits) - 1)))
    expected = np.broadcast_to(expected, (40, 56, 3))
    check(read_image(png16(array)), expected)
    check(read_image(array), expected)


def test_eight_bits_kept_in_sixteen_look_the_same():
    bright = RGB.copy()
    bright[0, 0] = 255
    for factor in (1, 257):
        check(read_image(png16(bright.astype(np.uint16) * factor)), bright)
        check(read_image(tiff16_rgb(bright.astype(np.uint16) * factor)), bright)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_orientation_is_applied(orientation, kind):
    exif = Image.Exif()
    exif[274] = orientation
    file = encoded(Image.fromarray(RGB), kind, exif=exif)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(file.getvalue()))).convert("RGB"))
    assert upright.shape[:2] == ((56, 40) if orientation >= 5 else (40, 56))
    check(read_image(file), upright)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_to_deep_colour(orientation):
    deep = RGB.astype(np.uint16) * 257
    deep[0, 0] = 65535
    exif = Image.Exif()
    exif[274] = orientation
    shallow = encoded(Image.fromarray((deep // 257).astype(np.uint8)), "PNG", exif=exif)
    expected = read_image(shallow)
    plain = png16(deep).getvalue()
    chunk = exif.tobytes().removeprefix(b"Exif\x00\x00")
    body = b"eXIf" + chunk
    exif_chunk = struct.pack(">I", len(chunk)) + body + struct.pack(">I", zlib.crc32(body))
    check(read_image(io.BytesIO(plain[:33] + exif_chunk + plain[33:])), expected)
    check(read_image(tiff16_rgb(deep, orientation)), expected)


def test_a_damaged_exif_block_does_not_lose_the_image():
    data = encoded(Image.fromarray(RGB), "PNG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff" * 3)
    check(read_image(data), RGB)


def test_float_tiff():
    ramp = np.linspace(-2, 6, 40 * 56, dtype=np.float32).reshape(40, 56)
    image = read_image(encoded(Image.fromarray(ramp), "TIFF"))
    assert (image.min(), image.max()) == (0, 255)
    assert (np.diff(image[:, 0, 0].astype(int)) > 0).all()
    unit = read_image(encoded(Image.fromarray(np.full((4, 4), 0.5, np.float32)), "TIFF"))
    assert (unit == 128).all()
    ramp[3, 3], ramp[4, 4] = np.nan, np.inf
    image = read_image(encoded(Image.fromarray(ramp), "TIFF"))
    assert (image[3, 3, 0], image[4, 4, 0]) == (0, 255)


def test_to_8_bit():
    check(to_8_bit(np.array([[0, 7]], np.int32)), np.array([[0, 255]]))
    check(to_8_bit(np.array([[-5, 0, 5]], np.int32)), np.array([[0, 128, 255]]))
    check(to_8_bit(np.zeros((2, 2), np.uint16)), np.zeros((2, 2)))
    check(to_8_bit(np.full((2, 2), 7.0)), np.zeros((2, 2)))
    check(to_8_bit(np.full((2, 2), np.nan)), np.zeros((2, 2)))
    check(to_8_bit(np.array([[True, False]])), np.array([[255, 0]]))
    check(to_8_bit(np.array([[0, 1 << 31]], np.uint32)), np.array([[0, 128]]))


@pytest.mark.parametrize(
    "array",
    [RGB[..., 0], RGB[..., :1], RGB, np.dstack([RGB, np.full((40, 56), 255, np.uint8)])],
    ids=["HxW", "HxWx1", "HxWx3", "HxWx4"],
)
def test_arrays_of_every_shape_and_type(array):
    colour = array[..., :3] if array.ndim == 3 else array[..., None]
    expected = np.broadcast_to(colour, (40, 56, 3))
    check(read_image(array), expected)
    check(read_image(array[::-1]), expected[::-1])
    check(read_image((array / 255).astype(np.float32)), expected)
    check(read_image(array / 255), expected)
    check(read_image(array > 100), np.broadcast_to((colour > 100) * 255, (40, 56, 3)))


@pytest.mark.parametrize(
    ("array", "error"),
    [
        (np.zeros((4, 4), np.int64), ImageTypeError),
        (np.zeros((4, 4), complex), ImageTypeError),
        (np.array([["a"]]), ImageTypeError),
        (np.zeros((4,), np.uint8), ImageTypeError),
        (np.zeros((3, 4, 4, 3), np.uint8), ImageTypeError),
        (np.zeros((3, 40, 56), np.uint8), ImageTypeError),  # channels first
        (np.zeros((4, 4, 2), np.uint8), ImageTypeError),
        (np.zeros((0, 4, 3), np.uint8), ImageValueError),
        (np.full((4, 4), 1.01), ImageValueError),
        (np.full((4, 4), -0.01), ImageValueError),
        (np.full((4, 4), np.nan), ImageValueError),
        (RGB.tolist(), ImageTypeError),
        (None, ImageTypeError),
        (5, ImageTypeError),
        (b"path", ImageTypeError),
        (io.StringIO("text"), ImageTypeError),
    ],
)
def test_what_is_no_image_is_refused(array, error):
    with pytest.raises(error):
        read_image(array)


def png_header(width: int, height: int) -> bytes:
    """A one-bit PNG that says its size and holds no pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    size = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + size + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_large_files_are_refused_undecoded(tmp_path, monkeypatch):
    small = encoded(Image.fromarray(RGB), "PNG")
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(10001, 10000))

    def decode(*args, **kwargs):
        raise AssertionError("decoded")

    with monkeypatch.context() as patch, warnings.catch_warnings():
        patch.setattr("PIL.PngImagePlugin.PngImageFile.load", decode)
        warnings.simplefilter("error")
        with pytest.raises(ImageReadError, match=r"10001x10000 = 100.0 megapixels.*limit of 100"):
            read_image(path)
        with pytest.raises(ImageReadError, match=r"limit of 0\.001"):
            read_image(small, max_megapixels=0.001)
        huge = io.BytesIO(png_header(30000, 30000))  # beyond Pillow's own limit
        with pytest.raises(ImageReadError, match="limit of 100"):
            read_image(huge)
        with pytest.raises(ImageReadError, match="damaged"):  # not refused for its size
            read_image(io.BytesIO(png_header(10000, 10000)))


def test_ninety_megapixels_are_read_without_a_warning():
    file = encoded(Image.new("1", (9500, 9500), 1), "PNG", compress_level=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_mask(file).shape == (9500, 9500)


def test_missing_empty_and_folder(tmp_path):
    (tmp_path / "empty.png").touch()
    for name, word in (
        (".", "folder"),
        ("empty.png", "empty"),
        ("none.png", "no file"),
        ("a\0b", "cannot read"),
    ):
        with pytest.raises(ImageReadError, match=word):
            read_image(str(tmp_path / name))


# Masks


@pytest.mark.parametrize("value", [1, 7, 128, 255])
def test_grey_and_label_masks(value):
    file = encoded(Image.fromarray(blob() * np.uint8(value)), "PNG")
    np.testing.assert_array_equal(read_mask(file, (40, 56)), blob())
    np.testing.assert_array_equal(read_mask(blob() * np.int64(value)), blob())
    np.testing.assert_array_equal(read_mask(blob()[..., None] * np.float32(value)), blob())


def test_a_palette_mask_goes_by_index_not_colour():
    image = Image.fromarray(blob().astype(np.uint8)).convert("P")
    image.putpalette([255, 255, 255, 0, 0, 0])
    for options in ({}, {"transparency": 0}, {"transparency": 1}):
        np.testing.assert_array_equal(read_mask(encoded(image, "PNG", **options)), blob())


def test_sixteen_bit_and_one_bit_masks():
    np.testing.assert_array_equal(read_mask(png16(blob() * np.uint16(3))), blob())
    deep = np.zeros((40, 56, 3), np.uint16)
    deep[blob(), 2] = 5  # lost if only the upper 8 bits were read
    np.testing.assert_array_equal(read_mask(png16(deep)), blob())
    np.testing.assert_array_equal(read_mask(encoded(Image.fromarray(blob()), "PNG")), blob())


def test_transparency_in_use_is_the_mask():
    cut_out = np.dstack([RGB, blob() * np.uint8(200)])
    np.testing.assert_array_equal(read_mask(encoded(Image.fromarray(cut_out), "PNG")), blob())
    np.testing.assert_array_equal(read_mask(cut_out), blob())
    opaque = np.dstack([np.repeat(blob()[..., None] * np.uint8(9), 3, 2), np.full((40, 56), 255, np.uint8)])
    np.testing.assert_array_equal(read_mask(encoded(Image.fromarray(opaque), "PNG")), blob())


def test_a_jpeg_mask_is_cut_in_the_middle():
    ellipse = np.zeros((64, 64), np.uint8)
    cv2.ellipse(ellipse, (32, 30), (20, 12), 30, 0, 360, 255, -1)
    read = read_mask(encoded(Image.fromarray(ellipse), "JPEG", quality=80))
    assert (read != (ellipse > 0)).sum() < 20


def test_a_turned_mask_is_turned_back():
    exif = Image.Exif()
    exif[274] = 6
    file = encoded(Image.fromarray(blob() * np.uint8(255)), "PNG", exif=exif)
    np.testing.assert_array_equal(read_mask(file), np.rot90(blob(), -1))


@pytest.mark.parametrize(
    ("array", "error"),
    [
        (np.zeros((40, 57), np.bool_), MaskError),
        (blob().T, MaskError),
        (np.zeros((0, 56), np.bool_), MaskError),
        (np.zeros(56, np.bool_), MaskError),
        (np.zeros((40, 56, 2), np.bool_), MaskError),
        (np.full((40, 56), np.nan), MaskError),
        (np.zeros((40, 56), complex), ImageTypeError),
        (np.full((40, 56), "a"), ImageTypeError),
        (blob().tolist(), ImageTypeError),
    ],
)
def test_what_is_no_mask_is_refused(array, error):
    with pytest.raises(error):
        read_mask(array, (40, 56))


def test_another_size_names_both():
    with pytest.raises(MaskError, match=r"56x40 pixels.*57x41"):
        read_mask(blob(), (41, 57))


# Writing


@pytest.mark.parametrize("suffix", [".png", ".PNG", ".bmp", ".tif", ".tiff"])
def test_a_written_mask_is_0_and_255_and_comes_back(tmp_path, suffix):
    path = write_mask(tmp_path / f"máscara 面{suffix}", blob())
    with Image.open(path) as image:
        np.testing.assert_array_equal(np.asarray(image), blob() * np.uint8(255))
        assert image.mode == "L"
    np.testing.assert_array_equal(read_mask(path, (40, 56)), blob())
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("name", ["mask", "mask.jpg", "mask.gif", "mask.xyz", ".png"])
def test_an_unknown_suffix_lists_the_known(tmp_path, name):
    with pytest.raises(UnknownNameError, match=r"suffix.*choose from .bmp, .png"):
        write_mask(tmp_path / name, blob())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("mask", [None, [[1]], np.zeros((2, 2, 3)), np.zeros(4), np.zeros((0, 4))])
def test_only_a_mask_is_written(tmp_path, mask):
    with pytest.raises(MaskError):
        write_mask(tmp_path / "m.png", mask)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("path", [None, 5, b"m.png"])
def test_a_path_is_a_path(path):
    with pytest.raises(ImageTypeError):
        write_mask(path, blob())


def test_an_encoder_that_refuses_leaves_nothing(tmp_path):
    wide = np.zeros((1, 70000, 3), np.uint8)  # above what JPEG and WebP can hold
    for suffix in (".jpg", ".webp"):
        with pytest.raises(WriteError, match="nothing was changed"):
            write_overlay(tmp_path / f"o{suffix}", wide, np.zeros((1, 70000), np.bool_))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("level", [0, 128, 255])
def test_the_overlay_shows_on_any_background(level):
    image = np.full((200, 300, 3), level, np.uint8)
    mask = np.zeros((200, 300), np.bool_)
    mask[50:150, 60:200] = True
    out = overlay(image, mask, [Click(100, 80), Click(250, 20, False)])
    assert out.shape == image.shape
    assert (image == level).all()
    assert (out[100, 60] == 255).all()  # outline inside
    assert (out[100, 59] == 0).all()  # and outside
    assert out[120, 130, 2] > out[120, 130, 0]  # filled
    assert (out[190, 290] == level).all()
    green, red = out[80, 100].astype(int), out[20, 250].astype(int)
    assert green[1] > green[0] + 100
    assert red[0] > red[1] + 100
    assert out[80, 104].min() > 190  # white ring: radius 3, then 1 px, smoothed


def test_an_overlay_is_written_in_its_format(tmp_path):
    for suffix, kind in (
        (".png", "PNG"),
        (".jpg", "JPEG"),
        (".jpeg", "JPEG"),
        (".webp", "WEBP"),
        (".tif", "TIFF"),
    ):
        path = write_overlay(tmp_path / f"o{suffix}", RGB, blob(), [Click(3, 4)])
        with Image.open(path) as image:
            assert (image.format, image.size) == (kind, (56, 40))
    assert len(list(tmp_path.iterdir())) == 5
    check(read_image(tmp_path / "o.png"), overlay(RGB, blob(), [Click(3, 4)]))


def test_the_overlay_does_not_write_into_the_image():
    image = RGB.copy()
    overlay(image, blob(), [Click(5, 5)])
    np.testing.assert_array_equal(image, RGB)
    with pytest.raises(MaskError, match="needs a mask"):
        overlay(image, blob(56, 40))
