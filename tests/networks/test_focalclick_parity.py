"""FocalClick against its release, click by click, on seeded weights (tests/data/focalclick_*, whose note says how)."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import emclick
from emclick.errors import CheckpointError, OptionError
from emclick.geometry import Box
from emclick.methods.focalclick_spec import FocalClickSpec
from emclick.networks.convert import convert_official
from emclick.networks.focalclick_releases import RELEASES, UNUSED_WITH_SEGFORMER
from emclick.networks.releases import Release, recognise, recognised, twins
from networks.reference_vectors import DATA, seeded

PROBABILITY = 1e-3
RECORDED = {"focalclick_hrnet18s": "hrnet18s", "focalclick_segb0": "segformer_b0"}
QUICK = {
    "focalclick_hrnet18s": ("flip", "s1"),
    "focalclick_segb0": ("initial", "long"),
}  # with all that differs
DESCRIBED = {name: json.loads((DATA / f"{name}.json").read_text(encoding="utf-8")) for name in RECORDED}
BY_BASE = {release.spec.base: release for release in RELEASES if release.spec.pipeline == "s2"}
CASES = [(name, case) for name, described in DESCRIBED.items() for case in described["cases"]]
UNUSED_SHAPES = {
    "maps_transform.0.weight": (16, 3, 3, 3),
    "maps_transform.0.bias": (16,),
    "maps_transform.2.weight": (32, 16, 3, 3),
    "maps_transform.2.bias": (32,),
    "maps_transform.3.scale": (1,),
    "refiner.feature_gate.0.weight": (1, 32, 1, 1),
    "refiner.feature_gate.0.bias": (1,),
}
Arrays = dict[str, np.ndarray[Any, Any]]


def shapes(release: Release) -> dict[str, tuple[int, ...]]:
    """Key -> shape in the released file, what is never run included."""
    known = {}
    for theirs, (_, shape) in release.expected.items():
        linear = ".linear_c" in theirs and theirs.endswith("weight")
        known[theirs] = tuple(shape[:2]) if linear else tuple(shape)
    return {**known, **UNUSED_SHAPES} if release.spec.base.startswith("segformer") else known


@pytest.fixture(scope="module", params=sorted(RECORDED))
def model(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Arrays, Path]:
    """A recording, and a checkpoint as a user has it, converted as `emclick convert` does; s1 by the card's option."""
    folder = tmp_path_factory.mktemp(request.param)
    base = RECORDED[request.param]
    with np.load(DATA / f"{request.param}.npz") as file:
        recorded = {name: file[name] for name in file.files}
    state: dict[str, Tensor] = {}
    for key, shape in shapes(BY_BASE[base]).items():
        given = recorded.get(f"bn/{key}", recorded.get(f"set/{key}"))
        if key.endswith("num_batches_tracked"):
            state[key] = torch.tensor(0)
        else:
            state[key] = seeded(key, shape) if given is None else torch.from_numpy(given)
    torch.save({"state_dict": state, "config": {"any": 1}}, folder / "official.pth")
    card = convert_official(folder / "official.pth", folder / "s2")
    assert (card.name, card.method) == (f"focalclick-{base.replace('_', '-')}", "focalclick")
    assert (card.short_side, card.zoom_in) == (256, True)
    half = convert_official(folder / "official.pth", folder / "s1", f"{card.name}-s1")
    assert half.spec == FocalClickSpec(base, "s1")
    assert twins(recognised(half.name)) == [card.name]
    return request.param, recorded, folder


@pytest.mark.parametrize("base", sorted(BY_BASE))
def test_keys_and_shapes_are_the_released_ones(base: str) -> None:
    known = DESCRIBED["focalclick_hrnet18s"]["keys"][base]
    own = shapes(BY_BASE[base])
    lines = sorted(f"{key}\t{'x'.join(map(str, shape))}" for key, shape in own.items())
    assert len(lines) == known["entries"]
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == known["sha256"]
    state = {key: torch.zeros(()).expand(shape) for key, shape in own.items()}
    assert recognise(state, RELEASES).spec == BY_BASE[base].spec
    for key in UNUSED_WITH_SEGFORMER & state.keys() if base.startswith("segformer") else ():
        del state[key]
    assert BY_BASE[base].problems(state) == []
    del state["refiner.refine_trimap.bias"]
    with pytest.raises(
        CheckpointError, match=r"nearest is focalclick-.*: missing key refiner.refine_trimap.bias"
    ):
        recognise(state, RELEASES)


@pytest.mark.parametrize("which", ["quick", pytest.param("rest", marks=pytest.mark.slow)])
def test_a_session_gives_the_recorded_probabilities(model: tuple[str, Arrays, Path], which: str) -> None:
    name, recorded, folder = model
    for case, described in DESCRIBED[name]["cases"].items():
        if (case in QUICK[name]) != (which == "quick"):
            continue
        session = emclick.Session(
            emclick.load(folder / described["pipeline"], runtime="torch"), recorded[f"{case}/image"],
            flip=described["flip"], initial_mask=recorded.get(f"{case}/initial"),
        )  # fmt: skip
        assert len(described["clicks"]) >= 5
        for number, click in enumerate(described["clicks"]):
            mask = session.click(**click).mask
            state = session._items[-1].state
            theirs = recorded[f"{case}/prob"][number].astype(np.float32)
            error = np.percentile(np.abs(state.picture.paint() - theirs), 99.9)
            assert error <= PROBABILITY, f"{case}, click {number}"
            look = state.picture.looks[-1]
            assert look.view.seen == Box(*described["target"][number]), f"{case}, click {number}"
            assert look.focus == Box(*described["focus"][number]), f"{case}, click {number}"
            if f"{case}/mask" in recorded:
                bits = np.unpackbits(recorded[f"{case}/mask"][number], count=mask.size)
                assert np.array_equal(mask, bits.reshape(mask.shape) != 0), f"{case}, click {number}"


def test_the_recordings_crop_and_cover_all() -> None:
    """Else the loop above would prove less than it says."""
    for described in DESCRIBED.values():
        cases = described["cases"].values()
        assert {case["flip"] for case in cases} == {False, True}
        assert {case["pipeline"] for case in cases} == {"s1", "s2"}
        assert any(case["progressive"] for case in cases)
        inner = [t != f for case in cases for t, f in zip(case["target"], case["focus"])]
        assert sum(inner) >= 5
        assert sum(len(set(map(tuple, case["target"]))) > 2 for case in cases) >= 2
    assert max(len(case["clicks"]) for case in DESCRIBED["focalclick_segb0"]["cases"].values()) > 11


def test_the_recording_notices_a_wrong_polarity(model: tuple[str, Arrays, Path]) -> None:
    name, recorded, folder = model
    session = emclick.Session(emclick.load(folder / "s2", runtime="torch"), recorded["plain/image"])
    first, second = DESCRIBED[name]["cases"]["plain"]["clicks"][:2]
    session.click(**first)
    ours = session.click(second["x"], second["y"], not second["positive"]).probability
    error = np.abs(ours - recorded["plain/prob"][1].astype(np.float32))
    assert np.percentile(error, 99.9) > 10 * PROBABILITY


def test_another_runtime_is_refused_in_one_line(model: tuple[str, Arrays, Path]) -> None:
    with pytest.raises(OptionError, match=r"\(focalclick\) does not run on onnx: .*choose from torch"):
        emclick.load(model[2] / "s2", runtime="onnx")
