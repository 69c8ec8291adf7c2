"""OpenVINO (extra): the fastest on x86 CPUs. Reads the same graphs as the onnx runtime."""

from __future__ import annotations

import math
import os
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
import openvino

from emclick.card import Card, read_card
from emclick.clicks import DISK_CHANNELS
from emclick.cpus import usable_cpus
from emclick.errors import OptionError, WeightsError
from emclick.geometry import GRID
from emclick.graphs import PARTS, read_graphs
from emclick.near import AROUND, FUSED, scaled
from emclick.runtimes.base import Float, KeptFrame, PartsRuntime
from emclick.runtimes.openvino_graphs import prepared

PRECISIONS = {"fp32": "f32", "bf16": "bf16"}
SIZES_KEPT = 5
"""Frame sizes whose compiled graphs are kept: each takes some 110 MB."""


class OpenvinoRuntime(PartsRuntime):
    """Runs exported graphs in OpenVINO on the CPU.

    Args:
        graphs: name -> serialised ONNX, see `emclick.graphs.read_graphs`.
        threads: CPU threads; None takes the CPUs that this process may use.
        precision: "fp32", or "bf16", which is faster where the CPU computes in it and slower elsewhere.

    Raises:
        OptionError: the precision is unknown, or this CPU does not compute in it.
        WeightsError: OpenVINO does not take a graph.
    """

    name = "openvino"

    def __init__(self, graphs: dict[str, bytes], threads: int | None = None, precision: str = "fp32") -> None:
        if precision not in PRECISIONS:
            known = ", ".join(PRECISIONS)
            raise OptionError(f"the openvino runtime has no precision {precision!r}; choose from {known}")
        self.threads = threads or usable_cpus()
        self.precision = precision
        self._core = openvino.Core()
        if precision == "bf16" and "BF16" not in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise OptionError("this CPU does not compute in bf16; use precision fp32")
        self._settings: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": PRECISIONS[precision],
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
        }
        self._compiled: OrderedDict[tuple[Any, ...], Any] = OrderedDict()
        try:
            self._models = {
                name: prepared(self._core, data, half=precision == "bf16") for name, data in graphs.items()
            }
            self._names = {
                name: [each.get_any_name() for each in model.inputs] for name, model in self._models.items()
            }
        except Exception as error:  # OpenVINO raises RuntimeError of its own making
            raise WeightsError(f"OpenVINO cannot use the graphs: {str(error).splitlines()[0]}") from error

    @classmethod
    def from_folder(
        cls,
        folder: str | os.PathLike[str],
        *,
        device: str = "cpu",
        threads: int | None = None,
        precision: str = "fp32",
    ) -> tuple[OpenvinoRuntime, Card]:
        """Load a model folder that holds graphs. Raises as `read_graphs`, and as the class."""
        if device != "cpu":
            raise OptionError(f"the openvino runtime runs on the CPU, not on {device}")
        card = read_card(folder)
        return cls(read_graphs(folder, card), threads, precision), card

    def open(self, frames: Float) -> list[KeptFrame]:
        opened = super().open(frames)
        # its memory between layers is the largest, and not needed before the next image of this size
        self._request("image", [(1, *frames.shape[1:])]).request.get_compiled_model().release_memory()
        self._compile_ahead(opened[0])
        return opened

    def _compile_ahead(self, kept: KeptFrame) -> None:
        """What the first clicks on an image need, which is opened in the background."""
        _, height, width, channels = sums = kept.sums.shape
        one_map = (1, 1, height, width)
        near_hw = [AROUND.side(size) for size in (height, width)]
        opened = tuple(
            scaled(slice(0, side), size, own).stop
            for side, size, own in zip(near_hw, (height, width), kept.opened.shape[1:3])
        )
        disk = tuple(GRID * side for side in near_hw)
        self._request("around", [(1, *opened, kept.opened.shape[3]), (1, 1, *disk)])
        self._request("first", [each.shape for each in kept.around])
        self._request("mask", [sums, kept.rows.shape, kept.columns.shape, one_map])
        for rows, columns in ((height, width), (FUSED.side(height), FUSED.side(width))):
            some = (1, rows, columns, channels)
            self._request("fuse", [(1, rows, columns, DISK_CHANNELS), some, some])
        self._request("correction", [sums, sums, sums[:3], (1, 2, height, width), (1, 1, 2), (1,)])

    def _request(self, name: str, shapes: Sequence[tuple[int, ...]]) -> Any:
        """A graph compiled for these sizes: with open sizes it runs a third slower (transpositions stay).

        The number of clicks stays open. The latest few sizes are kept.
        """
        if name == "correction":
            shapes = [*shapes[:-2], (1, -1, 2), (-1,)]
        key = (name, *shapes)
        if key not in self._compiled:
            model = self._models[name].clone()
            model.reshape({each: list(size) for each, size in zip(self._names[name], shapes, strict=True)})
            compiled = self._core.compile_model(
                model, "CPU", self._settings | {"INFERENCE_NUM_THREADS": self.threads}
            )
            self._compiled[key] = _Request(compiled)
            while len(self._compiled) > SIZES_KEPT * (len(PARTS) + 1):  # `fuse` has two sizes
                self._compiled.popitem(last=False)
        self._compiled.move_to_end(key)
        return self._compiled[key]

    def run(self, part: str, *arrays: Any, brief: bool = False) -> list[Any]:
        return self._request(part, [each.shape for each in arrays]).run(arrays, brief)


