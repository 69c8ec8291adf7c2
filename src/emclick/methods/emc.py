"""The EMC-Click loop: base network at the first click, mask correction at every click.

Source: METHOD, "The idea", "Mask correction network", "Known faults of the release".
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from emclick.background import Background
from emclick.clicks import Click, ClickMaps, disk_maps
from emclick.errors import FrameError, OptionError
from emclick.geometry import GRID, MAX_SHORT_SIDE, Box, View, resize_bilinear
from emclick.methods.base import Method, Options, PaperProtocol
from emclick.methods.checks import check_image, check_mask, check_next, remembered
from emclick.methods.zoom import MASK_CLICKS, Look, carry_logits, choose_box, frame_side, mask_box, shown_box
from emclick.prediction import PackedMask, Prediction, sigmoid
from emclick.runtimes.base import CorrectionInput, EmcRuntime
from emclick.spec import ModelSpec

Float = NDArray[np.float32]
Mask = NDArray[np.bool_]

MASK_LOGIT = 2.0
"""Size of the logits by which a given mask enters as previous mask: +2 on it, -2 off it (p = .88 and .12).

Unlike the network's own masks, a given one is as sure at its edge as inside it; entered as surely as theirs inside, its
faults stay for half a click longer.
"""

SURE_LOGIT = 6.0
"""Size of the logits where merging overrode the network's, and of those beyond what a mask was made in (p = .0025)."""

_FEATURES_KEPT = 2  # per frame: undoing the first click and making another one again are both cheap
_OTHERS_KEPT = 2  # per image: undoing a click that changed the part looked at is cheap

READY_AFTER_S = 0.06
"""How long getting ready for a next click waits: the answer to the last one is to be on the screen first."""


@dataclass(frozen=True, slots=True, eq=False)
class _First:
    features: Any
    coarse: Float  # (B, 1, h/4, w/4)


@dataclass(frozen=True, eq=False)
class Frame:
    """What the networks look at, an image or a part of it, shared by all states that look at it.

    Attributes:
        views: one view, or with flip a second one, mirrored.
        prepared: what needs no click, being done in the background; gives the runtime's handle.
        firsts: base network results of the last first clicks, done or being done in the background. A memory of
            pure results, not state: dropping an entry changes nothing but time.
    """

    views: tuple[View, ...]
    prepared: Background[Any]
    firsts: OrderedDict[Click | None, Background[_First]] = field(default_factory=OrderedDict)


_Before = tuple["weakref.ref[EmcState]", Look, Background[_First]]
"""A state, what the click after it looks at, and the base network's result for that."""

_Ready = tuple[tuple[ClickMaps, ...], Any]
"""What any next click needs: the maps of the clicks so far, and what the runtime's `fuse` made of them."""


@dataclass(frozen=True, eq=False)
class OpenedImage:
    """An image, shared by all its states.

    Attributes:
        image: (H, W, 3) uint8.
        whole: the frame of all of it.
        others: frames last looked at besides; like `Frame.firsts` a memory of pure results.
        ready: for the click after the last state that was got ready for; likewise.
    """

    image: NDArray[np.uint8]
    whole: Frame
    others: OrderedDict[Look, Frame] = field(default_factory=OrderedDict)
    ready: OrderedDict[_Before, Background[_Ready]] = field(default_factory=OrderedDict)

    @property
    def image_hw(self) -> tuple[int, int]:
        return self.whole.views[0].image_hw


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class EmcState:
    """A point in the work on one object. Nothing in it is ever changed.

    Attributes:
        opened: the image.
        look: the part of the image and the frame that `logits`, `forced` and `maps` belong to.
        clicks: in the order made.
        logits: (B, 1, h/4, w/4) float32, the correction network's last; None before it ran or after a
            mask was given.
        given: the mask itself if `logits` is None, else the mask after progressive merge.
        forced: (B, 1, h/4, w/4) int8, 1 or -1 where merging overrode the sign of `logits`, else 0.
        maps: per view; None if compacted.
        extent: the box of the mask, in image pixels, with zoom-in; None without a mask.
        ahead: how many clicks' work a given mask has done.
    """

    opened: OpenedImage
    look: Look
    clicks: tuple[Click, ...] = ()
    logits: Float | None = None
    given: PackedMask | None = None
    forced: NDArray[np.int8] | None = None
    maps: tuple[ClickMaps, ...] | None = None
    extent: Box | None = None
    ahead: int = 0


