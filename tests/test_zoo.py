"""Loading models: names, folders, damage, and what the user is told."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from emclick import zoo
from emclick.card import CARD_NAME, WEIGHTS_NAME, Card, read_card
from emclick.errors import (
    CheckpointError,
    MissingExtraError,
    OptionError,
    UnknownNameError,
    WeightsError,
    WriteError,
)
from emclick.networks.checkpoint import load_model, save_model
from emclick.networks.model import EmcNetwork
from emclick.session import Session
from emclick.spec import CorrectionSpec, ModelSpec

SPEC = ModelSpec("mobilenet_v2", CorrectionSpec(width=8, templates=8))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return EmcNetwork(SPEC).eval()


@pytest.fixture
def folder(tmp_path, network):
    return save_model(tmp_path / "model", network.state_dict(), Card("toy", SPEC, short_side=64))


def test_a_saved_model_comes_back_to_the_bit(folder, network):
    again, card = load_model(folder)
    assert (card.name, card.spec, card.short_side) == ("toy", SPEC, 64)
    for key, value in network.state_dict().items():
        assert torch.equal(value, again.state_dict()[key]), key


def test_float16_weights_are_cast_when_loaded(tmp_path, network):
    save_model(tmp_path, network.state_dict(), Card("toy", SPEC), torch.float16)
    again, _ = load_model(tmp_path)
    for key, value in network.state_dict().items():
        loaded = again.state_dict()[key]
        assert loaded.dtype == value.dtype
        if value.is_floating_point():
            assert torch.equal(loaded, value.half().float()), key


def test_a_folder_loads_and_segments(folder):
    model = zoo.load(folder)
    assert (model.name, model.short_side, model.card.spec.min_cells, model.runtime.name) == (
        "toy",
        64,
        8,
        "torch",
    )
    assert len(model.sha256) == 64
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    assert Session(model, image).click(30, 20).mask.shape == (50, 70)


def test_names():
    assert zoo.list_models()[0] == zoo.DEFAULT_MODEL == "emc-mobilenetv2"
    assert len(zoo.list_models()) == len(set(zoo.list_models())) >= 6
    with pytest.raises(UnknownNameError, match="choose from emc-mobilenetv2"):
        zoo.load("emc-hrnet99")
    for threads in (0, "a", True):
        with pytest.raises(OptionError, match="threads"):
            zoo.load(threads=threads)
    with pytest.raises(UnknownNameError, match="runtime"):
        zoo.load(runtime="abacus")


@pytest.mark.parametrize("name", [name for name in zoo.ZOO if name != zoo.DEFAULT_MODEL])
def test_a_published_model_says_in_one_line_how_to_get_it(name):
    with pytest.raises(WeightsError, match="emclick convert") as caught:
        zoo.load(name)
    assert "\n" not in str(caught.value)


def test_a_folder_converted_under_a_model_s_name_is_that_model(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder.rename(tmp_path / "emc-hrnet18s")
    assert zoo.load("emc-hrnet18s").name == "toy"
    (tmp_path / "emc-hrnet18s").rename(tmp_path / zoo.DEFAULT_MODEL)
    assert zoo.load(zoo.DEFAULT_MODEL).name == zoo.DEFAULT_MODEL  # what ships goes first


def test_without_torch_the_extra_is_named(folder, monkeypatch):
    monkeypatch.setattr(zoo.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"emclick\[torch\]"):
        zoo.load(folder)


@pytest.mark.parametrize("cut", [0, 1, 7, 100, -1])
def test_truncated_weights_are_refused(folder, cut):
    path = folder / WEIGHTS_NAME
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(WeightsError, match="truncated or changed"):
        zoo.load(folder)


def test_weights_that_are_damaged_in_spite_of_their_checksum(folder):
    import hashlib

    data = b"\xff" * 64
    (folder / WEIGHTS_NAME).write_bytes(data)
    card = json.loads((folder / CARD_NAME).read_text())
    card["sha256"] = hashlib.sha256(data).hexdigest()
    (folder / CARD_NAME).write_text(json.dumps(card))
    with pytest.raises(WeightsError, match="damaged"):
        zoo.load(folder)


def test_missing_files(folder):
    (folder / WEIGHTS_NAME).unlink()
    with pytest.raises(WeightsError, match="cannot read"):
        zoo.load(folder)
    with pytest.raises(WeightsError, match="not a model folder"):
        read_card(folder.parent)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(format="other"), "format 'other'"),
        (lambda c: c.pop("licence"), "incomplete"),
        (lambda c: c.pop("spec"), "incomplete"),
        (lambda c: c["spec"].update(extra=1), "unknown entries: extra"),
        (
            lambda c: c["spec"]["correction"].pop("width") and c["spec"].pop("base"),
            "not a model specification",
        ),
        (lambda c: c["spec"]["correction"].update(width=16), "does not fit"),
        (lambda c: c["spec"]["correction"].update(templates="x"), "templates is 'x'"),
        (lambda c: c["spec"]["correction"].update(heads=3), "multiple"),
        (lambda c: c["spec"]["correction"].update(attention=1), "true or false"),
        (lambda c: c["preprocessing"].update(short_side="big"), "incomplete"),
    ],
)
def test_a_card_that_does_not_fit_is_refused(folder, change, message):
    card = json.loads((folder / CARD_NAME).read_text())
    change(card)
    (folder / CARD_NAME).write_text(json.dumps(card))
    with pytest.raises(CheckpointError, match=message):
        zoo.load(folder)


@pytest.mark.parametrize("text", ["", "[]", "{", "null"])
def test_a_card_that_is_no_card_is_refused(folder, text):
    (folder / CARD_NAME).write_text(text)
    with pytest.raises(CheckpointError):
        zoo.load(folder)


def test_saving_needs_a_folder_and_leaves_the_old_model_on_failure(folder, network, monkeypatch):
    (folder / "file").write_text("in the way")
    with pytest.raises(WriteError, match="cannot make folder"):
        save_model(folder / "file", network.state_dict(), Card("toy", SPEC))
    before = (folder / WEIGHTS_NAME).read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(WriteError, match="No space left"):
        save_model(folder, network.state_dict(), dataclasses.replace(Card("toy", SPEC), licence="x"))
    assert (folder / WEIGHTS_NAME).read_bytes() == before
    assert load_model(folder)[1].licence == "unknown"
