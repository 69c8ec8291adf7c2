"""The RITM loop against the published one: what reaches the network, which part of the image, flip, masks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from contracts.method_contract import CLICKS, MethodContract, same
from emclick.clicks import Click, disk_maps
from emclick.errors import CheckpointError, ImageTypeError, MaskError, OptionError
from emclick.geometry import Box
from emclick.methods import METHODS
from emclick.methods.base import Options
from emclick.methods.ritm import RitmMethod
from emclick.methods.ritm_spec import RitmSpec
from emclick.methods.roi import RoiRule, choose_roi, fit_at_most, fit_longer
from emclick.runtimes.network import NetworkRuntime
from helpers import blob, floats, picture


class StandIn(nn.Module):
    """Changed by image, previous mask and disks; `seen` is what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[Tensor, Tensor]] = []
        self.fail = False

    def open(self, image: Tensor) -> Tensor:
        return image.clone()

    def answer(self, opened: Tensor, maps: Tensor) -> Tensor:
        if self.fail:
            raise RuntimeError("the network failed")
        self.seen.append((opened.clone(), maps.clone()))
        near = F.avg_pool2d(maps[:, 1:], 13, 1, 6)  # further than the disks
        logits = 3 * maps[:, :1] + 9 * (near[:, :1] - near[:, 1:]) + opened.mean(1, keepdim=True) - 2
        return F.avg_pool2d(logits, 4, ceil_mode=True)


def make(short_side: int = 32, least_px: int = 8, **options: Any) -> RitmMethod:
    method = RitmMethod(NetworkRuntime(StandIn()), Options(short_side, **options))
    method.rule = RoiRule(least_px=least_px)  # the pictures here are smaller than the published 200 px
    return method


def seen(method: RitmMethod) -> list[tuple[Tensor, Tensor]]:
    return method.runtime.network.seen


class TestContract(MethodContract):
    @pytest.fixture
    def make_method(self):
        return make

    @pytest.fixture(
        params=[{}, {"flip": True}, {"zoom_in": True}, {"zoom_in": True, "flip": True, "threshold": 0.4}],
        ids=["plain", "flip", "zoom", "all"],
    )
    def method(self, make_method, request):
        return make_method(**request.param)


def test_the_table_has_it_and_it_needs_torch():
    assert METHODS["ritm"] is RitmMethod
    assert RitmMethod.runtimes == ("torch",)


def test_the_first_click_shows_the_whole_image_at_its_own_size():
    method = make(zoom_in=True)
    TestContract.run(method, CLICKS[:1])
    image, maps = seen(method)[0]
    assert torch.equal(image[0], torch.from_numpy(picture()).permute(2, 0, 1).float() / 255)
    assert not maps[0, 0].any()
    assert same(maps[0, 1:].numpy(), disk_maps(floats([[12, 20]]), np.array([True]), (40, 56)))


def test_later_clicks_show_the_part_round_the_object_and_the_mask_before():
    method = make(zoom_in=True)
    states = TestContract.run(method, CLICKS[:3])
    for number in (2, 3):
        before, box = states[number - 1], states[number].box
        assert box is not None
        rows, columns = slice(box.top, box.bottom), slice(box.left, box.right)
        scale = 32 / max(box.hw)
        size = [round(side * scale) for side in box.hw]
        whole = torch.from_numpy(picture()).permute(2, 0, 1)[None].float() / 255
        previous = torch.from_numpy(method.predict(before).probability.copy())[None, None]
        whole = torch.cat([whole, previous], 1)
        part = F.interpolate(whole[..., rows, columns], size, mode="bilinear", align_corners=True)
        image, maps = seen(method)[number - 1]
        torch.testing.assert_close(image, part[:, :3], rtol=0, atol=1e-6)
        torch.testing.assert_close(maps[:, :1], part[:, 3:], rtol=0, atol=1e-6)
        clicks = CLICKS[:number]
        points = [
            ((each.y - box.top) * size[0] / box.hw[0], (each.x - box.left) * size[1] / box.hw[1])
            for each in clicks
        ]
        disks = disk_maps(floats(points), np.array([each.positive for each in clicks]), (size[0], size[1]))
        assert same(maps[0, 1:].numpy(), disks)


def test_without_zoom_in_every_click_shows_the_whole_image():
    method = make()
    states = TestContract.run(method)
    assert all(each.box is None for each in states)
    assert {tuple(image.shape) for image, _ in seen(method)} == {(1, 3, 40, 56)}


def test_the_probability_off_the_part_is_zero():
    method = make(zoom_in=True)
    state = TestContract.run(method, CLICKS[:2])[-1]
    off = np.ones((40, 56), bool)
    state.box.of(off)[...] = False
    assert off.any()
    assert not method.predict(state).probability[off].any()


def test_flip_is_the_mean_of_both_frames_logits():
    method = make(flip=True)
    state = TestContract.run(method, CLICKS[:1])[-1]
    image, maps = seen(method)[0]
    torch.testing.assert_close(image[1], image[0].flip(2), rtol=0, atol=0)
    torch.testing.assert_close(maps[1], maps[0].flip(2), rtol=0, atol=0)
    logits = StandIn().answer(image, maps)
    frames = F.interpolate(logits, (40, 56), mode="bilinear", align_corners=True)
    expected = torch.sigmoid(0.5 * (frames[0, 0] + frames[1, 0].flip(1)))
    np.testing.assert_allclose(method.predict(state).probability, expected, atol=1e-6)


