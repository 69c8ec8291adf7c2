"""LabelMe: a JSON beside each photograph, of masks (default, exact) or polygons.

LabelMe draws pixel (0, 0) as [0, 1] x [0, 1], so its polygons lie on pixel corners, as ours do. Its own
conversion to masks fills the pixels that a polygon's line touches too, half a pixel more at the right and at
the bottom: what its users see on the screen is what is read and written here. Shapes with the same label
and group_id are one object, as in LabelMe.
"""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from emclick.annotations.base import File, Format, check_tolerance, option, stems, to_json, written_label
from emclick.annotations.errors import AnnotationError
from emclick.annotations.model import AnnotatedImage, AnnotatedObject, AnnotationSet, Rle
from emclick.annotations.polygons import fill, join, simplify, trace
from emclick.annotations.reading import (
    Collected,
    Names,
    Sizes,
    find_files,
    is_number,
    read_color,
    read_json,
    read_label,
    read_side,
    size_differs,
)
from emclick.errors import ImageReadError
from emclick.images import read_mask

Mask = NDArray[np.bool_]
Shape = dict[str, Any]

_VERSION = "5.5.0"  # whose files these are; the first with masks was 5.3


@dataclass(frozen=True)
class LabelMe(Format):
    """LabelMe 5.3 and later.

    Attributes:
        polygons: write polygons, one per island, joined by a group_id; holes are joined to the outside by a
            line there and back. An object without pixels stays a mask.
        tolerance_px: with `polygons`, how far an edge may move to save vertices; 0 is exact.
    """

    name: ClassVar[str] = "labelme"
    about: ClassVar[str] = "LabelMe JSON, one per photograph, masks or polygons"
    suffixes: ClassVar[tuple[str, ...]] = (".json",)

    polygons: bool = option(False, "polygons instead of masks")
    tolerance_px: float = option(
        0.0, "lets a polygon's edge move by so many pixels to save points; 0 is exact"
    )

    def __post_init__(self) -> None:
        check_tolerance(self.tolerance_px)

    def files(self, annotations: AnnotationSet) -> Iterator[File]:
        """One JSON per image, also for those without objects."""
        names = stems(annotations)
        for image in annotations.images:
            height, width = image.image_hw
            yield (
                f"{names[image.name]}.json",
                to_json(
                    {
                        "version": _VERSION,
                        "flags": {} if image.status == "todo" else {image.status: True},
                        "shapes": self._shapes(image),
                        "imagePath": PurePosixPath(image.name).name,
                        "imageData": None,
                        "imageHeight": height,
                        "imageWidth": width,
                    }
                ),
            )

    def _shapes(self, image: AnnotatedImage) -> list[Shape]:
        shapes: list[Shape] = []
        for number, each in enumerate(image.objects, 1):
            mask = each.mask.decode()
            kept = [
                found
                for island in (trace(mask) if self.polygons else ())
                if (found := simplify(island, self.tolerance_px)) is not None
            ]
            group = number if len(kept) > 1 else None
            rings = [join(island.rings).astype(float).tolist() for island in kept]
            made = [_shape(each, ring, "polygon", group) for ring in rings]
            shapes += made or [_mask_shape(each, mask)]
        return shapes

    def parse(self, path: Path, images: Sizes) -> AnnotationSet:
        """As `Format.read`: one JSON, or a folder with one per photograph."""
        root = path if path.is_dir() else path.parent
        collected = Collected(images)
        names = Names.of(images, suffix=False)
        sources = [(each, read_json(each)) for each in find_files(path, ".json")]
        if path.is_dir():  # other JSON may lie beside them
            sources = [(each, data) for each, data in sources if isinstance(data, dict) and "shapes" in data]
        if not sources:
            raise AnnotationError(f"labelme: {path} holds no LabelMe file (.json)")
        for source, data in sources:
            _read_one(source, source.relative_to(root), data, names, collected)
        return collected.result()


# --- writing --------------------------------------------------------------------------------------------


def _shape(each: AnnotatedObject, points: list[list[float]], kind: str, group: int | None) -> Shape:
    shape: Shape = {
        "label": written_label(each.label),
        "points": points,
        "group_id": group,
        "description": "",
        "shape_type": kind,
        "flags": {},
        "mask": None,
    }
    return shape if each.color is None else {**shape, "color": each.color}


def _mask_shape(each: AnnotatedObject, mask: Mask) -> Shape:
    """A shape whose points are its first and its last pixel, with a PNG of what lies between."""
    x, y, width, height = each.mask.box
    width, height = max(width, 1), max(height, 1)  # without pixels: one that is background
    part = mask[y : y + height, x : x + width]
    file = io.BytesIO()
    Image.fromarray(part.astype(np.uint8) * np.uint8(255)).convert("1").save(file, "PNG")
    corners = [[float(x), float(y)], [float(x + width - 1), float(y + height - 1)]]
    encoded = base64.b64encode(file.getvalue()).decode("ascii")
    return {**_shape(each, corners, "mask", None), "mask": encoded}


# --- reading --------------------------------------------------------------------------------------------


