"""What readers share: files and JSON, sizes and colours, and finding the image that a file means."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, TypeGuard

from emclick.annotations.errors import AnnotationError
from emclick.annotations.model import AnnotatedImage, AnnotatedObject, AnnotationSet, Rle, is_color
from emclick.errors import MaskError

Sizes = Mapping[str, tuple[int, int]]
"""Image name, as in `AnnotatedImage.name`, -> (H, W) as displayed."""

UNLABELLED = "__unlabelled__"
"""Stands for the label "" in files whose formats want a name."""

MAX_TEXT_BYTES = 512 << 20
"""Of one file of text: COCO's train2017 has 450 MB. What it says takes several times as much memory."""

_WRITTEN = {":": "%3A", "\\": "%5C", "%": "%25"}
_UNWRITABLE = re.compile(r"[:\\]|%(?=3A|5C|25)", re.IGNORECASE)


def read_label(label: str) -> str:
    """The label that a file's name stands for (the inverse of `base.written_label`)."""
    return "" if label == UNLABELLED else label


def without_suffix(name: str) -> str:
    """`a/b.jpg` -> `a/b`."""
    return str(PurePosixPath(name).with_suffix(""))


def portable_name(name: str) -> str:
    """A path as exports write it, for every system: ":" and "\\" percent-encoded, and "%" where that would be
    taken for one of them; no two names become one."""
    return _UNWRITABLE.sub(lambda found: _WRITTEN[found.group()], name)


def read_text(path: Path, errors: str = "replace") -> str:
    """The content of a text file in UTF-8; `errors` as in `bytes.decode`.

    Raises:
        AnnotationError: it is larger than `MAX_TEXT_BYTES`.
        OSError: it cannot be read.
    """
    if path.stat().st_size > MAX_TEXT_BYTES:
        raise AnnotationError(f"{path} is larger than {MAX_TEXT_BYTES >> 20} MB: split it")
    return path.read_bytes().decode("utf-8-sig", errors)


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        AnnotationError: it is not JSON in UTF-8, nested too deep, or too large (see `read_text`).
        OSError: it cannot be read.
    """
    try:
        return json.loads(read_text(path, "strict"))
    except AnnotationError:
        raise
    except UnicodeDecodeError as error:
        raise AnnotationError(f"{path} is not JSON: it is not text in UTF-8") from error
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise AnnotationError(f"{path} is not valid JSON: it cannot be read from {place} on") from error
    except (ValueError, RecursionError) as error:
        raise AnnotationError(f"{path} is not valid JSON: {error}") from error


def find_files(path: Path, suffix: str) -> list[Path]:
    """`path` itself if it is a file, else the files below it that end so, in order of name; hidden ones not."""
    if path.is_file():
        return [path]
    found = (each for each in path.rglob("*") if each.suffix.lower() == suffix and each.is_file())
    return sorted(
        (each for each in found if not any(part.startswith(".") for part in each.relative_to(path).parts)),
        key=lambda each: each.relative_to(path).as_posix(),
    )


def decode_rle(value: Any, image_hw: tuple[int, int], where: str) -> Rle:
    """`Rle.from_json`, its error naming `where`.

    Raises:
        AnnotationError: not an RLE of that size.
    """
    try:
        return Rle.from_json(value, image_hw)
    except MaskError as error:
        raise AnnotationError(f"{where}: {error}") from error


def read_color(value: object) -> str | None:
    """`#rrggbb`, also from [r, g, b]; None for anything else, colours being no part of any standard."""
    if isinstance(value, list) and len(value) == 3 and all(type(v) is int and 0 <= v <= 255 for v in value):
        return "#{:02x}{:02x}{:02x}".format(*value)
    return value if isinstance(value, str) and is_color(value) else None


def is_number(value: object) -> TypeGuard[float]:
    """Whether a JSON value is a number (true and false are not)."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def read_side(value: object, where: str) -> int:
    """A width or height.

    Raises:
        AnnotationError: it is no positive whole number.
    """
    if not is_number(value) or not 1 <= value < 2**31 or value != int(value):
        raise AnnotationError(f"{where}: width and height are whole numbers of pixels")
    return int(value)


