"""Every runtime against PyTorch in float32, on the shipped model and on a seeded network."""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import toy_base
from contracts.runtime_contract import RuntimeContract, inputs_of
from emclick import graphs, zoo
from emclick.benchmark.stages import FrameClicks
from emclick.card import Card, read_card
from emclick.cli.doctor import has_bf16
from emclick.errors import OptionError
from emclick.networks.checkpoint import load_model, save_model
from emclick.networks.export import export_model
from emclick.networks.model import EmcNetwork
from emclick.runtimes.base import Runtime, padded_count
from emclick.runtimes.torch import TorchRuntime
from emclick.session import Session
from emclick.spec import CorrectionSpec, ModelSpec


def seeded(spec: ModelSpec) -> EmcNetwork:
    """A network with lively BatchNorm statistics, so that folding them wrongly would show."""
    torch.manual_seed(1)
    network = EmcNetwork(spec)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0, 0.3)
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
    return network.eval()


def untraced(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` out of sight of a coverage measurement, which nearly doubles what PyTorch's exporter takes."""

    def call(*args: Any, **options: Any) -> Any:
        tracer = sys.gettrace()
        sys.settrace(None)
        try:
            return function(*args, **options)
        finally:
            sys.settrace(tracer)

    return call


@pytest.fixture(scope="module", autouse=True)
def small_base() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        toy_base.registered(patched)
        yield


def exported(base: str, folder: Path) -> Path:
    """A folder of a seeded model and its graphs: narrow corrector, T unlike C."""
    spec = ModelSpec(base, CorrectionSpec(width=16, templates=24, heads=2))
    save_model(folder, seeded(spec).state_dict(), Card("toy", spec, short_side=96))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(torch.onnx, "export", untraced(torch.onnx.export))
        export_model(folder)
    return folder


@pytest.fixture(scope="module")
def toy_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With few blocks: each costs the exporter seconds."""
    return exported(toy_base.NAME, tmp_path_factory.mktemp("exported") / "toy")


@pytest.fixture(
    scope="module", params=["shipped", "toy", pytest.param("mobilenet_v2", marks=pytest.mark.slow)]
)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if request.param == "shipped":
        return zoo.find_folder(zoo.DEFAULT_MODEL)
    if request.param == "toy":
        return request.getfixturevalue("toy_folder")
    return exported(request.param, tmp_path_factory.mktemp("exported") / "whole")


@pytest.fixture(scope="module")
def network(folder: Path) -> EmcNetwork:
    return load_model(folder)[0]


@pytest.fixture(scope="module")
def short_side(folder: Path) -> int:
    return read_card(folder).short_side


class TestOnnx(RuntimeContract):
    @pytest.fixture(scope="module")
    @classmethod
    def runtime(cls, folder: Path) -> Runtime:
        return zoo.load(folder, runtime="onnx").runtime


class TestTorch(RuntimeContract):
    tolerance = 1e-5

    @pytest.fixture(scope="module")
    @classmethod
    def runtime(cls, folder: Path) -> Runtime:
        return zoo.load(folder, runtime="torch").runtime


class TestTorchInParts(RuntimeContract):
    """What runs on CUDA, in float32, here on the CPU."""

    @pytest.fixture(scope="module")
    @classmethod
    def runtime(cls, network: EmcNetwork) -> Runtime:
        return TorchRuntime(network)


class TestTorchBf16(RuntimeContract):
    """Half precision: other templates win, so that single logits differ; a gate on NoC holds it besides."""

    tolerance = 4.0

    @pytest.fixture(scope="module")
    @classmethod
    def folder(cls) -> Path:
        return zoo.find_folder(zoo.DEFAULT_MODEL)

    @pytest.fixture(scope="module")
    @classmethod
    def runtime(cls, folder: Path) -> Runtime:
        return zoo.load(folder, runtime="torch", precision="bf16").runtime


class TestOpenvino(RuntimeContract):
    @pytest.fixture(scope="module")
    @classmethod
    def runtime(cls, folder: Path) -> Runtime:
        pytest.importorskip("openvino", reason="the extra openvino is not installed")
        return zoo.load(folder, runtime="openvino").runtime


class TestOpenvinoBf16(TestTorchBf16):
    """As there."""

    @pytest.fixture(scope="module")
    @classmethod
    def runtime(cls, folder: Path) -> Runtime:
        pytest.importorskip("openvino", reason="the extra openvino is not installed")
        try:
            return zoo.load(folder, runtime="openvino", precision="bf16").runtime
        except OptionError as error:
            pytest.skip(str(error))


@pytest.mark.parametrize(("name", "precision"), [("onnx", "fp32"), ("openvino", "fp32"), ("torch", "bf16")])
def test_a_runtime_ends_with_its_last_user(name: str, precision: str, toy_folder: Path) -> None:
    """Not when cycles are collected: the order in which that ends a library's objects has ended processes."""
    pytest.importorskip({"onnx": "onnxruntime"}.get(name, name))
    runtime = zoo.load(toy_folder, runtime=name, precision=precision).runtime
    frames, first, inputs = inputs_of((64, 100))
    image = runtime.open(frames)
    features, _ = runtime.first(image, first)
    runtime.correct(image, features, inputs)
    seen = weakref.ref(runtime)
    gc.disable()
    try:
        del runtime, image, features
        assert seen() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("runtime", ["onnx", "openvino", "torch"])
def test_an_unknown_precision_or_device_is_refused(runtime: str, toy_folder: Path) -> None:
    pytest.importorskip({"onnx": "onnxruntime"}.get(runtime, runtime))
    with pytest.raises(OptionError, match="fp64"):
        zoo.load(toy_folder, runtime=runtime, precision="fp64")
    with pytest.raises(OptionError, match="nowhere"):
        zoo.load(toy_folder, runtime=runtime, device="nowhere")


def test_threads_are_those_asked_for_or_all_that_may_be_used(toy_folder: Path) -> None:
    from emclick.cpus import usable_cpus

    assert zoo.load(toy_folder).runtime.threads == usable_cpus()
    assert zoo.load(toy_folder, threads=1).runtime.threads == 1


def test_torch_takes_no_more_than_the_cpus_that_may_be_used(
    toy_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    try:
        for set_to, usable, taken in ((3, 2, 2), (1, 2, 1)):
            torch.set_num_threads(set_to)
            monkeypatch.setattr("emclick.runtimes.torch.usable_cpus", lambda usable=usable: usable)
            assert zoo.load(toy_folder, runtime="torch").runtime.threads == taken
            assert torch.get_num_threads() == taken
    finally:
        torch.set_num_threads(before)


def test_graphs_decide_the_default_runtime(toy_folder: Path, tmp_path: Path) -> None:
    assert zoo.choose_runtime(toy_folder) == "onnx"
    assert zoo.load().runtime.name == "onnx"
    network, card = load_model(toy_folder)
    save_model(tmp_path / "plain", network.state_dict(), card)
    assert not graphs.has_graphs(tmp_path / "plain")
    assert zoo.load(tmp_path / "plain").runtime.name == "torch"


@pytest.mark.skipif(not has_bf16(), reason="this CPU does not compute in bf16")
@pytest.mark.parametrize("name", ["openvino", "torch"])
def test_bf16_stays_near_float32(name: str) -> None:
    """Within a quarter of the largest logit at the 99.9th percentile; what it costs in clicks is in docs/numbers.md."""
    pytest.importorskip("openvino" if name == "openvino" else "torch")
    exact, rough = (
        clicked(zoo.load(zoo.DEFAULT_MODEL, runtime=name, precision=precision, threads=1))
        for precision in ("fp32", "bf16")
    )
    off = [float(np.percentile(np.abs(one - other), 99.9)) for one, other in zip(exact, rough, strict=True)]
    assert max(off) < 0.25 * min(float(np.abs(each).max()) for each in exact), off
    assert min(off) > 0


@pytest.mark.skipif(not has_bf16(), reason="this CPU does not compute in bf16")
def test_openvino_ranks_templates_in_float32() -> None:
    """All between the products and the choice is computed so; PyTorch's choice is held in test_split.py."""
    pytest.importorskip("openvino")
    model = zoo.load(zoo.DEFAULT_MODEL, runtime="openvino", precision="bf16", threads=1)
    runtime: Any = model.runtime
    clicked(model)
    computed: dict[str, set[str]] = {}
    for (part, *_), compiled in runtime._compiled.items():
        for each in (
            () if part == "first" else compiled.request.get_compiled_model().get_runtime_model().get_ops()
        ):
            told = {name: str(value.astype(str)) for name, value in each.get_rt_info().items()}
            computed.setdefault(told["layerType"], set()).add(told["runtimePrecision"])
    assert computed["TopK"] == computed["Reduce"] == {"f32"}
    assert "bf16" in computed["Convolution"]


@pytest.mark.skipif(not has_bf16(), reason="this CPU does not compute in bf16")
def test_openvino_gathers_no_heads_in_bf16() -> None:
    """It takes a twentieth of a correction; of the attention without the change for bf16 one transposition is left."""
    openvino = pytest.importorskip("openvino")
    from emclick.runtimes import openvino_graphs

    card = read_card(zoo.find_folder(zoo.DEFAULT_MODEL))
    data = graphs.read_graphs(zoo.find_folder(zoo.DEFAULT_MODEL), card)["correction"]
    model = openvino_graphs.prepared(openvino.Core(), data, half=True)
    [attention] = (each for each in model.get_ops() if each.get_type_name() == "ScaledDotProductAttention")
    [after] = (port.get_node() for port in attention.output(0).get_target_inputs())
    [projection] = (port.get_node() for port in after.output(0).get_target_inputs())
    assert (after.get_type_name(), projection.get_type_name()) == ("Transpose", "Convolution")
    assert projection.get_input_partial_shape(1).to_shape()[2] == card.spec.correction.heads


@pytest.mark.parametrize("small_bytes", [0, 1 << 30])
def test_openvino_gives_the_same_however_it_is_given_arrays(
    small_bytes: int, toy_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    from emclick.runtimes import openvino

    found = []
    for limit in (openvino._SMALL_BYTES, small_bytes):
        monkeypatch.setattr(openvino, "_SMALL_BYTES", limit)
        found.append(clicked(zoo.load(toy_folder, runtime="openvino", threads=1)))
        gc.collect()
    assert all(map(np.array_equal, *found))


def clicked(model: zoo.Model) -> list[np.ndarray]:
    """Logits of the first frame after each of three clicks."""
    frame = FrameClicks(model, 384)
    image = frame.runtime.open(frame.frames)
    features, logits = frame.first(image)
    found, maps = [], frame.none
    for number in range(3):
        logits = frame.correct(image, features, maps, list(range(number + 1)), logits)
        maps = maps.add(frame.points[number], number < 2)
        found.append(logits)
    return found


def test_how_many_clicks_the_networks_are_given() -> None:
    assert [padded_count(clicks) for clicks in (1, 2, 16, 17, 32, 33, 1000)] == [1, 2, 16, 32, 32, 64, 1024]


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="tells how much memory is in use")
def test_memory_does_not_grow_with_the_square_of_the_clicks() -> None:
    """It did: an arena that grows by what is asked for took 500 MB here, 21 GB for 1,000 clicks at 384x384."""

    def resident_mb() -> float:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1000 for line in lines if line.startswith("VmRSS:"))

    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (128, 128, 3), np.uint8)
    session = Session(zoo.load(runtime="onnx"), image, short_side=128, zoom_in=False)
    for count in range(400):
        session.click(*rng.uniform(0, 127, 2), count == 0 or bool(rng.integers(2)))
        if count == 60:
            before = resident_mb()
    assert resident_mb() - before < 120  # most of which malloc would give back if it were asked
