"""CDNet against its release, click by click, on seeded weights (tests/data/cdnet.*, which say how they were made)."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import emclick
from emclick.networks.convert import convert_official
from networks.deeplab_vectors import QUICK, TOLERANCE, errors, released_weights


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The release's checkpoint, converted as `emclick convert` does."""
    folder = tmp_path_factory.mktemp("cdnet")
    torch.save({"state_dict": released_weights("cdnet"), "config": {"any": 1}}, folder / "cdnet.pth")
    card = convert_official(folder / "cdnet.pth", folder / "model")
    assert (card.name, card.method, card.zoom_in, card.short_side) == ("cdnet-resnet34", "cdnet", True, 384)
    return folder / "model"


@pytest.mark.parametrize("most", [QUICK, pytest.param(None, marks=pytest.mark.slow)])
@pytest.mark.parametrize("case", ["case0", "case1"])
def test_a_session_gives_the_recorded_probabilities(folder: Path, case: str, most: int | None) -> None:
    found = errors(emclick.load(folder), "cdnet", case, most)
    assert len(found) >= (most or 6)
    assert max(found) <= TOLERANCE, found
