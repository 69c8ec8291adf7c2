"""How many images and objects a dataset holds here, beside how many it has as published."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from emclick.data.sample import Source


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


def count(source: Source, done: Callable[[int], None] = lambda number: None) -> Counts:
    """Read every sample; `done` is told after each how many were read.

    Raises:
        DatasetError: a sample cannot be read; names the file.
    """
    objects = 0
    for index in range(len(source)):
        objects += len(source[index].objects)
        done(index + 1)
    return Counts(len(source), objects)
