"""Released checkpoints: every key accounted for, both ways; sizes and costs as published."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from emclick.errors import CheckpointError, WeightsError
from emclick.networks.checkpoint import read_untrusted
from emclick.networks.correction import ClickInput
from emclick.networks.model import EmcNetwork
from emclick.networks.official import OFFICIAL_SPECS, official_key
from emclick.networks.releases import recognise
from networks.reference_vectors import ALL_KEYS, hollow_state, keys_file, released_shapes, released_state

# METHOD, "Base networks": parameters total / corrector (M), multiply-adds of click 1 / of a correction (G).
PUBLISHED = {
    "emc-hrnet18s": (4.322, 0.102, 9.22, 1.10),
    "emc-hrnet18": (10.240, 0.208, 16.31, 2.29),
    "emc-hrnet32": (31.171, 0.220, 40.22, 2.40),
    "emc-segformer-b0": (3.829, 0.113, 5.31, 1.19),
    "emc-segformer-b3": (45.897, 0.245, 32.19, 2.63),
}
ALIASES = ("refiner.corr_conv_pos.", "refiner.corr_conv_neg.")


@pytest.fixture(scope="module")
def hollow_networks() -> dict[str, EmcNetwork]:
    with torch.device("meta"):
        return {name: EmcNetwork(spec).eval() for name, spec in OFFICIAL_SPECS.items()}


def needs(name: str) -> str:
    if not keys_file(name).is_file():
        pytest.skip(f"the list of keys {keys_file(name).name} is not beside this checkout")
    return name


@pytest.mark.parametrize("name", sorted(ALL_KEYS))
def test_keys_are_the_released_ones_both_ways(name: str, hollow_networks: dict[str, EmcNetwork]) -> None:
    released = released_shapes(needs(name))
    network = hollow_networks[ALL_KEYS[name]]
    ours = {official_key(key, network.spec.base): tuple(v.shape) for key, v in network.state_dict().items()}
    assert len(ours) == len(network.state_dict()), "two keys of ours have one name in the release"
    theirs = {key: shape for key, shape in released.items() if not key.startswith(ALIASES)}
    assert set(theirs) == set(ours)
    for key, shape in theirs.items():
        # a linear layer of the release may be a 1x1 convolution of ours
        assert ours[key] in (shape, (*shape, 1, 1)), key


@pytest.mark.parametrize("name", sorted(ALL_KEYS))
def test_the_model_is_recognised_from_keys_and_shapes(name: str) -> None:
    assert recognise(hollow_state(needs(name))).name == ALL_KEYS[name]


def test_values_land_under_their_own_names() -> None:
    state = released_state("segb0")
    release = recognise(state)
    assert release.name == "emc-segformer-b0"
    ours = release.convert(state)
    for key, value in ours.items():
        assert torch.equal(value.flatten(), state[official_key(key, "segformer_b0")].flatten()), key


BREAKS = {
    "missing": (lambda s: s.pop("refiner.refine_pred.bias"), "missing key refiner.refine_pred.bias"),
    "left over": (
        lambda s: s.update({"refiner.extra.weight": torch.zeros(1)}),
        "left-over key refiner.extra.weight",
    ),
    "misshaped": (
        lambda s: s.update({"refiner.refine_pred.weight": torch.zeros(1, 64, 1, 1)}),
        r"refiner.refine_pred.weight has shape \[1, 64, 1, 1\], not \[1, 64, 3, 3\]",
    ),
    "no alias": (
        lambda s: s.pop("refiner.corr_conv_neg.conv1x1.weight"),
        "missing key refiner.corr_conv_neg.conv1x1.weight",
    ),
    "another alias": (
        lambda s: s.update({"refiner.corr_conv_pos.conv1x1.bias": s["refiner.corr_conv.conv1x1.bias"] + 1}),
        "refiner.corr_conv_pos.conv1x1.bias differs from refiner.corr_conv.conv1x1.bias",
    ),
    "not a number": (
        lambda s: s.update({"refiner.refine_pred.bias": torch.tensor([torch.nan])}),
        "refiner.refine_pred.bias holds NaN",
    ),
    "whole numbers": (
        lambda s: s.update({"refiner.refine_pred.bias": torch.zeros(1, dtype=torch.int64)}),
        "refiner.refine_pred.bias holds torch.int64",
    ),
    "a linear layer for a convolution": (
        lambda s: s.update({"refiner.feature_convq.weight": torch.zeros(64, 64)}),
        r"refiner.feature_convq.weight has shape \[64, 64\]",
    ),
}


@pytest.mark.parametrize("broken", sorted(BREAKS))
def test_what_does_not_fit_is_named(broken: str) -> None:
    state = hollow_state("hr18s")
    change, message = BREAKS[broken]
    change(state)
    with pytest.raises(CheckpointError, match=message) as caught:
        recognise(state)
    assert "nearest is emc-hrnet18s" in str(caught.value)


def test_the_unused_click_branch_of_segformer_checkpoints_is_allowed() -> None:
    state = hollow_state("segb0")
    state.update({key: v for key, v in hollow_state("hr18s").items() if key.startswith("maps_transform.")})
    assert recognise(state).name == "emc-segformer-b0"
    state["maps_transform.4.weight"] = torch.zeros(1)
    with pytest.raises(CheckpointError, match=r"left-over key maps_transform\.4\.weight"):
        recognise(state)


def test_an_unknown_checkpoint_is_refused() -> None:
    for state in ({}, {"model.weight": torch.zeros(3)}):
        with pytest.raises(CheckpointError, match="nearest"):
            recognise(state)


class Trap:
    """Unpickling this would run code."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("ran",))