def _read_one(path: Path, relative: Path, data: Any, names: Names, out: Collected) -> None:
    if not isinstance(data, Mapping) or not isinstance(data.get("shapes"), list):
        raise AnnotationError(f"labelme: {path} has no list 'shapes'")
    name, why = _image_of(relative, data.get("imagePath"), names)
    where = f"labelme: {relative.as_posix()}"
    if name is not None and data.get("imageHeight") is not None and data.get("imageWidth") is not None:
        found_hw = (read_side(data["imageHeight"], where), read_side(data["imageWidth"], where))
        if found_hw != tuple(out.images[name]):
            name, why = None, size_differs(name, out.images[name], found_hw)
    if name is None:
        out.skipped.append(f"{where}: {why}")
        return
    flags = data.get("flags")
    status = next(
        (key for key in ("done", "work") if isinstance(flags, Mapping) and flags.get(key) is True), None
    )
    out.add(name, _objects(data["shapes"], out.images[name], where, out.skipped), status)


def _image_of(relative: Path, image_path: Any, names: Names) -> tuple[str | None, str]:
    """The image that a JSON at `relative` is about: by imagePath, seen from where the JSON lies, else by its name."""
    tries = [str(relative.with_suffix("").as_posix())]
    if isinstance(image_path, str) and image_path:
        tries.insert(0, (PurePosixPath(relative.parent.as_posix()) / image_path).as_posix())
    reasons = []
    for each in tries:
        name, why = names.find(each)
        if name is not None:
            return name, ""
        reasons.append(why)
    return None, reasons[0]


def _objects(
    shapes: list[Any], image_hw: tuple[int, int], where: str, skipped: list[str]
) -> list[AnnotatedObject]:
    masks: dict[object, Rle] = {}  # not pixels: hundreds of objects on a large photograph
    kept: dict[object, tuple[str, str | None]] = {}
    for number, shape in enumerate(shapes, 1):
        here = f"{where}, shape {number}"
        if not isinstance(shape, Mapping) or not isinstance(shape.get("label"), str):
            raise AnnotationError(f"{here}: a shape has a label")
        kind = shape.get("shape_type") or "polygon"  # older files do not say it
        points = _points(shape.get("points"), here)
        if not isinstance(kind, str) or kind not in _KINDS:
            skipped.append(f"{here}: a {kind} has no area")
            continue
        mask = _KINDS[kind](points, shape, image_hw, here)
        group = shape.get("group_id")
        key = number if group is None else (shape["label"], str(group))
        kept.setdefault(key, (read_label(shape["label"]), read_color(shape.get("color"))))
        masks[key] = Rle.encode(masks[key].decode() | mask if key in masks else mask)
    return [AnnotatedObject(mask, *kept[key]) for key, mask in masks.items()]


def _points(values: Any, where: str) -> NDArray[np.float64]:
    if not isinstance(values, list) or not all(
        isinstance(each, list) and len(each) == 2 and is_number(each[0]) and is_number(each[1])
        for each in values
    ):
        raise AnnotationError(f"{where}: points is a list of [x, y]")
    points = np.array(values, np.float64).reshape(-1, 2)
    if not (np.abs(points) < 1e9).all():
        raise AnnotationError(f"{where}: a point is not finite or far outside the image")
    return points


def _polygon(points: NDArray[np.float64], shape: Mapping[str, Any], hw: tuple[int, int], where: str) -> Mask:
    try:
        return fill([points], hw)
    except AnnotationError as error:
        raise AnnotationError(f"{where}: {error}") from error


def _rectangle(
    points: NDArray[np.float64], shape: Mapping[str, Any], hw: tuple[int, int], where: str
) -> Mask:
    if len(points) == 4:  # CVAT and later LabelMe write all corners
        return fill([points], hw)
    (x0, y0), (x1, y1) = _two(points, where)
    return fill([np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])], hw)


def _circle(points: NDArray[np.float64], shape: Mapping[str, Any], hw: tuple[int, int], where: str) -> Mask:
    """Centre and a point on the circle."""
    (x, y), on = _two(points, where)
    squared = (on[0] - x) ** 2 + (on[1] - y) ** 2
    down = (np.arange(hw[0]) + 0.5 - y) ** 2
    across = (np.arange(hw[1]) + 0.5 - x) ** 2
    return down[:, None] + across[None, :] <= squared


def _pixels(points: NDArray[np.float64], shape: Mapping[str, Any], hw: tuple[int, int], where: str) -> Mask:
    """A PNG whose first pixel lies at the first point; the second is its last pixel."""
    try:
        data = base64.b64decode(shape.get("mask") or "", validate=False)
        patch = read_mask(io.BytesIO(data), max_megapixels=4 * hw[0] * hw[1] / 1e6)
    except (ImageReadError, binascii.Error, TypeError, ValueError) as error:
        raise AnnotationError(f"{where}: the mask is no base64 PNG ({error})") from error
    x, y = (int(value) for value in np.rint(_two(points, where)[0]))
    mask = np.zeros(hw, np.bool_)
    top, left = max(y, 0), max(x, 0)
    bottom, right = min(y + patch.shape[0], hw[0]), min(x + patch.shape[1], hw[1])
    if top < bottom and left < right:
        mask[top:bottom, left:right] = patch[top - y : bottom - y, left - x : right - x]
    return mask


def _two(points: NDArray[np.float64], where: str) -> NDArray[np.float64]:
    if len(points) != 2:
        raise AnnotationError(f"{where}: this kind of shape has two points")
    return points


_KINDS: Mapping[str, Callable[[NDArray[np.float64], Mapping[str, Any], tuple[int, int], str], Mask]] = {
    "polygon": _polygon,
    "rectangle": _rectangle,
    "oriented_rectangle": _polygon,
    "circle": _circle,
    "mask": _pixels,
}
