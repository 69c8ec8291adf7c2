"""Zoom-in: where it looks, what it carries over, and what a step then gives to the networks."""

from __future__ import annotations

import time
import weakref
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.method_contract import same
from emclick.clicks import Click, disk_maps
from emclick.geometry import Box, View, resize_bilinear
from emclick.methods.base import Options
from emclick.methods.emc import READY_AFTER_S, SURE_LOGIT, EmcMethod
from emclick.methods.zoom import (
    FINE_FROM,
    WORTHWHILE,
    Look,
    carry_logits,
    choose_box,
    frame_side,
    mask_box,
    shown_box,
)
from emclick.session import Session
from helpers import FakeModel, FakeRuntime, floats, picture

IMAGE_HW = (300, 400)
OBJECT = Box(100, 200, 140, 260)


def choose(present=None, mask: Box | None = OBJECT, clicks=(), click=None, image_hw=IMAGE_HW, short_side=64):
    return choose_box(present, mask, clicks, click, image_hw, short_side)


# --- where it looks --------------------------------------------------------------------------------------


def test_the_part_is_the_object_and_its_surroundings():
    box = choose()
    assert box == Box(88, 182, 152, 278)  # 1.6 times 40x60, round the same middle
    assert choose(mask=None) is None


def test_the_part_stays_inside_the_image():
    assert choose(mask=Box(0, 0, 40, 60)) == Box(0, 0, 64, 96)
    assert choose(mask=Box(260, 340, 300, 400)) == Box(236, 304, 300, 400)


def test_a_large_object_is_not_worth_a_part():
    assert choose(mask=Box(20, 20, 280, 380)) is None
    assert choose(mask=Box(20, 20, 150, 380)) is not None


def test_a_thin_object_gets_a_part_of_at_most_twice_its_width():
    height, width = choose(mask=Box(10, 200, 110, 204)).hw
    assert height == 160
    assert width == 80


def test_a_tiny_object_is_enlarged_fourfold_at_most():
    assert choose(mask=Box(100, 100, 102, 102)).hw == (16, 16)


def test_aspects_are_few():
    found = set()
    for side in range(20, 60):
        height, width = View.fit(IMAGE_HW, 64, choose(mask=Box(100, 200, 130, 200 + side))).frame_hw
        found.add((height, width))
    assert found <= {
        (64, 64),
        (64, 80),
        (64, 96),
        (64, 112),
        (64, 128),
        (80, 64),
        (96, 64),
        (112, 64),
        (128, 64),
    }
    assert len(found) >= 4


def test_positive_clicks_are_part_of_the_object():
    far = Click(100, 120)
    assert choose(clicks=[far]).covers(Box(120, 100, 121, 101))
    assert choose(click=far).covers(Box(120, 100, 121, 101))
    assert choose(clicks=[Click(10, 10, False)]) == choose()


def test_the_part_holds_the_next_click_whatever_it_is():
    present = choose()
    click = Click(20, 250, False)
    moved = choose(present, click=click)
    assert not present.contains(click.x, click.y)
    assert moved is None or moved.contains(click.x, click.y)


def test_the_part_stays_while_it_fits():
    present = choose()
    assert choose(present, mask=Box(102, 203, 141, 262)) == present
    assert choose(present, mask=Box(102, 203, 141, 262), click=Click(210, 110)) == present
    assert choose(present, mask=Box(100, 200, 200, 330)) != present
    assert choose(present, mask=Box(0, 0, 300, 400)) is None


boxes = st.tuples(*[st.integers(0, 249), st.integers(0, 349), st.integers(1, 50), st.integers(1, 50)]).map(
    lambda b: Box(b[0], b[1], b[0] + b[2], b[1] + b[3])
)
clicks = st.builds(Click, st.floats(-0.5, 399.25, width=32), st.floats(-0.5, 299.25, width=32), st.booleans())


@settings(max_examples=200, deadline=None)
@given(boxes, st.lists(clicks, max_size=4), clicks, st.integers(16, 300))
def test_a_part_lies_in_the_image_and_holds_what_it_must(mask, made, click, short_side):
    box = choose(mask=mask, clicks=made, click=click, short_side=short_side)
    if box is None:
        return
    assert Box(0, 0, *IMAGE_HW).covers(box)
    assert box.covers(mask)
    assert box.contains(click.x, click.y)
    assert all(box.contains(each.x, each.y) for each in made if each.positive)
    assert min(box.hw) <= WORTHWHILE * min(IMAGE_HW)
    assert choose(box, mask, made, click, short_side=short_side) == box