class EmcMethod(Method[OpenedImage, EmcState]):
    """EMC-Click over a runtime.

    Args:
        runtime: runs the two networks.
        templates: pixels the correction network selects per polarity; the 1/4 grid must hold as many.
        options: see `Options`.
    """

    spec = ModelSpec
    network = "emclick.networks.model:EmcNetwork"
    releases = "emclick.networks.official:RELEASES"
    training = "emclick.training.step:EmcTraining"
    runtimes = ("onnx", "openvino", "torch")
    frame = (
        "the shorter side becomes short_side, both are floored to multiples of 4; bilinear, corners aligned"
    )
    protocol: ClassVar = {"": PaperProtocol(384, zoom_in=False), "davis": PaperProtocol(576, zoom_in=False)}

    @classmethod
    def over(cls, runtime: EmcRuntime, spec: ModelSpec, options: Options) -> EmcMethod:
        return cls(runtime, spec.correction.templates, options)

    def __init__(self, runtime: EmcRuntime, templates: int, options: Options) -> None:
        if isinstance(templates, bool) or not isinstance(templates, int) or templates < 1:
            raise OptionError(f"templates must be a whole number above 0, not {templates!r}")
        self.runtime = runtime
        self.templates = templates
        self.options = options
        self._ready: tuple[weakref.ref[Background[Any]], ...] = ()  # now, to be stopped if nobody wants it

    def open(self, image: NDArray[np.uint8]) -> OpenedImage:
        check_image(image)
        self._check_templates(View.fit((image.shape[0], image.shape[1]), self.options.short_side))
        return OpenedImage(image, self._frame_of(image, self._whole))

    def start(self, opened: OpenedImage, initial_mask: Mask | None = None) -> EmcState:
        state = EmcState(opened, self._whole)
        return state if initial_mask is None else self.set_mask(state, initial_mask)

    def set_mask(self, state: EmcState, mask: Mask) -> EmcState:
        check_mask(mask, state.opened.image_hw)
        extent = mask_box(mask) if self.options.zoom_in else None
        given = PackedMask.pack(mask)
        return replace(state, logits=None, forced=None, given=given, extent=extent, ahead=MASK_CLICKS)

    def step(self, state: EmcState, click: Click) -> tuple[EmcState, Prediction]:
        opened = state.opened
        click = check_next(click, opened.image_hw, state.logits is not None or state.given is not None)
        clicks = (*state.clicks, click)
        look = self._look(state, click)
        frame = self._frame(opened, look)
        seen = _seen(clicks, look.box)
        first_work = self._first(frame, seen)
        first = first_work.result()
        previous = _logits_in(frame.views, state, self._views(state))
        points = np.stack([_points(seen, view) for view in frame.views])
        earlier, fused = state.maps if look == state.look else None, None
        ready = opened.ready.get((weakref.ref(state), look, first_work))
        if ready is not None and not ready.cancel():  # what has not begun is faster done here
            earlier, fused = ready.result()
        maps = _maps_with(earlier, seen, points, frame.views)
        inputs = CorrectionInput(
            maps=maps,
            points=points,
            positive=np.array([each.positive for each in seen]),
            previous_logits=first.coarse if previous is None else previous,
        )
        given = frame.prepared.result(), first.features, inputs
        with self.runtime.lock:
            logits = self.runtime.correct(*given) if fused is None else self.runtime.correct(*given, fused)
            logits = np.array(logits, np.float32)  # a copy: the runtime may use its memory again
        result = EmcState(opened, look, clicks, logits, maps=maps, ahead=state.ahead)
        if self.options.progressive_merge:
            result = self._merged(state, result, logits, click)
        prediction = self.predict(result)
        if self.options.zoom_in:
            result = replace(result, extent=self._extent(prediction))
        return result, prediction

    def predict(self, state: EmcState) -> Prediction:
        view = self._views(state)[0]
        frame_prob = None if state.logits is None else self._frame_prob(state, state.logits)
        return Prediction(view, frame_prob, state.given, self.options.threshold)

    def compact(self, state: EmcState) -> EmcState:
        return replace(state, maps=None)

    def get_ready(self, state: EmcState) -> None:
        opened, look = state.opened, self._look(state)
        frame = self._frame(opened, look, READY_AFTER_S)
        seen = _seen(state.clicks, look.box)
        ready: tuple[Background[Any], ...] = ()
        if look != state.look:
            ready = (frame.prepared, self._first(frame, seen, READY_AFTER_S))
        # without a positive click in it the frame's features wait for the next one
        if self.runtime.fuses and state.logits is not None and any(each.positive for each in seen):
            first = self._first(frame, seen, READY_AFTER_S)
            key = weakref.ref(state), look, first
            work = remembered(opened.ready, key, lambda: self._fused(state, look, frame, seen, first), 1)
            ready = (*ready, work)
        for waiting in self._ready:
            if (each := waiting()) is not None and each not in ready:
                each.cancel()
        for each in ready:
            each.resume()
        self._ready = tuple(map(weakref.ref, ready))

    def _fused(
        self, state: EmcState, look: Look, frame: Frame, seen: tuple[Click, ...], first: Background[_First]
    ) -> Background[_Ready]:
        runtime, views, prepared = self.runtime, frame.views, frame.prepared
        # not of the state, which holds what is computed here
        own, kept = self._views(state), state.maps if look == state.look else None
        before = _Mask(state.logits, state.forced, state.given)

        def compute() -> _Ready:
            maps = kept or tuple(_maps_of(seen, view) for view in views)
            previous = _logits_in(views, before, own)
            assert previous is not None
            handle, features = prepared.result(), first.result().features
            with runtime.lock:
                return maps, runtime.fuse(handle, features, maps, previous)

        return Background(compute, READY_AFTER_S)

    def _check_templates(self, view: View) -> None:
        cells = view.grid_hw[0] * view.grid_hw[1]
        if cells >= self.templates:
            return
        sides = range(self.options.short_side // GRID * GRID + GRID, MAX_SHORT_SIDE + 1, GRID)
        enough = next((side for side in sides if _cells(View.fit(view.image_hw, side)) >= self.templates), "")
        raise FrameError(
            f"short side {self.options.short_side} makes a frame of {view.frame_hw[1]}x{view.frame_hw[0]}, "
            f"which has {cells} cells of {GRID}x{GRID} pixels where the model selects {self.templates} "
            f"templates; use a short side of at least {enough}"
        )

    @property
    def _whole(self) -> Look:
        return Look(None, self.options.short_side)

    def _views_of(self, image_hw: tuple[int, int], look: Look) -> tuple[View, ...]:
        view = look.view(image_hw)
        return (view, view.mirror()) if self.options.flip else (view,)

    def _views(self, state: EmcState) -> tuple[View, ...]:
        return self._views_of(state.opened.image_hw, state.look)

    def _frame_of(self, image: NDArray[np.uint8], look: Look, after_s: float = 0) -> Frame:
        views = self._views_of((image.shape[0], image.shape[1]), look)

        def prepare() -> Any:
            frames = np.stack([each.image_to_frame(image) for each in views])
            with self.runtime.lock:
                return self.runtime.open(frames)

        return Frame(views, Background(prepare, after_s))

    def _frame(self, opened: OpenedImage, look: Look, after_s: float = 0) -> Frame:
        if look == self._whole:
            return opened.whole
        return remembered(
            opened.others, look, lambda: self._frame_of(opened.image, look, after_s), _OTHERS_KEPT
        )

    def _extent(self, prediction: Prediction) -> Box | None:
        if prediction.frame_prob is None or prediction.given is not None:
            return mask_box(prediction.mask)
        return shown_box(prediction.view, prediction.frame_prob > np.float32(self.options.threshold))

    def _look(self, state: EmcState, click: Click | None = None) -> Look:
        """What to look at for a click after `state`."""
        if not self.options.zoom_in:
            return self._whole
        hw, side = state.opened.image_hw, self.options.short_side
        box = choose_box(state.look.box, state.extent, state.clicks, click, hw, side)
        look = Look(box, frame_side(state.ahead + len(state.clicks) + 1, side))
        # in proportion a part may be nearer to a square than the image, and have fewer cells
        return look if _cells(look.view(hw)) >= self.templates else look._replace(box=None)

    def _first(self, frame: Frame, seen: tuple[Click, ...], after_s: float = 0) -> Background[_First]:
        """Features and coarse logits of the first positive click in the frame, or of an empty map without one."""
        click = next((Click(each.x, each.y) for each in seen if each.positive), None)
        views, prepared = frame.views, frame.prepared  # not the frame, which holds what is computed here

        def compute() -> _First:
            maps = np.stack([_first_map(click, view) for view in views])
            handle = prepared.result()
            with self.runtime.lock:
                return _First(*self.runtime.first(handle, maps))

        return remembered(frame.firsts, click, lambda: Background(compute, after_s), _FEATURES_KEPT)

    def _frame_prob(self, state: EmcState, logits: Float) -> Float:
        views = self._views(state)
        frames = resize_bilinear(logits[:, 0], views[0].frame_hw)
        upright = [frame[:, ::-1] if view.mirrored else frame for frame, view in zip(frames, views)]
        return sigmoid(_mean(upright))

    def _merged(self, before: EmcState, after: EmcState, logits: Float, click: Click) -> EmcState:
        """Let only the part that holds the click differ from the mask before (progressive merge).

        Guarded: where the clicked pixel did not change side, nothing changes; the release's version
        inverts the image there.
        """
        previous = self.predict(before).mask
        predicted = self.predict(after).mask
        if not previous.any():
            return replace(after, given=PackedMask.pack(predicted))
        merged = merge(previous, predicted, click.pixel(previous.shape))
        overridden = merged != predicted
        return replace(
            after,
            given=PackedMask.pack(merged),
            forced=self._forced(self._views(after), logits, merged, overridden),
        )

    def _forced(
        self, views: tuple[View, ...], logits: Float, merged: Mask, overridden: Mask
    ) -> NDArray[np.int8]:
        # Only where merging had a say: elsewhere the two grids may differ by sampling alone.
        threshold = np.float32(self.options.threshold)
        level = np.log(threshold / (1 - threshold))
        forced = np.zeros(logits.shape, np.int8)
        for out, old, view in zip(forced[:, 0], logits[:, 0], views):
            inside = view.mask_to_grid(merged) > 0.5
            wrong = (view.mask_to_grid(overridden) > 0) & (inside != (old > level))
            out[wrong] = np.where(inside[wrong], 1, -1)
        return forced


def merge(previous: Mask, predicted: Mask, pixel: tuple[int, int]) -> Mask:
    """`previous`, changed to `predicted` in the part of their difference that holds `pixel`.

    Args:
        previous: (H, W) bool.
        predicted: (H, W) bool.
        pixel: (row, column). If both masks agree there, nothing changes.

    Returns:
        (H, W) bool. Parts are connected by 8 neighbours.
    """
    changed = (previous != predicted).astype(np.uint8)
    if not changed[pixel]:
        return previous.copy()
    cv2.floodFill(changed, None, (pixel[1], pixel[0]), 2, flags=8)  # type: ignore[call-overload]
    return np.where(changed == 2, predicted, previous)


class _Mask(NamedTuple):
    """Of a state, what its mask is made of."""

    logits: Float | None
    forced: NDArray[np.int8] | None
    given: PackedMask | None


def _logits_in(views: tuple[View, ...], before: EmcState | _Mask, own: tuple[View, ...]) -> Float | None:
    """(B, 1, h/4, w/4) logits, in `views`, of the mask before a click, which is of the views `own`; None without."""
    if before.logits is None:
        if before.given is None:
            return None
        mask = before.given.unpack()
        grid = np.stack([view.mask_to_grid(mask) for view in views])[:, None]
        return np.float32(MASK_LOGIT) * (2 * grid - 1)
    logits = before.logits
    if before.forced is not None:
        logits = np.where(before.forced == 0, logits, np.float32(SURE_LOGIT) * before.forced)
    if own == views:
        return logits
    return np.stack(
        [carry_logits(each[0], old, new, -SURE_LOGIT) for each, old, new in zip(logits, own, views)]
    )[:, None]


def _maps_with(
    earlier: tuple[ClickMaps, ...] | None, clicks: tuple[Click, ...], points: Float, views: tuple[View, ...]
) -> tuple[ClickMaps, ...]:
    """Of all clicks, given those of all but the last, or None."""
    if earlier is None:
        return tuple(_maps_of(clicks, view) for view in views)
    return tuple(old.add(each[-1], clicks[-1].positive) for old, each in zip(earlier, points))


def _maps_of(clicks: tuple[Click, ...], view: View) -> ClickMaps:
    positive = np.array([each.positive for each in clicks])
    return ClickMaps.of(_points(clicks, view), positive, view.frame_hw)


def _seen(clicks: tuple[Click, ...], box: Box | None) -> tuple[Click, ...]:
    return clicks if box is None else tuple(each for each in clicks if box.contains(each.x, each.y))


def _cells(view: View) -> int:
    return view.grid_hw[0] * view.grid_hw[1]


def _points(clicks: Iterable[Click], view: View) -> Float:
    """(N, 2) float32, (row, column) in the view's frame."""
    xy = np.array([(click.x, click.y) for click in clicks], np.float64).reshape(-1, 2)
    return np.stack(view.to_frame(xy[:, 0], xy[:, 1]), axis=1).astype(np.float32)


def _first_map(click: Click | None, view: View) -> Float:
    """(1, h, w) disk map of the first positive click, all zero without one."""
    points = _points([] if click is None else [click], view)
    return disk_maps(points, np.ones(len(points), np.bool_), view.frame_hw)[:1]


def _mean(frames: list[Float]) -> Float:
    if len(frames) == 1:
        return frames[0]
    return (frames[0] + frames[1]) * np.float32(0.5)
