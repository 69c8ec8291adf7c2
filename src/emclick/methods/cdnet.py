"""The CDNet loop: the network on the part round the object, then pixel diffusion, at every click.

Source: Chen et al., "Conditional Diffusion for Interactive Segmentation", ICCV 2021, as its release (ClickSEG)
evaluates it. What differs is told in docs/methods/cdnet.md.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from emclick.clicks import RADIUS_PX, Click, squared_distances
from emclick.errors import FrameError, MaskError, OptionError
from emclick.geometry import Box, View, resize_bilinear
from emclick.methods.base import Method, Options, PaperProtocol
from emclick.methods.checks import check_image, check_next, remembered
from emclick.methods.deeplab_spec import DeepLabSpec
from emclick.methods.roi import RoiRule, choose_roi
from emclick.methods.zoom import mask_box
from emclick.prediction import Prediction

Float = NDArray[np.float32]
Mask = NDArray[np.bool_]

RULE = RoiRule(least_px=10, keep_overlap=inf)
"""The part is chosen anew at every click."""

PROBABILITY = 0.49
"""The object's box is that of the probabilities above this."""

WIDE_RADIUS_PX = 24
"""Of the disks from which features spread."""

MAX_SIDE = 768
"""Feature diffusion compares every place with every other: beyond this it would take gigabytes."""

_FRAMES_KEPT = 1


@dataclass(frozen=True, slots=True, eq=False)
class _Frame:
    pixels: Any  # (1, 3, h, w) on the device
    likeness: Any  # (32, h, w)


@dataclass(frozen=True, eq=False)
class OpenedImage:
    """An image, shared by all its states.

    Attributes:
        image: (H, W, 3) uint8.
        frames: of the part last looked at; a memory of pure results, not state.
    """

    image: NDArray[np.uint8]
    frames: OrderedDict[Box | None, _Frame] = field(default_factory=OrderedDict)

    @property
    def image_hw(self) -> tuple[int, int]:
        return self.image.shape[0], self.image.shape[1]


@dataclass(frozen=True, slots=True, eq=False)
class CdnetState:
    """A point in the work on one object. Nothing in it is ever changed.

    Attributes:
        opened: the image.
        clicks: in the order made.
        part: what `logits` belong to; None for the whole image.
        logits: (h/4, w/4) float32 before pixel diffusion, averaged with the mirror image's; None before any click.
        extent: the box of the mask above `PROBABILITY`, with zoom-in; None without such a mask.
    """

    opened: OpenedImage
    clicks: tuple[Click, ...] = ()
    part: Box | None = None
    logits: Float | None = None
    extent: Box | None = None