class _Request:
    """A compiled graph with its inputs and outputs. What is bfloat16 to OpenVINO is uint16 to numpy, which has none.

    Of large arrays the memory itself is given and taken. Small ones are copied into and out of the request's, which
    takes less time than telling it of others.

    Attributes:
        request: OpenVINO's.
    """

    def __init__(self, compiled: Any) -> None:
        self.request = compiled.create_infer_request()
        self._inputs = [
            _data(self.request.get_input_tensor(number)) if _is_small(port) else None
            for number, port in enumerate(compiled.inputs)
        ]
        # where a size is open OpenVINO may take other memory at another size
        fixed = all(port.partial_shape.is_static for port in compiled.inputs)
        self._outputs = [
            _data(self.request.get_output_tensor(number)) if fixed and _is_small(port) else None
            for number, port in enumerate(compiled.outputs)
        ]
        self._large = {
            number: (tuple(port.shape), _TO_NUMPY[port.element_type.get_type_name()])
            for number, port in enumerate(compiled.outputs)
            if fixed and not _is_small(port)
        }

    def run(self, arrays: Sequence[Any], brief: bool) -> list[Any]:
        """The outputs in order; with `brief` small ones are good until the next run alone."""
        given = []  # what the request reads, and does not hold
        for number, (own, array) in enumerate(zip(self._inputs, arrays, strict=True)):
            if own is None:
                given.append(np.ascontiguousarray(array))
                self.request.set_input_tensor(number, _tensor(given[-1]))
            else:
                own[...] = array
        outputs = list(self._outputs)
        for number, (shape, kind) in self._large.items():
            outputs[number] = np.empty(shape, kind)
            self.request.set_output_tensor(number, _tensor(outputs[number]))
        self.request.infer()
        for number, own in enumerate(self._outputs):
            if own is not None and not brief:
                outputs[number] = own.copy()
            elif outputs[number] is None:
                outputs[number] = _data(self.request.get_output_tensor(number)).copy()
        return outputs


_SMALL_BYTES = 1 << 19
_TO_NUMPY = {"f32": np.float32, "bf16": np.uint16}


def _is_small(port: Any) -> bool:
    """Of a fixed size, and copied sooner than told of."""
    return port.partial_shape.is_static and math.prod(port.shape) * port.element_type.size <= _SMALL_BYTES


def _tensor(array: Any) -> Any:
    if array.dtype == np.uint16:
        return openvino.Tensor(array, array.shape, openvino.Type.bf16)
    return openvino.Tensor(array, shared_memory=True)


def _data(tensor: Any) -> Any:
    return tensor.data.view(np.uint16) if tensor.element_type == openvino.Type.bf16 else tensor.data
