"""Sessions: history, batches, removal, brushing, cost. The networks are a `FakeRuntime`."""

from __future__ import annotations

import threading
import time
import tracemalloc
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emclick.clicks import Click
from emclick.errors import (
    ClickError,
    ClickTypeError,
    FrameError,
    HistoryError,
    ImageReadError,
    ImageTypeError,
    MaskError,
    OptionError,
)
from emclick.images import write_mask
from emclick.session import Session
from helpers import FakeModel, FakeRuntime, blob, picture

CLICKS = (Click(20, 12), Click(40.5, 30.25, False), Click(8, 25), Click(50, 3, False))


def make(model=None, **options) -> Session:
    session = Session(model or FakeModel(), picture(), **options)
    session._items[0].state.opened.whole.prepared.result()  # so that the record of calls is in order
    return session


def bits(session: Session) -> tuple:
    """All that a user can see of the current state, to the bit; `ms` and history apart."""
    return session.probability.tobytes(), session.mask.tobytes(), session.clicks


def played(clicks, **options) -> Session:
    session = make(**options)
    for each in clicks:
        session.click(each.x, each.y, each.positive)
    return session


def test_a_click_answers_with_the_current_prediction():
    session = make()
    prediction = session.click(20, 12)
    assert prediction is session.prediction
    assert prediction.mask is session.mask
    assert prediction.probability is session.probability
    assert prediction.probability.shape == (40, 56)
    assert prediction.probability.dtype == np.float32
    assert session.clicks == (Click(20, 12),)
    assert not session.mask.flags.writeable
    assert prediction.mask[12, 20]
    with pytest.raises(ValueError, match="read-only"):
        session.image[0, 0] = 0


def test_before_any_click():
    session = make()
    assert session.clicks == ()
    assert not session.mask.any()
    assert not session.can_undo
    assert not session.can_redo
    assert make(initial_mask=blob()).mask.tobytes() == blob().tobytes()


def test_the_image_may_be_a_path_and_so_may_masks(tmp_path):
    from PIL import Image

    Image.fromarray(picture()).save(tmp_path / "a.png")
    mask = write_mask(tmp_path / "m.png", blob())
    session = Session(FakeModel(), tmp_path / "a.png", initial_mask=mask)
    assert session.mask.tobytes() == blob().tobytes()
    session.click(20, 12)
    expected = make(initial_mask=blob())
    expected.click(20, 12)
    assert bits(session) == bits(expected)
    session.set_mask(str(mask))
    assert session.mask.tobytes() == blob().tobytes()


def test_short_side_is_the_models_own_or_the_one_given():
    model = FakeModel(short_side=48)
    make(model)
    make(model, short_side=64)
    assert [what.shape for _, what in model.runtime.calls] == [(1, 3, 48, 64), (1, 3, 64, 88)]


def test_options_reach_the_method():
    session = played(CLICKS[:2], threshold=0.3, flip=True)
    assert session.prediction.threshold == 0.3
    assert session.mask.tobytes() == (session.probability > np.float32(0.3)).tobytes()
    assert bits(session) != bits(played(CLICKS[:2], threshold=0.3))


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"short_side": 2}, FrameError),
        ({"short_side": 4}, FrameError),  # too few cells for the templates
        ({"short_side": "384"}, FrameError),
        ({"threshold": 2}, OptionError),
        ({"flip": None}, OptionError),
        ({"progressive_merge": 1}, OptionError),
        ({"initial_mask": blob(56, 40)}, MaskError),
        ({"initial_mask": "no such file.png"}, ImageReadError),
        ({"initial_mask": 5}, ImageTypeError),
    ],
)
def test_wrong_options(options, error):
    with pytest.raises(error):
        make(**options)


def test_a_model_is_a_model():
    for wrong in ("emc-mobilenetv2", None, 3):
        with pytest.raises(OptionError, match=r"emclick\.load"):
            Session(wrong, picture())  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{}, {"zoom_in": True}, {"initial_mask": blob()}])