def test_boxes_of_masks():
    mask = np.zeros((20, 30), bool)
    assert mask_box(mask) is None
    mask[4:9, 10:13] = True
    mask.flags.writeable = False
    assert mask_box(mask) == Box(4, 10, 9, 13)
    assert np.array_equal(Box(4, 10, 9, 13).of(mask), np.ones((5, 3), bool))


@pytest.mark.parametrize("box", [None, Box(50, 80, 150, 230)])
def test_the_shown_box_is_the_mask_s_up_to_a_frame_pixel(box):
    view = View.fit(IMAGE_HW, 96, box)
    frame = np.zeros(view.frame_hw, np.float32)
    frame[30:60, 40:70] = 1
    exact = mask_box(view.probability_to_mask(frame, 0.5))
    step = max(1 / each for each in view.scale) + 1
    assert np.abs(np.subtract(exact, shown_box(view, frame > 0.5))).max() <= step
    assert shown_box(view, np.zeros(view.frame_hw, bool)) is None


# --- what it carries over --------------------------------------------------------------------------------


@pytest.mark.parametrize("mirrored", [False, True])
def test_logits_say_the_same_of_the_same_place(mirrored):
    whole, part = View.fit(IMAGE_HW, 96), View.fit(IMAGE_HW, 96, Box(60, 100, 160, 250))
    # a plane over the image is carried exactly, since both grids are linear in image coordinates
    rows, columns = np.linspace(0, 299, whole.grid_hw[0]), np.linspace(0, 399, whole.grid_hw[1])
    plane = floats(rows[:, None] / 100 + columns / 50 - 5)
    rows, columns = np.linspace(60, 159, part.grid_hw[0]), np.linspace(100, 249, part.grid_hw[1])
    expected = rows[:, None] / 100 + columns / 50 - 5
    if mirrored:
        whole, part = whole.mirror(), part.mirror()
        plane, expected = plane[:, ::-1], expected[:, ::-1]
    assert np.allclose(carry_logits(np.ascontiguousarray(plane), whole, part, -9), expected, atol=1e-2)


def test_beyond_the_old_part_there_is_what_was_said():
    part, whole = View.fit(IMAGE_HW, 96, Box(60, 100, 160, 250)), View.fit(IMAGE_HW, 96)
    carried = carry_logits(np.full(part.grid_hw, 5, np.float32), part, whole, -6)
    shown = resize_bilinear(carried, IMAGE_HW)
    assert shown[70:150, 115:235].min() > 4.9
    assert shown[:50] == pytest.approx(-6)
    assert shown[170:] == pytest.approx(-6)


# --- a view of a part ------------------------------------------------------------------------------------


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_view_of_a_part_is_the_view_of_the_part_alone(mirrored):
    image, box = picture(40, 56), Box(8, 10, 32, 50)
    part, alone = View.fit((40, 56), 32, box), View.fit(box.hw, 32)
    if mirrored:
        part, alone = part.mirror(), alone.mirror()
    cut = np.ascontiguousarray(box.of(image))
    assert part.frame_hw == alone.frame_hw
    assert same(part.image_to_frame(image), alone.image_to_frame(cut))
    assert part.to_frame(30.0, 20.0) == alone.to_frame(20.0, 12.0)
    assert part.from_frame(*part.to_frame(30.0, 20.0)) == pytest.approx((30, 20))
    prob = np.random.default_rng(0).random(part.frame_hw, np.float32)
    whole = part.probability_to_image(prob)
    assert same(np.ascontiguousarray(box.of(whole)), alone.probability_to_image(prob))
    assert whole.sum() == pytest.approx(box.of(whole).sum())
    mask = part.probability_to_mask(prob, 0.4)
    assert same(mask, whole > np.float32(0.4))
    assert same(part.mask_to_grid(mask), alone.mask_to_grid(np.ascontiguousarray(box.of(mask))))


# --- a step ----------------------------------------------------------------------------------------------


class OneObject(FakeRuntime):
    """Finds what is bright: the object of `scene`."""

    def correct(self, image, features, inputs):
        self._note("correct", inputs)
        return (20 * image[:, :1, ::4, ::4] - 10).astype(np.float32)


