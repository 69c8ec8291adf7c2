"""Exported graphs: what is written, what is refused, and what a reader finds in them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from emclick import graphs, zoo
from emclick.card import Card, read_card
from emclick.errors import CheckpointError, MissingExtraError, OptionError, WeightsError
from emclick.methods.ritm_spec import RitmSpec
from emclick.networks import click_maps, export
from emclick.networks.backbones import mobilenet_v2
from emclick.networks.base_network import Backbone
from emclick.networks.checkpoint import build_network, save_model
from emclick.networks.model import EmcNetwork
from emclick.runtimes import RUNTIMES
from emclick.spec import CorrectionSpec, ModelSpec

SHIPPED = zoo.find_folder(zoo.DEFAULT_MODEL)
GRAPHS = graphs.graphs_of(1)
SPEC = ModelSpec("mobilenet_v2", CorrectionSpec(width=8, templates=8))


def shipped(name: str) -> onnx.ModelProto:
    return onnx.load(SHIPPED / graphs.graph_file(name))


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The shipped model's graphs and card, without its weights: what `emclick export -o` writes."""
    names = ["model.json", graphs.MANIFEST_NAME, *(graphs.graph_file(name) for name in graphs.PARTS)]
    for name in names:
        (tmp_path / name).write_bytes((SHIPPED / name).read_bytes())
    return tmp_path


@pytest.fixture
def unexported(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    return save_model(tmp_path / "toy", EmcNetwork(SPEC).state_dict(), Card("toy", SPEC, short_side=96))


@pytest.mark.parametrize("name", graphs.PARTS)
def test_graphs_are_as_the_manifest_says(name: str) -> None:
    graph = shipped(name).graph
    assert [each.name for each in graph.input] == GRAPHS[name].input_names
    assert [each.name for each in graph.output] == GRAPHS[name].output_names
    for value, array in zip(graph.input, GRAPHS[name].inputs):
        assert value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
        sizes = value.type.tensor_type.shape.dim
        letters = array.shape.split(", ")
        assert len(sizes) == len(letters)
        for size, letter in zip(sizes, letters):
            assert not letter.isdigit() or size.dim_value == int(letter)
            assert letter not in "HWhwN" or size.dim_param
            assert letter != "C" or size.dim_value > 1
        assert array.about in value.doc_string
        assert array.range in value.doc_string


def test_the_manifest_is_complete() -> None:
    manifest = json.loads((SHIPPED / graphs.MANIFEST_NAME).read_text())
    assert manifest["weights_sha256"] == read_card(SHIPPED).sha256
    assert manifest["templates"] == 64
    assert manifest["check"]["error_p999"] <= manifest["check"]["tolerance"] == export.TOLERANCE
    for name, entry in manifest["graphs"].items():
        assert entry["bytes"] == (SHIPPED / entry["file"]).stat().st_size
        assert [each["name"] for each in entry["inputs"]] == GRAPHS[name].input_names


@pytest.mark.parametrize("name", graphs.PARTS)
def test_graphs_name_no_file_of_the_machine_that_made_them(name: str) -> None:
    torch.manual_seed(0)
    for data in (
        (SHIPPED / graphs.graph_file(name)).read_bytes(),
        export.trace(EmcNetwork(SPEC).eval())[name],
    ):
        assert b".py" not in data
        assert b"stack_trace" not in data


def test_weights_are_stored_in_half_where_nothing_is_lost() -> None:
    """The backbone's, which have no norm to fold, are those of the float16 file to the bit."""
    stored = {each.name: each for each in shipped("first").graph.initializer}
    halves = [each for each in stored.values() if each.data_type == onnx.TensorProto.FLOAT16]
    assert sum(np.prod(each.dims) for each in halves) > 1_500_000
    from safetensors.numpy import load_file

    weights = load_file(SHIPPED / "model.safetensors")["base.backbone.blocks.16.project.weight"]
    assert any(np.array_equal(onnx.numpy_helper.to_array(each), weights) for each in halves)


def test_an_export_loads_without_the_weights_file(copied: Path) -> None:
    assert zoo.load(copied).runtime.name == "onnx"
    with pytest.raises(WeightsError, match=r"model\.safetensors"):
        zoo.load(copied, runtime="torch")


@pytest.mark.parametrize("name", graphs.PARTS)
@pytest.mark.parametrize("cut", [0, 100, -1])
def test_a_truncated_graph_is_refused(copied: Path, name: str, cut: int) -> None:
    path = copied / graphs.graph_file(name)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(WeightsError, match="truncated or changed"):
        zoo.load(copied)


def test_graphs_of_other_weights_are_refused(copied: Path) -> None:
    card = json.loads((copied / "model.json").read_text())
    (copied / "model.json").write_text(json.dumps(card | {"sha256": "0" * 64}))
    with pytest.raises(WeightsError, match="emclick export"):
        zoo.load(copied)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("", CheckpointError),
        ("[]", CheckpointError),
        ('{"format": "other"}', CheckpointError),
        (json.dumps({"format": graphs.FORMAT}), CheckpointError),
        (json.dumps({"format": graphs.FORMAT, "weights_sha256": "", "graphs": {}}), CheckpointError),
    ],
)
def test_a_manifest_that_does_not_parse(copied: Path, content: str, error: type[Exception]) -> None:
    (copied / graphs.MANIFEST_NAME).write_text(content)
    with pytest.raises(error, match=r"graphs\.json"):
        zoo.load(copied)


