"""A session without a network, and tiny datasets, for tests of the evaluation. Picklable."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emclick.data.sample import Sample, SampleObject
from emclick.errors import ClickError, DatasetError


@dataclass(frozen=True)
class FakePrediction:
    mask: NDArray[np.bool_]
    ms: float


class BrushSession:
    """A click paints a square of 2r+1 pixels, r the level of the image, less 1 for every three clicks before.

    The first click takes 8 ms, the others 2.
    """

    def __init__(self, image: NDArray[np.uint8], initial_mask: NDArray[np.bool_] | None) -> None:
        self.mask = np.zeros(image.shape[:2], bool) if initial_mask is None else initial_mask.copy()
        self.radius = int(image[0, 0, 0])
        self.clicks = 0
        if self.radius == 255:
            raise ClickError("this image cannot be clicked on")

    def click(self, x: float, y: float, positive: bool = True) -> FakePrediction:
        rows, columns = np.indices(self.mask.shape)
        self.mask = self.mask.copy()
        radius = max(self.radius - self.clicks // 3, 0)
        self.mask[np.maximum(abs(rows - y), abs(columns - x)) <= radius] = positive
        self.clicks += 1
        return FakePrediction(self.mask, 8.0 if self.clicks == 1 else 2.0)


class Fine(BrushSession):
    """Paints with a thinner brush than the image says."""

    def __init__(self, image: NDArray[np.uint8], initial_mask: NDArray[np.bool_] | None) -> None:
        super().__init__(image, initial_mask)
        self.radius -= 1


def load_brush() -> Callable[[NDArray[np.uint8], NDArray[np.bool_] | None], BrushSession]:
    return BrushSession


def load_fine() -> Callable[..., Fine]:
    return Fine


def load_and_fail() -> Callable[[NDArray[np.uint8], NDArray[np.bool_] | None], BrushSession]:
    raise ClickError("no weights")


@dataclass(frozen=True)
class Squares:
    """Image i holds i % 3 + 1 squares side by side, 6 px and more; clicks paint with `radius`."""

    count: int
    radius: int = 3
    broken: int | None = None
    unclickable: int | None = None
    start_wrong: bool = False
    name: str = "squares"

    @property
    def keys(self) -> list[str]:
        return [f"image{i}" for i in range(self.count)]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        if index == self.broken:
            raise DatasetError(f"cannot read image{index}.png")
        image = np.full((20, 48, 3), self.radius, np.uint8)
        if index == self.unclickable:
            image[:] = 255
        labels = np.zeros((20, 48), np.uint8)
        objects = []
        for k in range(index % 3 + 1):
            side = 6 + 2 * k + index % 2
            labels[4 : 4 + side, 2 + 15 * k : 2 + 15 * k + side] = k + 1
            initial = np.zeros(labels.shape, bool)
            initial[12:, 40:] = True
            objects.append(
                SampleObject(str(k + 1), k + 1, initial_mask=initial if self.start_wrong else None)
            )
        return Sample(f"image{index}", image, [labels], objects, source=self.name)