class CdnetMethod(Method[OpenedImage, CdnetState]):
    """CDNet over a `NetworkRuntime` that holds a `networks.cdnet.CdnetNetwork`.

    The frame is a square of `short_side` px, into which the part is squeezed.
    """

    spec = DeepLabSpec
    network = "emclick.networks.cdnet:CdnetNetwork"
    releases = "emclick.networks.cdnet_releases:RELEASES"
    training = "emclick.training.cdnet:CdnetTraining"
    frame = "the part shown becomes a square of short_side; bilinear, corners aligned"
    protocol: ClassVar = {"": PaperProtocol(384, threshold=0.49)}

    @classmethod
    def over(cls, runtime: Any, spec: DeepLabSpec, options: Options) -> CdnetMethod:
        return cls(runtime, options)

    def __init__(self, runtime: Any, options: Options) -> None:
        if options.progressive_merge:
            raise OptionError("cdnet has no progressive merge; leave it off, or choose a method that has it")
        if options.short_side > MAX_SIDE:
            raise FrameError(f"cdnet takes a short side of at most {MAX_SIDE}, not {options.short_side}")
        self.runtime = runtime
        self.options = options

    def open(self, image: NDArray[np.uint8]) -> OpenedImage:
        check_image(image)
        View.fit((image.shape[0], image.shape[1]), self.options.short_side)  # refuses what has no pixels
        return OpenedImage(image)

    def start(self, opened: OpenedImage, initial_mask: Mask | None = None) -> CdnetState:
        state = CdnetState(opened)
        return state if initial_mask is None else self.set_mask(state, initial_mask)

    def set_mask(self, state: CdnetState, mask: Mask) -> CdnetState:
        raise MaskError(
            "cdnet takes no mask: its network sees the image and the clicks alone; start with a click"
        )

    def step(self, state: CdnetState, click: Click) -> tuple[CdnetState, Prediction]:
        opened = state.opened
        click = check_next(click, opened.image_hw, bool(state.clicks))
        clicks = (*state.clicks, click)
        part = None
        if self.options.zoom_in:
            part = choose_roi(state.part, state.extent, clicks, opened.image_hw, RULE)
        view = self._view(opened.image_hw, part)
        views = (view, view.mirror()) if self.options.flip else (view,)
        disks = np.stack([click_disks(clicks, each, RADIUS_PX) for each in views])
        wide = np.stack([click_disks(clicks, each, WIDE_RADIUS_PX) for each in views])
        coarse_hw = (-(-view.frame_hw[0] // 8), -(-view.frame_hw[1] // 8))
        with self.runtime.lock:
            frame = self._frame(opened, part, view)
            network = self.runtime.network
            (logits,) = self.runtime.call(network.look, frame.pixels, disks, resize_bilinear(wide, coarse_hw))
            result = CdnetState(opened, clicks, part, logits.cpu().numpy())
        prediction = self.predict(result)
        if self.options.zoom_in:
            assert prediction.frame_prob is not None
            result = replace(
                result, extent=mask_box(view.probability_to_mask(prediction.frame_prob, PROBABILITY))
            )
        return result, prediction

    def predict(self, state: CdnetState) -> Prediction:
        """As `Method.predict`; pixel diffusion, a fixed filter, is run again, which a history is too small to hold."""
        view = self._view(state.opened.image_hw, state.part)
        if state.logits is None:
            return Prediction(view, threshold=self.options.threshold)
        disks = click_disks(state.clicks, view, RADIUS_PX)
        from emclick.networks.cdnet import pixel_diffusion

        with self.runtime.lock:
            frame = self._frame(state.opened, state.part, view)
            (probability,) = self.runtime.call(pixel_diffusion, state.logits, disks, frame.likeness)
            frame_prob = probability.float().cpu().numpy()
        return Prediction(view, frame_prob, threshold=self.options.threshold)

    def compact(self, state: CdnetState) -> CdnetState:
        return state

    def _view(self, image_hw: tuple[int, int], part: Box | None) -> View:
        return View(image_hw, (self.options.short_side, self.options.short_side), box=part)

    def _frame(self, opened: OpenedImage, part: Box | None, view: View) -> _Frame:
        """What depends on the part alone; the lock is held."""
        from emclick.networks.cdnet import likeness

        def make() -> _Frame:
            pixels = np.array(view.seen.of(opened.image))
            (frame,) = self.runtime.call(self.runtime.network.frame, pixels, view.frame_hw)
            return _Frame(frame, self.runtime.call(likeness, frame)[0])

        return remembered(opened.frames, part, make, _FRAMES_KEPT)


def click_disks(clicks: Sequence[Click], view: View, radius_px: float) -> Float:
    """(2, h, w) float32 in {0, 1}: 1 within `radius_px` of a positive (0), a negative (1) click.

    Clicks off the view count, unless they lie above it and to its left, as published.
    """
    points = [(view.to_frame(max(each.x, 0.0), max(each.y, 0.0)), each.positive) for each in clicks]
    chosen = [
        np.array([point for point, positive in points if positive is own and max(point) >= 0], np.float32)
        for own in (True, False)
    ]
    squared = [squared_distances(each.reshape(-1, 2), view.frame_hw) for each in chosen]
    return (np.stack(squared) <= np.float32(radius_px**2)).astype(np.float32)
