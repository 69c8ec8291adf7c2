"""What a runtime is: something that runs the two networks. Numpy in, numpy out, nothing about sessions.

A runtime makes two calls, `first` (base network, once per object) and `correct` (mask correction, every
click), after `open`, which holds what depends on the image alone. Frames are batched: one entry, or two
when flip test-time augmentation is on (the frame, then its mirror).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]


@dataclass(frozen=True)
class CorrectionInput:
    """Everything a click changes, for a batch of B frames of size (H, W) and N clicks.

    Attributes:
        disks: (B, 2, H, W) float32 in {0, 1}; positive, then negative disk map over all clicks.
        distances: (B, 2, H/4, W/4) float32; positive, then negative distance map (METHOD, "Click encodings").
        points: (B, N, 2) float32, (row, column) of the clicks in each frame, in the order made.
        positive: (N,) bool, the clicks' polarity.
        previous_logits: (B, 1, H/4, W/4) float32, the mask before this click.
    """

    disks: Float
    distances: Float
    points: Float
    positive: NDArray[np.bool_]
    previous_logits: Float


class Runtime(ABC):
    """Runs one model. Not thread-safe: one call at a time.

    Attributes:
        name: the runtime's name in the table ("torch", ...).
        threads: CPU threads it uses.
    """

    name: str
    threads: int

    @abstractmethod
    def open(self, frames: Float) -> Any:
        """Take (B, 3, H, W) float32 RGB in [0, 1], H and W multiples of 4; return an opaque image handle."""

    @abstractmethod
    def first(self, image: Any, click_map: Float) -> tuple[Any, Float]:
        """Run the base network.

        Args:
            image: what `open` returned.
            click_map: (B, 1, H, W) float32 disk map of the first click, all zero if there is none.

        Returns:
            An opaque handle of the features, and the coarse logits (B, 1, H/4, W/4) float32.
        """

    @abstractmethod
    def correct(self, image: Any, features: Any, inputs: CorrectionInput) -> Float:
        """Run the mask correction network; returns logits (B, 1, H/4, W/4) float32."""
