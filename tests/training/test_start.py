"""What a run starts from: public backbone weights, strictly, or a model folder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from emclick.card import Card
from emclick.errors import CheckpointError, WeightsError
from emclick.methods.ritm_spec import RitmSpec
from emclick.networks.checkpoint import save_model
from emclick.networks.model import EmcNetwork
from emclick.networks.ritm import RitmNetwork
from emclick.spec import CorrectionSpec, ModelSpec
from emclick.training.start import PRETRAINED, initialise, load_pretrained, start_network

SMALL = CorrectionSpec(16, 16)
NEW = ("click_branch", "click_embedding", "unused_norm", "num_batches_tracked")


@pytest.fixture(scope="module", params=["mobilenet_v2", "hrnet18s", "segformer_b0"])
def network(request: pytest.FixtureRequest) -> EmcNetwork:
    torch.manual_seed(0)
    return EmcNetwork(ModelSpec(request.param, SMALL))


def public_file(network: EmcNetwork) -> dict[str, Tensor]:
    """Random weights under the names of the public file of this backbone."""
    base = network.spec.base
    own = network.base.backbone.state_dict()
    return {
        PRETRAINED[base].rename(f"base.backbone.{key}", base): torch.rand_like(value)
        for key, value in own.items()
        if not any(part in key for part in NEW)
    }


def test_a_public_file_fills_the_backbone_and_nothing_else(network: EmcNetwork, tmp_path: Path) -> None:
    given = public_file(network)
    extra = {"mobilenet_v2": "classifier.weight"}.get(network.spec.base, "head.weight")
    save_file({**given, extra: torch.zeros(3)}, tmp_path / "weights.safetensors")
    before = {key: value.clone() for key, value in network.state_dict().items()}
    load_pretrained(network, tmp_path / "weights.safetensors")
    for key, value in network.state_dict().items():
        if key.startswith("base.backbone.") and not any(part in key for part in NEW):
            assert torch.equal(value, given[PRETRAINED[network.spec.base].rename(key, network.spec.base)]), (
                key
            )
        else:
            assert torch.equal(value, before[key]), key


def test_what_does_not_fit_is_named(network: EmcNetwork, tmp_path: Path) -> None:
    given = public_file(network)
    path = tmp_path / "weights.safetensors"
    first = next(key for key in given if not key.startswith("aspp"))
    broken = {
        f"missing key {first}": {key: value for key, value in given.items() if key != first},
        "left-over key extra.weight": {**given, "extra.weight": torch.zeros(1)},
        f"key {first} has shape": {**given, first: torch.zeros(7)},
    }
    for message, state in broken.items():
        save_file(state, path)
        with pytest.raises(CheckpointError, match=message):
            load_pretrained(network, path)


def test_names_are_those_of_the_public_files() -> None:
    expected = {
        "mobilenet_v2": ("base.backbone.blocks.3.expand.weight", "block3.expand.weight"),
        "hrnet18": ("base.backbone.stage1.0.conv2.0.weight", "layer1.0.conv2.weight"),
        "segformer_b3": ("base.backbone.stages.1.blocks.0.attention.query.bias", "block2.0.attn.q.bias"),
    }
    for base, (ours, theirs) in expected.items():
        assert PRETRAINED[base].rename(ours, base) == theirs


def test_a_file_without_any_of_the_aspp_is_taken_and_one_with_some_is_not(tmp_path: Path) -> None:
    network = EmcNetwork(ModelSpec("mobilenet_v2", SMALL))
    given, path = public_file(network), tmp_path / "imagenet.safetensors"
    plain = {key: value for key, value in given.items() if not key.startswith("aspp.")}
    before = {key: value.clone() for key, value in network.state_dict().items() if ".aspp." in key}
    assert len(before) == 6
    save_file(plain, path)
    load_pretrained(network, path)
    for key, value in before.items():
        assert torch.equal(network.state_dict()[key], value)
    assert torch.equal(network.state_dict()["base.backbone.stem.weight"], given["stem.weight"])
    save_file({**plain, "aspp.conv.weight": given["aspp.conv.weight"]}, path)
    with pytest.raises(CheckpointError, match=r"missing key aspp\.conv\.bias"):
        load_pretrained(network, path)


def test_missing_and_damaged_files(tmp_path: Path) -> None:
    network = EmcNetwork(ModelSpec("mobilenet_v2", SMALL))
    with pytest.raises(WeightsError, match="emclick convert"):
        load_pretrained(network, tmp_path / "absent.safetensors")
    (tmp_path / "text.safetensors").write_bytes(b"hello, this is no such file")
    with pytest.raises(WeightsError, match="damaged"):
        load_pretrained(network, tmp_path / "text.safetensors")


def test_fresh_weights_are_xavier_of_magnitude_two() -> None:
    torch.manual_seed(0)
    conv = torch.nn.Conv2d(64, 96, 3)
    initialise(conv)
    assert conv.weight.std().item() == pytest.approx((2 / ((64 + 96) * 9 / 2)) ** 0.5, rel=0.03)
    assert (conv.bias == 0).all()


def test_a_model_folder_wins_and_must_fit(tmp_path: Path) -> None:
    torch.manual_seed(0)
    spec = ModelSpec("mobilenet_v2", SMALL)
    source = EmcNetwork(spec)
    save_model(tmp_path, source.state_dict(), Card("small", spec))
    network = EmcNetwork(spec)
    start_network(network, "nowhere.safetensors", str(tmp_path))
    for key, value in network.state_dict().items():
        assert torch.equal(value, source.state_dict()[key]), key
    with pytest.raises(CheckpointError, match="does not fit"):
        start_network(EmcNetwork(ModelSpec("mobilenet_v2", CorrectionSpec(32, 16))), "", str(tmp_path))


def test_a_base_network_alone_may_come_from_another_model(tmp_path: Path) -> None:
    torch.manual_seed(0)
    source = EmcNetwork(ModelSpec("mobilenet_v2", SMALL))
    save_model(tmp_path, source.state_dict(), Card("small", source.spec))
    network = EmcNetwork(ModelSpec("mobilenet_v2", CorrectionSpec(32, 16, attention=False)))
    start_network(network, "nowhere.safetensors", "", str(tmp_path))
    for key, value in network.base.state_dict().items():
        assert torch.equal(value, source.base.state_dict()[key]), key
    with pytest.raises(CheckpointError, match="does not fit"):
        start_network(EmcNetwork(ModelSpec("hrnet18s", SMALL)), "", "", str(tmp_path))
    with pytest.raises(CheckpointError, match="start_base is for models of EMC"):
        start_network(RitmNetwork(RitmSpec("mobilenet_v2")), "", "", str(tmp_path))
