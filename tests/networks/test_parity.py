"""Our networks against the released code, number by number, on its seeded weights (tests/data)."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import emclick
from emclick.networks.checkpoint import load_model
from emclick.networks.click_maps import ClickMaps
from emclick.networks.convert import convert_official
from emclick.networks.model import EmcNetwork
from emclick.networks.templates import click_features
from networks.reference_vectors import RECORDED, Case, cases, released_state

LARGEST, MEAN, PROBABILITY = 1e-3, 1e-4, 1e-3
TIE = 3e-6  # of template scores, which are of size 1
HALF = 4e-3  # features recorded as float16


@pytest.fixture(scope="module", params=sorted(RECORDED))
def recorded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A released checkpoint as a user has it, converted as `emclick convert` does."""
    folder = tmp_path_factory.mktemp(request.param)
    torch.save({"state_dict": released_state(request.param), "config": {"any": 1}}, folder / "official.pth")
    card = convert_official(folder / "official.pth", folder / "model")
    assert card.name == RECORDED[request.param]
    return request.param, folder / "model"


@pytest.fixture(scope="module")
def network(recorded: tuple[str, Path]) -> EmcNetwork:
    network, card = load_model(recorded[1])
    assert card.name == RECORDED[recorded[0]]
    return network


def frames_of(case: Case) -> Tensor:
    """(B, 3, H, W) frame, and its mirror with flip."""
    image = torch.from_numpy(case.image).permute(2, 0, 1)[None].float() / 255
    sides = image.shape[-2:]
    scale = case.short_side / min(sides)
    frame_hw = [round(side * scale) // 4 * 4 for side in sides]
    frame = F.interpolate(image, size=frame_hw, mode="bilinear", align_corners=True)
    return torch.cat([frame, frame.flip(3)]) if case.flip else frame


def points_of(case: Case, frame_hw: tuple[int, int]) -> Tensor:
    """(clicks, B, 2) (row, column) in each frame."""
    height, width = case.image.shape[:2]
    points = []
    for click in case.clicks:
        row, column = click["y"] * frame_hw[0] / height, click["x"] * frame_hw[1] / width
        points.append([[row, column], [row, frame_hw[1] - 1 - column]][: 1 + case.flip])
    return torch.tensor(points, dtype=torch.float32)


def close(ours: Tensor, theirs: np.ndarray[Any, Any], largest: float = LARGEST, mean: float = MEAN) -> None:
    assert ours.shape == theirs.shape
    error = (ours.double() - torch.from_numpy(theirs).double()).abs()
    assert error.max() <= largest
    assert error.mean() <= mean


@torch.inference_mode()
def test_every_click_from_the_recorded_one_before(recorded: tuple[str, Path], network: EmcNetwork) -> None:
    """Same logits and same templates, but for an order that a shown tie leaves to rounding."""
    flips = set()
    for case in cases(recorded[0]):
        flips.add(case.flip)
        frames = frames_of(case)
        frame_hw = (frames.shape[2], frames.shape[3])
        maps = ClickMaps(len(frames), frame_hw)
        everywhere = torch.ones(len(frames), dtype=torch.bool)
        points = points_of(case, frame_hw)
        maps.add(points[0], everywhere, everywhere)
        base = network.first(frames, maps.first_click_map())
        close(base.coarse_logits, case.arrays["coarse_logits"])
        half = case.arrays["features"].dtype == np.float16
        close(base.features, case.arrays["features"], HALF if half else LARGEST, 5 * MEAN if half else MEAN)
        assert (base.auxiliary_logits is None) == ("aux_logits" not in case.arrays)
        if base.auxiliary_logits is not None:
            close(base.auxiliary_logits, case.arrays["aux_logits"])
        previous = case.arrays["coarse_logits"]
        for number, click in enumerate(case.clicks):
            if number:
                maps.add(points[number], everywhere & click["positive"], everywhere)
            clicks = maps.input()
            corrector = network.corrector
            fused = corrector.fuse(frames, base.features, clicks.disks, torch.from_numpy(previous))
            templates = corrector.choose(fused, clicks)
            theirs = tuple(
                torch.from_numpy(case.arrays[f"templates_{polarity}{number}"]).long()
                for polarity in ("positive", "negative")
            )
            if not all(torch.equal(one, other) for one, other in zip(templates, theirs)):
                gap = smallest_gap(network, case, number)
                assert gap < TIE, f"{case.name} click {number}: other templates, and no tie ({gap:.1e} apart)"
                templates = theirs
            close(corrector.decode(fused, templates), case.arrays[f"corrected_logits{number}"])
            previous = case.arrays[f"corrected_logits{number}"]
    assert flips == {False, True}


@torch.inference_mode()
def smallest_gap(network: EmcNetwork, case: Case, number: int) -> float:
    """The smallest score difference between neighbours in the recorded template order of a click, in float64."""
    exact = copy.deepcopy(network).double()
    frames = frames_of(case)
    frame_hw = (frames.shape[2], frames.shape[3])
    maps = ClickMaps(len(frames), frame_hw)
    yes = torch.ones(len(frames), dtype=torch.bool)
    points = points_of(case, frame_hw)
    for each, click in zip(points[: number + 1], case.clicks):
        maps.add(each, yes & click["positive"], yes)
    clicks = maps.input()
    base = exact.first(frames.double(), maps.first_click_map().double())
    before = case.arrays[f"corrected_logits{number - 1}"] if number else case.arrays["coarse_logits"]
    previous = torch.from_numpy(before).double()
    fused = exact.corrector.fuse(frames.double(), base.features, clicks.disks.double(), previous)
    unit = F.normalize(fused, dim=1)
    similarity = click_features(unit, clicks.points.double()) @ unit.flatten(2)
    best = [(similarity * side[..., None]).amax(1) for side in (clicks.positive, ~clicks.positive)]
    near = clicks.distances.flatten(2).double()
    gaps = []
    for side, polarity in enumerate(("positive", "negative")):
        scores = (best[side] + 1 - best[1 - side]) * (1 - near[:, side])
        order = torch.from_numpy(case.arrays[f"templates_{polarity}{number}"]).long()
        gaps.append(float(-scores.gather(1, order).diff(dim=1).max()))
    return min(gaps)


def test_a_chained_session_gives_the_recorded_probabilities(
    recorded: tuple[str, Path], network: EmcNetwork
) -> None:
    """Except after a tie, which has to be shown: in hr18s, case1, click 2 two negative templates (places 30 and
    31) have scores 3e-6 apart, less than what float32 may do to them on another machine; their order decides
    all that follows. (Here, with one thread and with two, all 20 clicks agree.)"""
    model = emclick.load(recorded[1])
    compared = 0
    for case in cases(recorded[0]):
        session = emclick.Session(model, case.image, short_side=case.short_side, flip=case.flip)
        for number, click in enumerate(case.clicks):
            prediction = session.click(click["x"], click["y"], positive=click["positive"])
            theirs = case.arrays[f"prob{number}"]
            assert prediction.probability.shape == theirs.shape
            if np.abs(prediction.probability - theirs).max() > PROBABILITY:
                gap = smallest_gap(network, case, number)
                assert gap < TIE, f"{case.name} click {number}: no tie (scores at least {gap:.1e} apart)"
                break
            compared += 1
    assert compared >= (17 if recorded[0] == "hr18s" else 20)


@torch.inference_mode()
def test_the_recording_notices_a_swapped_axis_and_a_wrong_polarity(
    recorded: tuple[str, Path], network: EmcNetwork
) -> None:
    """The tolerance is tight enough to tell: the same click mirrored or negative is far outside it."""
    case = next(cases(recorded[0]))
    frames = frames_of(case)
    frame_hw = (frames.shape[2], frames.shape[3])
    yes = torch.ones(1, dtype=torch.bool)
    first, second = points_of(case, frame_hw)[:2]

    def error(points: tuple[Tensor, Tensor], positive: bool) -> float:
        maps = ClickMaps(1, frame_hw)
        maps.add(points[0], yes, yes)
        features = network.first(frames, maps.first_click_map()).features
        maps.add(points[1], yes & positive, yes)
        before = torch.from_numpy(case.arrays["corrected_logits0"])
        logits = network.correct(frames, features, maps.input(), before)
        return float((logits - torch.from_numpy(case.arrays["corrected_logits1"])).abs().max())

    assert error((first, second), False) <= LARGEST
    assert error((first, second), True) > 10 * LARGEST
    assert error((first, second.flip(1) + 1), False) > 10 * LARGEST
    assert error((first.flip(1), second), False) > 10 * LARGEST