def scene() -> np.ndarray:
    image = np.zeros((120, 200, 3), np.uint8)
    Box(60, 100, 80, 124).of(image)[...] = 255
    return image


def zooming(runtime=None, **options):
    return EmcMethod(runtime or OneObject(), 8, Options(32, zoom_in=True, **options))


def test_the_second_click_looks_at_the_object():
    runtime = OneObject()
    method = zooming(runtime)
    start = method.start(method.open(scene()))
    one, _ = method.step(start, Click(110, 70))
    two, prediction = method.step(one, Click(120, 65))
    assert one.look.box is None
    assert two.look.box is not None
    assert two.look.box.covers(one.extent)
    assert min(two.look.box.hw) < 50
    view = View.fit((120, 200), 32, two.look.box)
    assert runtime.names().count("first") == 2
    last_first = [what for name, what in runtime.calls if name == "first"][-1]
    expected = disk_maps(floats([view.to_frame(110, 70)]), np.array([True]), view.frame_hw)
    assert same(last_first, expected[None, :1])
    inputs = runtime.calls[-1][1]
    carried = carry_logits(one.logits[0, 0], View.fit((120, 200), 32), view, -SURE_LOGIT)
    assert same(inputs.previous_logits[0, 0], carried)
    assert same(inputs.points[0], floats([view.to_frame(110, 70), view.to_frame(120, 65)]))
    # the object is found to a cell of the part's grid, 3.5 pixels, where one of the whole frame is 15
    assert np.abs(np.subtract(mask_box(prediction.mask), (60, 100, 80, 124))).max() <= 4


LATER = [Click(120, 65), Click(102, 78), Click(121, 62), Click(103, 61)]


def sides_of(method: EmcMethod, state, clicks) -> list[int]:
    """The frame's shorter side at each click."""
    sides = []
    for click in clicks:
        state, _ = method.step(state, click)
        sides.append(min(state.look.view((120, 200)).frame_hw))
    return sides


def test_the_fourth_click_looks_closer():
    method = zooming()
    start = method.start(method.open(scene()))
    assert sides_of(method, start, [Click(110, 70), *LATER]) == [32, 32, 32, 48, 48]
    assert [frame_side(FINE_FROM, side) for side in (32, 256, 320, 512)] == [48, 384, 384, 512]


def test_a_given_mask_stands_for_two_clicks():
    method = zooming()
    opened = method.open(scene())
    mask = np.zeros((120, 200), bool)
    mask[58:84, 98:126] = True
    assert sides_of(method, method.start(opened, mask), LATER[:3]) == [32, 48, 48]
    brushed = method.set_mask(method.step(method.start(opened), Click(110, 70))[0], mask)
    assert sides_of(method, method.set_mask(brushed, mask), LATER[:1]) == [48]


def test_getting_ready_runs_the_base_network_for_what_comes_next():
    runtime = OneObject()
    method = zooming(runtime)
    state, _ = method.step(method.start(method.open(scene())), Click(110, 70))
    method.get_ready(state)
    wanted = method.step(state, Click(120, 65))[1].probability
    assert runtime.names().count("first") == 2
    [frame] = state.opened.others.values()
    assert [click.x for click in frame.firsts] == [110]
    method.get_ready(method.step(state, Click(120, 65))[0])  # the same part: nothing to do
    assert len(state.opened.others) == 1
    unprepared = zooming(OneObject())
    other, _ = unprepared.step(unprepared.start(unprepared.open(scene())), Click(110, 70))
    assert same(unprepared.step(other, Click(120, 65))[1].probability, wanted)


class Fusing(OneObject):
    """Notes what it was given that `fuse` had made, and holds it to what the click is made with."""

    fuses = True

    def __init__(self) -> None:
        super().__init__()
        self.made = self.used = 0

    def fuse(self, image, features, maps, previous_logits):
        self.made += 1
        return image, features, maps, previous_logits

    def correct(self, image, features, inputs, fused=None):
        if fused is not None:
            self.used += 1
            given_image, given_features, maps, previous = fused
            assert given_image is image
            assert given_features is features
            assert np.array_equal(previous, inputs.previous_logits)
            for before, after in zip(maps, inputs.maps, strict=True):
                assert after.patches[: after.earlier] == before.patches
        return super().correct(image, features, inputs)


