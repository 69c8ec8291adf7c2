"""The RITM loop: one network at every click, which reads all clicks and the mask before.

Source: Sofiiuk, Petrov, Konushin, "Reviving Iterative Training with Mask Guidance for Interactive
Segmentation", ICIP 2022 (arXiv 2102.06583), and the release's evaluation. The first click sees the whole image,
later ones the part round the object (`methods.roi`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from emclick.background import Background
from emclick.clicks import Click, disk_maps
from emclick.errors import OptionError
from emclick.geometry import Box, View, resize_bilinear
from emclick.methods.base import Method, Options, PaperProtocol
from emclick.methods.checks import check_image, check_mask, check_next, remembered
from emclick.methods.ritm_spec import RitmSpec
from emclick.methods.roi import PROBABILITY, RoiRule, choose_roi, fit_at_most, fit_longer
from emclick.methods.zoom import mask_box
from emclick.prediction import PackedMask, Prediction, sigmoid

Float = NDArray[np.float32]
Mask = NDArray[np.bool_]

WHOLE_OVER_PART = 2
"""The whole image is shown with a longer side of at most this many times `short_side`: 800 at the published 400."""

_PARTS_KEPT = 2  # per image: undoing a click that changed the part looked at is cheap


@dataclass(frozen=True, eq=False)
class Frame:
    """What the network looks at, an image or a part of it, shared by all states that look at it.

    Attributes:
        view: between frame and image.
        prepared: what needs no click, being done in the background.
    """

    view: View
    prepared: Background[Any]


@dataclass(frozen=True, eq=False)
class OpenedImage:
    """An image, shared by all its states.

    Attributes:
        image: (H, W, 3) uint8.
        whole: the frame of all of it.
        parts: frames of the parts last looked at. A memory of pure results, not state: dropping an entry
            changes nothing but time.
    """

    image: NDArray[np.uint8]
    whole: Frame
    parts: OrderedDict[Box, Frame] = field(default_factory=OrderedDict)

    @property
    def image_hw(self) -> tuple[int, int]:
        return self.whole.view.image_hw


@dataclass(frozen=True, slots=True, eq=False)
class RitmState:
    """A point in the work on one object. Nothing in it is ever changed.

    Attributes:
        opened: the image.
        clicks: in the order made.
        box: the part of the image that `logits` belong to; None for all of it.
        logits: (ceil(h/4), ceil(w/4)) float32, the network's last, of frame and mirror the mean; None before it
            ran or after a mask was given.
        given: the mask itself if it was given.
        extent: the box of the mask in image pixels; None without a mask.
    """

    opened: OpenedImage
    clicks: tuple[Click, ...] = ()
    box: Box | None = None
    logits: Float | None = None
    given: PackedMask | None = None
    extent: Box | None = None


class RitmMethod(Method[OpenedImage, RitmState]):
    """RITM over a runtime.

    `short_side` is what the release calls target size: the longer side of a zoomed part, px (published: 400, on
    DAVIS 600). Without zoom-in, and at the first click, the network sees the whole image at its own size,
    its longer side at most twice that.

    Args:
        runtime: a `NetworkRuntime` of a `RitmNetwork`.
        options: see `Options`.

    Raises:
        OptionError: progressive merge is asked for.
    """

    spec = RitmSpec
    network = "emclick.networks.ritm:RitmNetwork"
    releases = "emclick.networks.ritm_releases:RELEASES"
    training = "emclick.training.ritm:RitmTraining"
    frame = (
        "the longer side of a zoomed part becomes short_side, of the whole image at most "
        "twice that; bilinear, corners aligned"
    )
    protocol: ClassVar = {"": PaperProtocol(400, threshold=0.49), "davis": PaperProtocol(600, threshold=0.49)}

    @classmethod
    def over(cls, runtime: Any, spec: RitmSpec, options: Options) -> RitmMethod:
        return cls(runtime, options)

    def __init__(self, runtime: Any, options: Options) -> None:
        if options.progressive_merge:
            raise OptionError("ritm has no progressive merge; leave it off, or choose a method that has it")
        self.runtime = runtime
        self.options = options
        self.rule = RoiRule()

    def open(self, image: NDArray[np.uint8]) -> OpenedImage:
        check_image(image)
        return OpenedImage(image, self._frame_of(image))

    def start(self, opened: OpenedImage, initial_mask: Mask | None = None) -> RitmState:
        state = RitmState(opened)
        return state if initial_mask is None else self.set_mask(state, initial_mask)

    def set_mask(self, state: RitmState, mask: Mask) -> RitmState:
        check_mask(mask, state.opened.image_hw)
        return replace(state, logits=None, given=PackedMask.pack(mask), extent=mask_box(mask))

    def step(self, state: RitmState, click: Click) -> tuple[RitmState, Prediction]:
        opened = state.opened
        click = check_next(click, opened.image_hw, state.logits is not None or state.given is not None)
        clicks = (*state.clicks, click)
        box = self._box(state, clicks)
        frame = self._frame(opened, box)
        maps = np.concatenate([self._previous(state, frame.view)[None], _disks(clicks, frame.view)])
        logits = self._answer(frame.prepared.result(), maps)
        result = RitmState(opened, clicks, box, logits)
        prediction = self.predict(result)
        return replace(result, extent=self._extent(prediction)), prediction

    def predict(self, state: RitmState) -> Prediction:
        view = self._view(state.opened.image_hw, state.box)
        frame_prob = None if state.logits is None else _frame_prob(state.logits, view)
        return Prediction(view, frame_prob, state.given, self.options.threshold)

    def compact(self, state: RitmState) -> RitmState:
        return state

    def get_ready(self, state: RitmState) -> None:
        if state.clicks:  # any click on the part shows all clicks that there are now
            self._frame(state.opened, self._box(state, (*state.clicks, state.clicks[-1])))

    def _view(self, image_hw: tuple[int, int], box: Box | None) -> View:
        longer = self.options.short_side
        if box is None:
            return fit_at_most(image_hw, WHOLE_OVER_PART * longer)
        return fit_longer(image_hw, longer, box)

    def _frame_of(self, image: NDArray[np.uint8], box: Box | None = None) -> Frame:
        view = self._view((image.shape[0], image.shape[1]), box)

        def prepare() -> Any:
            frames = self._batch(_frame_image(image, view))
            with self.runtime.lock:
                return self.runtime.call(self.runtime.network.open, frames)[0]

        return Frame(view, Background(prepare))

    def _frame(self, opened: OpenedImage, box: Box | None) -> Frame:
        if box is None:
            return opened.whole
        return remembered(opened.parts, box, lambda: self._frame_of(opened.image, box), _PARTS_KEPT)

    def _box(self, state: RitmState, clicks: Sequence[Click]) -> Box | None:
        """The part of the image to look at for the last of `clicks`, made on `state`."""
        if not self.options.zoom_in:
            return None
        return choose_roi(state.box, state.extent, clicks, state.opened.image_hw, self.rule)

    def _batch(self, maps: Float) -> Float:
        """(C, h, w) to (1, C, h, w), or with flip to (2, C, h, w) with its mirror."""
        return np.stack([maps, maps[..., ::-1]]) if self.options.flip else maps[None]

    def _answer(self, prepared: Any, maps: Float) -> Float:
        with self.runtime.lock:
            (logits,) = self.runtime.call(self.runtime.network.answer, prepared, self._batch(maps))
            own = np.array(logits.float().cpu().numpy()[:, 0])
        if len(own) == 1:
            return own[0]
        # resizing and mirroring may change places: this is the mean of the two frames' logits
        return np.float32(0.5) * (own[0] + own[1, :, ::-1])

    def _previous(self, state: RitmState, view: View) -> Float:
        """(h, w) probabilities of the mask before, in `view`; all 0 if there is none.

        They go by way of the image, as published: to its pixels, then to the part's frame.
        """
        if state.logits is None and state.given is None:
            return np.zeros(view.frame_hw, np.float32)
        return resize_bilinear(view.seen.of(self.predict(state).probability), view.frame_hw)

    def _extent(self, prediction: Prediction) -> Box | None:
        """The box of the object at `PROBABILITY`."""
        if prediction.threshold == PROBABILITY:
            return mask_box(prediction.mask)
        assert prediction.frame_prob is not None
        return mask_box(prediction.view.probability_to_mask(prediction.frame_prob, PROBABILITY))


def _frame_image(image: NDArray[np.uint8], view: View) -> Float:
    """(3, h, w) float32 in [0, 1]."""
    if view.frame_hw != view.seen.hw:
        return view.image_to_frame(image)
    return np.divide(view.seen.of(image).transpose(2, 0, 1), np.float32(255), dtype=np.float32)


def _disks(clicks: Sequence[Click], view: View) -> Float:
    """(2, h, w) disk maps of positive and negative clicks."""
    xy = np.array([(click.x, click.y) for click in clicks], np.float64)
    points = np.stack(view.to_frame(xy[:, 0], xy[:, 1]), axis=1).astype(np.float32)
    return disk_maps(points, np.array([click.positive for click in clicks]), view.frame_hw)


def _frame_prob(logits: Float, view: View) -> Float:
    return sigmoid(resize_bilinear(logits, view.frame_hw))
