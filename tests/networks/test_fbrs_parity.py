"""f-BRS-B against its release, click by click, on seeded weights (tests/data/fbrs.*, which say how they were made)."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import emclick
from emclick.errors import CheckpointError, OptionError
from emclick.networks.convert import convert_official
from emclick.networks.fbrs_releases import RELEASES
from emclick.networks.releases import recognise
from networks.deeplab_vectors import QUICK, TOLERANCE, described, errors, released_weights


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The release's checkpoint, a bare state dict, converted as `emclick convert` does."""
    folder = tmp_path_factory.mktemp("fbrs")
    torch.save(released_weights("fbrs"), folder / "resnet50_dh128_sbd.pth")
    card = convert_official(folder / "resnet50_dh128_sbd.pth", folder / "model")
    assert (card.name, card.method, card.zoom_in, card.short_side) == ("fbrs-resnet50", "fbrs", True, 400)
    return folder / "model"


@pytest.mark.parametrize("most", [QUICK, pytest.param(None, marks=pytest.mark.slow)])
@pytest.mark.parametrize("case", ["case0", "case1"])
def test_a_session_gives_the_recorded_probabilities(folder: Path, case: str, most: int | None) -> None:
    found = errors(emclick.load(folder), "fbrs", case, most)
    assert len(found) >= 2
    assert max(found) <= TOLERANCE, found


def test_onnx_is_refused_with_the_reason(folder: Path) -> None:
    with pytest.raises(OptionError, match="gradients at every click, which only PyTorch gives"):
        emclick.load(folder, runtime="onnx")


def test_the_checkpoint_is_held_to_its_keys() -> None:
    hollow = {key: torch.zeros(()).expand(shape) for key, shape in described("fbrs")["shapes"].items()}
    assert recognise(hollow, RELEASES).name == "fbrs-resnet50"
    hollow["aspp_dropout"] = torch.tensor(0.2)  # which some files carry
    assert recognise(hollow, RELEASES).name == "fbrs-resnet50"
    del hollow["rgb_conv.0.weight"]
    with pytest.raises(CheckpointError, match=r"nearest is fbrs-resnet50: missing key rgb_conv\.0\.weight"):
        recognise(hollow, RELEASES)
