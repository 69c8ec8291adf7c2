"""MobileNetV2 weights out of public TensorFlow Lite files: 8-bit integers back to float32, by graph position.

Reads DeepLabv3 (with its ASPP) and plain classification graphs, per-tensor or per-channel quantised. No
TensorFlow: the flatbuffer is read with the `tflite` package (extra `torch`).
"""

from __future__ import annotations

import importlib
import os
import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emclick.errors import CheckpointError, MissingExtraError, WeightsError

Float = NDArray[np.float32]

_MAGIC = b"TFL3"
_TYPES = {"UINT8": np.uint8, "INT8": np.int8, "INT32": np.int32, "FLOAT32": np.float32}
_POOLING = frozenset({"AVERAGE_POOL_2D", "MEAN"})
_CONVOLUTIONS = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D"})
# What a reader of garbage may raise: offsets beyond the end, absent tables, shapes that do not fit.
_GARBAGE = (
    struct.error,
    IndexError,
    ValueError,
    TypeError,
    AttributeError,
    KeyError,
    OverflowError,
    MemoryError,
)
# (what feeds a convolution, its role) where that alone decides; the rest is in `_convolution_role`.
_ROLES = (
    (r"image", r"stem"),
    (r"block(\d+)\.depthwise", r"block\1.project"),
    (r"pool of block\d+\.project", r"aspp.image_pooling"),
    (r"aspp.image_pooling & aspp.conv", r"aspp.project"),
    (r"aspp\.project|pool of classifier\.hidden", r"classifier"),
)


@dataclass(frozen=True)
class _Operation:
    """One node: its kind, the tensors it reads (constants left out) and writes, and its weight and bias."""

    kind: str
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    weight: Float | None = None
    bias: Float | None = None


