"""Bad and odd inputs by the hundred: each gets a clear error of the public kinds, or the right answer.

A case is a name, what to do, and what is allowed: "error", or a check of the answer, or either of both.
After each, no temporary file may be left, and an old file is whole or replaced by a whole new one.
"""

from __future__ import annotations

import errno
import io
import math
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from emclick.clicks import Click
from emclick.errors import EmclickError
from emclick.images import overlay, read_image, read_mask, write_mask, write_overlay
from emclick.session import Session
from helpers import FakeModel, blob, picture

RGB = picture()
Check = Callable[[Any], object]


@dataclass(frozen=True)
class Case:
    name: str
    run: Callable[[Path, pytest.MonkeyPatch], Any]
    right: Check | None = None  # what an answer must satisfy; None: there must be an error
    may_fail: bool = False  # an error is as good


def same(expected: np.ndarray) -> Check:
    return lambda got: got.dtype == expected.dtype and np.array_equal(got, expected)


def is_rgb(image: np.ndarray) -> bool:
    return image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and image.size > 0


def encode(kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(RGB).save(file, kind, **options)
    return file.getvalue()


def deep_png() -> bytes:
    return cv2.imencode(".png", RGB.astype(np.uint16) * 257)[1].tobytes()


FILES = {
    "png": encode("PNG"),
    "png16": deep_png(),
    "jpg": encode("JPEG", quality=90),
    "jpg-progressive": encode("JPEG", progressive=True),
    "webp": encode("WEBP"),
    "webp-lossless": encode("WEBP", lossless=True),
    "tiff": encode("TIFF"),
    "tiff-lzw": encode("TIFF", compression="tiff_lzw"),
    "bmp": encode("BMP"),
    "gif": encode("GIF"),
}
SUFFIXES = (".png", ".jpg", ".webp", ".tif", ".bmp", ".gif")


def reading(data: bytes, suffix: str, read: Callable[[Path], Any] = read_image):
    def run(folder: Path, _: pytest.MonkeyPatch) -> Any:
        path = folder / f"image{suffix}"
        path.write_bytes(data)
        return read(path)

    return run


def truncated() -> Iterator[Case]:
    for name, data in FILES.items():
        whole = read_image(io.BytesIO(data))
        suffix = "." + name.split("-")[0].removesuffix("16")
        for part in range(12):
            size = len(data) * part // 12
            yield Case(f"truncated {name} {size}", reading(data[:size], suffix))
        for missing in (1, 2, 8):  # some formats end in bytes that hold no pixels
            yield Case(f"truncated {name} -{missing}", reading(data[:-missing], suffix), same(whole), True)


def mislabelled() -> Iterator[Case]:
    for name, data in FILES.items():
        for suffix in (*SUFFIXES, ""):
            yield Case(f"{name} named {suffix}", reading(data, suffix), same(read_image(io.BytesIO(data))))
    random = np.random.default_rng(0)
    others = {
        "text": b"this is not an image\n" * 20,
        "html": b"<!DOCTYPE html><html><body>404</body></html>",
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="4" height="4"/>',
        "zip": b"PK\x03\x04" + bytes(200),
        "pdf": b"%PDF-1.7\n" + bytes(200),
        "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
        "zeros": bytes(500),
        "noise": random.bytes(500),
        "one byte": b"\x89",
        "pickle": b"\x80\x04\x95cos\nsystem\n(S'echo'\ntR.",
    }
    for name, data in others.items():
        for suffix in (".png", ".jpg", ".tif"):
            yield Case(f"{name} named {suffix}", reading(data, suffix))
        yield Case(f"{name} as mask", reading(data, ".png", read_mask))


def damaged() -> Iterator[Case]:
    random = np.random.default_rng(1)
    for name, data in FILES.items():
        for number in range(5):
            bad = bytearray(data)
            for place in random.integers(0, len(data), 1 + 4 * number):
                bad[place] = random.integers(256)
            yield Case(f"damaged {name} {number}", reading(bytes(bad), ".png"), is_rgb, True)


def session(**options: Any) -> Session:
    return Session(FakeModel(), RGB, **options)


def clicking(*click: Any):
    def run(_: Path, __: pytest.MonkeyPatch) -> tuple[Session, Any]:
        here = session()
        here.click(30, 30)
        before = here.probability.tobytes()
        try:
            return here, here.click(*click)
        except EmclickError:
            assert here.clicks == (Click(30, 30),)
            assert here.probability.tobytes() == before
            assert not here.can_redo
            raise

    return run


def answered(at: tuple[int, int]) -> Check:
    def check(result: tuple[Session, Any]) -> bool:
        here, prediction = result
        return len(here.clicks) == 2 and prediction.mask.shape == (40, 56) and bool(prediction.mask[at])

    return check


def clicks() -> Iterator[Case]:
    values = {
        "nan": math.nan,
        "inf": math.inf,
        "-inf": -math.inf,
        "far": 1e300,
        "-far": -1e300,
        "huge int": 10**500,
        "just left": np.nextafter(-0.5, -1),
        "-1": -1,
        "None": None,
        "text": "12",
        "bool": True,
        "complex": 1j,
        "list": [3],
        "array": np.array([3.0]),
        "nan32": np.float32("nan"),
    }
    for name, value in values.items():
        yield Case(f"click x {name}", clicking(value, 5))
        yield Case(f"click y {name}", clicking(5, value))
    for x, y in ((55.5, 5), (56, 5), (5, 39.5), (5, 40), (55.5, 39.5), (50, 50)):
        yield Case(f"click outside {x},{y}", clicking(x, y))
    for polarity in (1, 0, None, "neg", "", 2.0):
        yield Case(f"polarity {polarity!r}", clicking(5, 5, polarity))
    edge_x, edge_y = np.nextafter(55.5, 0), np.nextafter(39.5, 0)
    border = {(0, 0): (-0.5, -0.5), (39, 55): (edge_x, edge_y), (0, 55): (55, 0), (39, 0): (0, 39)}
    for at, (x, y) in border.items():
        yield Case(f"click on the border {x},{y}", clicking(x, y), answered(at))
        yield Case(f"numpy click {x},{y}", clicking(np.float64(x), np.float64(y), np.True_), answered(at))
    yield Case("a negative first click", lambda *_: session().click(5, 5, False))
    yield Case("no clicks in a batch", lambda *_: session().click_many([]))
    yield Case("undo at the start", lambda *_: session().undo())
    yield Case("redo at the start", lambda *_: session().redo())
    yield Case("remove at the start", lambda *_: session().remove(0))
    yield Case("no click at all", lambda *_: session().mask, same(np.zeros((40, 56), np.bool_)))
    for flip in (False, True):
        yield Case(
            f"500 clicks, flip {flip}", lambda *_, flip=flip: many(flip), lambda here: len(here.clicks) == 500
        )


def many(flip: bool) -> Session:
    here = session(flip=flip)
    random = np.random.default_rng(0)
    first, last = here.click(30, 20), None
    for _ in range(499):
        x, y = random.uniform(-0.5, [55.5, 39.5])
        last = here.click(x, y, bool(random.integers(2)))
    assert last is not None
    assert np.isfinite(last.probability).all()
    for _ in range(499):
        here.undo()
    assert here.probability.tobytes() == first.probability.tobytes()
    for _ in range(499):
        here.redo()
    assert here.probability.tobytes() == last.probability.tobytes()
    return here


def odd_images() -> Iterator[Case]:
    sizes = [(1, 1), (1, 2), (3, 2), (1, 5000), (5000, 1), (7, 900), (4, 4), (2, 70000), (31, 33)]
    for height, width in sizes:
        for options in ({}, {"flip": True}, {"progressive_merge": True}):
            name = f"{width}x{height} {options}"

            def run(*_: Any, height=height, width=width, options=options) -> Any:
                here = Session(FakeModel(), picture(height, width), **options)
                here.click(0, 0)
                here.click(width - 1, height - 1, False)
                here.set_mask(np.ones((height, width), np.bool_))
                last = here.click(-0.5, -0.5, False)
                assert here.undo().mask.all()
                return last

            def right(prediction: Any, height=height, width=width) -> bool:
                inside = (prediction.probability >= 0) & (prediction.probability <= 1)
                return prediction.mask.shape == (height, width) and bool(inside.all())

            yield Case(f"session on {name}", run, right)
        for suffix in (".png", ".tif", ".bmp"):

            def written(folder: Path, _: Any, height=height, width=width, suffix=suffix) -> np.ndarray:
                image, mask = picture(height, width), np.ones((height, width), np.bool_)
                write_overlay(folder / f"o{suffix}", image, mask, [Click(0, 0)])
                same(overlay(image, mask, [Click(0, 0)]))(read_image(folder / f"o{suffix}"))
                return read_mask(write_mask(folder / f"m{suffix}", mask), (height, width))

            yield Case(f"writing {width}x{height}{suffix}", written, same(np.ones((height, width), np.bool_)))
    for short_side in (-1, 0, 3, 4, 5, 8, 4097, 10**12, 32.5, "32", None.__class__, math.nan, True):
        yield Case(f"short side {short_side!r}", lambda *_, side=short_side: session(short_side=side))
    for threshold in (-1, 0, 1, 2, math.nan, math.inf, "0.5", None, True):
        yield Case(f"threshold {threshold!r}", lambda *_, level=threshold: session(threshold=level))


def wrong_types() -> Iterator[Case]:
    arrays: dict[str, Any] = {
        "None": None,
        "number": 5,
        "list": [[1, 2], [3, 4]],
        "bytes": b"image.png",
        "object": object(),
        "text file": io.StringIO("x"),
        "empty file": io.BytesIO(),
        "closed file": closed(),
        "empty": np.zeros((0, 0, 3), np.uint8),
        "flat": np.zeros(9, np.uint8),
        "channels first": np.zeros((3, 40, 56), np.uint8),
        "five channels": np.zeros((4, 4, 5), np.uint8),
        "four axes": np.zeros((1, 4, 4, 3), np.uint8),
        "complex": np.zeros((4, 4, 3), complex),
        "texts": np.full((4, 4), "a"),
        "objects": np.full((4, 4), None),
        "dates": np.zeros((4, 4), "datetime64[s]"),
    }
    for name, value in arrays.items():
        yield Case(f"image {name}", lambda *_, value=value: Session(FakeModel(), value))
        yield Case(
            f"initial mask {name}",
            lambda *_, value=value: session(initial_mask=value if value is not None else 0),
        )
        yield Case(f"set mask {name}", lambda *_, value=value: session().set_mask(value))
    for name, value in {
        "int64": np.zeros((4, 4), np.int64),
        "above 1": np.full((4, 4), 255.0),
        "nan": np.full((4, 4), np.nan),
    }.items():
        yield Case(f"image {name}", lambda *_, value=value: read_image(value))
    for height, width in ((56, 40), (1, 1), (39, 56), (40, 57), (400, 560)):
        mask = np.ones((height, width), np.bool_)
        yield Case(f"mask {width}x{height} at the start", lambda *_, mask=mask: session(initial_mask=mask))
        yield Case(f"mask {width}x{height} brushed", lambda *_, mask=mask: session().set_mask(mask))
        yield Case(f"mask {width}x{height} overlaid", lambda *_, mask=mask: overlay(RGB, mask))
        yield Case(
            f"mask file {width}x{height}",
            lambda folder, _, mask=mask: session(initial_mask=write_mask(folder / "m.png", mask)),
        )


def closed() -> io.BytesIO:
    file = io.BytesIO(b"x")
    file.close()
    return file


def paths() -> Iterator[Case]:
    names = (
        "ünïcödé",
        "画像 マスク",
        "маска",
        "قناع",
        "🐈 cat",
        "a b  c",
        "x" * 200,
        "semi;colon&$(x)",
        "dots..in.name",
    )
    for name in names:

        def run(folder: Path, _: Any, name=name) -> Any:
            inner = folder / name[:60]
            inner.mkdir()
            write_overlay(inner / f"{name}.png", RGB, blob())
            written = write_mask(str(inner / f"{name}.tif"), blob())
            assert written.name == f"{name}.tif"
            assert len(list(inner.iterdir())) == 2
            assert read_image(inner / f"{name}.png").shape == RGB.shape
            return read_mask(written)

        yield Case(f"path {name[:12]}", run, same(blob()))
    for name in ("", ".", "none.png", "no/such/folder.png", "nul\0l.png", "y" * 5000 + ".png"):
        yield Case(f"reading {name[:12]!r}", lambda folder, _, name=name: read_image(str(folder / name)))
        yield Case(f"reading mask {name[:12]!r}", lambda folder, _, name=name: read_mask(folder / name))
    for name in ("", ".", "m", "m.gif", "m.exe", "no/such/folder.png", "nul\0l.png", "y" * 5000 + ".png"):
        yield Case(f"writing {name[:12]!r}", lambda folder, _, name=name: write_mask(folder / name, blob()))
        yield Case(
            f"overlay {name[:12]!r}",
            lambda folder, _, name=name: write_overlay(str(folder / name), RGB, blob()),
        )
    for path in (None, 3, b"m.png", [Path("m.png")]):
        yield Case(f"writing to {path!r}", lambda *_, path=path: write_mask(path, blob()))  # type: ignore[arg-type]


class Full(io.RawIOBase):
    """A file on a disk that is full after some bytes."""

    def __init__(self, file: Any, room: int) -> None:
        self.file, self.room = file, room

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def __enter__(self) -> Full:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def write(self, data: Any) -> int:
        self.room -= len(data)
        if self.room < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self.file.write(data)

    def flush(self) -> None:
        self.file.flush()

    def fileno(self) -> int:
        raise io.UnsupportedOperation("fileno")  # or Pillow's encoders would write past us


def killed_writes() -> Iterator[Case]:
    def failing(code: int) -> Callable[..., Any]:
        def fail(*_: Any, **__: Any) -> Any:
            raise OSError(code, os.strerror(code))

        return fail

    plain = os.fdopen
    faults: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
        "read-only folder": lambda patch: patch.setattr(tempfile, "mkstemp", failing(errno.EACCES)),
        "read-only file system": lambda patch: patch.setattr(tempfile, "mkstemp", failing(errno.EROFS)),
        "fsync fails": lambda patch: patch.setattr(os, "fsync", failing(errno.EIO)),
        "target locked": lambda patch: patch.setattr(os, "replace", failing(errno.EACCES)),
        "encoder breaks": lambda patch: patch.setattr(Image.Image, "save", broken),
        "encoder stops midway": lambda patch: patch.setattr(Image.Image, "save", half),
        "disk full at 0": lambda patch: patch.setattr(os, "fdopen", lambda *a: Full(plain(*a), 0)),
        "disk full at 60": lambda patch: patch.setattr(os, "fdopen", lambda *a: Full(plain(*a), 60)),
    }
    for fault, break_it in faults.items():
        for suffix in (".png", ".bmp", ".jpg"):
            for old in (False, True):

                def run(
                    folder: Path, patch: pytest.MonkeyPatch, suffix=suffix, old=old, break_it=break_it
                ) -> Any:
                    target = folder / f"out{suffix}"
                    if old:
                        write_overlay(target, RGB, ~blob())
                    before = target.read_bytes() if old else None
                    with patch.context() as context:
                        break_it(context)
                        try:
                            return write_overlay(target, RGB, blob())
                        finally:
                            assert (target.read_bytes() if old else None) == before
                            assert target.exists() == old

                yield Case(f"{fault}, {suffix}, old file {old}", run)