def test_a_preview_is_what_the_click_would_give_and_changes_nothing(options):
    session = make(FakeModel(), **options)
    first, second, third = CLICKS[:3]
    session.click(first.x, first.y)
    session.click(second.x, second.y, second.positive)
    session.undo()
    before = bits(session)
    preview = session.preview(third.x, third.y, third.positive)
    assert bits(session) == before
    assert session.can_redo
    assert session.clicks == (first,)
    session.redo()
    session.undo()
    assert (
        session.click(third.x, third.y, third.positive).probability.tobytes() == preview.probability.tobytes()
    )
    with pytest.raises(ClickError):
        session.preview(1e6, 0)


# Undo and redo


@pytest.mark.parametrize(
    "options", [{}, {"flip": True}, {"initial_mask": blob()}, {"progressive_merge": True}]
)
def test_undo_and_redo_restore_to_the_bit_without_a_network(options):
    model = FakeModel()
    session = make(model, **options)
    seen = [bits(session)]
    times = [0.0]
    for each in CLICKS:
        times.append(session.click(each.x, each.y, each.positive).ms)
        seen.append(bits(session))
    assert len(set(seen)) == len(seen)
    count = len(model.runtime.calls)
    for place in (3, 2, 1, 0):
        prediction = session.undo()
        assert bits(session) == seen[place]
        assert prediction is session.prediction
        assert prediction.ms == times[place]
    with pytest.raises(HistoryError, match="nothing to undo"):
        session.undo()
    for place in (1, 2, 3, 4):
        session.redo()
        assert bits(session) == seen[place]
    with pytest.raises(HistoryError, match="nothing to redo"):
        session.redo()
    assert bits(session) == seen[4]
    assert len(model.runtime.calls) == count


def test_going_on_after_undo_equals_never_having_clicked():
    session = played(CLICKS)
    session.undo()
    session.undo()
    assert session.can_redo
    session.click(30, 30)
    assert not session.can_redo
    assert bits(session) == bits(played([*CLICKS[:2], Click(30, 30)]))


def test_undone_first_click_then_another():
    session = played(CLICKS[:2])
    session.undo()
    session.undo()
    with pytest.raises(ClickError):
        session.click(5, 5, False)
    session.click(33, 22)
    assert bits(session) == bits(played([Click(33, 22)]))


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("click"), st.floats(-0.5, 55), st.floats(-0.5, 39), st.booleans()),
        st.tuples(st.just("many"), st.integers(1, 3), st.integers(0, 30)),
        st.tuples(st.just("undo")),
        st.tuples(st.just("redo")),
        st.tuples(st.just("reset")),
        st.tuples(st.just("mask"), st.integers(0, 40)),
        st.tuples(st.just("remove"), st.integers(0, 4)),
    ),
    max_size=14,
)


def rolled(shift: int) -> np.ndarray:
    return np.roll(blob(), shift, axis=1)


class Mirror:
    """The same history, kept as lists of events and played afresh at each look."""

    def __init__(self) -> None:
        self.past: list[tuple[Any, ...]] = [()]
        self.future: list[tuple[Any, ...]] = []

    def push(self, events) -> None:
        self.past.append(tuple(events))
        self.future = []

    def fresh(self, **options) -> Session:
        session = make(**options)
        for kind, value in self.past[-1]:
            if kind == "mask":
                session.set_mask(rolled(value))
            else:
                session.click(value.x, value.y, value.positive)
        return session


def apply(session: Session, mirror: Mirror, operation) -> None:
    kind, *values = operation
    now = mirror.past[-1]
    if kind == "click":
        session.click(*values)
        mirror.push([*now, ("click", Click(*values))])
    elif kind == "many":
        count, at = values
        batch = [Click(at + each, at, each != 1) for each in range(count)]
        session.click_many(batch)
        mirror.push([*now, *(("click", each) for each in batch)])
    elif kind == "undo":
        session.undo()
        mirror.future.append(mirror.past.pop())
    elif kind == "redo":
        session.redo()
        mirror.past.append(mirror.future.pop())
    elif kind == "reset":
        session.reset()
        mirror.push([])
    elif kind == "mask":
        session.set_mask(rolled(values[0]))
        mirror.push([*now, ("mask", values[0])])
    else:
        session.remove(values[0])
        place = [at for at, event in enumerate(now) if event[0] == "click"][values[0]]
        mirror.push([*now[:place], *now[place + 1 :]])


