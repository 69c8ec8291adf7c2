"""What a dataset yields: an image with its labelled objects, the same for training and evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class SampleObject:
    """One labelled object: the pixels of `Sample.layers[layer]` that hold `value`.

    Attributes:
        id: unique within its sample, stable between runs ("1", "instance-3").
        layer: index into `Sample.layers`; objects that overlap lie on different layers.
        value: the label of the object in that layer, not 0.
        label: class name or number as text, "" where unknown.
        whole: False for a region that is not an object of its own (LVIS "stuff"), which training may
            draw with a lower probability.
        initial_mask: (H, W) bool, for datasets whose task is to correct a given mask (DAVIS-585).
    """

    id: str
    value: int
    layer: int = 0
    label: str = ""
    whole: bool = True
    initial_mask: NDArray[np.bool_] | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Sample:
    """An image and its objects.

    Attributes:
        key: unique within its source, stable between runs.
        image: (H, W, 3) uint8 RGB.
        layers: each (H, W) integer label map, 0 = background; negative = ignored by the objects of that
            layer alone.
        objects: what may be segmented; may be empty.
        ignore: (H, W) bool, pixels that count neither as object nor as background, or None.
        source: name of the collection it came from, for sampling weights.
    """

    key: str
    image: NDArray[np.uint8]
    layers: Sequence[NDArray[np.integer]]
    objects: Sequence[SampleObject]
    ignore: NDArray[np.bool_] | None = None
    source: str = ""

    def target(self, obj: SampleObject) -> NDArray[np.int8]:
        """(H, W) int8: 1 on the object, 0 elsewhere, -1 where ignored."""
        layer = self.layers[obj.layer]
        target = (layer == obj.value).astype(np.int8)
        target[layer < 0] = -1
        if self.ignore is not None:
            target[self.ignore] = -1
        return target


class Source(Protocol):
    """A dataset: samples by number, read when asked for.

    `keys[i]` is the key of sample i and is known without reading any image.
    """

    @property
    def name(self) -> str: ...

    @property
    def keys(self) -> Sequence[str]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample:
        """Read sample `index`.

        Raises:
            DatasetError: a file of the sample is missing or unreadable; the message names it.
        """
        ...