def got_ready(method, state) -> None:
    """Got ready for, and all of it done."""
    method.get_ready(state)
    for work in state.opened.ready.values():
        work.result()


@pytest.mark.parametrize("zoom_in", [True, False])
def test_what_no_click_changes_is_made_behind_the_answer_before(zoom_in):
    runtime, plain = Fusing(), OneObject()
    methods = [EmcMethod(each, 8, Options(32, zoom_in=zoom_in)) for each in (runtime, plain)]
    states = [method.start(method.open(scene())) for method in methods]
    clicks = [Click(110, 70), Click(120, 65), Click(102, 78), Click(121, 62), Click(104, 66)]
    for count, click in enumerate(clicks):
        results = [method.step(state, click) for method, state in zip(methods, states)]
        assert same(*(prediction.probability for _, prediction in results))
        assert runtime.used == count
        states = [state for state, _ in results]
        got_ready(methods[0], states[0])
    again = methods[0].step(states[0], Click(125, 70))[1].probability
    assert same(methods[0].step(states[0], Click(125, 70))[1].probability, again)
    assert (runtime.made, runtime.used) == (5, 6)  # it serves any number of clicks
    methods[0].step(methods[0].start(methods[0].open(scene())), Click(110, 70))
    assert (runtime.made, runtime.used) == (5, 6)  # and no other state


def test_features_that_the_next_click_decides_are_not_fused():
    runtime = Fusing()
    method = EmcMethod(runtime, 8, Options(32))
    mask = np.zeros((120, 200), bool)
    mask[50:90, 90:140] = True
    state = method.start(method.open(scene()), mask)
    got_ready(method, state)
    state, _ = method.step(state, Click(92, 52, False))  # none is positive yet
    got_ready(method, state)
    state, _ = method.step(state, Click(110, 70))
    assert runtime.used == 0
    got_ready(method, state)
    method.step(state, Click(100, 60))
    assert runtime.used == 1


def test_a_click_does_not_wait_for_what_has_not_begun():
    runtime = Fusing()
    method = EmcMethod(runtime, 8, Options(32))
    state, _ = method.step(method.start(method.open(scene())), Click(110, 70))
    method.get_ready(state)
    method.step(state, Click(120, 65))
    assert (runtime.made, runtime.used) == (0, 0)
    got_ready(method, state)
    method.step(state, Click(120, 65))
    assert (runtime.made, runtime.used) == (1, 1)


def test_without_zoom_in_the_frame_stays():
    runtime = OneObject()
    method = EmcMethod(runtime, 8, Options(32))
    state = method.start(method.open(scene()))
    for click in (Click(110, 70), Click(120, 65), Click(102, 78), Click(121, 62)):
        state, _ = method.step(state, click)
        assert state.look == Look(None, 32)
    assert runtime.names().count("first") == 1


def test_clicks_off_the_part_are_kept_but_not_shown_to_the_network():
    runtime = OneObject()
    method = zooming(runtime)
    state = method.start(method.open(scene()))
    far = Click(10, 10, False)
    for click in (Click(110, 70), far, Click(120, 65), Click(103, 62)):
        state, _ = method.step(state, click)
    assert state.look.box is not None
    assert not state.look.box.contains(far.x, far.y)
    assert far in state.clicks
    assert len(runtime.calls[-1][1].positive) == 3


def test_a_click_off_the_part_moves_it_and_it_comes_back():
    method = zooming()
    state = method.start(method.open(scene()))
    state, _ = method.step(method.step(state, Click(110, 70))[0], Click(120, 65))
    part = state.look.box
    state, _ = method.step(state, Click(10, 10, False))
    assert state.look.box is None or state.look.box.contains(10, 10)
    state, _ = method.step(state, Click(121, 66))
    assert state.look.box == part


def test_an_initial_mask_says_where_to_look_at_once():
    method = zooming()
    mask = np.zeros((120, 200), bool)
    mask[58:84, 98:126] = True
    state, _ = method.step(method.start(method.open(scene()), mask), Click(90, 70, False))
    assert state.look.box is not None
    assert state.look.box.covers(mask_box(mask))