def test_without_graphs_the_way_to_them_is_named(unexported: Path) -> None:
    with pytest.raises(WeightsError, match="emclick export"):
        zoo.load(unexported, runtime="onnx")


def test_an_export_of_other_weights_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    folders = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        folders.append(
            save_model(tmp_path / str(seed), EmcNetwork(SPEC).state_dict(), Card("toy", SPEC, short_side=96))
        )
        export.export_model(folders[-1], tmp_path / "out", check=False)
    assert read_card(tmp_path / "out").sha256 == read_card(folders[1]).sha256
    assert zoo.load(tmp_path / "out").runtime.name == "onnx"


def test_a_model_of_a_method_without_graphs_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = RitmSpec("mobilenet_v2")
    folder = save_model(
        tmp_path / "ritm",
        build_network("ritm", spec).state_dict(),
        Card("mine", spec, short_side=96, method="ritm"),
    )
    with pytest.raises(OptionError, match=r"cannot be exported: .*; it runs on torch$"):
        export.export_model(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(zoo.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"needs PyTorch: pip install"):
        zoo.load(folder)


def test_ties_of_a_model_without_selection_are_those_of_distances() -> None:
    torch.manual_seed(0)
    network = EmcNetwork(
        ModelSpec("mobilenet_v2", CorrectionSpec(width=8, templates=8, selection=False))
    ).eval()
    image, maps = torch.rand(1, 3, 64, 64), click_maps.ClickMaps(1, (64, 64))
    yes = torch.ones(1, dtype=torch.bool)
    maps.add(torch.tensor([[30.0, 30.0]]), yes, yes)
    features = network.first(image, maps.first_click_map()).features
    # places as far from the click, left and right, above and below
    assert export.smallest_gap(network, image, features, maps, torch.zeros(1, 1, 16, 16)) == 0


def test_a_graph_that_differs_is_not_written(
    unexported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shipped model's graphs in place of those of the toy: same inputs, other numbers."""
    files = {name: (SHIPPED / graphs.graph_file(name)).read_bytes() for name in graphs.PARTS}
    monkeypatch.setattr(export, "trace", lambda network: files)
    network = EmcNetwork(ModelSpec("mobilenet_v2", CorrectionSpec()))
    folder = save_model(tmp_path / "other", network.state_dict(), Card("other", network.spec, short_side=96))
    with pytest.raises(CheckpointError, match="nothing was written"):
        export.export_model(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_nan_is_not_written(unexported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "trace", lambda network: {})
    monkeypatch.setattr("emclick.runtimes.onnx.OnnxRuntime", lambda files: None)
    monkeypatch.setattr(export, "check_runtime", lambda *args: export.Check(float("nan"), 1, ()))
    with pytest.raises(CheckpointError, match="nothing was written"):
        export.export_model(unexported, tmp_path / "out")


@pytest.mark.parametrize("name", ["onnx", "openvino"])
def test_a_backbone_that_feels_a_click_everywhere(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One with `before_click` and `after_click` alone, as packages elsewhere may have."""

    parent = mobilenet_v2.MobileNetV2

    class Whole(parent):
        around_click = Backbone.around_click
        beyond_click = Backbone.beyond_click

        def after_click(self, opened: torch.Tensor, click_map: torch.Tensor) -> list[torch.Tensor]:
            return parent.beyond_click(self, parent.around_click(self, opened, click_map))

    pytest.importorskip("openvino" if name == "openvino" else "onnxruntime")
    monkeypatch.setattr(mobilenet_v2, "MobileNetV2", Whole)
    torch.manual_seed(0)
    network = EmcNetwork(SPEC).eval()
    assert type(network.base.backbone) is Whole
    runtime = RUNTIMES[name](export.trace(network))
    checked = export.check_runtime(runtime, network, 96)
    assert checked.error < export.TOLERANCE
    assert checked.clicks > 0