def test_a_given_mask_is_the_previous_mask_and_the_first_click_still_sees_the_whole_image():
    method = make(zoom_in=True)
    method.step(method.start(method.open(picture()), blob()), Click(3, 3, False))
    _, maps = seen(method)[0]
    assert same(maps[0, 0].numpy(), blob().astype(np.float32))


def test_an_empty_mask_leads_back_to_the_whole_image():
    method = make(zoom_in=True)
    state = method.set_mask(TestContract.run(method, CLICKS[:3])[-1], np.zeros((40, 56), bool))
    assert method.step(state, CLICKS[3])[0].box is None


def test_the_object_is_found_at_one_half_whatever_the_threshold():
    low, high = make(zoom_in=True, threshold=0.2), make(zoom_in=True, threshold=0.8)
    for one, other in zip(TestContract.run(low), TestContract.run(high)):
        assert one.extent == other.extent
    assert (
        low.predict(TestContract.run(low)[-1]).mask.sum()
        > high.predict(TestContract.run(high)[-1]).mask.sum()
    )


IMAGE = (300, 400)
OBJECT = Box(100, 100, 200, 150)  # 100 x 50
# worked by hand: height 1.4 * 100 = 140 but at least 200; rows centre 149.5: 49.5 and 249.5, rounded half to even;
# columns centre 124.5, at least 200: 24.5 -> 24, 224.5 -> 224
PART = Box(50, 24, 251, 225)
ROIS = {
    "first click": (None, OBJECT, [Click(120, 150)], None),
    "no mask": (PART, None, [Click(120, 150)] * 2, None),
    "second click": (None, OBJECT, [Click(120, 150), Click(10, 10, False)], PART),
    # rows 100 to 299: 200 * 1.4 = 280 about 199.5: 59.5 -> 60, 339.5 -> beyond the image
    "a positive click off the object": (
        None,
        OBJECT,
        [Click(120, 150), Click(120, 299)],
        Box(60, 24, 300, 225),
    ),
    "kept": (Box(40, 30, 240, 230), OBJECT, [Click(120, 150), Click(399, 0, False)], Box(40, 30, 240, 230)),
    "a positive click in the last row": (
        Box(40, 30, 152, 230),
        OBJECT,
        [Click(120, 150), Click(120, 151)],
        PART,
    ),
    # overlap of rows and columns 201 of 280 each: 0.515, kept; 201 of 290 times 201 of 280: 0.497, not
    "hardly moved": (Box(10, 0, 290, 280), OBJECT, [Click(120, 150)] * 2, Box(10, 0, 290, 280)),
    "moved": (Box(0, 0, 290, 280), OBJECT, [Click(120, 150)] * 2, PART),
}


@pytest.mark.parametrize("case", ROIS)
def test_the_part_is_chosen_as_published(case):
    present, mask, clicks, expected = ROIS[case]
    assert choose_roi(present, mask, clicks, IMAGE, RoiRule()) == expected


def test_frames_keep_the_images_proportions():
    assert fit_longer(IMAGE, 400, PART).frame_hw == (400, 400)
    assert fit_longer(IMAGE, 400, Box(0, 0, 300, 225)).frame_hw == (400, 300)
    assert fit_longer((1, 9000), 400).frame_hw == (1, 400)
    assert fit_at_most((479, 641), 800).frame_hw == (479, 641)
    assert fit_at_most((1200, 1600), 800).frame_hw == (600, 800)


def test_a_failing_network_leaves_no_trace():
    method = make(zoom_in=True)
    state = TestContract.run(method, CLICKS[:2])[-1]
    expected = method.step(state, CLICKS[2])[1].probability
    method.runtime.network.fail = True
    with pytest.raises(RuntimeError, match="failed"):
        method.step(state, CLICKS[2])
    method.runtime.network.fail = False
    assert same(method.step(state, CLICKS[2])[1].probability, expected)


def test_a_click_costs_little_history_on_a_large_image():
    method = make(400, 200, zoom_in=True)
    states = [method.start(method.open(picture(1224, 1632)))]
    for click in (Click(800, 600), Click(700, 500), Click(10, 10, False)):
        states.append(method.step(states[-1], click)[0])
    assert states[1].logits.nbytes == 150 * 200 * 4  # all of the image, 800 x 600
    assert all(each.logits.nbytes <= 100 * 100 * 4 for each in states[2:])


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (200, 3), (37, 53)])
def test_any_size_of_image(size):
    method = make(zoom_in=True)
    state = method.start(method.open(picture(*size)))
    for click in (Click(0, 0), Click(size[1] - 1, size[0] - 1, False), Click(0.4, 0.4)):
        state, prediction = method.step(state, click)
        assert prediction.mask.shape == size


def test_what_it_cannot_do_is_refused_in_one_line():
    with pytest.raises(OptionError, match="ritm has no progressive merge"):
        make(progressive_merge=True)
    with pytest.raises(ImageTypeError):
        make().open(picture().astype(np.float32))  # type: ignore[arg-type]
    with pytest.raises(ImageTypeError):
        make().start(make().open(picture()), blob().astype(np.uint8))  # type: ignore[arg-type]
    with pytest.raises(MaskError):
        make().start(make().open(picture()), blob(41, 56))


@pytest.mark.parametrize("values", [{}, {"base": 3}, {"base": "hrnet18s", "correction": {}}, ["base"]])
def test_a_specification_of_another_kind_is_refused(values):
    assert RitmSpec.from_dict(RitmSpec("hrnet18s").to_dict()) == RitmSpec("hrnet18s")
    with pytest.raises(CheckpointError, match="RITM"):
        RitmSpec.from_dict(values)