@pytest.mark.parametrize(
    "options", [{}, {"progressive_merge": True, "flip": True}, {"initial_mask": rolled(9)}]
)
@settings(max_examples=25, deadline=None)
@given(OPERATIONS)
def test_any_history_equals_a_replay(options, operations):
    session, mirror = make(**options), Mirror()
    for operation in operations:
        before = bits(session), session.can_undo, session.can_redo
        try:
            apply(session, mirror, operation)
        except (HistoryError, ClickError):
            assert (bits(session), session.can_undo, session.can_redo) == before
        assert session.can_undo == (len(mirror.past) > 1)
        assert session.can_redo == bool(mirror.future)
    assert bits(session) == bits(mirror.fresh(**options))


# Several clicks, removal, brushing, reset


@pytest.mark.parametrize(
    "batch",
    [
        list(CLICKS),
        tuple((each.x, each.y, each.positive) for each in CLICKS),
        [{"x": each.x, "y": each.y, "positive": each.positive} for each in CLICKS],
        [np.array([20.0, 12.0]).tolist(), CLICKS[1], {"x": 8, "y": 25}, [50, 3, False]],
    ],
    ids=["Click", "tuple", "dict", "mixed"],
)
def test_many_clicks_are_one_item_and_the_same_as_one_by_one(batch):
    session = make()
    session.click_many(each for each in batch)
    assert bits(session) == bits(played(CLICKS))
    session.undo()
    assert not session.can_undo
    assert session.clicks == ()
    session.redo()
    assert bits(session) == bits(played(CLICKS))


@pytest.mark.parametrize(
    ("batch", "error"),
    [
        ([], ClickError),
        ([(3, 3), (56, 3)], ClickError),
        ([(3, 3), (3, float("nan"))], ClickError),
        ([(3, 3, False), (5, 5)], ClickError),  # the first is negative, and there is no mask
        ([(3,)], ClickError),
        ([(3, 3, True, 4)], ClickError),
        ([{"x": 3}], ClickError),
        ([{"x": 3, "y": 3, "label": 1}], ClickError),
        ([(3, 3, "neg")], ClickTypeError),
        (["33"], ClickTypeError),
        ([None], ClickTypeError),
        ("3,3", ClickTypeError),
        (5, ClickTypeError),
        (None, ClickTypeError),
        ({"x": 3, "y": 3}, ClickTypeError),
        (Click(3, 3), ClickTypeError),
    ],
)
def test_a_batch_is_checked_whole_before_any_is_applied(batch, error):
    model = FakeModel()
    session = make(model)
    with pytest.raises(error):
        session.click_many(batch)
    assert model.runtime.names() == ["open"]
    assert session.clicks == ()
    assert not session.can_undo


@pytest.mark.parametrize("index", range(4))
def test_a_removed_click_was_never_made(index):
    session = played(CLICKS)
    rest = CLICKS[:index] + CLICKS[index + 1 :]
    if not rest[0].positive:
        before = bits(session)
        with pytest.raises(ClickError, match="first click must be positive"):
            session.remove(index)
        assert bits(session) == before
        assert not session.can_redo
        return
    session.remove(int(index))
    assert bits(session) == bits(played(rest))
    session.undo()
    assert bits(session) == bits(played(CLICKS))


def test_removal_replays_masks_and_only_what_comes_after():
    model = FakeModel()
    session = make(model)
    for each in CLICKS[:2]:
        session.click(each.x, each.y, each.positive)
    session.set_mask(blob())
    session.click_many(CLICKS[2:])
    count = len(model.runtime.calls)
    session.remove(2)
    assert model.runtime.names()[count:] == ["correct"]
    expected = played(CLICKS[:2])
    expected.set_mask(blob())
    expected.click(50, 3, False)
    assert bits(session) == bits(expected)
    session.remove(1)
    assert session.clicks == (CLICKS[0], CLICKS[3])


