"""The FocalClick loop: a coarse mask of the target crop, then a refined one of the focus crop, at every click.

Source: Chen et al., "FocalClick: Towards Practical Interactive Image Segmentation", CVPR 2022, section 3, and the
release's evaluation. The crops are in `focalclick_crops` and `roi`, the probabilities in `focalclick_picture`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from emclick.clicks import Click
from emclick.errors import FrameError
from emclick.geometry import Box, View, resize_bilinear
from emclick.methods.base import Method, Options, PaperProtocol
from emclick.methods.checks import check_image, check_mask, check_next
from emclick.methods.focalclick_crops import focus_box, region_at
from emclick.methods.focalclick_picture import (
    Float,
    Look,
    Mask,
    PackedLogits,
    PaintedPrediction,
    Picture,
    coarse_prob,
    focus_shares,
)
from emclick.methods.focalclick_spec import FocalClickSpec
from emclick.methods.roi import RoiRule, choose_roi
from emclick.methods.zoom import mask_box
from emclick.prediction import PackedMask

LEVEL = 0.49
"""Probability above which the mask before a click counts, whatever threshold the mask is shown at."""

COARSE_LEVEL = 1 / (1 + math.exp(-LEVEL))
"""Likewise of the new coarse mask: the release compares its logits, not its probabilities, with `LEVEL`."""

TARGET = RoiRule(skip_clicks=1, expansion=1.4, least_px=10)
"""The target crop (paper, section 3.2): from the second click on, round the mask and the positive clicks."""

COARSE_CLICKS = 10
"""After this many clicks the coarse mask no longer enters the result: only the focus crop changes."""

_SIDE_UNIT = 8  # the frame's side is a multiple of it, so that half of it is one of 4


@dataclass(frozen=True, slots=True, eq=False)
class FocalClickState:
    """A point in the work on one object. Nothing in it is ever changed.

    Attributes:
        opened: the image, (H, W, 3) uint8.
        clicks: in the order made.
        picture: the probabilities, as the networks gave them.
        given: the mask itself if it was given, or after progressive merge.
        corrects: whether the work began from a mask that was given.
        painted: the picture painted, (H, W) float32; None if compacted.
    """

    opened: NDArray[np.uint8]
    clicks: tuple[Click, ...]
    picture: Picture
    given: PackedMask | None = None
    corrects: bool = False
    painted: Float | None = None


class FocalClickMethod(Method[NDArray[np.uint8], FocalClickState]):
    """FocalClick over a runtime.

    `short_side` is what the release calls inference size: both crops become squares of that side (published: 256).
    Zoom-in is the target crop; without it the coarse segmentor always sees the whole image. Flip, as released,
    averages the coarse mask alone. Where the work began from a given mask, new masks are merged progressively.

    Args:
        runtime: a `NetworkRuntime` of a `FocalClickNetwork`.
        spec: of the network.
        options: see `Options`.

    Raises:
        FrameError: `short_side` is too small for the network.
    """

    spec = FocalClickSpec
    network = "emclick.networks.focalclick:FocalClickNetwork"
    releases = "emclick.networks.focalclick_releases:RELEASES"
    training = "emclick.training.focalclick:FocalClickTraining"
    frame = "target and focus crop become squares of short_side; bilinear, corners aligned"
    protocol: ClassVar = {"": PaperProtocol(256, flip=False, threshold=0.49)}

    @classmethod
    def over(cls, runtime: Any, spec: FocalClickSpec, options: Options) -> FocalClickMethod:
        return cls(runtime, spec, options)

    def __init__(self, runtime: Any, spec: FocalClickSpec, options: Options) -> None:
        self.runtime = runtime
        self.options = options
        self.side = options.short_side // _SIDE_UNIT * _SIDE_UNIT
        least = 32 * spec.divisor
        if self.side < least:
            raise FrameError(
                f"short side {options.short_side} is too small for focalclick; use one of at least {least}"
            )

    def open(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        check_image(image)
        if 0 in image.shape:
            raise FrameError(f"an image of {image.shape[1]}x{image.shape[0]} pixels has nothing to segment")
        return image

    def start(self, opened: NDArray[np.uint8], initial_mask: Mask | None = None) -> FocalClickState:
        state = FocalClickState(opened, (), Picture((opened.shape[0], opened.shape[1])))
        return state if initial_mask is None else self.set_mask(state, initial_mask)

    def set_mask(self, state: FocalClickState, mask: Mask) -> FocalClickState:
        image_hw = state.picture.image_hw
        check_mask(mask, image_hw)
        packed = PackedMask.pack(mask)
        picture = Picture(image_hw, packed)
        return FocalClickState(state.opened, state.clicks, picture, packed, corrects=True)

    def step(self, state: FocalClickState, click: Click) -> tuple[FocalClickState, PaintedPrediction]:
        image_hw = state.picture.image_hw
        click = check_next(click, image_hw, state.picture.ground is not None)
        clicks = (*state.clicks, click)
        before = state.picture.paint() if state.painted is None else state.painted
        look = self._look(state, clicks, before)
        if len(clicks) > COARSE_CLICKS:
            picture, painted = state.picture.with_focus(look), before.copy()
            look.paint_focus(
                painted
            )  # on what is there: what the new crop leaves out of the picture, it covers
        else:
            picture = Picture(image_hw, look, (look,))
            painted = picture.paint()
        painted.flags.writeable = False
        result = FocalClickState(state.opened, clicks, picture, None, state.corrects, painted)
        if self.options.progressive_merge or state.corrects:
            result = self._merged(state, result, click)
        return result, self.predict(result)

    def predict(self, state: FocalClickState) -> PaintedPrediction:
        view = self._view(state.picture.image_hw)
        return PaintedPrediction(
            view, given=state.given, threshold=self.options.threshold, picture=state.picture,
            painted=state.painted,
        )  # fmt: skip

    def compact(self, state: FocalClickState) -> FocalClickState:
        return replace(state, painted=None)

    def _view(self, image_hw: tuple[int, int], box: Box | None = None) -> View:
        return View(image_hw, (self.side, self.side), box=box)

    def _target(self, state: FocalClickState, clicks: Sequence[Click], previous: Mask) -> Box | None:
        if not self.options.zoom_in:
            return None
        shown = previous if state.given is None else state.given.unpack()
        return choose_roi(None, mask_box(shown), clicks, state.picture.image_hw, TARGET)

    def _look(self, state: FocalClickState, clicks: Sequence[Click], before: Float) -> Look:
        """Run both networks for the last of `clicks`; `before` is (H, W), the probabilities before it."""
        previous = before > np.float32(LEVEL)
        view = self._view(state.picture.image_hw, self._target(state, clicks, previous))
        views = (view, view.mirror()) if self.options.flip else (view,)
        shown = resize_bilinear(view.seen.of(before), view.frame_hw)
        network = self.runtime.network
        with self.runtime.lock:
            features, logits, _ = self.runtime.call(
                network.coarse,
                np.stack([each.image_to_frame(state.opened) for each in views]),
                np.stack([shown[:, ::-1] if each.mirrored else shown for each in views])[:, None],
                np.stack([_points(clicks, each) for each in views]),
                np.stack([_sides(clicks)] * len(views)),
            )
            own = _to_numpy(logits)[:, 0]
        if len(views) > 1:
            own = np.stack([own[0], own[1, :, ::-1]])
        coarse = view.probability_to_mask(coarse_prob(view, own), COARSE_LEVEL)
        focus = focus_box(coarse, previous, clicks[-1].pixel(state.picture.image_hw), view.seen)
        closer = self._view(state.picture.image_hw, focus)
        with self.runtime.lock:
            detail, trimap, _ = self.runtime.call(
                network.refine,
                closer.image_to_frame(state.opened)[None],
                _points(clicks, closer)[None],
                _sides(clicks)[None],
                features[:1],
                logits[:1],
                np.array([focus_shares(view, focus)], np.float32),
            )
            refined = PackedLogits.pack(*(_to_numpy(each)[0, 0] for each in (detail, trimap)))
        return Look(view, own, focus, refined)

    def _merged(self, before: FocalClickState, after: FocalClickState, click: Click) -> FocalClickState:
        """Let only the changed part that holds the click join the mask before, or leave it (paper, section 3.4).

        Guarded: where the clicked pixel did not change side, nothing changes; the release inverts the image there.
        """
        previous, predicted = self.predict(before).mask, self.predict(after).mask
        if not before.corrects and not previous.any():
            return after
        pixel = click.pixel(before.picture.image_hw)
        region = region_at(previous != predicted, pixel)
        merged = previous & ~region if previous[pixel] else previous | region
        return replace(after, given=PackedMask.pack(merged))


def _points(clicks: Sequence[Click], view: View) -> Float:
    """(N, 2) float32, (row, column) in the view's frame."""
    xy = np.array([(click.x, click.y) for click in clicks], np.float64)
    return np.stack(view.to_frame(xy[:, 0], xy[:, 1]), axis=1).astype(np.float32)


def _sides(clicks: Sequence[Click]) -> Float:
    """(N,) float32: 1 positive, -1 negative."""
    return np.array([1 if click.positive else -1 for click in clicks], np.float32)


def _to_numpy(tensor: Any) -> Float:
    return tensor.float().cpu().numpy()
