"""What a click answers with: the object's probability and mask, made when they are asked for."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from emclick.geometry import View

Float = NDArray[np.float32]
Mask = NDArray[np.bool_]
Array = TypeVar("Array", Float, Mask)


def sigmoid(logits: Float) -> Float:
    """1 / (1 + exp(-x)) in float32, without overflow at any x."""
    # exp(-|x|) over or under 1 + exp(-|x|), in place: the temporaries cost more than the sums
    small = np.abs(np.asarray(logits, np.float32))
    np.exp(np.negative(small, out=small), out=small)
    top = np.maximum(small, logits >= 0)
    small += 1
    return np.divide(top, small, out=top)


@dataclass(frozen=True, slots=True)
class PackedMask:
    """A mask at a fraction of a bit per pixel, exact; equal masks pack to equal values.

    Attributes:
        image_hw: (H, W).
        data: zlib of the bits, row-major, each row changed to its difference from the row above.
    """

    image_hw: tuple[int, int]
    data: bytes

    @classmethod
    def pack(cls, mask: Mask) -> PackedMask:
        """Pack an (H, W) bool mask."""
        height, width = mask.shape
        bits = np.packbits(mask, axis=1)
        bits[1:] ^= bits[:-1].copy()  # outlines run over many rows: what is left is mostly zeros
        return cls((height, width), zlib.compress(bits.tobytes(), 1))

    def unpack(self) -> Mask:
        """The (H, W) bool mask, a new array."""
        height, width = self.image_hw
        bits = np.frombuffer(zlib.decompress(self.data), np.uint8).reshape(height, -1)
        padded = np.zeros((height, -(-width // 64) * 8), np.uint8)  # whole words: eight bytes at a time
        padded[:, : bits.shape[1]] = bits
        words = padded.view(np.uint64)
        np.bitwise_xor.accumulate(words, axis=0, out=words)
        return np.unpackbits(padded, axis=1, count=width).view(np.bool_)


@dataclass(frozen=True, eq=False)
class Prediction:
    """The mask of one state. Arrays are computed on first use, kept, and read-only.

    Attributes:
        view: between the frame and the image.
        frame_prob: (h, w) float32 in [0, 1] in the frame, or None if the mask was given, not predicted.
        given: the mask where it is not simply `frame_prob` above the threshold: an initial or brushed
            mask, or a merged one.
        threshold: probability above which a pixel is foreground.
        ms: wall milliseconds from the click to the finished mask; 0 if it was not timed.
    """

    view: View
    frame_prob: Float | None = None
    given: PackedMask | None = None
    threshold: float = 0.5
    ms: float = 0.0

    @cached_property
    def probability(self) -> Float:
        """(H, W) float32 in [0, 1]; exactly 1 or 0 where a given mask overrides the network."""
        if self.frame_prob is None:
            return _sealed(self.mask.astype(np.float32))
        probability = self.view.probability_to_image(self.frame_prob)
        if self.given is not None:
            overridden = (probability > np.float32(self.threshold)) != self.mask
            np.copyto(probability, self.mask, where=overridden, casting="unsafe")
        return _sealed(probability)

    @cached_property
    def mask(self) -> Mask:
        """(H, W) bool, equal to `probability > threshold`."""
        if self.given is not None:
            return _sealed(self.given.unpack())
        if self.frame_prob is None:
            return _sealed(np.zeros(self.view.image_hw, np.bool_))
        if "probability" in self.__dict__:
            return _sealed(self.probability > np.float32(self.threshold))
        return _sealed(self.view.probability_to_mask(self.frame_prob, self.threshold))

    def timed(self, ms: float) -> Prediction:
        """The same prediction, arrays already made included, with `ms` as its time."""
        copy = replace(self, ms=ms)
        copy.__dict__.update(
            {name: self.__dict__[name] for name in ("probability", "mask") if name in self.__dict__}
        )
        return copy


def _sealed(array: Array) -> Array:
    array.flags.writeable = False
    return array