def test_removing_the_only_click_gives_the_start():
    session = make(initial_mask=blob())
    start = bits(session)
    session.click(3, 3, False)
    session.remove(0)
    assert bits(session) == start
    session.undo()
    assert session.clicks == (Click(3, 3, False),)


@pytest.mark.parametrize(
    ("index", "error"),
    [
        (4, HistoryError),
        (-1, HistoryError),
        (10**9, HistoryError),
        (True, ClickTypeError),
        ("0", ClickTypeError),
    ],
)
def test_a_click_that_is_not_there_cannot_be_removed(index, error):
    session = played(CLICKS)
    before = bits(session)
    with pytest.raises(error):
        session.remove(index)
    assert bits(session) == before
    with pytest.raises(HistoryError, match="there are none"):
        make().remove(0)


def test_a_brushed_mask_is_one_item_and_is_corrected_next():
    session = played(CLICKS[:1])
    before = bits(session)
    session.set_mask(blob().astype(np.uint8) * 255)
    assert session.mask.tobytes() == blob().tobytes()
    assert session.clicks == CLICKS[:1]
    session.click(50, 30, False)
    other = played(CLICKS[:1])
    other.click(50, 30, False)
    assert bits(session) != bits(other)
    session.undo()
    assert session.mask.tobytes() == blob().tobytes()
    session.undo()
    assert bits(session) == before


@pytest.mark.parametrize(
    ("mask", "error"),
    [
        (blob(56, 40), MaskError),
        (None, ImageTypeError),
        ("none.png", ImageReadError),
        (np.zeros(4), MaskError),
    ],
)
def test_a_mask_that_does_not_fit_changes_nothing(mask, error):
    session = played(CLICKS[:2])
    before = bits(session)
    with pytest.raises(error):
        session.set_mask(mask)
    assert bits(session) == before
    assert not session.can_redo


def test_the_mask_given_is_not_held_on_to():
    mask = blob()
    session = make(initial_mask=mask)
    mask[:] = True
    assert session.mask.tobytes() == blob().tobytes()
    brushed = blob()
    session.set_mask(brushed)
    brushed[:] = False
    session.undo()
    session.redo()
    assert session.mask.tobytes() == blob().tobytes()


def test_reset_goes_back_to_the_initial_mask_and_can_be_undone():
    session = make(initial_mask=blob())
    start = bits(session)
    for each in CLICKS:
        session.click(each.x, each.y, each.positive)
    end = bits(session)
    session.reset()
    assert bits(session) == start
    session.undo()
    assert bits(session) == end
    session.redo()
    session.click(20, 12)
    expected = make(initial_mask=blob())
    expected.click(20, 12)
    assert bits(session) == bits(expected)


# Failure, time, cost


@pytest.mark.parametrize(
    ("action", "call"),
    [("first", 1), ("first", 2), ("click", 1), ("click_many", 1), ("click_many", 3), ("remove", 1)],
)
def test_a_failing_network_leaves_the_session_as_it_was(action, call):
    model = FakeModel()
    session = make(model)
    if action != "first":
        for each in CLICKS:
            session.click(each.x, each.y, each.positive)
        session.undo()
    before = bits(session), session.can_undo, session.can_redo, session.prediction.ms
    model.runtime.fail_at = len(model.runtime.calls) + call
    act = {
        "first": lambda: session.click(3, 3),
        "click": lambda: session.click(30, 30),
        "click_many": lambda: session.click_many(CLICKS),
        "remove": lambda: session.remove(1),
    }
    with pytest.raises(RuntimeError, match="the network failed"):
        act[action]()
    assert (bits(session), session.can_undo, session.can_redo, session.prediction.ms) == before
    model.runtime.fail_at = -1
    session.click(30, 30)
    done = [] if action == "first" else CLICKS[:3]
    assert bits(session) == bits(played([*done, Click(30, 30)]))


