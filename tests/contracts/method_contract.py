"""What every method must do. Subclass `MethodContract` as a `Test...` class with a `make_method` fixture.

`make_method(**options)` returns a fresh method on a model small enough for the pictures here.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import pytest

from emclick.clicks import Click
from emclick.errors import ClickError, MaskError
from emclick.methods.base import Method
from helpers import blob, picture

MakeMethod = Callable[..., Method[Any, Any]]

CLICKS = (Click(20, 12), Click(40.5, 30.25, False), Click(8, 25), Click(-0.5, -0.5, False), Click(55, 39))


def same(left: Any, right: Any) -> bool:
    """Equal to the bit, through dataclasses, sequences and arrays."""
    if isinstance(left, np.ndarray):
        return left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes()
    if is_dataclass(left) and not isinstance(left, type):
        return type(left) is type(right) and all(
            same(getattr(left, each.name), getattr(right, each.name)) for each in fields(left)
        )
    if isinstance(left, (tuple, list)):
        return len(left) == len(right) and all(same(a, b) for a, b in zip(left, right))
    return left == right


class MethodContract:
    """Purity, undo equals replay, initial mask honoured or refused."""

    @pytest.fixture
    def make_method(self) -> MakeMethod:
        raise NotImplementedError("give a make_method fixture")

    @pytest.fixture(
        params=[
            {}, {"flip": True}, {"progressive_merge": True}, {"zoom_in": True},
            {"zoom_in": True, "flip": True, "progressive_merge": True},
        ],
        ids=["plain", "flip", "merge", "zoom", "all"],
    )  # fmt: skip
    def method(self, make_method: MakeMethod, request: pytest.FixtureRequest) -> Method[Any, Any]:
        return make_method(**request.param)

    @staticmethod
    def run(method: Method[Any, Any], clicks=CLICKS, initial_mask=None) -> list[Any]:
        """States from the start on."""
        states = [method.start(method.open(picture()), initial_mask)]
        for click in clicks:
            states.append(method.step(states[-1], click)[0])
        return states

    @staticmethod
    def answers(method: Method[Any, Any], states: list[Any]) -> list[bytes]:
        return [method.predict(each).probability.tobytes() for each in states]

    def test_step_leaves_the_old_state_as_it_was(self, method):
        state = method.step(method.start(method.open(picture())), CLICKS[0])[0]
        parts = [each.name for each in fields(state) if each.name != "opened"]
        before = {name: copy.deepcopy(getattr(state, name)) for name in parts}
        for click in CLICKS[1:]:
            method.step(state, click)
        with contextlib.suppress(MaskError):  # a method may take none
            method.set_mask(state, blob())
        method.compact(state)
        assert all(same(getattr(state, name), before[name]) for name in parts)

    def test_steps_from_one_state_do_not_disturb_each_other(self, method):
        state = self.run(method, CLICKS[:2])[-1]
        alone = method.step(state, CLICKS[2])[1].probability
        method.step(state, CLICKS[4])
        assert same(method.step(state, CLICKS[2])[1].probability, alone)

    def test_predict_repeats_what_step_answered(self, method):
        state = method.start(method.open(picture()))
        for click in CLICKS:
            state, prediction = method.step(state, click)
            again = method.predict(state)
            assert same(again.probability, prediction.probability)
            assert same(again.mask, prediction.mask)

    def test_undo_equals_replay(self, method):
        states = self.run(method)
        for count in range(len(CLICKS)):
            replayed = self.run(method, CLICKS[:count])[-1]
            assert self.answers(method, [replayed]) == self.answers(method, [states[count]])

    def test_a_compacted_state_goes_on_to_the_same_bits(self, method):
        states = self.run(method)
        state = method.start(method.open(picture()))
        for click, expected in zip(CLICKS, states[1:]):
            state = method.compact(method.step(method.compact(state), click)[0])
            assert self.answers(method, [state]) == self.answers(method, [expected])

    def test_getting_ready_changes_nothing(self, method):
        states = self.run(method)
        state = method.start(method.open(picture()))
        for click, expected in zip(CLICKS, states[1:]):
            method.get_ready(state)
            state, _ = method.step(state, click)
            assert self.answers(method, [state]) == self.answers(method, [expected])

    def test_every_click_matters_and_so_does_their_order(self, make_method):
        method = make_method()
        states = self.run(method)
        assert len(set(self.answers(method, states))) == len(states)
        swapped = self.run(method, (CLICKS[0], CLICKS[2], CLICKS[1]))[-1]
        assert self.answers(method, [swapped]) != self.answers(method, [states[3]])

    def test_polarity_matters(self, make_method):
        method = make_method()
        state = self.run(method, CLICKS[:1])[-1]
        more = method.step(state, Click(30, 30))[1].probability
        less = method.step(state, Click(30, 30, False))[1].probability
        assert more[30, 30] > less[30, 30]

    def test_clicks_are_told_in_order(self, method):
        assert [each.clicks for each in self.run(method)] == [CLICKS[:n] for n in range(len(CLICKS) + 1)]

    def test_before_any_click_there_is_no_foreground(self, method):
        prediction = method.predict(method.start(method.open(picture())))
        assert not prediction.mask.any()
        assert prediction.probability.shape == (40, 56)

    def test_a_negative_first_click_is_refused(self, method):
        with pytest.raises(ClickError, match="positive"):
            method.step(method.start(method.open(picture())), Click(3, 3, False))

    def test_an_initial_mask_is_honoured_or_refused(self, method):
        opened = method.open(picture())
        try:
            state = method.start(opened, blob())
        except MaskError:
            return
        assert same(method.predict(state).mask, blob())
        with_mask = method.step(state, CLICKS[0])[1].probability
        without = method.step(method.start(opened), CLICKS[0])[1].probability
        other = method.step(method.start(opened, ~blob()), CLICKS[0])[1].probability
        assert not same(with_mask, without)
        assert not same(with_mask, other)
        # it counts for what it says: more foreground where the mask was than where it was not
        gain = with_mask - other
        assert gain[blob()].mean() > 0 > gain[~blob()].mean()

    def test_a_mask_of_another_size_is_refused(self, method):
        opened = method.open(picture())
        with pytest.raises(MaskError):
            method.start(opened, blob(56, 40))

    def test_a_set_mask_is_the_prediction_exactly_and_keeps_the_clicks(self, method):
        state = self.run(method, CLICKS[:2])[-1]
        try:
            brushed = method.set_mask(state, blob())
        except MaskError:
            return
        assert same(method.predict(brushed).mask, blob())
        assert brushed.clicks == CLICKS[:2]
        assert not same(
            method.step(brushed, CLICKS[2])[1].probability, method.step(state, CLICKS[2])[1].probability
        )

    @pytest.mark.parametrize(("x", "y"), [(56, 3), (3, 40), (-0.6, 3), (float("nan"), 3), (3, float("inf"))])
    def test_a_click_outside_is_refused(self, make_method, x, y):
        method = make_method()
        with pytest.raises(ClickError):
            method.step(method.start(method.open(picture())), Click(x, y))