def test_no_class_is_imported_from_a_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"state_dict": {}, "config": Trap()}, tmp_path / "trap.pth")
    (tmp_path / "raw.pth").write_bytes(pickle.dumps(Trap(), protocol=2))
    for name in ("trap.pth", "raw.pth"):
        with pytest.raises(CheckpointError, match="asks for classes"):
            read_untrusted(tmp_path / name)
    assert "ran" not in capsys.readouterr().out


def test_damaged_checkpoints_are_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": released_state("segb0")}, tmp_path / "whole.pth")
    whole = (tmp_path / "whole.pth").read_bytes()
    for name, data in {
        "cut": whole[: len(whole) // 2],
        "empty": b"",
        "text": b"hello",
        "page": b"<html>",
    }.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(WeightsError, match="damaged or not a torch checkpoint"):
            read_untrusted(tmp_path / name)
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(CheckpointError, match="list"):
        read_untrusted(tmp_path / "list.pth")
    with pytest.raises(WeightsError, match="no file"):
        read_untrusted(tmp_path / "absent.pth")


def test_sizes_are_the_published_ones(hollow_networks: dict[str, EmcNetwork]) -> None:
    for name, (total, corrector, _, _) in PUBLISHED.items():
        network = hollow_networks[name]
        assert round(sum(p.numel() for p in network.parameters()) / 1e6, 3) == total, name
        assert round(sum(p.numel() for p in network.corrector.parameters()) / 1e6, 3) == corrector, name


LONG = ("emc-hrnet18", "emc-hrnet32", "emc-segformer-b3")


@torch.no_grad()
@pytest.mark.parametrize(
    "name", [pytest.param(each, marks=pytest.mark.slow if each in LONG else ()) for each in PUBLISHED]
)
def test_costs_are_the_published_ones(name: str, hollow_networks: dict[str, EmcNetwork]) -> None:
    """Counted on tensors without data, at 384x384: no arithmetic is done. The long ones differ in numbers alone."""
    with torch.device("meta"):
        image, click_map = torch.zeros(1, 3, 384, 384), torch.zeros(1, 1, 384, 384)
        yes = torch.ones(1, 1, dtype=torch.bool)
        maps = (torch.zeros(1, 2, 384, 384), torch.zeros(1, 2, 96, 96))
        clicks = ClickInput(torch.zeros(1, 1, 2), yes, yes, *maps)
    _, _, first, correction = PUBLISHED[name]
    network = hollow_networks[name]
    with FlopCounterMode(display=False) as base:
        output = network.first(image, click_map)
    with FlopCounterMode(display=False) as corrector:
        network.correct(image, output.features, clicks, output.coarse_logits)
    counted = corrector.get_total_flops() / 2e9
    assert counted == pytest.approx(correction, rel=0.01)
    total = base.get_total_flops() / 2e9 + counted
    assert total == pytest.approx(first, rel=0.01)
