"""What FocalClick's networks said, small enough for a history, and the probabilities painted from it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from emclick.geometry import Box, View, resize_bilinear
from emclick.prediction import PackedMask, Prediction, sigmoid

Float = NDArray[np.float32]
Mask = NDArray[np.bool_]

_RANGE = 64.0  # logits beyond are cut: probabilities under 1e-27
_STEPS = (1 << 20) - 1


@dataclass(frozen=True, slots=True, eq=False)
class PackedLogits:
    """Two maps of logits in 20 bits a value, which moves a probability by at most 2e-5.

    In float16 it would be 2e-4, which later clicks build on; float32 would make the history half as large again.

    Attributes:
        low: (2, h, w) uint16, the lower bits.
        high: (h, w) uint8, the upper 4 bits of the first map, then of the second.
    """

    low: NDArray[np.uint16]
    high: NDArray[np.uint8]

    @classmethod
    def pack(cls, first: Float, second: Float) -> PackedLogits:
        """Pack two (h, w) maps."""
        share = np.clip(np.stack([first, second]).astype(np.float64) / (2 * _RANGE) + 0.5, 0, 1)
        values = np.rint(share * _STEPS).astype(np.uint32)
        low, high = values.astype(np.uint16), values >> 16
        return cls(low, (high[0] << 4 | high[1]).astype(np.uint8))

    def unpack(self) -> Float:
        """(2, h, w) float32."""
        high = np.stack([self.high >> 4, self.high & 15]).astype(np.uint32)
        values = (high << 16 | self.low).astype(np.float64)
        return ((values / _STEPS - 0.5) * (2 * _RANGE)).astype(np.float32)

    @property
    def nbytes(self) -> int:
        """Its size."""
        return self.low.nbytes + self.high.nbytes


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """What the networks said at one click.

    Attributes:
        view: of the target crop, a frame of (h, w).
        logits: (B, h/k, w/k) float32 of the coarse segmentor, k = 4 or 8; with flip a second one, turned back.
        focus: the focus crop.
        refined: (h/2, w/2) each, logits of the refiner in the focus crop, and of where they replace the coarse ones.
    """

    view: View
    logits: Float
    focus: Box
    refined: PackedLogits

    def refined_logits(self) -> Float:
        """(h, w) float32 of the focus crop's frame."""
        size_hw = self.view.frame_hw
        coarse = crop(resize_bilinear(self.logits[0], size_hw), focus_shares(self.view, self.focus), size_hw)
        detail, trimap = resize_bilinear(self.refined.unpack(), size_hw)
        share = sigmoid(trimap)
        return detail * share + coarse * (1 - share)

    def paint_focus(self, canvas: Float) -> None:
        """Put the refined probabilities on an (H, W) image of them."""
        self.focus.of(canvas)[...] = sigmoid(resize_bilinear(self.refined_logits(), self.focus.hw))


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """Probabilities of an image: a ground, and refined crops put on it one after the other.

    Attributes:
        image_hw: (H, W).
        ground: a look, whose coarse mask it is; a mask that was given; None for nothing.
        looks: whose focus crops lie on it.
    """

    image_hw: tuple[int, int]
    ground: Look | PackedMask | None = None
    looks: tuple[Look, ...] = ()

    def with_focus(self, look: Look) -> Picture:
        """This with the focus crop of `look` on it, without those that it covers."""
        kept = (each for each in self.looks if not look.focus.covers(each.focus))
        return replace(self, looks=(*kept, look))

    def paint(self) -> Float:
        """(H, W) float32 in [0, 1], a new array."""
        if self.ground is None:
            canvas = np.zeros(self.image_hw, np.float32)
        elif isinstance(self.ground, PackedMask):
            canvas = self.ground.unpack().astype(np.float32)
        else:
            view = self.ground.view
            canvas = view.probability_to_image(coarse_prob(view, self.ground.logits))
        for look in self.looks:
            look.paint_focus(canvas)
        return canvas


@dataclass(frozen=True, eq=False, kw_only=True)
class PaintedPrediction(Prediction):
    """A prediction whose probabilities are a picture.

    Attributes:
        picture: the probabilities before a given mask overrides them.
        painted: the picture painted, (H, W) float32, if somebody has it.
    """

    picture: Picture
    painted: Float | None = None

    @cached_property
    def probability(self) -> Float:
        """(H, W) float32 in [0, 1]; exactly 1 or 0 where a given mask overrides the network."""
        probability = self.picture.paint() if self.painted is None else self.painted
        if self.given is not None:
            overridden = (probability > np.float32(self.threshold)) != self.mask
            probability = np.where(overridden, self.mask, probability).astype(np.float32)
        probability.flags.writeable = False
        return probability

    @cached_property
    def mask(self) -> Mask:
        """(H, W) bool, equal to `probability > threshold`."""
        given = self.given
        mask = given.unpack() if given is not None else self.probability > np.float32(self.threshold)
        mask.flags.writeable = False
        return mask


def coarse_prob(view: View, logits: Float) -> Float:
    """(h, w) float32 in the view's frame, of the logits (B, h/k, w/k) of the frame and of its mirror turned back."""
    mean = logits[0] if len(logits) == 1 else logits.mean(0, dtype=np.float32)
    return sigmoid(resize_bilinear(mean, view.frame_hw))


def focus_shares(view: View, focus: Box) -> tuple[float, float, float, float]:
    """Top, left, bottom, right of a focus crop in the view's part of the image, as shares of its sides."""
    (height, width), seen = view.seen.hw, view.seen
    return (
        (focus.top - seen.top) / height,
        (focus.left - seen.left) / width,
        (focus.bottom - seen.top) / height,
        (focus.right - seen.left) / width,
    )


def crop(frame: Float, shares: tuple[float, float, float, float], size_hw: tuple[int, int]) -> Float:
    """`emclick.networks.focalclick.crop` in numpy: (H, W) float32 to (h, w), half-pixel centres, border clamped."""
    top, left, bottom, right = shares
    frame = _sampled(frame, top, bottom, size_hw[0])
    return np.ascontiguousarray(_sampled(frame.T, left, right, size_hw[1]).T)


def _sampled(frame: Float, start: float, stop: float, count: int) -> Float:
    """`count` rows between two places, which are shares of the frame's height."""
    size = len(frame)
    at = (start + (np.arange(count) + 0.5) * ((stop - start) / count)) * size - 0.5
    at = np.clip(at, 0, size - 1)
    low = at.astype(np.intp)
    weight = (at - low).astype(np.float32)[:, None]
    blended = frame[low] * (1 - weight) + frame[np.minimum(low + 1, size - 1)] * weight
    return blended.astype(np.float32, copy=False)
