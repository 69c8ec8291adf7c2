"""TFLite to float32: a small graph written here, damaged ones, and the public files where they are present."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
import tflite
from numpy.typing import NDArray
from safetensors.numpy import load_file

from emclick.errors import CheckpointError, WeightsError
from emclick.networks.tflite import convert_tflite

PUBLIC = Path(__file__).parents[3] / "shared" / "data" / "pretrained"
OPERATORS = tflite.BuiltinOperator  # pyright: ignore[reportAttributeAccessIssue]
TYPES = {np.dtype(np.uint8): 3, np.dtype(np.int8): 9, np.dtype(np.int32): 2, np.dtype(np.float32): 0}


class Graph:
    """Writes a .tflite file: tensors and operators in the order added."""

    def __init__(self) -> None:
        self.builder = flatbuffers.Builder(1024)
        self.tensors: list[int] = []
        self.buffers: list[int] = [self._table({})]
        self.operators: list[int] = []
        self.codes: list[int] = []
        self.image = self.tensor(None)

    def _table(self, slots: dict[int, tuple[str, int]], size: int = 12) -> int:
        self.builder.StartObject(size)
        for slot, (kind, value) in slots.items():
            getattr(self.builder, f"Prepend{kind}Slot")(slot, value, 0)
        return self.builder.EndObject()

    def _offsets(self, items: Sequence[int]) -> int:
        self.builder.StartVector(4, len(items), 4)
        for item in reversed(items):
            self.builder.PrependUOffsetTRelative(item)
        return self.builder.EndVector()

    def tensor(
        self,
        values: NDArray[np.generic] | None,
        scale: Sequence[float] = (),
        zero: Sequence[int] = (),
        axis: int = 0,
    ) -> int:
        """A constant with its quantisation, or (None) a tensor that an operator makes."""
        build, slots = self.builder, {}
        if values is not None:
            data = build.CreateByteVector(values.tobytes())
            self.buffers.append(self._table({0: ("UOffsetTRelative", data)}))
            shape = build.CreateNumpyVector(np.array(values.shape, np.int32))
            scales = build.CreateNumpyVector(np.array(scale, np.float32))
            zeros = build.CreateNumpyVector(np.array(zero, np.int64))
            quantisation = self._table(
                {2: ("UOffsetTRelative", scales), 3: ("UOffsetTRelative", zeros), 6: ("Int32", axis)}
            )
            slots = {
                0: ("UOffsetTRelative", shape),
                1: ("Int8", TYPES[values.dtype]),
                2: ("Uint32", len(self.buffers) - 1),
                4: ("UOffsetTRelative", quantisation),
            }
        self.tensors.append(self._table(slots))
        return len(self.tensors) - 1

    def add(self, kind: str, *reads: int) -> int:
        """An operator; returns the tensor it makes."""
        out = self.tensor(None)
        number = getattr(OPERATORS, kind)
        if number not in self.codes:
            self.codes.append(number)
        inputs = self.builder.CreateNumpyVector(np.array(reads, np.int32))
        outputs = self.builder.CreateNumpyVector(np.array([out], np.int32))
        slots = {1: ("UOffsetTRelative", inputs), 2: ("UOffsetTRelative", outputs)}
        slots[0] = ("Uint32", self.codes.index(number))
        self.operators.append(self._table(slots))
        return out

    def convolution(self, source: int, weight: NDArray[np.uint8], kind: str = "CONV_2D") -> int:
        channels = weight.shape[3] if kind != "CONV_2D" else weight.shape[0]
        bias = np.arange(channels, dtype=np.int32) - 3
        return self.add(kind, source, self.tensor(weight, [0.5], [7]), self.tensor(bias, [0.25], [0]))

    def bytes(self) -> bytes:
        build = self.builder
        codes = [self._table({0: ("Int8", min(c, 127)), 3: ("Int32", c)}) for c in self.codes]
        parts = {0: self._offsets(self.tensors), 3: self._offsets(self.operators)}
        graph = self._table({slot: ("UOffsetTRelative", part) for slot, part in parts.items()})
        tables = {1: self._offsets(codes), 2: self._offsets([graph]), 4: self._offsets(self.buffers)}
        slots = {slot: ("UOffsetTRelative", part) for slot, part in tables.items()}
        build.Finish(self._table({0: ("Uint32", 3), **slots}), file_identifier=b"TFL3")
        return bytes(build.Output())


def kernel(seed: int, *shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


STEM, DEPTHWISE, PROJECT = kernel(0, 4, 3, 3, 3), kernel(1, 1, 3, 3, 4), kernel(2, 2, 1, 1, 4)
EXPAND, DEPTHWISE1, PROJECT1 = kernel(3, 8, 1, 1, 2), kernel(4, 1, 3, 3, 8), kernel(5, 2, 1, 1, 8)
LOCAL, POOLED, MERGED, CLASSES = (
    kernel(6, 5, 1, 1, 2),
    kernel(7, 5, 1, 1, 2),
    kernel(8, 5, 1, 1, 10),
    kernel(9, 3, 1, 1, 5),
)


def backbone(graph: Graph) -> int:
    """A stem, a block without expansion, and one with a shortcut."""
    x = graph.convolution(graph.image, STEM)
    x = graph.convolution(x, DEPTHWISE, "DEPTHWISE_CONV_2D")
    block0 = graph.convolution(x, PROJECT)
    x = graph.convolution(block0, EXPAND)
    x = graph.convolution(x, DEPTHWISE1, "DEPTHWISE_CONV_2D")
    x = graph.convolution(x, PROJECT1)
    return graph.add("ADD", x, block0)


def segmenter(pooling_first_in_file: bool = False) -> bytes:
    """With an ASPP; the order of its two branches in the file must not matter."""
    graph = Graph()
    x = backbone(graph)
    local = -1 if pooling_first_in_file else graph.convolution(x, LOCAL)
    pooled = graph.convolution(graph.add("AVERAGE_POOL_2D", x), POOLED)
    local = graph.convolution(x, LOCAL) if pooling_first_in_file else local
    pooled = graph.add("QUANTIZE", graph.add("RESIZE_BILINEAR", pooled))
    x = graph.convolution(graph.add("CONCATENATION", pooled, local), MERGED)
    graph.add("ARG_MAX", graph.convolution(x, CLASSES))
    return graph.bytes()


def expected(weight: NDArray[np.uint8], depthwise: bool = False) -> NDArray[np.float32]:
    order = (3, 0, 1, 2) if depthwise else (0, 3, 1, 2)
    return ((weight.astype(np.float32) - 7) * 0.5).transpose(order)


@pytest.mark.parametrize("pooling_first", [False, True])
def test_names_follow_from_the_graph_and_values_from_the_quantisation(
    pooling_first: bool, tmp_path: Path
) -> None:
    (tmp_path / "small.tflite").write_bytes(segmenter(pooling_first))
    found = convert_tflite(tmp_path / "small.tflite")
    wanted = {
        "stem": expected(STEM),
        "block0.depthwise": expected(DEPTHWISE, True),
        "block0.project": expected(PROJECT),
        "block1.expand": expected(EXPAND),
        "block1.depthwise": expected(DEPTHWISE1, True),
        "block1.project": expected(PROJECT1),
        "aspp.conv": expected(LOCAL),
        "aspp.image_pooling": expected(POOLED),
        "aspp.project": expected(MERGED),
        "classifier": expected(CLASSES),
    }
    assert set(found) == {f"{name}.{part}" for name in wanted for part in ("weight", "bias")}
    for name, weight in wanted.items():
        own = found[f"{name}.weight"]
        assert own.dtype == np.float32
        assert own.flags.c_contiguous
        np.testing.assert_array_equal(own, weight)
        np.testing.assert_array_equal(found[f"{name}.bias"], (np.arange(len(weight)) - 3) * np.float32(0.25))


def test_per_channel_scales_lie_along_their_axis(tmp_path: Path) -> None:
    graph = Graph()
    weight, scale = kernel(0, 4, 3, 3, 3).astype(np.int8), [0.5, 1.0, 2.0, 4.0]
    bias = np.array([1, 2, 3, 4], np.int32)
    x = graph.add(
        "CONV_2D", graph.image, graph.tensor(weight, scale, [0, 1, 2, 3]), graph.tensor(bias, scale)
    )
    deep = kernel(1, 1, 3, 3, 4).astype(np.int8)
    x = graph.add(
        "DEPTHWISE_CONV_2D", x, graph.tensor(deep, scale, [0] * 4, axis=3), graph.tensor(bias, scale)
    )
    graph.convolution(x, PROJECT)
    (tmp_path / "small.tflite").write_bytes(graph.bytes())
    found = convert_tflite(tmp_path / "small.tflite")
    for channel, step in enumerate(scale):
        exact = (weight[channel].astype(np.float32) - channel) * step
        np.testing.assert_array_equal(found["stem.weight"][channel], exact.transpose(2, 0, 1))
        np.testing.assert_array_equal(
            found["block0.depthwise.weight"][channel, 0], deep[0, ..., channel] * step
        )
        assert found["stem.bias"][channel] == bias[channel] * step


def test_a_plain_classifier_has_no_aspp(tmp_path: Path) -> None:
    graph = Graph()
    x = graph.add("MEAN", graph.convolution(backbone(graph), LOCAL))
    graph.add("SOFTMAX", graph.convolution(x, CLASSES))
    (tmp_path / "small.tflite").write_bytes(graph.bytes())
    found = convert_tflite(tmp_path / "small.tflite")
    assert not any(name.startswith("aspp") for name in found)
    np.testing.assert_array_equal(found["classifier.hidden.weight"], expected(LOCAL))
    np.testing.assert_array_equal(found["classifier.weight"], expected(CLASSES))


def test_other_networks_are_refused(tmp_path: Path) -> None:
    plain, empty = Graph(), Graph()
    plain.convolution(plain.convolution(plain.image, STEM), kernel(1, 2, 3, 3, 4))
    for name, graph in {"plain": plain, "empty": empty}.items():
        (tmp_path / name).write_bytes(graph.bytes())
        with pytest.raises(CheckpointError, match="MobileNetV2"):
            convert_tflite(tmp_path / name)


def test_damaged_files_are_refused_or_read_but_never_crash(tmp_path: Path) -> None:
    whole, path = segmenter(), tmp_path / "damaged.tflite"
    for data in (b"", b"hello", b"<html>not here</html>", whole[:4] + b"TFL9" + whole[8:]):
        path.write_bytes(data)
        with pytest.raises(WeightsError, match="not a TensorFlow Lite file"):
            convert_tflite(path)
    for size in range(8, len(whole) - 64, 97):
        path.write_bytes(whole[:size])
        with pytest.raises((WeightsError, CheckpointError)):
            convert_tflite(path)
    random = np.random.default_rng(0)
    for _ in range(150):
        garbled = bytearray(whole)
        for place in random.integers(8, len(whole), 12):
            garbled[place] = int(random.integers(256))
        path.write_bytes(bytes(garbled))
        try:
            convert_tflite(path)  # a changed weight is not to be seen
        except (WeightsError, CheckpointError):
            continue
    with pytest.raises(WeightsError, match="cannot read"):
        convert_tflite(tmp_path / "absent.tflite")


def public(name: str) -> Path:
    if not (PUBLIC / name).is_file():
        pytest.skip(f"{name} is not beside this checkout")
    return PUBLIC / name


def test_the_public_deeplab_file_gives_the_known_weights() -> None:
    wanted = load_file(public("deeplabv3_mobilenet_v2_coco_voc.safetensors"))
    found = convert_tflite(public("raw/deeplabv3_mnv2_pascal_quant.tflite"))
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_array_equal(found[name], value, name)


def test_the_public_imagenet_file_fits_the_backbone() -> None:
    wanted = load_file(public("deeplabv3_mobilenet_v2_coco_voc.safetensors"))
    found = convert_tflite(public("raw/tf2_mobilenet_v2_1.0_224_ptq.tflite"))
    shared = {name for name in wanted if not name.startswith(("aspp", "classifier"))}
    assert {name for name in found if not name.startswith("classifier")} == shared
    for name in shared:
        assert found[name].shape == wanted[name].shape
        assert 0 < np.abs(found[name]).max() < 200
