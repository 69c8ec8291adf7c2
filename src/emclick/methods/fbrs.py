"""The f-BRS-B loop: the network at every click, then a search for the mask that has every click on its own side.

Source: Sofiiuk et al., "f-BRS: Rethinking Backpropagating Refinement for Interactive Segmentation", CVPR 2020,
with zoom-in, flip and the settings of its release. What differs is told in docs/methods/fbrs.md.
"""

from __future__ import annotations

import importlib.util
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from emclick.clicks import Click
from emclick.errors import MaskError, MissingExtraError, OptionError
from emclick.geometry import Box, View, resize_bilinear
from emclick.methods.base import Method, Options, PaperProtocol
from emclick.methods.checks import check_image, check_next, remembered
from emclick.methods.deeplab_spec import FbrsSpec
from emclick.methods.roi import PROBABILITY, RoiRule, choose_roi, fit_at_most, fit_longer
from emclick.methods.zoom import mask_box
from emclick.prediction import Prediction, sigmoid

Float = NDArray[np.float32]
Mask = NDArray[np.bool_]

CLICKS_SHOWN = 8
"""The network sees so many, the first; the search minds all."""

WHOLE_LIMIT_PX = 1024
"""The whole image is shown at its own size, at most this on its longer side."""

_FEATURES_KEPT = 1  # beyond the eighth click they stay the same while the part does


@dataclass(frozen=True, eq=False)
class OpenedImage:
    """An image, shared by all its states.

    Attributes:
        image: (H, W, 3) uint8.
        features: of the last part and clicks; a memory of pure results, not state.
    """

    image: NDArray[np.uint8]
    features: OrderedDict[tuple[Box | None, tuple[Click, ...]], Any] = field(default_factory=OrderedDict)

    @property
    def image_hw(self) -> tuple[int, int]:
        return self.image.shape[0], self.image.shape[1]


@dataclass(frozen=True, slots=True, eq=False)
class FbrsState:
    """A point in the work on one object. Nothing in it is ever changed.

    Attributes:
        opened: the image.
        clicks: in the order made.
        part: what `logits` belong to; None for the whole image.
        logits: (h/4, w/4) float32 of the part's frame, averaged with the mirror image's; None before any click.
        found: (2C,) float64, the search's last scale - 1 and bias per channel, from which the next one starts.
        extent: the box of the mask above `roi.PROBABILITY`, with zoom-in; None without such a mask.
    """

    opened: OpenedImage
    clicks: tuple[Click, ...] = ()
    part: Box | None = None
    logits: Float | None = None
    found: NDArray[np.float64] | None = None
    extent: Box | None = None


