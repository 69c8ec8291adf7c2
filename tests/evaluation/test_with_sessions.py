"""The benchmark over real sessions: on a stand-in runtime, and with the default model where it is there."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest
from fake_session import Squares

from emclick.data.sources import open_source
from emclick.evaluation.benchmark import evaluate
from emclick.evaluation.noc import iou
from emclick.session import Session
from helpers import FakeModel

GRABCUT = Path(__file__).parents[2] / ".." / "shared" / "data" / "eval" / "GrabCut"


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


def test_the_default_model_on_grabcut() -> None:
    """The shipped model needs few clicks on the first images; three bounds that noise does not cross."""
    emclick = importlib.import_module("emclick")
    if not hasattr(emclick, "load"):
        pytest.skip("emclick.load is not there yet")
    if not GRABCUT.is_dir():
        pytest.skip("the evaluation set GrabCut is not here")
    try:
        model = emclick.load()
    except OSError as error:
        pytest.skip(f"the default model is not here: {error}")
    result = evaluate(model, open_source("grabcut", GRABCUT), limit=3, max_clicks=8, progress=False)
    assert result.summary["n"] == 3
    assert result.summary["miou_at"]["8"] > 0.85
    assert result.summary["miou_at"]["8"] > result.summary["miou_at"]["1"] - 0.02
    assert result.summary["noc"]["80"] < 6
    assert result.summary["sha256"]
