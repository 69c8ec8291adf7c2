"""The benchmark over real sessions: on a stand-in runtime."""

from __future__ import annotations

import numpy as np
import pytest
from fake_session import Squares

from emclick.errors import OptionError
from emclick.evaluation.benchmark import evaluate
from emclick.evaluation.noc import iou
from emclick.session import Session
from helpers import FakeModel


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("start_wrong", [False, True])
def test_records_replay_in_a_session(flip: bool, start_wrong: bool) -> None:
    source, model = Squares(2, start_wrong=start_wrong), FakeModel()
    result = evaluate(model, source, flip=flip, short_side=24, max_clicks=5, progress=False)
    assert result.summary["n"] == 3
    assert result.summary["short_side"] == 24
    assert (result.summary["model"], result.summary["runtime"], result.summary["threads"]) == (
        "fake",
        "fake",
        1,
    )
    assert result.summary["first_ms"] > 0
    for record, (index, number) in zip(result.records, [(0, 0), (1, 0), (1, 1)], strict=True):
        sample = source[index]
        obj = sample.objects[number]
        session = Session(model, sample.image, short_side=24, flip=flip, initial_mask=obj.initial_mask)
        masks = [session.click(*click).mask for click in record["clicks"]]
        assert [iou(sample.target(obj), mask) for mask in masks] == record["iou"][: len(masks)]
        assert len(record["iou"]) == 5


def test_flip_and_frame_reach_the_network() -> None:
    model = FakeModel()
    evaluate(model, Squares(1), flip=True, short_side=24, max_clicks=1, progress=False)
    name, frames = model.runtime.calls[0]
    assert name == "open"
    assert frames.shape == (2, 3, 24, 56)  # a 20x48 image
    assert np.array_equal(frames[1], frames[0][..., ::-1])


def test_the_outcome_unpacks_into_records_and_summary() -> None:
    records, summary = evaluate(FakeModel(), Squares(1), short_side=24, max_clicks=1, progress=False)
    assert summary["n"] == len(records) == len(summary["records"])


def test_a_dataset_of_another_kind_is_refused() -> None:
    with pytest.raises(OptionError, match="int"):
        evaluate(FakeModel(), 5, "root")  # pyright: ignore[reportArgumentType]