def convert_tflite(path: str | os.PathLike[str]) -> dict[str, Float]:
    """The weights of a MobileNetV2 `.tflite` file as float32, `(q - zero_point) * scale`.

    Names follow from the graph: `stem`, `blockN.expand`, `blockN.depthwise`, `blockN.project`, then for
    DeepLabv3 `aspp.conv`, `aspp.image_pooling`, `aspp.project` and `classifier`, for a plain classifier
    `classifier.hidden` and `classifier`; each with `.weight` and `.bias`. Kernels are (out, in, h, w), of
    depthwise convolutions (channels, 1, h, w). Norms are folded in, as they are in the file.

    Raises:
        WeightsError: the file is missing, truncated or no TensorFlow Lite file.
        CheckpointError: its graph is not a MobileNetV2 as described.
        MissingExtraError: the `tflite` package is not installed.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror}") from error
    if data[4:8] != _MAGIC:
        raise WeightsError(f"{path} is not a TensorFlow Lite file; get it again")
    try:
        operations = list(_operations(data))
    except _GARBAGE as error:
        raise WeightsError(
            f"{path} is truncated or damaged ({type(error).__name__}); get it again"
        ) from error
    weights: dict[str, Float] = {}
    for name, operation in _named(operations, str(path)):
        if name + ".weight" in weights:
            raise CheckpointError(f"{path} is not a MobileNetV2 known here: its graph has two of {name}")
        if operation.weight is None or operation.bias is None:
            raise CheckpointError(f"{path}: convolution {name} lacks a constant weight or bias")
        weights[name + ".weight"], weights[name + ".bias"] = operation.weight, operation.bias
    if not any(name.startswith("block0.") for name in weights):
        raise CheckpointError(f"{path} is not a MobileNetV2: it has no depthwise convolution after a stem")
    return weights


def _operations(data: bytes) -> Iterator[_Operation]:
    try:
        tflite: Any = importlib.import_module("tflite")  # its names are made at run time
    except ImportError as error:
        message = 'reading .tflite files needs the extra torch: pip install "emclick[torch]"'
        raise MissingExtraError(message) from error

    kinds = _names_by_number(tflite.BuiltinOperator)
    types = _names_by_number(tflite.TensorType)
    model: Any = tflite.Model.GetRootAsModel(data, 0)
    graph: Any = model.Subgraphs(0)
    if graph.OperatorsLength() * 4 > len(data):
        raise ValueError("more operators than bytes")
    for number in range(graph.OperatorsLength()):
        operator = graph.Operators(number)
        code = model.OperatorCodes(operator.OpcodeIndex())
        # codes beyond 127 stand in the newer of the two fields, old files fill the other
        kind = kinds[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
        inputs = [int(index) for index in operator.InputsAsNumpy() if index >= 0]
        outputs = tuple(int(index) for index in operator.OutputsAsNumpy())
        if kind not in _CONVOLUTIONS:
            yield _Operation(kind, tuple(inputs), outputs)
            continue
        constants = [_constant(model, graph, index, types) for index in inputs[1:3]]
        constants += [None] * (2 - len(constants))
        weight, bias = constants
        if weight is not None:  # (out, h, w, in); depthwise (1, h, w, channels)
            weight = weight.transpose((3, 0, 1, 2) if kind == "DEPTHWISE_CONV_2D" else (0, 3, 1, 2))
            weight = np.ascontiguousarray(weight)
        yield _Operation(kind, tuple(inputs[:1]), outputs, weight, bias)


def _names_by_number(enumeration: type) -> dict[int, str]:
    return {number: name for name, number in vars(enumeration).items() if isinstance(number, int)}


def _constant(model: Any, graph: Any, index: int, types: dict[int, str]) -> Float | None:
    """Tensor `index` as float32, or None if the file holds no data for it."""
    tensor = graph.Tensors(index)
    buffer = model.Buffers(tensor.Buffer())
    if not buffer.DataLength():
        return None
    dtype = np.dtype(_TYPES[types[tensor.Type()]]).newbyteorder("<")
    raw = np.frombuffer(buffer.DataAsNumpy().tobytes(), dtype).reshape(tensor.ShapeAsNumpy())
    if dtype.kind == "f":
        return raw.astype(np.float32)
    quantization = tensor.Quantization()
    along = [1] * raw.ndim
    along[quantization.QuantizedDimension()] = -1
    scale = quantization.ScaleAsNumpy().astype(np.float32).reshape(along)
    zero = quantization.ZeroPointAsNumpy() if quantization.ZeroPointLength() else np.zeros(1, np.int64)
    return (raw.astype(np.int64) - zero.reshape(along)).astype(np.float32) * scale


def _named(operations: Sequence[_Operation], where: str) -> Iterator[tuple[str, _Operation]]:
    """Every convolution with its role, found by following the tensors from the image."""
    readers: dict[int, list[str]] = {}
    for operation in operations:
        for tensor in operation.reads:
            readers.setdefault(tensor, []).append(operation.kind)
    role_of: dict[int, str] = {}  # tensor -> role of what made it, in the order made
    for operation in operations:
        if not role_of and operation.reads:
            role_of[operation.reads[0]] = "image"
        role = _role(operation, role_of, readers, where)
        for tensor in operation.writes:
            role_of[tensor] = role
        if operation.kind in _CONVOLUTIONS:
            yield role, operation


def _role(operation: _Operation, role_of: dict[int, str], readers: dict[int, list[str]], where: str) -> str:
    sources = [role_of[tensor] for tensor in operation.reads if tensor in role_of]
    if operation.kind == "CONCATENATION":
        return " & ".join(sources)
    if operation.kind not in _CONVOLUTIONS:
        # additions, resizing, requantising: the latest of what they were made of
        latest = next((role for tensor, role in reversed(role_of.items()) if tensor in operation.reads), "")
        return f"pool of {latest}" if operation.kind in _POOLING else latest
    source = sources[0] if sources else ""
    role = _convolution_role(operation, source, readers)
    if not role:
        kind = operation.kind.lower()
        raise CheckpointError(f"{where} is not a MobileNetV2 known here: {kind} on {source or 'a constant'}")
    return role


def _convolution_role(operation: _Operation, source: str, readers: dict[int, list[str]]) -> str:
    """The role of a convolution that reads what `source` made; empty if it has none in a MobileNetV2."""
    if operation.kind == "DEPTHWISE_CONV_2D":
        return "block0.depthwise" if source == "stem" else re.sub(r"expand$", "depthwise", source)
    for pattern, role in _ROLES:
        if re.fullmatch(pattern, source):
            return re.sub(pattern, role, source)
    block = re.fullmatch(r"block(\d+)\.project", source)
    if block is None:
        return ""
    if "DEPTHWISE_CONV_2D" in readers.get(operation.writes[0], ()):
        return f"block{int(block[1]) + 1}.expand"
    return "aspp.conv" if _POOLING & set(readers[operation.reads[0]]) else "classifier.hidden"
