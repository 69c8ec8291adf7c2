"""The two sides of tools/release_speed.py: a click of a method's public release, and the same click of ours.

Each class is a job of `emclick.benchmark.worker`, one process each: the releases share the package name `isegm`, and
import packages that are stood in for (`release_stand_ins`).

Stages (a square of `SIDE` px, one click made before, then a positive and a negative one in turn):

- `network`: from the frame, the clicks and the mask before in it to logits of the frame's size.
- `click`: from the list of clicks to the image's mask, by the release's predictor and by our method.
- `unprepared`: `click` where what we keep of a part of the image is not there yet (RITM of ours alone).
"""

from __future__ import annotations

import contextlib
import itertools
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from release_stand_ins import stand_in_for_all
from torch import Tensor, nn

import emclick
from emclick.benchmark.stages import FrameClicks
from emclick.clicks import Click, disk_maps
from emclick.geometry import resize_bilinear
from emclick.methods.base import Options
from emclick.methods.focalclick import FocalClickState
from emclick.methods.focalclick_picture import Picture
from emclick.methods.ritm import RitmState
from emclick.methods.zoom import mask_box
from emclick.prediction import PackedMask, sigmoid
from emclick.zoo import load

NETWORK, CLICK, UNPREPARED = "network", "click", "unprepared"
SIDE = 384
FRAMES = {"ritm": 400, "focalclick": 256, "emc": 384}
"""Method -> side of what its network sees, px."""

THRESHOLD = 0.49
"""Of all three releases' evaluations."""

FIRST, POSITIVE, NEGATIVE = (0.5, 0.5), (0.42, 0.72), (0.6, 0.6)
"""(row, column) of the click made before and of the two measured, in shares of the sides."""

RADIUS, EDGE = 0.22, 0.02
"""Of the disk that is the mask before (EMC makes its own), and of its soft edge, in shares of the side."""

FOCUS = (0.1, 0.1, 0.8, 0.8)
"""Top, left, bottom, right of the focus crop in stage `network`, in shares of the target crop."""

Run = Callable[[], Mapping[str, float]]
Made = Sequence[tuple[tuple[float, float], bool]]
"""Clicks: place, and whether it is positive."""


