"""Reading images and masks as users have them, writing masks and overlays.

Reading is by content, never by suffix, through Pillow; only the first page or frame of a file is read.
EXIF orientation is applied, transparency is laid on white, and deeper samples come down to 8 bits by
`to_8_bit`. Writing goes by suffix and through `write_atomic`.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any, Union

import cv2
import numpy as np
from numpy.typing import NDArray
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
from emclick.files import require_folder, write_atomic

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]
ImageLike = Union[str, "os.PathLike[str]", IO[bytes], Image.Image, NDArray[Any]]

MAX_MEGAPIXELS = 100.0
"""Default limit above which a file is refused before anything is decoded."""

# Fixed, so that no file can reach a decoder that runs another program (EPS) or has no signature (TGA).
_FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "TIFF", "BMP", "DIB", "GIF", "PPM", "JPEG2000", "AVIF")
_LOSSY = ("JPEG", "MPO")  # a mask saved so has ringing around its edges

_ACCEPTED = (
    "an image is a path, an open binary file, a Pillow image, or an array of HxW, HxWx1, HxWx3 or HxWx4 "
    "in uint8, uint16, bool or float in [0, 1]"
)


def read_image(source: ImageLike, *, max_megapixels: float = MAX_MEGAPIXELS) -> Pixels:
    """Any image as (H, W, 3) uint8 RGB.

    Args:
        source: path, open binary file, Pillow image, or array: HxW, HxWx1, HxWx3 (RGB) or HxWx4 (RGBA);
            uint8, uint16, bool, or float in [0, 1]. Transparent pixels are laid on white. The result may
            share the array's memory, or be read-only.
        max_megapixels: larger files are refused undecoded; arrays are not limited. (Pillow's own hard
            limit, twice `Image.MAX_IMAGE_PIXELS`, stays in force above it.)

    Raises:
        ImageTypeError: `source` is none of these, or an array of another shape or dtype.
        ImageValueError: an array without pixels, or float values outside [0, 1].
        ImageReadError: a file that is missing, truncated, too large or not an image.
    """
    if isinstance(source, np.ndarray):
        return _array_to_rgb(source)
    return _to_rgb(_open_samples(source, max_megapixels)[0])


def read_mask(
    source: ImageLike, image_hw: tuple[int, int] | None = None, *, max_megapixels: float = MAX_MEGAPIXELS
) -> Mask:
    """A mask as (H, W) bool: every non-zero grey, colour, label or palette index is foreground.

    With transparency in use, what is not fully transparent is foreground, whatever its colour. In a
    JPEG, whose zeros are not exact, foreground is 128 and above.

    Args:
        source: as for `read_image`; arrays of any integer, bool or float dtype.
        image_hw: the (H, W) that the mask must have, if given.
        max_megapixels: larger files are refused undecoded.

    Raises:
        MaskError: another size than `image_hw`, no pixels, or values that are not finite.
        ImageTypeError: `source` is not a mask at all.
        ImageReadError: a file that is missing, truncated, too large or not an image.
    """
    if isinstance(source, np.ndarray):
        samples, floor = _mask_samples(source), 0
    else:
        samples, file_format = _open_samples(source, max_megapixels, indices=True)
        floor = 127 if file_format in _LOSSY else 0
    mask = _foreground(samples, floor)
    height, width = mask.shape
    if image_hw is not None and (height, width) != tuple(image_hw):
        raise MaskError(
            f"the mask is {width}x{height} pixels (width x height) but the image is "
            f"{image_hw[1]}x{image_hw[0]}; they must be the same size"
        )
    return mask


def _foreground(samples: NDArray[Any], floor: int) -> Mask:
    if samples.ndim == 3 and samples.shape[2] in (2, 4):
        alpha = samples[..., -1]
        if (alpha != alpha.max()).any():
            return np.asarray(alpha > 0)
        samples = samples[..., :-1]
    inside: Mask = np.asarray(samples > floor if floor else samples != 0)
    return np.any(inside, axis=2) if inside.ndim == 3 else inside


def to_8_bit(samples: NDArray[Any]) -> Pixels:
    """Samples of any depth to uint8, so that what has contrast shows it.

    - bool: 0 and 255. uint8: as it is.
    - Other integers, none negative: linear from 0, with white at the smallest 2^k - 1 that holds the
      largest value: 10-, 12-, 14- and 16-bit data all look right, and 8-bit data in 16 bits is unchanged.
    - Floats within [0, 1]: times 255.
    - Anything else: stretched linearly from its smallest to its largest finite value; NaN becomes 0.
    """
    if samples.dtype == np.uint8:
        return samples
    if samples.dtype == np.bool_:
        return samples.astype(np.uint8) * np.uint8(255)
    if samples.dtype.kind in "iu":
        low, high = int(samples.min()), int(samples.max())
        if low >= 0:
            low, high = 0, (1 << max(1, high.bit_length())) - 1
    else:
        finite = samples[np.isfinite(samples)]
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
        if low >= 0 and high <= 1:
            low, high = 0.0, 1.0
        samples = np.nan_to_num(samples, nan=low, posinf=high, neginf=low)
    scale = 255 / (high - low) if high > low else 0.0
    stretched = (samples.astype(np.float32 if samples.itemsize <= 2 else np.float64) - low) * scale
    return np.rint(stretched, out=stretched).astype(np.uint8)


def write_mask(path: str | os.PathLike[str], mask: Mask) -> Path:
    """Write (H, W) bool as 0 and 255, 8-bit grey; the suffix says the format, all of them lossless.

    Raises:
        UnknownNameError: a suffix that is not in the table.
        MaskError: `mask` is not an (H, W) array.
        WriteError: the file could not be written; an existing one is as it was.
    """
    if not isinstance(mask, np.ndarray) or mask.ndim != 2 or mask.size == 0:
        raise MaskError(f"a mask to write must be an array of (height, width), not {_described(mask)}")
    return _write(path, (mask != 0).astype(np.uint8) * np.uint8(255), _MASK_FORMATS)


def write_overlay(
    path: str | os.PathLike[str], image: ImageLike, mask: Mask, clicks: Iterable[Click] = ()
) -> Path:
    """Write `overlay(image, mask, clicks)`; the suffix says the format.

    Raises:
        UnknownNameError, MaskError, WriteError: as `write_mask`; those of `read_image` for the image.
    """
    return _write(path, overlay(image, mask, clicks), _OVERLAY_FORMATS)


def overlay(image: ImageLike, mask: Mask, clicks: Iterable[Click] = ()) -> Pixels:
    """(H, W, 3) uint8: the image with the mask filled and outlined, and the clicks.

    The outline is white inside and black outside the edge, so it shows on any background; a click is a
    green (positive) or red (negative) dot with a white and a black ring.
    """
    out = read_image(image).copy()
    if not isinstance(mask, np.ndarray) or mask.shape != out.shape[:2]:
        raise MaskError(
            f"the overlay needs a mask of {out.shape[:2]} (height, width), not {_described(mask)}"
        )
    inside = (mask != 0).astype(np.uint8)
    levels = np.arange(256, dtype=np.float32)
    for channel, colour in enumerate(_FILL_RGB):
        filled = np.rint(levels + _FILL_ALPHA * (colour - levels)).astype(np.uint8)[out[..., channel]]
        np.copyto(out[..., channel], filled, where=inside.astype(np.bool_))
    shorter = min(out.shape[:2])
    width = max(1, round(shorter / 400))
    brush = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    out[(cv2.dilate(inside, brush) > inside)] = 0
    out[(cv2.erode(inside, brush) < inside)] = 255
    radius = max(3, round(shorter / 100))
    for click in clicks:
        row, column = click.pixel(out.shape[:2])
        for size, colour in (
            (radius + 2 * width, _BLACK),
            (radius + width, _WHITE),
            (radius, _DOT[click.positive]),
        ):
            cv2.circle(out, (column, row), size, colour, cv2.FILLED, cv2.LINE_AA)
    return out


_FILL_RGB = (30, 110, 255)
_FILL_ALPHA = 0.45
_BLACK, _WHITE = (0, 0, 0), (255, 255, 255)
_DOT = {True: (0, 190, 60), False: (225, 20, 40)}

Formats = dict[str, tuple[str, dict[str, Any]]]

_MASK_FORMATS: Formats = {
    ".png": ("PNG", {}),
    ".bmp": ("BMP", {}),
    ".tif": ("TIFF", {"compression": "tiff_deflate"}),
    ".tiff": ("TIFF", {"compression": "tiff_deflate"}),
}
_OVERLAY_FORMATS = {
    **_MASK_FORMATS,
    ".jpg": ("JPEG", {"quality": 92}),
    ".jpeg": ("JPEG", {"quality": 92}),
    ".webp": ("WEBP", {"quality": 92}),
}


def check_writable(mask: str | os.PathLike[str], overlay: str | os.PathLike[str] | None = None) -> None:
    """Raise, before any work, what `write_mask` and `write_overlay` would say of these names and folders."""
    for path, formats in ((mask, _MASK_FORMATS), (overlay, _OVERLAY_FORMATS)):
        if path is not None:
            require_folder(_format(path, formats)[0])


def _format(path: str | os.PathLike[str], formats: Formats) -> tuple[Path, str, dict[str, Any]]:
    """The path, and Pillow's name of its format with options."""
    try:
        target = Path(path)
    except TypeError as error:
        raise ImageTypeError(f"a path to write must be text or a Path, not {type(path).__name__}") from error
    if target.suffix.lower() not in formats:
        raise UnknownNameError("file suffix", target.suffix, sorted(formats))
    return (target, *formats[target.suffix.lower()])


