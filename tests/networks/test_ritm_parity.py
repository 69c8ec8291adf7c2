"""RITM against its release, click by click, on seeded weights (tests/data/ritm_hrnet18s.*, whose note says how)."""

from __future__ import annotations

import copy
import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import emclick
from contracts.backbone_contract import enliven, far
from emclick.errors import CheckpointError, OptionError
from emclick.geometry import Box
from emclick.methods.ritm_spec import RitmSpec
from emclick.networks.convert import convert_official
from emclick.networks.releases import recognise
from emclick.networks.ritm import RitmNetwork
from emclick.networks.ritm_releases import RELEASES
from networks.reference_vectors import DATA, seeded

DESCRIBED = json.loads((DATA / "ritm_hrnet18s.json").read_text(encoding="utf-8"))
PROBABILITY = 1e-3
BY_BASE = {release.spec.base: release for release in RELEASES}


@cache
def shapes(base: str) -> dict[str, tuple[int, ...]]:
    """Key -> shape, in the release's names."""
    return {theirs: tuple(shape) for theirs, (_, shape) in BY_BASE[base].expected.items()}


@pytest.fixture(scope="module")
def recorded() -> dict[str, np.ndarray[Any, Any]]:
    with np.load(DATA / "ritm_hrnet18s.npz") as file:
        return {name: file[name] for name in file.files}


@pytest.fixture(scope="module")
def official(recorded: dict[str, np.ndarray[Any, Any]]) -> dict[str, Tensor]:
    """The state dict that was recorded from."""
    state = {}
    for key, shape in shapes("hrnet18s").items():
        given = recorded.get(f"bn/{key}", recorded.get(f"chosen/{key}"))
        if key.endswith("num_batches_tracked"):
            state[key] = torch.tensor(0)
        else:
            state[key] = seeded(key, shape) if given is None else torch.from_numpy(given)
    return state


@pytest.fixture(scope="module")
def folder(official: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint as a user has it, converted as `emclick convert` does."""
    folder = tmp_path_factory.mktemp("ritm")
    torch.save({"state_dict": official, "config": {"any": 1}}, folder / "official.pth")
    card = convert_official(folder / "official.pth", folder / "model")
    assert (card.name, card.method, card.short_side, card.zoom_in) == ("ritm-hrnet18s", "ritm", 400, True)
    assert card.licence == "MIT"
    return folder / "model"


@pytest.mark.parametrize("base", sorted(DESCRIBED["keys"]))
def test_keys_and_shapes_are_the_released_ones(base: str) -> None:
    known = DESCRIBED["keys"][base]
    own = shapes(base)
    lines = sorted(f"{key} {'x'.join(map(str, shape))}" for key, shape in own.items())
    assert len(lines) == known["entries"]
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == known["sha256"]
    state = {key: torch.zeros(()).expand(shape) for key, shape in own.items()}
    assert BY_BASE[base].problems(state) == []


def test_what_does_not_fit_is_named() -> None:
    state = {key: torch.zeros(()).expand(shape) for key, shape in shapes("hrnet18s").items()}
    del state["maps_transform.0.weight"]
    with pytest.raises(
        CheckpointError, match=r"nearest is ritm-hrnet18s: missing key maps_transform\.0\.weight"
    ):
        recognise(state, RELEASES)


SLOW = ("case0", "case3")  # the others, too, zoom in, flip and start from a mask


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(each, marks=pytest.mark.slow if each in SLOW else ())
        for each in sorted(DESCRIBED["cases"])
    ],
)
def test_a_session_gives_the_recorded_probabilities(
    name: str, folder: Path, recorded: dict[str, np.ndarray[Any, Any]]
) -> None:
    case = DESCRIBED["cases"][name]
    image = recorded[f"photo/{case['photo']}"]
    height, width = image.shape[:2]
    mask = np.zeros((height, width), np.bool_)
    mask[height // 4 : height // 4 * 3, width // 3 : width // 3 * 2] = True
    session = emclick.Session(
        emclick.load(folder), image, flip=case["flip"],
        zoom_in=None if case["zoom_in"] else False,  # the card's own is to zoom in
        initial_mask=mask if case["initial_mask"] else None,
    )  # fmt: skip
    assert len(case["clicks"]) >= 5
    for number, click in enumerate(case["clicks"]):
        ours = session.click(**click).probability[::2, ::2]
        theirs = recorded[f"{name}/prob{number}"] / np.float32(65535)
        assert np.percentile(np.abs(ours - theirs), 99.9) <= PROBABILITY, f"click {number}"
        roi = case["roi"][number]
        state = session._items[-1].state
        assert state.box == (roi and Box(roi[0], roi[2], roi[1] + 1, roi[3] + 1))


def test_the_recording_zooms_in_and_moves_the_part() -> None:
    """Else the loop above would prove less than it says."""
    parts = [[tuple(roi) for roi in case["roi"] if roi] for case in DESCRIBED["cases"].values()]
    assert sum(len(set(each)) > 1 for each in parts) >= 2
    assert {case["flip"] for case in DESCRIBED["cases"].values()} == {False, True}


def test_the_recording_notices_a_wrong_polarity(
    folder: Path, recorded: dict[str, np.ndarray[Any, Any]]
) -> None:
    session = emclick.Session(emclick.load(folder), recorded["photo/elefant"])
    first, second = DESCRIBED["cases"]["case0"]["clicks"][:2]
    session.click(**first)
    ours = session.click(second["x"], second["y"], not second["positive"]).probability[::2, ::2]
    error = np.abs(ours - recorded["case0/prob1"] / np.float32(65535))
    assert np.percentile(error, 99.9) > 10 * PROBABILITY


def test_the_recording_notices_another_previous_mask(
    folder: Path, recorded: dict[str, np.ndarray[Any, Any]]
) -> None:
    image, click = recorded["photo/flower"], DESCRIBED["cases"]["case4"]["clicks"][0]
    other = np.zeros(image.shape[:2], np.bool_)
    other[:, :20] = True
    ours = (
        emclick.Session(emclick.load(folder), image, initial_mask=other).click(**click).probability[::2, ::2]
    )
    error = np.abs(ours - recorded["case4/prob0"] / np.float32(65535))
    assert np.percentile(error, 99.9) > 10 * PROBABILITY


@pytest.mark.parametrize("base", ["hrnet18s", "mobilenet_v2"])
@torch.inference_mode()
def test_the_network_for_inference_gives_the_same(base: str) -> None:
    torch.manual_seed(0)
    network = RitmNetwork(RitmSpec(base))
    enliven(network)
    with torch.no_grad():
        for name, value in network.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                value.uniform_(0.5, 1.5)
        network.base.backbone.click_branch.scale.fill_(5)  # so that the maps count
    network.eval()
    image, maps = torch.rand(2, 2, 3, 51, 66)
    expected = network(image, maps).coarse_logits
    assert expected.shape[2:] == (13, 17)
    fast = copy.deepcopy(network).for_inference()
    assert not any(isinstance(each, torch.nn.BatchNorm2d) for each in fast.base.backbone.modules())
    assert far(expected, fast.answer(fast.open(image), maps)) < 1e-4
    assert far(expected, network.answer(network.open(image), maps.flip(1))) > 1e-3


def test_another_runtime_is_refused_in_one_line(folder: Path) -> None:
    with pytest.raises(
        OptionError, match=r"ritm-hrnet18s \(ritm\) does not run on onnx: .*choose from torch"
    ):
        emclick.load(folder, runtime="onnx")
