"""How many images and objects a dataset holds here, beside how many it has as published."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from emclick.data.sample import Source
from emclick.errors import OptionError
from emclick.files import require_folder, write_text
from emclick.results import read_results_file

FORMAT = "emclick-dataset-1"
SAVE_EVERY_S = 10


@dataclass(frozen=True)
class Counts:
    """Of a dataset or a split.

    Attributes:
        images: that hold an object, and others.
        objects: None where only images are known.
        share: by how much a published count may be off, being rounded.
    """

    images: int
    objects: int | None
    share: float = 0.0

    def fits(self, found: Counts) -> bool:
        """Whether what was found is what is published."""
        pairs = ((self.images, found.images), (self.objects, found.objects))
        return all(
            wanted is None or own is None or abs(own - wanted) <= self.share * wanted for wanted, own in pairs
        )


# (dataset, split; "" where there is one) -> as published: METHOD, "Evaluation"; SBD's lists; Sofiiuk et al., 2021,
# section 4, for COCO with LVIS, whose figures are rounded
PUBLISHED: Mapping[tuple[str, str], Counts] = {
    ("grabcut", ""): Counts(50, 50),
    ("berkeley", ""): Counts(96, 100),
    ("davis", ""): Counts(345, 345),
    ("davis585", ""): Counts(585, 585),
    ("coco_mval", ""): Counts(800, 800),
    ("pascalvoc", "val"): Counts(1449, 3427),
    ("sbd", "val"): Counts(2857, 6671),
    ("sbd", "train"): Counts(8498, 20172),
    ("coco_lvis", "train"): Counts(104_000, 1_600_000, 0.05),
}


def count(
    source: Source,
    done: Callable[[int, int], None] = lambda read, objects: None,
    read: int = 0,
    objects: int = 0,
) -> Counts:
    """Read every sample, or those after the first `read`, which hold `objects`.

    Args:
        source: the dataset.
        done: told after each sample how many were read, and how many objects they hold.
        read: samples counted before.
        objects: those in them.

    Raises:
        DatasetError: a sample cannot be read; names the file.
    """
    for index in range(read, len(source)):
        objects += len(source[index].objects)
        done(index + 1, objects)
    return Counts(len(source), objects)


class CountsFile:
    """How far a count got, in a file that is written every few seconds and when the count ends, however it ends.

    Args:
        path: of the file; None keeps nothing.
        about: what is counted: dataset, split, number of samples.

    Attributes:
        read, objects: what an earlier count left; 0 without one.

    Raises:
        DatasetError: the file is none of these.
        OptionError: it is of another count.
    """

    def __init__(self, path: Path | None, about: Mapping[str, object]) -> None:
        self._path, self._about = path, {"format": FORMAT, **about}
        self.read = self.objects = 0
        self._saved = time.monotonic()
        if path is None:
            return
        require_folder(path)
        if path.exists():
            found = read_results_file(path, "dataset", lambda content: content.get("format") == FORMAT)
            self.read, self.objects = found.pop("read"), found.pop("objects")
            if found != self._about:
                raise OptionError(
                    f"{path} is the count of something else ({found}); name another file, or delete it"
                )

    def update(self, read: int, objects: int) -> None:
        """Note that so many samples hold so many objects."""
        self.read, self.objects = read, objects
        if time.monotonic() - self._saved > SAVE_EVERY_S:
            self.save()

    def save(self) -> None:
        """Write the file."""
        if self._path is not None:
            write_text(
                self._path, json.dumps(self._about | {"read": self.read, "objects": self.objects}) + "\n"
            )
        self._saved = time.monotonic()
