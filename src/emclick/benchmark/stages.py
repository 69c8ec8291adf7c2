"""What is timed of a model, and how; runs in a worker."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emclick.zoo import Model

FIRST, CORRECTION = "first", "correction"
MAX_CLICKS = 20  # as the robot user makes; then the session starts over
HAND_S = 0.15
"""From an answer to the next click of a quick hand, for whole clicks."""


@dataclass(frozen=True)
class Stage:
    """How often one stage is run in each round, after one run that does not count."""

    repeats: int
    megapixels: float | None = None


STAGES: Mapping[str, Stage] = {
    FIRST: Stage(2),
    CORRECTION: Stage(5),
    "click@0.3mp": Stage(3, 0.3),
    "click@2mp": Stage(3, 2),
    "click@12mp": Stage(2, 12),
    "click@50mp": Stage(1, 50),
}
"""In order of the memory they need."""

Run = Callable[[], Mapping[str, float]]


class ModelClicks:
    """A worker's job: a loaded model.

    Args:
        folder: model folder, or name of the zoo.
        side: picture of `first` and `correction`, px: the frame of EMC, which others resize to their own.
        runtime, threads, precision, device: see `emclick.load`.
    """

    def __init__(
        self, folder: str, runtime: str, threads: int, precision: str, device: str = "cpu", side: int = 384
    ) -> None:
        began = time.perf_counter()
        from emclick.zoo import load

        self.model = load(folder, runtime=runtime, threads=threads, precision=precision, device=device)
        from emclick.runtimes.base import EmcRuntime

        short_side = self.model.short_side
        self.two_calls = isinstance(self.model.runtime, EmcRuntime)
        self.about = {
            "load_s": time.perf_counter() - began,
            "short_side": short_side,
            "stage_side": side if self.two_calls else short_side,
        }
        self.side = side
        import cv2

        cv2.setNumThreads(threads)  # or it takes all

    def prepare(self, stage: str) -> Run:
        """What to call to time the stage once: -> milliseconds, by name."""
        megapixels = STAGES[stage].megapixels
        if megapixels is not None:
            return _clicks(self.model, megapixels)
        emc, loop = {FIRST: (_first, _loop_first), CORRECTION: (_correction, _loop_correction)}[stage]
        return (emc if self.two_calls else loop)(self.model, self.side)


class FrameClicks:
    """One frame of a picture and what EMC would make of clicks on it, without a session."""

    def __init__(self, model: Model, side: int) -> None:
        import numpy as np

        from emclick.benchmark.picture import POINTS, photograph
        from emclick.clicks import ClickMaps
        from emclick.runtimes.base import EmcRuntime

        assert isinstance(model.runtime, EmcRuntime)
        self.runtime = model.runtime
        planes = photograph(side, side).transpose(2, 0, 1)[None].astype(np.float32)
        self.frames = np.ascontiguousarray(planes / np.float32(255))
        self.none = ClickMaps((side, side))
        self.points = np.array(POINTS, np.float32) * side

    def first(self, image: Any) -> tuple[Any, Any]:
        """Features and coarse logits of the first point."""
        import numpy as np

        from emclick.clicks import disk_maps

        disk = disk_maps(self.points[:1], np.ones(1, np.bool_), self.none.frame_hw)
        return self.runtime.first(image, disk[:1][None])

    def correct(
        self, image: Any, features: Any, before: Any, chosen: list[int], previous: Any, fused: Any = None
    ) -> Any:
        """Logits after the last of the `chosen` points, whose maps are those `before` and one click more.

        The second point is positive as the first is, the third negative. `fused`: what the runtime's `fuse` gave.
        """
        import numpy as np

        from emclick.runtimes.base import CorrectionInput

        positive = np.array(chosen) < 2
        points = self.points[chosen]
        maps = before.add(points[-1], bool(positive[-1]))
        inputs = CorrectionInput([maps], points[None], positive, previous)
        return np.array(
            self.runtime.correct(image, features, inputs, fused), np.float32
        )  # a copy, as a method makes


def _first(model: Model, side: int) -> Run:
    """Base network and first correction; the image's share of the work apart, as `open_ms`."""
    frame = FrameClicks(model, side)

    def run() -> Mapping[str, float]:
        began = time.perf_counter()
        image = frame.runtime.open(frame.frames)
        opened = time.perf_counter()
        features, coarse = frame.first(image)
        frame.correct(image, features, frame.none, [0], coarse)
        return {"ms": _ms(opened), "open_ms": (opened - began) * 1000}

    return run