def photograph() -> np.ndarray:
    """(SIDE, SIDE, 3) uint8 RGB: the middle of the package's cat."""
    image = cv2.imread(str(Path(emclick.__file__).parent / "assets" / "cat.jpg"))
    assert image is not None
    height, width = image.shape[:2]
    left = (width - height) // 2
    square = cv2.resize(image[:, left : left + height], (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(square[..., ::-1])


def mask_before() -> tuple[np.ndarray, np.ndarray]:
    """Logits (SIDE / 4, SIDE / 4) of a disk in the middle, and the probabilities (SIDE, SIDE) they give."""
    at = np.linspace(-0.5, 0.5, SIDE // 4)
    logits = ((RADIUS - np.hypot(at[:, None], at[None])) / EDGE).astype(np.float32)
    return logits, sigmoid(resize_bilinear(logits, (SIDE, SIDE)))


def frame_of(side: int) -> tuple[np.ndarray, np.ndarray]:
    """Stage `network`: image (3, side, side) in [0, 1] and mask before (side, side)."""
    frame = cv2.resize(photograph(), (side, side)).transpose(2, 0, 1).astype(np.float32) / np.float32(255)
    return np.ascontiguousarray(frame), resize_bilinear(mask_before()[0], (side, side)).clip(0, 1)


def clicks_made(which: int) -> Made:
    """The click before and, of the two that are measured, the positive (0) or the negative one (1)."""
    return [(FIRST, True), ((POSITIVE, NEGATIVE)[which], which == 0)]


def in_turn(runs: Sequence[Callable[[], object]], ready: Callable[[], object] = lambda: None) -> Run:
    """One of `runs` timed, another one at each call; `ready` goes before, untimed."""
    turn = itertools.cycle(runs)

    def run() -> Mapping[str, float]:
        next_one = next(turn)
        ready()
        began = time.perf_counter()
        next_one()
        return {"ms": (time.perf_counter() - began) * 1000}

    return run


# --- the releases ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Network:
    """How a release makes a network.

    Attributes:
        module, name: of its class.
        options: of the class, as its model files have them.
        xavier: whether its weights are initialised anew.
    """

    module: str
    name: str
    options: Mapping[str, Any]
    xavier: bool = True


_COMMON = {
    "use_leaky_relu": True, "use_rgb_conv": False, "use_disks": True, "norm_radius": 5, "with_prev_mask": True,
    "with_aux_output": True,
}  # fmt: skip
_18S = {**_COMMON, "width": 18, "ocr_width": 48, "small": True}
_32 = {**_COMMON, "width": 32, "ocr_width": 128, "small": False}
_64C, _96C = (
    {
        "refiner_conf": {"conv_layer": "xconv2", "mid_dims": each, "corr_channel": each},
        "only_first_click": True,
    }
    for each in (64, 96)
)
_HRNET, _SEGFORMER = "isegm.model.is_hrnet_model", "isegm.model.is_segformer_model"
_EMC = "isegm.model.is_refine_model", "HRNetRefineModel"
_EMC_SEGFORMER = "isegm.model.is_refine_segformer_model", "SegFormerModel"
NETWORKS = {
    "ritm-hrnet18s": Network(_HRNET, "HRNetModel", _18S),
    "ritm-hrnet32": Network(_HRNET, "HRNetModel", _32),
    "focalclick-hrnet18s": Network(_HRNET, "HRNetModel", {**_18S, "pipeline_version": "s2"}),
    "focalclick-hrnet32": Network(_HRNET, "HRNetModel", {**_32, "pipeline_version": "s2"}),
    "focalclick-segformer-b0": Network(
        _SEGFORMER, "SegFormerModel", {**_COMMON, "pipeline_version": "s2", "model_version": "b0"}, False
    ),
    "focalclick-segformer-b3": Network(
        _SEGFORMER, "SegFormerModel", {**_COMMON, "pipeline_version": "s2", "model_version": "b3"}, False
    ),
    "emc-hrnet18s": Network(*_EMC, {**_18S, **_64C}),
    "emc-hrnet32": Network(*_EMC, {**_32, **_96C}),
    "emc-segformer-b0": Network(*_EMC_SEGFORMER, {**_COMMON, **_64C, "model_version": "b0"}, False),
    "emc-segformer-b3": Network(*_EMC_SEGFORMER, {**_COMMON, **_96C, "model_version": "b3"}, False),
}
"""Name in our zoo -> the release's."""

MODES = {"ritm": "NoBRS", "focalclick": "FocalClick", "emc": "EMC-Click"}
LAST = ("cls_head", "linear_pred", "refine_pred", "refine_trimap")
"""Layers that give logits, by the end of their names."""


class ReleaseClicks:
    """A release's network and predictor, on seeded weights that are left in a file for ours.

    BatchNorm's statistics are those of noisy copies of the photograph and the last layers are scaled, so that logits
    have mean 0 and deviation 2: no activations die away or grow without bound.

    Args:
        model: key of `NETWORKS`.
        checkout: the release's folder.
        weights: file to write.
        answer: file for the probabilities after the positive click, (SIDE, SIDE).
        threads: CPU threads.
    """

    def __init__(self, model: str, checkout: str, weights: str, answer: str, threads: int) -> None:
        torch.set_num_threads(threads)
        cv2.setNumThreads(threads)
        stand_in_for_all()
        sys.path.insert(0, checkout)
        from isegm.inference.clicker import Click as TheirClick  # pyright: ignore[reportMissingImports]
        from isegm.inference.clicker import Clicker  # pyright: ignore[reportMissingImports]
        from isegm.inference.predictors import get_predictor  # pyright: ignore[reportMissingImports]

        self.method = model.partition("-")[0]
        self.make_click, self.make_clicker, self.answer = TheirClick, Clicker, answer
        self.frame = frame_of(FRAMES[self.method])
        self.net = self._network(model)
        torch.save({"state_dict": self.net.state_dict()}, weights)
        zoom = {"target_size": FRAMES[self.method]} if self.method != "focalclick" else {}
        self.predictor = get_predictor(
            self.net, MODES[self.method], torch.device("cpu"), prob_thresh=THRESHOLD, with_flip=False,
            zoom_in_params=zoom,
        )  # fmt: skip
        self.about = {"params": sum(each.numel() for each in self.net.parameters())}

    def _network(self, model: str) -> Any:
        from importlib import import_module

        about = NETWORKS[model]
        torch.manual_seed(0)
        net = getattr(import_module(about.module), about.name)(**about.options)
        if about.xavier:
            net.apply(
                import_module("isegm.model.initializer").XavierGluon(rnd_type="gaussian", magnitude=2.0)
            )
        for parameter in net.parameters():
            parameter.requires_grad = False
        norms = [each for each in net.modules() if isinstance(each, nn.modules.batchnorm._BatchNorm)]
        net.eval()
        for each in norms:
            each.train()
            each.momentum = None
        image, points = self._inputs(net, clicks_made(0))
        for _ in range(3):
            noisy = (image.repeat(2, 1, 1, 1) + 0.1 * torch.randn(2, *image.shape[1:])).clamp(0, 1)
            self._forward(net, noisy, points.repeat(2, 1, 1))
        net.eval()
        with contextlib.ExitStack() as stack:
            for name, layer in net.named_modules():
                if name.endswith(LAST):
                    stack.enter_context(_scaled(layer))
            self._forward(net, image, points)
        return net

    def _inputs(self, net: Any, made: Made) -> tuple[Tensor, Tensor]:
        """(1, 4, h, w), and the points of these clicks: positive ones, then negative ones, as many of each."""
        frame, before = self.frame
        side = before.shape[0]
        image = torch.from_numpy(np.concatenate([frame, before[None]]))[None]
        points = [[-1.0] * 3 for _ in range(2 * len(made))]
        for number, ((row, column), positive) in enumerate(made):
            points[number + (0 if positive else len(made))] = [row * side, column * side, float(number)]
        return image, torch.tensor([points])

    def _forward(self, net: Any, image: Tensor, points: Tensor) -> Tensor:
        with torch.no_grad():
            if self.method == "ritm":
                return net(image, points)["instances"]
            if self.method == "emc":
                return net(image, points)[1]["instances_refined"]
            output = net(image, points)
            top, left, bottom, right = (each * image.shape[-1] for each in FOCUS)
            boxes = torch.tensor([[0, left, top, right, bottom]]).repeat(len(image), 1)
            refined = net.refine(image[:, :3], points, output["feature"], output["instances"], boxes)
            return refined["instances_refined"]

    def prepare(self, stage: str) -> Run:
        """What to call to time the stage once."""
        return {NETWORK: self._network_run, CLICK: self._click_run}[stage]()

    def _network_run(self) -> Run:
        inputs = [self._inputs(self.net, clicks_made(which)) for which in (0, 1)]
        if self.method != "emc":
            return in_turn([lambda each=each: self._forward(self.net, *each) for each in inputs])
        with torch.no_grad():
            kept, _ = self.net(*self._inputs(self.net, clicks_made(0)[:1]))

        def correct(image: Tensor, points: Tensor) -> None:
            with torch.no_grad():
                self.net(image, points, dict(kept))

        return in_turn([lambda each=each: correct(*each) for each in inputs])

    def _click_run(self) -> Run:
        predictor = self.predictor
        predictor.set_input_image(photograph())
        clickers = [self._clicker(clicks_made(which)) for which in (0, 1)]
        if self.method == "emc":
            with torch.no_grad():
                predictor.get_prediction(self._clicker(clicks_made(0)[:1]))
            outputs, before = predictor.prev_outputs, predictor.prev_prediction

            def ready() -> None:
                predictor.prev_outputs, predictor.prev_prediction = dict(outputs), before
        else:
            before = torch.from_numpy(mask_before()[1])[None, None]
            zoom = predictor.zoom_in

            def ready() -> None:
                zoom.reset()
                zoom._prev_probs, predictor.prev_prediction = before.numpy(), before

        def click(clicker: Any) -> np.ndarray:
            with torch.no_grad():
                probability = predictor.get_prediction(clicker)
            _ = probability > THRESHOLD
            return probability

        ready()
        np.save(self.answer, click(clickers[0]))
        return in_turn([lambda each=each: click(each) for each in clickers], ready)

    def _clicker(self, made: Made) -> Any:
        clicks = [
            self.make_click(is_positive=positive, coords=(int(row * SIDE), int(column * SIDE)))
            for (row, column), positive in made
        ]
        return self.make_clicker(init_clicks=clicks)


@contextlib.contextmanager
def _scaled(layer: Any) -> Iterator[None]:
    """Run the network once inside: what the layer gives then has mean 0 and deviation 2, from there on too."""

    def scale(layer: Any, _: Any, out: Tensor) -> Tensor:
        mean, factor = out.mean(), 2 / out.std()
        layer.weight.mul_(factor)
        layer.bias.sub_(mean).mul_(factor)
        return (out - mean) * factor

    hook = layer.register_forward_hook(scale)
    yield
    hook.remove()


# --- ours -----------------------------------------------------------------------------------------------


class OurClicks:
    """Our implementation, eager PyTorch in float32.

    Args:
        folder: model folder.
        answer: file for the probabilities after the positive click, (SIDE, SIDE).
        threads: CPU threads.
    """

    def __init__(self, folder: str, answer: str, threads: int) -> None:
        self.model = load(folder, runtime="torch", threads=threads)
        cv2.setNumThreads(threads)
        self.kind = self.model.card.method
        self.answer = answer
        self.runtime: Any = self.model.runtime
        self.about: dict[str, Any] = {}

    def prepare(self, stage: str) -> Run:
        """What to call to time the stage once."""
        if stage == NETWORK:
            return {"ritm": self._ritm, "focalclick": self._focalclick, "emc": self._emc}[self.kind]()
        return self._click_run(unprepared=stage == UNPREPARED)

    def _ritm(self) -> Run:
        """With what the image decides, which the release computes at every click too."""
        side = FRAMES["ritm"]
        image, before = frame_of(side)
        network = self.runtime.network

        def answer(points: np.ndarray, positive: np.ndarray) -> None:
            maps = np.concatenate([before[None], disk_maps(points, positive, (side, side))])
            (opened,) = self.runtime.call(network.open, image[None])
            (logits,) = self.runtime.call(network.answer, opened, maps[None])
            resize_bilinear(logits.numpy()[0, 0], (side, side))

        return in_turn([lambda each=each: answer(*each) for each in _points(side)])

    def _focalclick(self) -> Run:
        side = FRAMES["focalclick"]
        image, before = (each[None] for each in frame_of(side))
        network = self.runtime.network

        def answer(points: np.ndarray, positive: np.ndarray) -> None:
            points, sides = points[None], np.where(positive, 1, -1).astype(np.float32)[None]
            features, logits, _ = self.runtime.call(network.coarse, image, before[:, None], points, sides)
            boxes = np.array([FOCUS], np.float32)
            refine = lambda *arrays: network.refine(*arrays).logits()  # noqa: E731
            self.runtime.call(refine, image, points, sides, features, logits, boxes)

        return in_turn([lambda each=each: answer(*each) for each in _points(side)])

    def _emc(self) -> Run:
        """As `emclick bench` times a correction, and the logits brought to the frame's size."""
        side = FRAMES["emc"]
        frame = FrameClicks(self.model, side)
        frame.frames = frame_of(side)[0][None]
        frame.points = np.array([FIRST, POSITIVE, NEGATIVE], np.float32) * side
        image = frame.runtime.open(frame.frames)
        features, coarse = frame.first(image)
        logits = frame.correct(image, features, frame.none, [0], coarse)
        before = frame.none.add(frame.points[0], True)
        fused = frame.runtime.fuse(image, features, [before], logits)  # behind the answer before

        def correct(second: int) -> None:
            found = frame.correct(image, features, before, [0, second], logits, fused)
            resize_bilinear(found[0, 0], (side, side))

        return in_turn([lambda: correct(1), lambda: correct(2)])

    def _click_run(self, unprepared: bool) -> Run:
        options = Options(self.model.short_side, threshold=THRESHOLD, zoom_in=self.kind != "emc")
        method: Any = self.model.method(options)
        first, *second = (
            Click(float(int(column * SIDE)), float(int(row * SIDE)), positive)
            for (row, column), positive in [*clicks_made(0), clicks_made(1)[1]]
        )
        opened = method.open(photograph())
        logits, before = mask_before()
        state: Any
        if self.kind == "emc":
            state, _ = method.step(method.start(opened), first)
        elif self.kind == "ritm":
            state = RitmState(opened, (first,), None, logits, extent=mask_box(before > 0.5))
        else:
            ground = PackedMask.pack(before > THRESHOLD)
            state = FocalClickState(opened, (first,), Picture((SIDE, SIDE), ground), painted=before)

        def click(each: Click) -> Any:
            _, prediction = method.step(state, each)
            _ = prediction.mask
            return prediction

        np.save(self.answer, click(second[0]).probability)
        ready = opened.parts.clear if unprepared else lambda: None
        return in_turn([lambda each=each: click(each) for each in second], ready)


def _points(side: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Of either click measured: points (2, 2) (row, column) in the frame, the click before included, and polarity."""
    return [
        (
            np.array([place for place, _ in clicks_made(which)], np.float32) * side,
            np.array([positive for _, positive in clicks_made(which)]),
        )
        for which in (0, 1)
    ]
