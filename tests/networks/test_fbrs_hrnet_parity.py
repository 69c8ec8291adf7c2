"""f-BRS-B on HRNet against its release, click by click, on seeded weights (tests/data/fbrs_hrnet18.*)."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import emclick
from emclick.card import CARD_NAME
from emclick.errors import CheckpointError
from emclick.methods.deeplab_spec import FbrsSpec
from emclick.networks.convert import convert_official
from emclick.networks.fbrs_releases import RELEASES
from emclick.networks.releases import recognise, twins
from emclick.networks.ritm_releases import RELEASES as RITM
from emclick.runtimes.network import NetworkRuntime
from networks.deeplab_vectors import TOLERANCE, described, errors, recorded, released_weights

NAME = "fbrs_hrnet18"
BY_BASE = {release.spec.base: release for release in RELEASES}


def shapes(base: str) -> dict[str, torch.Size]:
    """Key -> shape, in the release's names."""
    return {theirs: shape for theirs, (_, shape) in BY_BASE[base].expected.items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The release's checkpoint, a bare state dict, converted as `emclick convert` does."""
    folder = tmp_path_factory.mktemp("fbrs_hrnet")
    torch.save(released_weights(NAME, shapes("hrnet18")), folder / "hrnet18_ocr64_sbd.pth")
    card = convert_official(folder / "hrnet18_ocr64_sbd.pth", folder / "model")
    assert (card.name, card.method, card.zoom_in, card.short_side) == ("fbrs-hrnet18", "fbrs", True, 400)
    assert card.spec == FbrsSpec("hrnet18")
    return folder / "model"


@pytest.mark.parametrize("base", sorted(described(NAME)["keys"]))
def test_keys_and_shapes_are_the_released_ones(base: str) -> None:
    known = described(NAME)["keys"][base]
    lines = sorted(f"{key} {'x'.join(map(str, shape))}" for key, shape in shapes(base).items())
    assert len(lines) == known["entries"]
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == known["sha256"]


@pytest.mark.parametrize("base", ["hrnet18", "hrnet32"])
def test_the_checkpoint_is_held_to_its_keys(base: str) -> None:
    hollow = {key: torch.zeros(()).expand(shape) for key, shape in shapes(base).items()}
    near = [*RELEASES, *RITM]  # which has the same HRNet, and its click maps elsewhere
    assert recognise(hollow, near).name == f"fbrs-{base}"
    assert twins(BY_BASE[base]) == []
    more = {**hollow, "aspp_dropout": torch.tensor(0.2)}
    with pytest.raises(CheckpointError, match=f"nearest is fbrs-{base}: left-over key aspp_dropout"):
        recognise(more, near)
    del hollow["rgb_conv.0.weight"]
    with pytest.raises(CheckpointError, match=rf"nearest is fbrs-{base}: missing key rgb_conv\.0\.weight"):
        recognise(hollow, near)


@pytest.mark.parametrize("case", ["case0", "case1", "case2"])
def test_a_session_gives_the_recorded_probabilities(folder: Path, case: str) -> None:
    found = errors(emclick.load(folder), NAME, case)
    assert len(found) >= 2
    assert max(found) <= TOLERANCE, found


def test_the_recording_flips_zooms_in_and_moves_the_part() -> None:
    """Else the test above would prove less than it says."""
    cases = [described(NAME)[case] for case in ("case0", "case1", "case2")]
    assert [case["flip"] for case in cases] == [False, True, True]
    parts = [{tuple(click["part"]) for click in case["clicks"] if click["part"]} for case in cases]
    assert [len(each) for each in parts] == [1, 2, 1]
    negatives = [[n for n, click in enumerate(case["clicks"]) if not click["positive"]] for case in cases]
    assert negatives == [[2, 4], [], [2, 4, 5]]


def test_the_recording_notices_what_the_search_does(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a search the third click's mask is another."""
    model = emclick.load(folder)
    assert isinstance(model.runtime, NetworkRuntime)
    refine = model.runtime.network.refine
    monkeypatch.setattr(model.runtime.network, "refine", lambda *given: refine(*given[:-1], False))
    found = errors(model, NAME, "case0", 3)
    assert max(found[:1]) <= TOLERANCE < 10 * TOLERANCE < found[2]


def test_a_card_says_the_base_alone(folder: Path) -> None:
    assert json.loads((folder / CARD_NAME).read_text(encoding="utf-8"))["spec"] == {"base": "hrnet18"}
    assert np.isfinite(recorded(NAME)["case1/prob5"]).all()