def size_differs(name: str, known_hw: tuple[int, int], found_hw: tuple[int, int]) -> str:
    """Why the annotations of an image cannot be taken: one line for `AnnotationSet.skipped`."""
    turned = known_hw == found_hw[::-1]
    why = "; made without its EXIF rotation" if turned else ""
    return (
        f"{name} is {known_hw[1]}x{known_hw[0]} pixels (width x height), "
        f"but {found_hw[1]}x{found_hw[0]} in the annotations{why}"
    )


@dataclass(frozen=True)
class Names:
    """Finds the known image that a foreign file means: by its path, by the end of a path, or by its name.

    Names are compared in Unicode NFC, as they are or as `portable_name` writes them; "\\" is "/" where no name
    has it; case counts only where it tells two apart.
    """

    exact: Mapping[str, str]
    endings: Mapping[str, tuple[str, ...]]

    @classmethod
    def of(cls, names: Iterable[str], suffix: bool = True) -> Names:
        """The names to search; with `suffix=False` also without their suffix (for files named after images)."""
        exact: dict[str, str] = {}
        shorter: dict[str, list[str]] = {}
        endings: dict[str, list[str]] = {}
        for name in names:
            plain = unicodedata.normalize("NFC", name)
            exact[plain] = name
            whole = dict.fromkeys((plain, portable_name(plain)))
            forms = list(whole if suffix else (*whole, *map(without_suffix, whole)))
            for form in forms[1:]:
                shorter.setdefault(form, []).append(name)
            for form in forms:
                parts = form.split("/")
                for start in range(len(parts)):
                    known = endings.setdefault("/".join(parts[start:]).casefold(), [])
                    if name not in known:
                        known.append(name)
        single = {form: known[0] for form, known in shorter.items() if len(known) == 1}
        return cls({**single, **exact}, {ending: tuple(known) for ending, known in endings.items()})

    def find(self, name: str, *exactly: str) -> tuple[str | None, str]:
        """The known name or None, and then why not: one line for `AnnotationSet.skipped`.

        Args:
            name: what the file says; any end of it may be known, or be the end of a known name.
            exactly: tried first, as whole names.
        """
        for each in (*exactly, name):
            for form in (unicodedata.normalize("NFC", each), _plain(each)):
                if form in self.exact:
                    return self.exact[form], ""
        parts = [part for part in _plain(name).split("/") if part not in ("", ".", "..")]
        ends = ["/".join(parts[start:]) for start in range(len(parts))]
        for end in ends:
            if end in self.exact:
                return self.exact[end], ""
        for end in ends:
            known = self.endings.get(end.casefold(), ())
            if len(known) == 1:
                return known[0], ""
            if known:
                return None, f"{name!r} may be any of {', '.join(known[:3])}"
        return None, f"there is no image {name!r} here"


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name).replace("\\", "/")


@dataclass
class Collected:
    """What a reader has found so far; `result` makes the set."""

    images: Sizes
    labels: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    objects: dict[str, list[AnnotatedObject]] = field(default_factory=dict)
    statuses: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, objects: Sequence[AnnotatedObject], status: object = None) -> None:
        """Objects of an image, after those it has; an unknown status is none."""
        self.objects.setdefault(name, []).extend(objects)
        if status in ("work", "done"):
            self.statuses[name] = str(status)

    def result(self) -> AnnotationSet:
        """The set: images in the order they were met, labels as declared and then as met."""
        used = (each.label for objects in self.objects.values() for each in objects if each.label)
        declared = (label for label in self.labels if label)
        return AnnotationSet(
            tuple(
                AnnotatedImage(
                    name,
                    (int(self.images[name][0]), int(self.images[name][1])),
                    tuple(objects),
                    self.statuses.get(name, "todo"),
                )
                for name, objects in self.objects.items()
            ),
            tuple(dict.fromkeys((*declared, *used))),
            tuple(self.skipped),
        )
