"""The EMC loop against METHOD: what reaches the networks at each click, flip, masks, merging."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from contracts.method_contract import CLICKS, MethodContract, same
from emclick.clicks import Click, disk_maps, distance_maps
from emclick.errors import ClickError, FrameError, ImageTypeError, MaskError, OptionError
from emclick.geometry import View, resize_bilinear
from emclick.methods import METHODS
from emclick.methods.base import Options
from emclick.methods.emc import MASK_LOGIT, SURE_LOGIT, EmcMethod, merge
from emclick.prediction import sigmoid
from helpers import FakeRuntime, blob, cells, floats, picture


def make(runtime=None, templates=8, short_side=32, **options):
    return EmcMethod(runtime or FakeRuntime(), templates, Options(short_side, **options))


class TestContract(MethodContract):
    @pytest.fixture
    def make_method(self):
        return make


@pytest.fixture
def runtime():
    return FakeRuntime()


VIEW = View.fit((40, 56), 32)


def test_the_table_has_it():
    assert METHODS["emc"] is EmcMethod


def test_the_first_click_runs_both_networks_and_later_ones_only_the_corrector(runtime):
    method = make(runtime)
    TestContract.run(method)
    assert runtime.names() == ["open", "first", *["correct"] * 5]


def test_the_base_network_sees_the_disk_of_the_first_click(runtime):
    method = make(runtime)
    TestContract.run(method)
    row, column = VIEW.to_frame(20.0, 12.0)
    expected = disk_maps(floats([[row, column]]), np.array([True]), VIEW.frame_hw)
    assert same(runtime.calls[1][1], expected[None, :1])


def test_the_corrector_gets_all_clicks_and_the_logits_before(runtime):
    method = make(runtime)
    states = TestContract.run(method)
    _, coarse = FakeRuntime().first(runtime.calls[0][1], runtime.calls[1][1])
    assert same(runtime.calls[2][1].previous_logits, coarse)
    for number, (_, inputs) in enumerate(runtime.calls[2:], start=1):
        clicks = CLICKS[:number]
        points = floats([VIEW.to_frame(click.x, click.y) for click in clicks])
        polarity = np.array([click.positive for click in clicks])
        assert same(inputs.points, points[None])
        assert same(inputs.positive, polarity)
        assert same(inputs.disks, cells(disk_maps(points, polarity, VIEW.frame_hw))[None])
        assert same(inputs.distances, distance_maps(points, polarity, VIEW.frame_hw)[None])
        if number > 1:
            assert same(inputs.previous_logits, states[number - 1].logits)


def test_logits_become_probabilities_in_the_published_order(runtime):
    method = make(runtime)
    state = TestContract.run(method, CLICKS[:2])[-1]
    frame = resize_bilinear(state.logits[0, 0], VIEW.frame_hw)
    expected = resize_bilinear(sigmoid(frame), (40, 56))
    assert same(method.predict(state).probability, expected)
    assert same(method.predict(state).mask, expected > 0.5)


def test_flip_gives_each_half_its_own_clicks_and_its_own_logits(runtime):
    method = make(runtime, flip=True)
    states = TestContract.run(method)
    frames = runtime.calls[0][1]
    assert same(frames[1], np.ascontiguousarray(frames[0, :, :, ::-1]))
    mirrored = View.fit((40, 56), 32).mirror()
    for number, (_, inputs) in enumerate(runtime.calls[2:], start=1):
        clicks = CLICKS[:number]
        points = floats([mirrored.to_frame(click.x, click.y) for click in clicks])
        assert same(inputs.points[1], points)
        polarity = np.array([click.positive for click in clicks])
        assert same(inputs.disks[1], cells(disk_maps(points, polarity, VIEW.frame_hw)))
        if number > 1:
            assert same(inputs.previous_logits, states[number - 1].logits)
    assert not same(states[-1].logits[0, :, :, ::-1].copy(), states[-1].logits[1])


def test_flip_averages_logits_after_turning_the_mirror_back(runtime):
    method = make(runtime, flip=True)
    state = TestContract.run(method, CLICKS[:2])[-1]
    plain, mirror = (resize_bilinear(state.logits[half, 0], VIEW.frame_hw) for half in (0, 1))
    expected = resize_bilinear(sigmoid(floats((plain + mirror[:, ::-1]) / 2)), (40, 56))
    np.testing.assert_allclose(method.predict(state).probability, expected, atol=1e-7)
    wrong = resize_bilinear((sigmoid(plain) + sigmoid(mirror[:, ::-1])) / 2, (40, 56))
    assert np.abs(wrong - expected).max() > 1e-4


def test_an_initial_mask_enters_as_logits_and_the_coarse_ones_do_not_replace_it(runtime):
    method = make(runtime)
    state = method.start(method.open(picture()), blob())
    method.step(state, Click(20, 12))
    grid = VIEW.mask_to_grid(blob())
    assert same(runtime.calls[-1][1].previous_logits, np.float32(MASK_LOGIT) * (2 * grid - 1)[None, None])
    assert grid.max() == 1
    assert grid.min() == 0


def test_with_a_mask_a_negative_click_may_come_first_and_the_base_network_reads_an_empty_map(runtime):
    method = make(runtime)
    state = method.start(method.open(picture()), blob())
    state, _ = method.step(state, Click(20, 12, False))
    assert runtime.calls[1][0] == "first"
    assert not runtime.calls[1][1].any()
    state, _ = method.step(state, Click(50, 30, False))
    assert runtime.names().count("first") == 1
    state, _ = method.step(state, Click(30, 20))
    assert runtime.names().count("first") == 2
    row, column = VIEW.to_frame(30.0, 20.0)
    disk = disk_maps(floats([[row, column]]), np.array([True]), VIEW.frame_hw)[None, :1]
    assert same([what for name, what in runtime.calls if name == "first"][-1], disk)
    method.step(state, Click(10, 10))
    assert runtime.names().count("first") == 2


def test_an_empty_mask_is_a_mask(runtime):
    method = make(runtime)
    state = method.start(method.open(picture()), np.zeros((40, 56), np.bool_))
    method.step(state, Click(20, 12, False))
    assert (runtime.calls[-1][1].previous_logits == -MASK_LOGIT).all()


def test_flip_mirrors_the_initial_mask(runtime):
    method = make(runtime, flip=True)
    method.step(method.start(method.open(picture()), blob()), Click(20, 12))
    previous = runtime.calls[-1][1].previous_logits
    assert same(previous[1], np.ascontiguousarray(previous[0][..., ::-1]))
    assert not same(previous[1], previous[0])


def test_a_brushed_mask_replaces_the_logits_until_the_next_click(runtime):
    method = make(runtime)
    state = method.set_mask(TestContract.run(method, CLICKS[:2])[-1], blob())
    state, _ = method.step(state, CLICKS[2])
    grid = VIEW.mask_to_grid(blob())
    assert same(runtime.calls[-1][1].previous_logits, np.float32(MASK_LOGIT) * (2 * grid - 1)[None, None])
    assert len(runtime.calls[-1][1].positive) == 3
    method.step(state, CLICKS[3])
    assert same(runtime.calls[-1][1].previous_logits, state.logits)


def test_features_are_forgotten_in_time_and_come_back_the_same(runtime):
    method = make(runtime)
    opened = method.open(picture())
    start = method.start(opened)
    state, _ = method.step(start, CLICKS[0])
    before = method.step(state, CLICKS[1])[1].probability
    for x in range(6):
        method.step(start, Click(x, 5))
    assert len(opened.whole.firsts) <= 2
    count = runtime.names().count("first")
    assert same(method.step(state, CLICKS[1])[1].probability, before)
    assert runtime.names().count("first") == count + 1


def test_a_failing_network_leaves_no_trace(runtime):
    method = make(runtime)
    state = method.start(method.open(picture()))
    for at in (2, 4):  # the base network, then the corrector
        runtime.fail_at = at
        with pytest.raises(RuntimeError):
            method.step(state, CLICKS[0])
    runtime.fail_at = -1
    fresh = TestContract.run(make(), CLICKS[:1])[-1]
    assert same(method.step(state, CLICKS[0])[0].logits, fresh.logits)


def test_the_runtimes_buffer_is_not_kept(runtime):
    buffer = np.zeros((1, 1, 8, 11), np.float32)

    class Reusing(FakeRuntime):
        def correct(self, image, features, inputs):
            buffer[:] = super().correct(image, features, inputs)
            return buffer

    states = TestContract.run(make(Reusing()))
    expected = TestContract.run(make())
    assert all(same(a.logits, b.logits) for a, b in zip(states[1:], expected[1:]))


@pytest.mark.parametrize(("short_side", "cells"), [(8, 4), (12, 9)])
def test_a_frame_too_small_for_the_templates_says_what_would_do(short_side, cells):
    with pytest.raises(FrameError, match=rf"{cells} cells.*selects 16.*short side of at least 16$"):
        make(templates=16, short_side=short_side).open(picture(30, 30))
    assert make(templates=16, short_side=16).open(picture(30, 30)).whole.views[0].grid_hw == (4, 4)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"short_side": 3}, FrameError),
        ({"short_side": 5000}, FrameError),
        ({"short_side": 32.0}, FrameError),
        ({"short_side": True}, FrameError),
        ({"short_side": None}, FrameError),
        ({"flip": 1}, OptionError),
        ({"flip": "no"}, OptionError),
        ({"progressive_merge": None}, OptionError),
        ({"threshold": 0}, OptionError),
        ({"threshold": 1}, OptionError),
        ({"threshold": 1e-60}, OptionError),
        ({"threshold": float("nan")}, OptionError),
        ({"threshold": "0.5"}, OptionError),
        ({"threshold": True}, OptionError),
    ],
)
def test_options_are_checked(options, error):
    with pytest.raises(error):
        Options(**{"short_side": 32, **options})


def test_numpy_options_are_taken():
    values: list[Any] = [np.int64(32), np.True_, np.float32(0.25), np.False_]
    options = Options(*values)
    assert options == Options(32, True, 0.25, False)
    assert type(options.short_side) is int
    assert type(options.threshold) is float


@pytest.mark.parametrize("templates", [0, -1, 1.5, True])
def test_templates_are_checked(templates):
    with pytest.raises(OptionError):
        make(templates=templates)


@pytest.mark.parametrize("image", [picture().astype(np.float32), picture()[..., 0], "x", picture()[..., :2]])
def test_open_takes_rgb_bytes_only(image):
    with pytest.raises(ImageTypeError):
        make().open(image)


@pytest.mark.parametrize("mask", [blob().astype(np.uint8), blob().tolist(), None])
def test_a_mask_is_bool(mask):
    method = make()
    with pytest.raises(ImageTypeError):
        method.set_mask(method.start(method.open(picture())), mask)


def test_a_threshold_moves_the_mask():
    masks = []
    for threshold in (0.2, 0.5, 0.8):
        method = make(threshold=threshold)
        prediction = method.predict(TestContract.run(method, CLICKS[:3])[-1])
        assert same(prediction.mask, prediction.probability > np.float32(threshold))
        masks.append(prediction.mask)
    assert (masks[0] >= masks[1]).all()
    assert (masks[1] >= masks[2]).all()
    assert masks[0].sum() > masks[1].sum() > masks[2].sum()


# Progressive merge


def masks_from(*rows: str) -> np.ndarray:
    return np.array([[cell == "#" for cell in row] for row in rows])


def test_merge_changes_only_the_part_that_was_clicked():
    previous = masks_from("##....", "##....", "......")
    predicted = masks_from("##..##", "###.##", "...#..")
    #  differences: (1,2) touches (2,3) by its corner, and that touches (1,4): one part of 8 neighbours
    assert same(merge(previous, predicted, (0, 5)), predicted)
    predicted = masks_from("##..##", "###.##", "......")
    assert same(merge(previous, predicted, (0, 5)), masks_from("##..##", "##..##", "......"))
    assert same(merge(previous, predicted, (1, 2)), masks_from("##....", "###...", "......"))


def test_merge_removes_only_the_part_that_was_clicked():
    previous = masks_from("##..##", "##..##")
    predicted = masks_from("......", "......")
    assert same(merge(previous, predicted, (0, 4)), masks_from("##....", "##...."))


def test_merge_never_turns_the_image_round_where_the_pixel_did_not_change():
    previous = masks_from("##....", "##....")
    predicted = masks_from("##..##", "......")
    for pixel in ((0, 0), (1, 3)):  # foreground in both, background in both
        assert same(merge(previous, predicted, pixel), previous)
    assert previous.sum() == 4


class Painted(FakeRuntime):
    """A corrector that answers with given logits on the grid, one after the other."""

    def __init__(self, *answers: np.ndarray) -> None:
        super().__init__()
        self.answers = list(answers)

    def correct(self, image, features, inputs):
        super().correct(image, features, inputs)
        return np.broadcast_to(self.answers.pop(0), inputs.previous_logits.shape).astype(np.float32)


def grid(*places: tuple[slice, slice], level: float = 4.0) -> np.ndarray:
    logits = np.full((16, 16), -level, np.float32)
    for place in places:
        logits[place] = level
    return logits


LEFT, RIGHT = (slice(2, 8), slice(1, 6)), (slice(4, 12), slice(10, 15))


def painted(*answers, **options):
    runtime = Painted(*answers)
    method = make(runtime, short_side=64, progressive_merge=True, **options)
    return runtime, method, method.start(method.open(picture(64, 64)))


def test_merging_overrides_the_network_away_from_the_click():
    runtime, method, state = painted(grid(LEFT), grid(LEFT, RIGHT), grid(LEFT, RIGHT))
    state, first = method.step(state, Click(14, 20))
    assert first.mask[20, 14]
    assert not first.mask[32, 50]
    # a click near the left part; the network adds the right part, which was not asked for
    state, second = method.step(state, Click(40, 3, False))
    assert same(second.mask, first.mask)
    assert same(second.probability > 0.5, second.mask)
    assert second.probability[32, 50] == 0
    # next the previous mask is without the right part, and as the network said elsewhere
    state, third = method.step(state, Click(50, 32))
    previous = runtime.calls[-1][1].previous_logits[0, 0]
    assert (previous[5:11, 11:14] == -SURE_LOGIT).all()
    assert (previous[3:7, 2:5] == 4).all()
    assert (previous[13:, :] == -4).all()
    assert third.mask[32, 50]
    assert third.mask[20, 14]


def test_merging_keeps_what_the_network_dropped():
    runtime, method, state = painted(grid(LEFT, RIGHT), grid(RIGHT), grid(RIGHT))
    state, first = method.step(state, Click(14, 20))
    state, second = method.step(state, Click(50, 32))  # foreground before and after: nothing changes
    assert same(second.mask, first.mask)
    assert (second.probability[14:24, 10:16] == 1).all()
    method.step(state, Click(50, 32))
    assert (runtime.calls[-1][1].previous_logits[0, 0, 3:7, 2:5] == SURE_LOGIT).all()


def test_merging_with_flip_forces_the_mirror_in_its_own_frame():
    runtime, method, state = painted(
        np.stack([grid(LEFT)[None], grid(LEFT)[None, :, ::-1]]),
        np.stack([grid(LEFT, RIGHT)[None], grid(LEFT, RIGHT)[None, :, ::-1]]),
        np.stack([grid(LEFT)[None], grid(LEFT)[None, :, ::-1]]),
        flip=True,
    )
    state, _ = method.step(state, Click(14, 20))
    state, _ = method.step(state, Click(40, 3, False))
    method.step(state, Click(14, 20))
    plain, mirror = runtime.calls[-1][1].previous_logits[:, 0]
    assert (plain[5:11, 11:14] == -SURE_LOGIT).all()
    np.testing.assert_array_equal(mirror, plain[:, ::-1])


def test_merging_starts_from_an_initial_mask():
    runtime = Painted(grid(LEFT, RIGHT))
    method = make(runtime, short_side=64, progressive_merge=True)
    mask = np.zeros((64, 64), np.bool_)
    mask[50:60, 5:30] = True
    state = method.start(method.open(picture(64, 64)), mask)
    _, prediction = method.step(state, Click(14, 20))
    assert prediction.mask[50:60, 5:30].all()  # kept, though the network dropped it
    assert prediction.mask[20, 14]
    assert not prediction.mask[32, 50]


def test_merging_with_nothing_before_takes_the_network_as_it_is():
    _, method, state = painted(grid(LEFT, RIGHT))
    _, prediction = method.step(state, Click(2, 60))
    assert prediction.mask[20, 14]
    assert prediction.mask[32, 50]


def test_merging_keeps_to_the_threshold():
    # +1 is p = 0.73: foreground at 0.5, background at 0.8; its logits agree with the mask and stay
    faint = grid(LEFT) + np.where(grid(RIGHT) > 0, np.float32(5), np.float32(0))
    runtime, method, state = painted(grid(LEFT), faint, grid(LEFT), threshold=0.8)
    state, first = method.step(state, Click(14, 20))
    state, second = method.step(state, Click(50, 32))
    assert same(first.mask, second.mask)
    method.step(state, Click(14, 20))
    assert (runtime.calls[-1][1].previous_logits[0, 0][5:11, 11:14] == 1).all()


def test_errors_name_what_is_wrong():
    method = make()
    opened = method.open(picture())
    with pytest.raises(MaskError, match=r"\(56, 40\).*\(40, 56\)"):
        method.start(opened, blob(56, 40))
    with pytest.raises(ClickError, match="first click must be positive"):
        method.step(method.start(opened), Click(1, 1, False))