def test_a_state_of_a_forgotten_part_goes_on_to_the_same_bits():
    method = zooming()
    state = method.start(method.open(scene()))
    state, _ = method.step(method.step(state, Click(110, 70))[0], Click(120, 65))
    before = method.step(state, Click(101, 61))[1].probability
    state.opened.others.clear()
    compacted = method.compact(state)
    assert same(method.step(compacted, Click(101, 61))[1].probability, before)
    assert len(state.opened.others) <= 2


def test_a_mask_given_later_may_lie_beyond_the_part():
    """What lies off the part is background: the part has to move, or the mask loses what sticks out."""
    method = zooming()
    state = method.start(method.open(scene()))
    state, _ = method.step(method.step(state, Click(110, 70))[0], Click(120, 65))
    part = state.look.box
    assert part is not None
    given = np.zeros((120, 200), bool)
    given[part.top + 3 : part.bottom - 3, part.left + 8 : part.right + 6] = True
    wanted = choose_box(None, mask_box(given), state.clicks, Click(112, 72), (120, 200), 32)
    assert choose_box(part, mask_box(given), state.clicks, Click(112, 72), (120, 200), 32) == wanted != part
    after, _ = method.step(method.set_mask(state, given), Click(112, 72))
    assert after.look.box is None or after.look.box.covers(mask_box(given))


def test_a_part_with_too_few_cells_is_not_looked_at():
    """300x1200 at 28 px is a frame of 28x112, 196 cells; the square part of it at 28 px has 49."""
    image = np.zeros((300, 1200, 3), np.uint8)
    image[100:200, 500:600] = 255
    mask = image[..., 0] > 0
    for templates, seen in ((49, True), (64, False)):
        method = EmcMethod(OneObject(), templates, Options(28, zoom_in=True))
        state, _ = method.step(method.start(method.open(image), mask), Click(550, 150))
        assert (state.look.box is not None) == seen


def begins(runtime: FakeRuntime, count: int) -> bool:
    """Whether the base network runs that often within the time that getting ready waits, and as much again."""
    time.sleep(3 * READY_AFTER_S)
    return runtime.names().count("first") >= count


def test_nothing_is_got_ready_for_a_session_that_is_gone():
    runtime = OneObject()
    session = Session(FakeModel(runtime), scene(), short_side=32, zoom_in=True)
    session.click(110, 70)
    gone = weakref.ref(session)
    del session
    assert gone() is None
    assert not begins(runtime, 2)
    kept = Session(FakeModel(runtime), scene(), short_side=32, zoom_in=True)
    kept.click(110, 70)
    assert begins(runtime, 3)


def test_what_was_got_ready_for_another_state_is_stopped_and_comes_when_asked():
    runtime = OneObject()
    method = zooming(runtime)
    start = method.start(method.open(scene()))
    one, _ = method.step(start, Click(110, 70))
    method.get_ready(one)
    method.get_ready(start)  # undone
    assert not begins(runtime, 2)
    method.get_ready(one)  # and done again
    assert begins(runtime, 2)
    method.get_ready(start)
    assert method.step(one, Click(120, 65))[0].look.box is not None


def test_a_session_takes_the_model_s_word_unless_told():
    class Zooming(FakeModel):
        zoom_in = True

    def second_box(**options):
        session = Session(Zooming(OneObject()), scene(), short_side=32, **options)
        session.click(110, 70)
        session.click(120, 65)
        return session._items[session._at].state.look.box

    assert second_box() is not None
    assert second_box(zoom_in=False) is None


def test_undo_and_redo_across_a_change_of_part_are_exact():
    session = Session(FakeModel(OneObject()), scene(), short_side=32, zoom_in=True)
    masks = [session.probability.copy()]
    for click in (Click(110, 70), Click(120, 65), Click(10, 10, False), Click(121, 66)):
        masks.append(session.click(click.x, click.y, click.positive).probability.copy())
    for expected in masks[-2::-1]:
        assert same(session.undo().probability, expected)
    for expected in masks[1:]:
        assert same(session.redo().probability, expected)
    removed = session.remove(2).probability
    replay = Session(FakeModel(OneObject()), scene(), short_side=32, zoom_in=True)
    for click in (Click(110, 70), Click(120, 65), Click(121, 66)):
        answer = replay.click(click.x, click.y, click.positive).probability
    assert same(removed, answer)


def test_box_is_not_part_of_what_options_compare():
    assert replace(Options(32), zoom_in=True) == Options(32, zoom_in=True) != Options(32)