def test_ms_is_the_wall_time_from_the_click_to_the_mask():
    class Slow(FakeRuntime):
        def correct(self, image, features, inputs):
            time.sleep(0.02)
            return super().correct(image, features, inputs)

    session = make(FakeModel(Slow()))
    began = time.perf_counter()
    first = session.click(20, 12)
    between = time.perf_counter()
    second = session.click(30, 30)
    assert 20 <= first.ms <= (between - began) * 1000
    assert 20 <= second.ms <= (time.perf_counter() - between) * 1000
    assert session.undo().ms == first.ms
    assert "mask" in first.__dict__  # made within the time


def test_a_session_opens_its_image_behind_and_the_first_click_waits_for_it():
    class Held(FakeRuntime):
        may_open = threading.Event()

        def open(self, frames):
            assert self.may_open.wait(20)
            return super().open(frames)

    model = FakeModel(Held())
    session = Session(model, picture())  # returns although the runtime does not
    assert not session.mask.any()
    assert model.runtime.names() == []
    threading.Timer(0.3, model.runtime.may_open.set).start()
    prediction = session.click(20, 12)
    assert model.runtime.names() == ["open", "first", "correct"]
    assert prediction.ms > 20
    assert bits(session) == bits(played([Click(20, 12)]))


def test_an_image_that_could_not_be_opened_is_tried_again():
    model = FakeModel(FakeRuntime(fail_at=1))
    session = Session(model, picture())
    with pytest.raises(RuntimeError, match="the network failed"):
        session.click(20, 12)
    session.click(20, 12)
    assert bits(session) == bits(played([Click(20, 12)]))


class Light(FakeRuntime):
    """Keeps no record; cheap at large frames; features as large as a real model's."""

    def first(self, image, click_map):
        grid = (len(image), 1, image.shape[2] // 4, image.shape[3] // 4)
        return np.zeros((len(image), 128, *grid[2:]), np.float32), np.zeros(grid, np.float32)

    def correct(self, image, features, inputs):
        noise = zlib.crc32(inputs.points.tobytes()) % 1000 / 1000
        logits = 0.5 * inputs.previous_logits + 4 * (inputs.distances[:, 1:] - inputs.distances[:, :1])
        return (logits + noise).astype(np.float32)

    def _note(self, name, what):
        pass


def test_history_costs_at_most_a_tenth_of_a_megabyte_a_click_at_two_megapixels():
    random = np.random.default_rng(0)
    tracemalloc.start()
    try:
        session = Session(FakeModel(Light(), short_side=384), np.zeros((1250, 1600, 3), np.uint8))

        def click(count):
            for _ in range(count):
                session.click(random.uniform(0, 1599), random.uniform(0, 1249), bool(random.integers(2)))
            return tracemalloc.get_traced_memory()[0]

        session.click(800, 600)
        before = click(5)
        after = click(40)
        per_click = (after - before) / 40
        # new objects one after the other: their features (6 MB each) must not pile up
        for _ in range(8):
            session.reset()
            session.click(random.uniform(0, 1599), 5)
        per_object = (tracemalloc.get_traced_memory()[0] - after) / 8
    finally:
        tracemalloc.stop()
    assert 96 * 123 * 4 < per_click < 100_000
    assert per_object < 1_000_000  # the second set of features that is kept, spread over 8


def test_a_thousand_clicks_and_all_the_way_back():
    model = FakeModel(Light())
    session = make(model)
    random = np.random.default_rng(0)
    start, marks = bits(session), {}
    began = time.process_time()
    for count in range(1, 1001):
        session.click(random.uniform(0, 55), random.uniform(0, 39), count == 1 or bool(random.integers(2)))
        if count in (1, 500, 999):
            marks[count] = bits(session)
    assert time.process_time() - began < 20
    assert len(session.clicks) == 1000
    for count in range(999, -1, -1):
        session.undo()
        if count in marks:
            assert bits(session) == marks[count]
    assert bits(session) == start
    for _ in range(1000):
        session.redo()
    session.remove(998)
    assert len(session.clicks) == 999


def test_only_the_current_state_keeps_its_maps():
    session = played(CLICKS)
    kept = [item.state.maps is not None for item in session._items]
    assert kept == [False, False, False, False, True]
