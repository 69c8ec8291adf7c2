"""OpenVINO (extra): the fastest on x86 CPUs. Reads the same graphs as the onnx runtime."""

from __future__ import annotations

import os
import tempfile
import xml.etree.ElementTree as ET
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from openvino.preprocess import PrePostProcessor

from emclick.card import Card, read_card
from emclick.clicks import DISK_CHANNELS
from emclick.cpus import usable_cpus
from emclick.errors import OptionError, WeightsError
from emclick.geometry import GRID
from emclick.graphs import GRAPHS, read_graphs
from emclick.runtimes.base import NEAR_CELLS, Float, KeptFrame, PartsRuntime

PRECISIONS = {"fp32": "f32", "bf16": "bf16"}
KEPT = ("opened", "image_sums", "feature_sums")
"""Maps that go from one graph to another: kept channels last, as the convolutions here want it."""
SIZES_KEPT = 8
"""Frame sizes whose compiled graphs are kept."""


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
    channels_last = True

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
                name: _kept_channels_last(self._core.read_model(data)) for name, data in graphs.items()
            }
            if precision != "fp32" and "correction" in self._models:
                self._models["correction"] = self._chosen_in_float32(self._models["correction"])
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

    def _chosen_in_float32(self, model: Any) -> Any:
        """The correction graph with the templates' choice kept in float32: scores differ by less than bf16 can tell.

        The mark is an attribute that only the intermediate form's text can be given.
        """
        kept = {
            each.get_friendly_name() for each in _sources(model, "TopK", "Convolution", "GroupConvolution")
        }
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "correction.xml"
            openvino.save_model(model, path, compress_to_fp16=False)
            tree = ET.parse(path)
            for layer in tree.iterfind("layers/layer"):
                if layer.get("name") in kept:
                    about = layer.find("rt_info")
                    about = ET.SubElement(layer, "rt_info") if about is None else about
                    ET.SubElement(about, "attribute", {"name": "precise", "version": "0"})
            weights = path.with_suffix(".bin").read_bytes()
            return self._core.read_model(ET.tostring(tree.getroot()), weights)

    def open(self, frames: Float) -> list[KeptFrame]:
        opened = super().open(frames)
        self._compile_ahead(opened[0], (frames.shape[2], frames.shape[3]))
        return opened

    def _compile_ahead(self, kept: KeptFrame, frame_hw: tuple[int, int]) -> None:
        """What the first clicks on an image need, which is opened in the background."""
        _, height, width, channels = kept.sums.shape
        one_map, frame_map = (1, 1, height, width), (1, 1, *frame_hw)
        self._request("first", [kept.opened.shape, frame_map])
        self._request("correction", [kept.sums.shape, (1, 2, height, width), (1, 1, 2), (1,)])
        for rows, columns in ((height, width), (min(NEAR_CELLS, height), min(NEAR_CELLS, width))):
            sums = (1, rows, columns, channels)
            interpolation = (GRID, rows, height), (GRID, width, columns)
            self._request("fuse", [(1, rows, columns, DISK_CHANNELS), sums, *interpolation, sums, one_map])

    def _request(self, name: str, shapes: Sequence[tuple[int, ...]]) -> Any:
        """A graph compiled for these sizes: with open sizes it runs a third slower (transpositions stay).

        The number of clicks stays open. The latest few sizes are kept.
        """
        inputs = [each.get_any_name() for each in self._models[name].inputs]
        sizes: dict[str, Sequence[int]] = dict(zip(inputs, shapes, strict=True))
        if name == "correction":
            sizes |= {"points": (1, -1, 2), "positive": (-1,)}
        key = (name, *sizes.values())
        if key not in self._compiled:
            model = self._models[name].clone()
            model.reshape({each: list(size) for each, size in sizes.items()})
            compiled = self._core.compile_model(
                model, "CPU", self._settings | {"INFERENCE_NUM_THREADS": self.threads}
            )
            self._compiled[key] = compiled.create_infer_request()
            while len(self._compiled) > SIZES_KEPT * (len(GRAPHS) + 1):  # `fuse` has two sizes
                self._compiled.popitem(last=False)
        self._compiled.move_to_end(key)
        return self._compiled[key]

    def run(self, part: str, *arrays: Any) -> list[Float]:
        inputs = [np.ascontiguousarray(array) for array in arrays]
        request = self._request(part, [each.shape for each in inputs])
        # one by one: given to `infer` they take a quarter of a millisecond more
        for number, array in enumerate(inputs):
            request.set_input_tensor(number, openvino.Tensor(array, shared_memory=True))
        request.infer()
        # copies: the request writes its outputs into the same memory next time
        return [np.array(tensor.data) for tensor in request.output_tensors]


def _sources(model: Any, kind: str, *ends: str) -> list[Any]:
    """The operations of a kind and all that they are computed from, up to operations of the kinds `ends`."""
    found: dict[str, Any] = {}
    pending = [each for each in model.get_ops() if each.get_type_name() == kind]
    while pending:
        each = pending.pop()
        if each.get_friendly_name() not in found and each.get_type_name() not in (
            *ends,
            "Parameter",
            "Constant",
        ):
            found[each.get_friendly_name()] = each
            pending += [port.get_source_output().get_node() for port in each.inputs()]
    return list(found.values())


def _kept_channels_last(model: Any) -> Any:
    """The model with those of its inputs and outputs that are `KEPT` channels last."""
    steps = PrePostProcessor(model)
    for ports, port in ((model.inputs, steps.input), (model.outputs, steps.output)):
        for name in (each.get_any_name() for each in ports):
            if name in KEPT:
                port(name).tensor().set_layout(openvino.Layout("NHWC"))
                port(name).model().set_layout(openvino.Layout("NCHW"))
    return steps.build()