def _write(path: str | os.PathLike[str], pixels: Pixels, formats: Formats) -> Path:
    target, name, options = _format(path, formats)

    def encode(file: IO[bytes]) -> None:
        try:
            Image.fromarray(pixels).save(file, name, **options)
        except OSError:
            raise  # write_atomic tells it
        except Exception as error:  # Pillow's encoders raise many kinds, e.g. for a side above their limit
            raise WriteError(f"cannot write {target} as {name}: {error}; nothing was changed") from error

    return write_atomic(target, encode)


def _described(value: object) -> str:
    return f"an array of shape {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__


def _array_to_rgb(array: NDArray[Any]) -> Pixels:
    if array.dtype not in (np.uint8, np.uint16, np.bool_) and array.dtype.kind != "f":
        raise ImageTypeError(f"an image array cannot be {array.dtype}; {_ACCEPTED}")
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise ImageTypeError(f"an image array cannot have shape {array.shape}; {_ACCEPTED}")
    if array.size == 0:
        raise ImageValueError(f"an image array of shape {array.shape} has no pixels")
    if array.dtype.kind == "f" and not (array.min() >= 0 and array.max() <= 1):  # False for NaN
        raise ImageValueError("float images must lie in [0, 1]: divide by the largest possible value first")
    return _to_rgb(array)


