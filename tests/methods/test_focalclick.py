"""The FocalClick loop: what it looks at, what it keeps, merging; on a network whose outputs depend on all it reads."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from contracts.method_contract import CLICKS, MethodContract, same
from emclick.clicks import Click
from emclick.errors import CheckpointError, FrameError, ImageTypeError, MaskError
from emclick.geometry import Box, View, resize_bilinear
from emclick.methods import METHODS
from emclick.methods.base import Options
from emclick.methods.focalclick import COARSE_CLICKS, FocalClickMethod
from emclick.methods.focalclick_crops import focus_box, region_at
from emclick.methods.focalclick_picture import Look, PackedLogits, Picture, coarse_prob, crop, focus_shares
from emclick.methods.focalclick_spec import FocalClickSpec
from emclick.networks.base_network import BaseOutput
from emclick.networks.focalclick import Refined
from emclick.networks.focalclick import crop as torch_crop
from emclick.prediction import PackedMask, sigmoid
from emclick.runtimes.network import NetworkRuntime
from helpers import blob, picture

SPEC = FocalClickSpec("mobilenet_v2")


def bumps(points: Tensor, sides: Tensor, size: int, reach: float = 8.0) -> Tensor:
    """(B, 1, size, size): a bump on each click, of its sign, a little larger the later it came."""
    at = torch.arange(size, dtype=torch.float32)
    squared = (at - points[..., :1])[..., :, None] ** 2 + (at - points[..., 1:])[..., None, :] ** 2
    order = 1 + 0.1 * torch.arange(1, sides.shape[1] + 1)
    return ((sides * order)[..., None, None] * torch.exp(-squared / reach**2)).sum(1, keepdim=True)


class FakeNetwork(nn.Module):
    """Answers with bumps on the clicks, the mask before, and the image."""

    def coarse(self, image: Tensor, previous: Tensor, points: Tensor, sides: Tensor) -> BaseOutput:
        assert image.shape[-2:] == previous.shape[-2:]
        full = 6 * bumps(points, sides, image.shape[-1]) + 4 * previous + image.mean(1, keepdim=True) - 2.5
        logits = F.avg_pool2d(full, 4)
        return BaseOutput(logits.tanh(), logits, None)

    def refine(
        self, image: Tensor, points: Tensor, sides: Tensor, features: Tensor, coarse_logits: Tensor, boxes: Tensor
    ) -> Refined:  # fmt: skip
        size = image.shape[-1]
        coarse = torch_crop(F.interpolate(coarse_logits, size=(size, size)), boxes, (size, size))
        seen = torch_crop(features, boxes, (size // 2, size // 2))
        detail = 5 * F.avg_pool2d(bumps(points, sides, size) + image[:, :1], 2) + 2 * seen - 3
        return Refined(detail, F.avg_pool2d(image[:, 1:2] * 2 - 1, 2), coarse)


class Recording(NetworkRuntime):
    """Notes what the networks were given."""

    def __init__(self) -> None:
        super().__init__(FakeNetwork())
        self.calls: list[tuple[str, tuple]] = []

    def call(self, function, *arrays):
        assert self.lock.locked()
        self.calls.append((function.__name__, arrays))
        return super().call(function, *arrays)


def make(runtime: NetworkRuntime | None = None, short_side: int = 32, **options) -> FocalClickMethod:
    return FocalClickMethod.over(
        runtime or NetworkRuntime(FakeNetwork()), SPEC, Options(short_side, **options)
    )


class TestContract(MethodContract):
    @pytest.fixture
    def make_method(self):
        return make


def test_the_table_has_it():
    assert METHODS["focalclick"] is FocalClickMethod


def test_each_click_runs_both_networks_on_squares():
    runtime = Recording()
    TestContract.run(make(runtime, short_side=45))
    assert [name for name, _ in runtime.calls] == ["coarse", "refine"] * len(CLICKS)
    for _, arrays in runtime.calls:
        assert arrays[0].shape == (1, 3, 40, 40)  # a multiple of 8
        assert all(each.dtype == np.float32 for each in arrays if isinstance(each, np.ndarray))


def test_the_coarse_segmentor_sees_the_mask_before_and_all_clicks():
    runtime = Recording()
    method = make(runtime)
    states = TestContract.run(method)
    for number in range(len(CLICKS)):
        image, previous, points, sides = runtime.calls[2 * number][1]
        view = View((40, 56), (32, 32))
        assert same(image[0], view.image_to_frame(picture()))
        before = method.predict(states[number]).probability
        assert same(previous[0, 0], resize_bilinear(before, (32, 32)))
        shown = CLICKS[: number + 1]
        expected = [(click.y * 32 / 40, click.x * 32 / 56) for click in shown]
        np.testing.assert_allclose(points[0], np.array(expected, np.float32))
        assert sides[0].tolist() == [1 if click.positive else -1 for click in shown]


def test_zoom_in_is_the_target_crop_from_the_second_click_on():
    runtime = Recording()
    method = make(runtime, zoom_in=True)
    image = picture(120, 120)
    state = method.start(method.open(image))
    state, first = method.step(state, Click(60, 50))
    ground = state.picture.ground
    assert isinstance(ground, Look)
    assert ground.view.box is None
    rows, columns = np.nonzero(first.probability > 0.49)
    state, _ = method.step(state, Click(62, 52))
    ground = state.picture.ground
    assert isinstance(ground, Look)
    assert ground.view.box is not None
    top, left, bottom, right = ground.view.box
    assert top <= min(rows.min(), 52)
    assert bottom > max(rows.max(), 52)
    assert bottom - top == pytest.approx(1.4 * (rows.max() - rows.min() + 1), abs=2)
    assert right - left == pytest.approx(1.4 * (columns.max() - columns.min() + 1), abs=2)
    points = runtime.calls[2][1][2][0]
    np.testing.assert_allclose(
        points[1], [(52 - top) * 32 / (bottom - top), (62 - left) * 32 / (right - left)]
    )
    assert same(runtime.calls[2][1][0][0], ground.view.image_to_frame(image))
    assert (method.predict(state).probability[:top] == 0).all()


def test_flip_averages_the_coarse_mask_alone():
    runtime = Recording()
    method = make(runtime, flip=True)
    state = TestContract.run(method, CLICKS[:2])[-1]
    image, previous, points, _ = runtime.calls[2][1]
    assert same(image[1], np.ascontiguousarray(image[0, :, :, ::-1]))
    assert same(previous[1], np.ascontiguousarray(previous[0, :, :, ::-1]))
    np.testing.assert_allclose(points[1, :, 1], 31 - points[0, :, 1])
    look = state.picture.ground
    assert isinstance(look, Look)
    assert look.logits.shape == (2, 8, 8)
    assert not same(look.logits[0], look.logits[1].copy())
    np.testing.assert_allclose(
        coarse_prob(look.view, look.logits), sigmoid(resize_bilinear(look.logits.mean(0), (32, 32)))
    )
    assert runtime.calls[3][1][0].shape == (1, 3, 32, 32)
    assert same(runtime.calls[3][1][4].numpy()[0, 0], look.logits[0])


def test_the_refined_crop_lies_on_the_coarse_mask():
    method = make()
    state = TestContract.run(method, CLICKS[:3])[-1]
    look = state.picture.looks[-1]
    assert state.picture.ground is look
    probability = method.predict(state).probability
    expected = look.view.probability_to_image(coarse_prob(look.view, look.logits))
    expected[look.focus.top : look.focus.bottom, look.focus.left : look.focus.right] = sigmoid(
        resize_bilinear(look.refined_logits(), look.focus.hw)
    )
    assert same(probability, expected)


def test_after_ten_clicks_only_the_focus_crop_changes():
    method = make(short_side=64)
    state = method.start(method.open(picture(120, 120)))
    kept, outside_px = [], []
    for number in range(COARSE_CLICKS + 3):
        before = method.predict(state).probability
        state, now = method.step(
            state, Click(30 + 17 * (number % 4), 30 + 13 * (number % 5), number % 3 != 1)
        )
        outside = np.ones(before.shape, bool)
        state.picture.looks[-1].focus.of(outside)[...] = False
        kept.append(same(now.probability[outside], before[outside]))
        outside_px.append(outside.sum())
        assert (state.picture.ground is state.picture.looks[-1]) == (number < COARSE_CLICKS)
    assert all(kept[COARSE_CLICKS:])
    assert max(outside_px[COARSE_CLICKS:]) > 0
    assert not any(same for same, px in zip(kept[:COARSE_CLICKS], outside_px) if px)


def test_a_crop_that_covers_others_replaces_them():
    view, zeros = View((40, 56), (32, 32)), np.zeros((16, 16), np.float32)
    small, large = (
        Look(view, np.zeros((1, 8, 8), np.float32), box, PackedLogits.pack(zeros, zeros))
        for box in (Box(5, 5, 10, 10), Box(5, 4, 12, 10))
    )
    pile = Picture((40, 56)).with_focus(small)
    assert pile.with_focus(large).looks == (large,)
    assert pile.with_focus(large).with_focus(small).looks == (large, small)


def test_history_stays_small():
    method = make(short_side=256)
    state = method.start(method.open(picture(1200, 1700)))
    for click in (Click(700, 500), Click(900, 800, False)):
        state = method.compact(method.step(state, click)[0])
    look = state.picture.looks[-1]
    assert state.painted is None
    assert look.logits.nbytes + look.refined.nbytes < 100_000


def test_packed_logits_keep_probabilities():
    values = (8 * np.random.default_rng(0).standard_normal((2, 30, 31))).astype(np.float32)
    packed = PackedLogits.pack(*values)
    assert np.abs(packed.unpack() - values).max() < 7e-5
    assert np.abs(sigmoid(packed.unpack()) - sigmoid(values)).max() < 2e-5
    assert packed.nbytes == 5 * values[0].size
    again = PackedLogits.pack(*packed.unpack())
    assert same(again.low, packed.low)
    assert same(again.high, packed.high)
    far = PackedLogits.pack(values[0] * np.float32(1e9), values[1] * np.float32(np.inf))
    assert same(np.sign(far.unpack()), np.sign(values))


def test_a_failing_network_leaves_no_trace():
    class Failing(Recording):
        fails = False

        def call(self, function, *arrays):
            if self.fails and function.__name__ == "refine":
                raise RuntimeError("the network failed")
            return super().call(function, *arrays)

    runtime = Failing()
    method = make(runtime)
    state = TestContract.run(method, CLICKS[:1])[-1]
    runtime.fails = True
    with pytest.raises(RuntimeError):
        method.step(state, CLICKS[1])
    runtime.fails = False
    assert same(
        method.step(state, CLICKS[1])[1].probability,
        make().predict(TestContract.run(make(), CLICKS[:2])[-1]).probability,
    )


# Merging


def test_a_given_mask_is_corrected_part_by_part():
    """As released, whatever the option says: other changes of the networks are left out."""
    method = make()
    opened = method.open(picture())
    state, prediction = method.step(method.start(opened, blob()), Click(45, 33))
    predicted = method.predict(replace(state, given=None)).mask
    region = region_at(predicted != blob(), (33, 45))
    assert region.any()
    assert same(prediction.mask, blob() | region)
    assert same(prediction.probability > 0.5, prediction.mask)
    assert state.corrects


def test_a_click_that_changes_nothing_leaves_the_mask():
    method = make(progressive_merge=True)
    state = TestContract.run(method, CLICKS[:1])[-1]
    before = method.predict(state).mask
    assert before[12, 20]
    _, prediction = method.step(state, Click(20, 12))
    assert same(prediction.mask, before)


def test_without_the_option_and_a_given_mask_nothing_is_merged():
    assert all(state.given is None for state in TestContract.run(make()))
    assert TestContract.run(make(progressive_merge=True))[-1].given is not None


def test_a_negative_first_click_corrects_a_given_mask():
    method = make()
    state = method.start(method.open(picture()), blob())
    state, prediction = method.step(state, Click(20, 12, False))
    assert not prediction.mask[12, 20]
    assert (prediction.mask <= blob()).all()


# Crops


def area(*boxes: tuple[int, int, int, int], hw: tuple[int, int] = (100, 100)) -> np.ndarray:
    mask = np.zeros(hw, bool)
    for top, left, bottom, right in boxes:
        mask[top:bottom, left:right] = True
    return mask


WHOLE = Box(0, 0, 100, 100)


def test_without_a_mask_before_the_focus_is_round_the_coarse_one():
    # rows 20..39: middle 29.5, 1.4 * 20 = 28, so 15.5..43.5, rounded towards 0
    assert focus_box(area((20, 40, 40, 70)), area(), (30, 50), WHOLE) == Box(15, 33, 43, 75)


def test_the_focus_is_round_the_changed_region_that_was_clicked():
    before, coarse = area((20, 20, 60, 60)), area((20, 20, 60, 60), (60, 25, 95, 60), (90, 90, 99, 99))
    # the region is rows 60..94, columns 25..59; the other was not clicked
    assert focus_box(coarse, before, (70, 40), WHOLE) == Box(52, 17, 100, 66)


def test_a_small_change_is_refined_round_the_click():
    before, coarse = area((20, 20, 80, 80)), area((20, 20, 80, 80), (80, 30, 84, 34))
    # 0.2 * 63 = 12.6 round (82, 32), in all 25.2 + 1, half of that times 1.4: 18.34
    assert focus_box(coarse, before, (82, 32), WHOLE) == Box(63, 13, 100, 50)


def test_a_click_that_changed_nothing_is_refined_round_what_did_not_change():
    before = area((20, 20, 60, 60))
    assert focus_box(before, before, (70, 40), Box(10, 10, 90, 95)) == Box(10, 10, 90, 95)


def test_a_tiny_mask_counts_as_the_whole_image():
    assert focus_box(area((20, 20, 22, 22)), area(), (20, 20), Box(5, 6, 90, 91)) == Box(5, 6, 90, 91)


def test_a_focus_off_the_target_is_the_target():
    before, coarse = area((20, 20, 80, 80)), area((20, 20, 80, 80), (90, 90, 94, 94))
    assert focus_box(coarse, before, (91, 91), Box(0, 0, 40, 40)) == Box(0, 0, 40, 40)


def test_cropping_agrees_with_the_networks():
    random = np.random.default_rng(0)
    frame = random.standard_normal((32, 32)).astype(np.float32)
    shares = focus_shares(View((100, 200), (32, 32), box=Box(10, 20, 90, 180)), Box(20, 60, 90, 100))
    assert shares == (10 / 80, 40 / 160, 1.0, 80 / 160)
    ours = crop(frame, shares, (24, 32))
    theirs = torch_crop(torch.from_numpy(frame)[None, None], torch.tensor([shares]), (24, 32))[0, 0].numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


# What is refused


@pytest.mark.parametrize(("pipeline", "side"), [("s2", 31), ("s1", 63)])
def test_a_frame_too_small_says_what_would_do(pipeline, side):
    spec = FocalClickSpec("hrnet18s", pipeline)
    with pytest.raises(FrameError, match=rf"use one of at least {side + 1}$"):
        FocalClickMethod.over(None, spec, Options(side))
    assert spec.min_cells == ((side + 1) // 4) ** 2


def test_what_is_no_image_or_mask_is_refused():
    method = make()
    with pytest.raises(ImageTypeError):
        method.open(picture().astype(np.float32))
    with pytest.raises(ImageTypeError):
        method.start(method.open(picture()), blob().astype(np.uint8))  # type: ignore[arg-type]
    with pytest.raises(MaskError, match=r"\(56, 40\).*\(40, 56\)"):
        method.start(method.open(picture()), blob(56, 40))


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"base": 3},
        {"base": "x", "pipeline": "s3"},
        {"base": "x", "pipeline": ["s1"]},
        {"base": "x", "more": 1},
    ],
)
def test_a_wrong_specification_is_refused(values):
    with pytest.raises(CheckpointError, match="FocalClick specification"):
        FocalClickSpec.from_dict(values)


def test_a_specification_survives_json():
    for spec in (SPEC, FocalClickSpec("hrnet18s", "s1")):
        assert FocalClickSpec.from_dict(spec.to_dict()) == spec
    radii = {FocalClickSpec(base, "s1").coarse_radius_px for base in ("hrnet18s", "segformer_b0")}
    assert radii == {2, 3}  # as released
    assert SPEC.coarse_radius_px == 5


def test_a_given_mask_is_kept_packed():
    method = make()
    state = method.start(method.open(picture()), blob())
    assert state.picture.ground == PackedMask.pack(blob())