def _correction(model: Model, side: int) -> Run:
    """From the state after one click to the logits after the second, here and there in turn.

    What is got ready behind the first click's answer apart, as `ready_ms`.
    """
    frame = FrameClicks(model, side)
    image = frame.runtime.open(frame.frames)
    features, coarse = frame.first(image)
    logits = frame.correct(image, features, frame.none, [0], coarse)
    before = frame.none.add(frame.points[0], True)
    second = itertools.cycle([1, 2])

    def run() -> Mapping[str, float]:
        chosen = [0, next(second)]
        began = time.perf_counter()
        fused = frame.runtime.fuse(image, features, [before], logits)
        ready = time.perf_counter()
        frame.correct(image, features, before, chosen, logits, fused)
        return {"ms": _ms(ready), "ready_ms": (ready - began) * 1000}

    return run


class LoopClicks:
    """One picture and a method's own loop over it, without a session, at the model's own frame."""

    def __init__(self, model: Model, side: int) -> None:
        from emclick.benchmark.picture import frame_clicks, photograph
        from emclick.methods.base import Options

        self.method = model.method(Options(model.short_side, zoom_in=model.zoom_in))
        self.image = photograph(side, side)
        self.clicks = frame_clicks(side)


def _loop_first(model: Model, side: int) -> Run:
    """From an opened image to the state after its first click; the opening apart, as `open_ms`."""
    loop = LoopClicks(model, side)

    def run() -> Mapping[str, float]:
        began = time.perf_counter()
        start = loop.method.start(loop.method.open(loop.image))
        opened = time.perf_counter()
        loop.method.step(start, loop.clicks[0])
        return {"ms": _ms(opened), "open_ms": (opened - began) * 1000}

    return run


def _loop_correction(model: Model, side: int) -> Run:
    """From the state after one click to the state after the second, a positive and a negative one in turn."""
    loop = LoopClicks(model, side)
    state, _ = loop.method.step(loop.method.start(loop.method.open(loop.image)), loop.clicks[0])
    second = itertools.cycle(loop.clicks[1:])

    def run() -> Mapping[str, float]:
        click = next(second)
        began = time.perf_counter()
        loop.method.step(state, click)
        return {"ms": _ms(began)}

    return run


def _clicks(model: Model, megapixels: float) -> Run:
    """Later clicks of a session, from the image in memory to the mask."""
    import numpy as np

    from emclick.benchmark.picture import photograph, size_of
    from emclick.session import Session

    height, width = size_of(megapixels)
    session = Session(model, photograph(height, width))
    random = np.random.default_rng(0)
    start = partial(session.click, width / 2, height / 2)
    _ = start().mask

    def run() -> Mapping[str, float]:
        if len(session.clicks) >= MAX_CLICKS:
            session.reset()
            _ = start().mask
        positive = len(session.clicks) % 2 == 0
        reach = 0.2 if positive else 0.45  # of the middle, in shares of the sides
        x, y = (float(size * (0.5 + random.uniform(-reach, reach))) for size in (width, height))
        time.sleep(HAND_S)
        began = time.perf_counter()
        _ = session.click(x, y, positive).mask
        return {"ms": _ms(began)}

    return run


def _ms(began: float) -> float:
    return (time.perf_counter() - began) * 1000