class FbrsMethod(Method[OpenedImage, FbrsState]):
    """f-BRS-B over a `NetworkRuntime` that holds a `networks.fbrs.FbrsNetwork`.

    `short_side` is the longer side, in px, of the frame in which a part of the image is shown.
    """

    spec = FbrsSpec
    network = "emclick.networks.fbrs:fbrs_network"
    releases = "emclick.networks.fbrs_releases:RELEASES"
    training = "emclick.training.fbrs:FbrsTraining"
    frame = "the longer side of the part shown becomes short_side; bilinear, corners aligned"
    protocol: ClassVar = {"": PaperProtocol(400, threshold=0.49), "davis": PaperProtocol(600, threshold=0.49)}
    runtimes = ("torch",)
    needs = "it optimises by gradients at every click, which only PyTorch gives"

    @classmethod
    def over(cls, runtime: Any, spec: FbrsSpec, options: Options) -> FbrsMethod:
        return cls(runtime, options)

    def __init__(self, runtime: Any, options: Options) -> None:
        if options.progressive_merge:
            raise OptionError(
                "f-BRS has no progressive merge: a click may change the mask anywhere; leave it out"
            )
        if importlib.util.find_spec("scipy") is None:
            raise MissingExtraError('f-BRS searches with scipy: pip install "emclick[torch]"')
        self.runtime = runtime
        self.options = options
        self.rule = RoiRule()

    def open(self, image: NDArray[np.uint8]) -> OpenedImage:
        check_image(image)
        View.fit((image.shape[0], image.shape[1]), self.options.short_side)  # refuses what has no pixels
        return OpenedImage(image)

    def start(self, opened: OpenedImage, initial_mask: Mask | None = None) -> FbrsState:
        state = FbrsState(opened)
        return state if initial_mask is None else self.set_mask(state, initial_mask)

    def set_mask(self, state: FbrsState, mask: Mask) -> FbrsState:
        raise MaskError(
            "f-BRS takes no mask: its network sees the image and the clicks alone; start with a click"
        )

    def step(self, state: FbrsState, click: Click) -> tuple[FbrsState, Prediction]:
        opened = state.opened
        click = check_next(click, opened.image_hw, bool(state.clicks))
        clicks = (*state.clicks, click)
        part = self._part(state, clicks)
        view = self._view(opened.image_hw, part)
        frame_hw = view.frame_hw
        points = _points(clicks, view, self.options.flip)
        positive = np.array([each.positive for each in clicks])
        squares = np.stack([click_squares(each, positive, frame_hw) for each in points], 1)[:, :, None]
        with self.runtime.lock:
            features = self._features(opened, part, clicks, points, frame_hw)
            found = state.found
            if found is None:
                found = np.zeros(2 * self.runtime.network.refined_channels)
            network = self.runtime.network
            logits, found = self.runtime.call(
                lambda given: network.refine(features, frame_hw, given, found, len(clicks) > 1), squares
            )
            logits = logits.float().cpu().numpy()[:, 0]
        if self.options.flip:
            logits = 0.5 * (logits[:1] + logits[1:, :, ::-1])
        result = FbrsState(opened, clicks, part, np.ascontiguousarray(logits[0]), found)
        prediction = self.predict(result)
        if self.options.zoom_in:
            assert prediction.frame_prob is not None
            mask = prediction.view.probability_to_mask(prediction.frame_prob, PROBABILITY)
            result = FbrsState(opened, clicks, part, result.logits, found, mask_box(mask))
        return result, prediction

    def predict(self, state: FbrsState) -> Prediction:
        view = self._view(state.opened.image_hw, state.part)
        frame_prob = None if state.logits is None else sigmoid(resize_bilinear(state.logits, view.frame_hw))
        return Prediction(view, frame_prob, threshold=self.options.threshold)

    def compact(self, state: FbrsState) -> FbrsState:
        return state

    def _part(self, state: FbrsState, clicks: tuple[Click, ...]) -> Box | None:
        if not self.options.zoom_in:
            return None
        return choose_roi(state.part, state.extent, clicks, state.opened.image_hw, self.rule)

    def _view(self, image_hw: tuple[int, int], part: Box | None) -> View:
        if part is None:
            return fit_at_most(image_hw, WHOLE_LIMIT_PX)
        return fit_longer(image_hw, self.options.short_side, part)

    def _features(
        self, opened: OpenedImage, part: Box | None, clicks: tuple[Click, ...], points: NDArray[np.float64],
        frame_hw: tuple[int, int],
    ) -> Any:  # fmt: skip
        """What the search starts from; the lock is held."""

        def make() -> Any:
            pixels = opened.image if part is None else part.of(opened.image)
            shown = points[:, :CLICKS_SHOWN].astype(np.float32)
            (found,) = self.runtime.call(
                self.runtime.network.look, np.array(pixels), frame_hw, self.options.flip, shown,
                np.array([each.positive for each in clicks[:CLICKS_SHOWN]]),
                (shown >= 0).any(2),  # the release drops clicks that are off the part above and to the left
            )  # fmt: skip
            return found

        return remembered(opened.features, (part, clicks[:CLICKS_SHOWN]), make, _FEATURES_KEPT)


def _points(clicks: tuple[Click, ...], view: View, flip: bool) -> NDArray[np.float64]:
    """(B, N, 2) (row, column) in the frame, and with `flip` in its mirror image; not all are within."""
    seen, frame_hw = view.seen, view.frame_hw
    height, width = seen.hw
    upright = np.array(
        [
            (
                frame_hw[0] * (max(each.y, 0) - seen.top) / height,
                frame_hw[1] * (max(each.x, 0) - seen.left) / width,
            )
            for each in clicks
        ]
    )
    if not flip:
        return upright[None]
    mirrored = np.stack([upright[:, 0], frame_hw[1] - upright[:, 1] - 1], 1)
    return np.stack([upright, mirrored])


def click_squares(points: NDArray[np.float64], positive: Mask, frame_hw: tuple[int, int]) -> Float:
    """(2, h, w) float32: 1 on the 3x3 px round positive clicks (0), round negative ones (1).

    Slices count from the far side below 0, as in the release: a click on the first row or column has no square,
    and one that lies off the frame above it or to its left has its square where numpy finds it.
    """
    squares = np.zeros((2, *frame_hw), np.float32)
    for (row, column), polarity in zip(points, positive):
        top, left = round(float(row)) - 1, round(float(column)) - 1
        squares[0 if polarity else 1, top : top + 3, left : left + 3] = 1
    return squares