def broken(*_: Any, **__: Any) -> None:
    raise ValueError("encoder error -2")


def half(_: Any, file: Any, *__: Any, **___: Any) -> None:
    file.write(b"half a picture")
    raise OSError("broken data stream when writing image file")


CASES = [
    case
    for group in (truncated, mislabelled, damaged, clicks, odd_images, wrong_types, paths, killed_writes)
    for case in group()
]


def test_there_are_hundreds():
    assert len(CASES) >= 300
    assert len({case.name for case in CASES}) == len(CASES)
    assert sum(case.right is None for case in CASES) >= 150  # that must be refused
    assert sum(case.right is not None and not case.may_fail for case in CASES) >= 100  # that must work


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.encode("ascii", "replace").decode()[:60])
def test_a_clear_error_or_a_right_answer(case, tmp_path, monkeypatch):
    result, refusal = None, None
    try:
        result = case.run(tmp_path, monkeypatch)
    except EmclickError as error:  # anything else fails the test
        refusal = error
    if refusal is None:
        assert case.right is not None, "an error was due"
        assert case.right(result)
    else:
        assert case.right is None or case.may_fail, f"refused: {refusal}"
        assert isinstance(refusal, (ValueError, TypeError, OSError))
        assert str(refusal).strip()
        assert len(str(refusal).splitlines()) == 1
    left = [each.name for each in tmp_path.rglob("*") if each.name.endswith(".tmp")]
    assert not left
