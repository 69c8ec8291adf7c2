"""Which released model a checkpoint is, and what is said if it is none."""

from __future__ import annotations

import pytest
import torch

from emclick.errors import CheckpointError, UnknownNameError
from emclick.networks.releases import all_releases, recognise, recognised, twins
from emclick.zoo import ZOO


def test_every_release_is_in_the_zoo_under_a_name_of_its_own() -> None:
    names = [each.name for each in all_releases()]
    assert len(set(names)) == len(names)
    assert set(names) <= set(ZOO)


def test_a_name_says_what_a_checkpoint_must_be() -> None:
    release = recognised("focalclick-hrnet18s-s1")
    state = {key: torch.zeros(()).expand(shape) for key, (_, shape) in release.expected.items()}
    assert recognise(state, name=release.name) is release
    with pytest.raises(CheckpointError, match=r"not a checkpoint of emc-hrnet18s: .*missing key"):
        recognise(state, name="emc-hrnet18s")
    for ask in (lambda: recognise(state, name="emc-nothing"), lambda: recognised("emc-nothing")):
        with pytest.raises(UnknownNameError, match="emc-nothing"):
            ask()


def test_only_the_two_pipelines_of_focalclick_share_their_keys() -> None:
    assert twins(recognised("focalclick-segformer-b0")) == ["focalclick-segformer-b0-s1"]
    assert twins(recognised("emc-segformer-b0")) == []