def _mask_samples(array: NDArray[Any]) -> NDArray[Any]:
    if array.dtype.kind not in "biuf":
        raise ImageTypeError(f"a mask array cannot be {array.dtype}; use bool, integers or floats")
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise MaskError(f"a mask array cannot have shape {array.shape}; use (height, width)")
    if array.size == 0:
        raise MaskError(f"a mask array of shape {array.shape} has no pixels")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise MaskError("a mask array must not hold NaN or infinite values")
    return array


def _to_rgb(samples: NDArray[Any]) -> Pixels:
    """(H, W), or (H, W, C) with C 1 grey, 2 grey+alpha, 3 RGB, 4 RGBA, of any depth, to RGB."""
    if samples.ndim == 2:
        samples = samples[..., None]
    channels = samples.shape[2]
    if channels not in (2, 4):
        colour = to_8_bit(samples)
        return np.ascontiguousarray(colour) if channels == 3 else np.repeat(colour, 3, axis=2)
    colour = to_8_bit(samples[..., :-1])
    top = 1.0 if samples.dtype.kind in "fb" else float(np.iinfo(samples.dtype).max)
    alpha = samples[..., -1:].astype(np.float32) / np.float32(top)
    return np.rint(255 - alpha * (255 - np.broadcast_to(colour, (*colour.shape[:2], 3)))).astype(np.uint8)


def _open_samples(
    source: ImageLike, max_megapixels: float, indices: bool = False
) -> tuple[NDArray[Any], str | None]:
    """Samples of a file as stored, upright: (H, W) or (H, W, C) as `_to_rgb` takes; and its format."""
    data, name = (None, "the image") if isinstance(source, Image.Image) else _read_bytes(source)
    try:
        with warnings.catch_warnings():
            # Pillow warns of size from 89 MP, which our own limit allows, and of flaws that it repairs.
            warnings.simplefilter("ignore")
            picture = source if isinstance(source, Image.Image) else _opened(data)
            _check_size(picture.size, name, max_megapixels)
            picture.load()
            deep = _deep_colour(picture, data)
            if deep is not None:
                return deep, picture.format
            file_format = picture.format
            return _samples(_upright(picture), indices), file_format
    except ImageReadError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageReadError(
            f"{name} is above the limit of {max_megapixels:g} megapixels or of Pillow"
        ) from error
    except MemoryError as error:
        raise ImageReadError(f"not enough memory to read {name}") from error
    except Exception as error:  # decoders meet damaged files with any kind: struct.error, SyntaxError, ...
        raise ImageReadError(f"cannot read {name}: {_reason(error)}") from error


