"""The EMC-Click loop: base network at the first click, mask correction at every click.

Source: METHOD, "The idea", "Mask correction network", "Known faults of the release".
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from emclick.background import Background
from emclick.clicks import Click, ClickMaps, check_click, disk_maps
from emclick.errors import ClickError, FrameError, ImageTypeError, MaskError, OptionError
from emclick.geometry import GRID, MAX_SHORT_SIDE, View, resize_bilinear
from emclick.methods.base import Method, Options
from emclick.prediction import PackedMask, Prediction, sigmoid
from emclick.runtimes.base import CorrectionInput, Runtime

Float = NDArray[np.float32]
Mask = NDArray[np.bool_]

MASK_LOGIT = 6.0
"""Size of the logits by which a given mask enters as previous mask: +6 on it, -6 off it (p = .0025)."""

_FEATURES_KEPT = 2  # per image: undoing the first click and making another one again are both cheap


@dataclass(frozen=True, slots=True, eq=False)
class _First:
    features: Any
    coarse: Float  # (B, 1, h/4, w/4)


@dataclass(frozen=True, eq=False)
class OpenedImage:
    """An image in its frames, shared by all states.

    Attributes:
        views: one view, or with flip a second one, mirrored.
        prepared: what needs no click, being done in the background; gives the runtime's handle.
        firsts: base network results of the last first clicks. A memory of pure results, not state:
            dropping an entry changes nothing but time.
    """

    views: tuple[View, ...]
    prepared: Background[Any]
    firsts: OrderedDict[Click | None, _First] = field(default_factory=OrderedDict)

    @property
    def image_hw(self) -> tuple[int, int]:
        return self.views[0].image_hw


@dataclass(frozen=True, slots=True, eq=False)
class EmcState:
    """A point in the work on one object. Nothing in it is ever changed.

    Attributes:
        opened: the image.
        clicks: in the order made.
        logits: (B, 1, h/4, w/4) float32, the correction network's last; None before it ran or after a
            mask was given.
        given: the mask itself if `logits` is None, else the mask after progressive merge.
        forced: (B, 1, h/4, w/4) int8, 1 or -1 where merging overrode the sign of `logits`, else 0.
        maps: per view; None if compacted.
    """

    opened: OpenedImage
    clicks: tuple[Click, ...] = ()
    logits: Float | None = None
    given: PackedMask | None = None
    forced: NDArray[np.int8] | None = None
    maps: tuple[ClickMaps, ...] | None = None


class EmcMethod(Method[OpenedImage, EmcState]):
    """EMC-Click over a runtime.

    Args:
        runtime: runs the two networks.
        templates: pixels the correction network selects per polarity; the 1/4 grid must hold as many.
        options: see `Options`.
    """

    def __init__(self, runtime: Runtime, templates: int, options: Options) -> None:
        if isinstance(templates, bool) or not isinstance(templates, int) or templates < 1:
            raise OptionError(f"templates must be a whole number above 0, not {templates!r}")
        self.runtime = runtime
        self.templates = templates
        self.options = options

    def open(self, image: NDArray[np.uint8]) -> OpenedImage:
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.shape[2:] != (3,):
            raise ImageTypeError(
                "a method takes an (H, W, 3) uint8 array; emclick.images.read_image makes one"
            )
        image_hw = (image.shape[0], image.shape[1])
        view = View.fit(image_hw, self.options.short_side)
        self._check_templates(view)
        views = (view, view.mirror()) if self.options.flip else (view,)

        def prepare() -> Any:
            frames = np.stack([each.image_to_frame(image) for each in views])
            with self.runtime.lock:
                return self.runtime.open(frames)

        return OpenedImage(views, Background(prepare))

    def start(self, opened: OpenedImage, initial_mask: Mask | None = None) -> EmcState:
        state = EmcState(opened)
        return state if initial_mask is None else self.set_mask(state, initial_mask)

    def set_mask(self, state: EmcState, mask: Mask) -> EmcState:
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
            raise ImageTypeError("a mask must be an (H, W) bool array; emclick.images.read_mask makes one")
        if mask.shape != state.opened.image_hw:
            raise MaskError(
                f"mask of shape {mask.shape} for an image of {state.opened.image_hw} (height, width)"
            )
        return replace(state, logits=None, forced=None, given=PackedMask.pack(mask))

    def step(self, state: EmcState, click: Click) -> tuple[EmcState, Prediction]:
        opened = state.opened
        click = check_click(click.x, click.y, click.positive, opened.image_hw)
        if not click.positive and state.logits is None and state.given is None:
            raise ClickError("the first click must be positive: there is no mask yet to take anything from")
        clicks = (*state.clicks, click)
        first = self._first(opened, next((each for each in clicks if each.positive), None))
        previous = self._previous(state)
        points = np.stack([_points(clicks, view) for view in opened.views])
        maps = self._maps(state, clicks, points)
        inputs = CorrectionInput(
            disks=np.stack([each.disks() for each in maps]),
            distances=np.stack([each.distances() for each in maps]),
            points=points,
            positive=np.array([each.positive for each in clicks]),
            previous_logits=first.coarse if previous is None else previous,
        )
        # a copy: the runtime may hand out a buffer that it uses again
        with self.runtime.lock:
            logits = np.array(
                self.runtime.correct(opened.prepared.result(), first.features, inputs), np.float32
            )
        result = EmcState(opened, clicks, logits, maps=maps)
        if self.options.progressive_merge:
            result = self._merged(state, result, logits, click)
        return result, self.predict(result)

    def predict(self, state: EmcState) -> Prediction:
        frame_prob = None if state.logits is None else self._frame_prob(state.opened, state.logits)
        return Prediction(state.opened.views[0], frame_prob, state.given, self.options.threshold)

    def compact(self, state: EmcState) -> EmcState:
        return replace(state, maps=None)

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

    def _first(self, opened: OpenedImage, click: Click | None) -> _First:
        """Features and coarse logits of the first positive click, or of an empty map without one."""
        key = click and Click(click.x, click.y)
        known = opened.firsts.get(key)
        if known is None:
            maps = [_first_map(click, view) for view in opened.views]
            handle = opened.prepared.result()
            with self.runtime.lock:
                known = _First(*self.runtime.first(handle, np.stack(maps)))
            opened.firsts[key] = known
            while len(opened.firsts) > _FEATURES_KEPT:
                opened.firsts.popitem(last=False)
        else:
            opened.firsts.move_to_end(key)
        return known

    def _maps(self, state: EmcState, clicks: tuple[Click, ...], points: Float) -> tuple[ClickMaps, ...]:
        if state.maps is not None:
            new = clicks[-1].positive
            return tuple(old.add(each[-1], new) for old, each in zip(state.maps, points))
        positive = np.array([each.positive for each in clicks])
        return tuple(
            ClickMaps.of(each, positive, view.frame_hw) for each, view in zip(points, state.opened.views)
        )

    def _previous(self, state: EmcState) -> Float | None:
        """(B, 1, h/4, w/4) logits of the mask before this click; None if there is none."""
        if state.logits is None:
            if state.given is None:
                return None
            mask = state.given.unpack()
            grid = np.stack([view.mask_to_grid(mask) for view in state.opened.views])[:, None]
            return np.float32(MASK_LOGIT) * (2 * grid - 1)
        if state.forced is None:
            return state.logits
        return np.where(state.forced == 0, state.logits, np.float32(MASK_LOGIT) * state.forced)

    def _frame_prob(self, opened: OpenedImage, logits: Float) -> Float:
        frames = resize_bilinear(logits[:, 0], opened.views[0].frame_hw)
        upright = [frame[:, ::-1] if view.mirrored else frame for frame, view in zip(frames, opened.views)]
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
            forced=self._forced(after.opened, logits, merged, overridden),
        )

    def _forced(self, opened: OpenedImage, logits: Float, merged: Mask, overridden: Mask) -> NDArray[np.int8]:
        # Only where merging had a say: elsewhere the two grids may differ by sampling alone.
        threshold = np.float32(self.options.threshold)
        level = np.log(threshold / (1 - threshold))
        forced = np.zeros(logits.shape, np.int8)
        for out, old, view in zip(forced[:, 0], logits[:, 0], opened.views):
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