def _opened(data: bytes | None) -> Image.Image:
    Image.init()
    known = [each for each in _FORMATS if each in Image.OPEN]
    return Image.open(io.BytesIO(data or b""), formats=known)


def _reason(error: Exception) -> str:
    if isinstance(error, Image.UnidentifiedImageError):
        return "it is not an image of a known format, or is damaged at its start"
    lines = str(error).splitlines()
    return f"damaged or not supported ({lines[0] if lines else type(error).__name__})"


def _check_size(size: tuple[int, int], name: str, max_megapixels: float) -> None:
    width, height = size
    if width * height > max_megapixels * 1e6:
        raise ImageReadError(
            f"{name} is {width}x{height} = {width * height / 1e6:.1f} megapixels, above the limit of "
            f"{max_megapixels:g}; scale it down or raise the limit"
        )


def _read_bytes(source: object) -> tuple[bytes, str]:
    read = getattr(source, "read", None)
    if callable(read):
        name = str(getattr(source, "name", "") or "the file")
        try:
            data = read()
        except (OSError, ValueError) as error:
            raise ImageReadError(f"cannot read {name}: {error}") from error
        if not isinstance(data, bytes):
            raise ImageTypeError(f"{name} is open as text; open it with mode 'rb'")
    elif isinstance(source, (str, os.PathLike)):
        name = os.fspath(source)
        if not isinstance(name, str):
            raise ImageTypeError(f"a path must be text, not {type(name).__name__}")
        data = _file_bytes(name)
    else:
        raise ImageTypeError(f"cannot make an image of {type(source).__name__}; {_ACCEPTED}")
    if not data:
        raise ImageReadError(f"{name} is empty")
    return data, name


def _file_bytes(name: str) -> bytes:
    path = Path(name)
    try:
        if path.is_dir():
            raise ImageReadError(f"{name} is a folder, not an image file")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ImageReadError(f"there is no file {name}") from error
    except ImageReadError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        reason = getattr(error, "strerror", None) or error
        raise ImageReadError(f"cannot read {name}: {reason}") from error


def _deep_colour(picture: Image.Image, data: bytes | None) -> NDArray[Any] | None:
    """Colour of 16 bits a channel, which Pillow cuts to the upper 8 (12-bit data would come out black)."""
    if data is None:
        return None
    if picture.format == "PNG":
        deep = data[24] == 16 and data[25] in (2, 4, 6)  # IHDR: bit depth, colour type
    elif picture.format == "TIFF":
        bits = tuple(getattr(picture, "tag_v2", {}).get(258, ()))
        deep = len(bits) > 1 and set(bits) == {16} and picture.mode in ("RGB", "RGBA")
    else:
        return None
    if not deep:
        return None
    samples = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if samples is None or samples.dtype != np.uint16 or samples.ndim != 3:
        return None
    samples = samples[..., [2, 1, 0, 3][: samples.shape[2]]]
    turn = _TURNS.get(_orientation(picture))  # OpenCV and Pillow have turned a TIFF already
    return samples if turn is None or picture.format == "TIFF" else np.ascontiguousarray(turn(samples))


def _orientation(picture: Image.Image) -> int:
    try:
        return picture.getexif().get(274, 1)
    except Exception:  # a damaged EXIF block; the image itself is fine
        return 1


def _upright(picture: Image.Image) -> Image.Image:
    return picture if _orientation(picture) == 1 else ImageOps.exif_transpose(picture)


_TURNS: dict[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[:, ::-1],
    7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],
    8: lambda a: a.swapaxes(0, 1)[::-1],
}


def _samples(picture: Image.Image, indices: bool) -> NDArray[Any]:
    if picture.mode in ("P", "PA") and indices:
        samples = np.asarray(picture)
        return samples[..., 0] if samples.ndim == 3 else samples
    if picture.mode.startswith("I") or picture.mode == "F":
        samples = np.asarray(picture)
        return samples.astype(samples.dtype.newbyteorder("="), copy=False)
    if "transparency" in picture.info or picture.mode in ("PA", "RGBa"):
        return np.asarray(picture.convert("RGBA"))
    if picture.mode in ("1", "L", "LA", "RGB", "RGBA"):
        return np.asarray(picture)
    return np.asarray(picture.convert("RGB"))
