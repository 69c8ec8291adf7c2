"""The base network's graph in 8-bit integers: smaller, and faster on CPUs that multiply them (VNNI, AMX).

Static quantisation by onnxruntime: convolutions alone, weights per channel, activations per tensor, their ranges from
photographs. The correction network stays in float32: it is small, and its template selection is sensitive.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from emclick.card import read_card
from emclick.clicks import disk_maps
from emclick.errors import OptionError
from emclick.files import write_bytes
from emclick.geometry import View
from emclick.graphs import INT8, add_int8, graph_file, read_graphs
from emclick.images import read_image
from emclick.runtimes.onnx import OnnxRuntime
from emclick.zoo import find_folder

CLICKS = ((0.5, 0.5), (0.35, 0.6))
"""Where the calibrating clicks lie, in shares of the image's width and height."""

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")

Inputs = dict[str, NDArray[np.float32]]


class _Reader(CalibrationDataReader):
    def __init__(self, inputs: Iterator[Inputs]) -> None:
        self._inputs = inputs

    def get_next(self) -> Inputs:
        return next(self._inputs, None)  # pyright: ignore[reportReturnType]  (None ends it)


def photographs(folder: str | os.PathLike[str], limit: int) -> list[Path]:
    """The first `limit` image files of a folder, by name.

    Raises:
        OptionError: there is none.
    """
    found = sorted(path for path in Path(folder).glob("*") if path.suffix.lower() in PHOTO_SUFFIXES)
    if not found:
        raise OptionError(f"no photographs in {folder}; give a folder of {', '.join(PHOTO_SUFFIXES)} files")
    return found[:limit]


def export_int8(model: str | os.PathLike[str], photos: Sequence[Any]) -> tuple[int, int]:
    """Add `first.int8.onnx` to a folder that holds graphs; `precision="int8"` then runs it.

    Args:
        model: name of the zoo, or a model folder with graphs.
        photos: images, or paths, like those that the model is meant for; some twenty do.

    Returns:
        Bytes of the graph before and after.

    Raises:
        OptionError: no photographs.
        WeightsError, CheckpointError: no graphs, or damaged ones.
        WriteError: the folder is not writable or the disk is full.
    """
    if not photos:
        raise OptionError("no photographs to take the ranges of activations from")
    folder = find_folder(model)
    card = read_card(folder)
    graphs = read_graphs(folder, card)
    runtime = OnnxRuntime(graphs)
    logging.getLogger().addFilter(_unneeded)
    try:
        with tempfile.TemporaryDirectory(prefix="emclick-int8-") as scratch:
            plain, quantised = Path(scratch) / "first.onnx", Path(scratch) / "int8.onnx"
            _fold(graphs["first"], plain)
            quantize_static(
                plain, quantised, _Reader(_first_inputs(runtime, photos, card.short_side)),
                quant_format=QuantFormat.QDQ, per_channel=True, op_types_to_quantize=["Conv"],
                activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
            )  # fmt: skip
            data = quantised.read_bytes()
    finally:
        logging.getLogger().removeFilter(_unneeded)
    OnnxRuntime({**graphs, "first": data}, 1)  # refuses what onnxruntime does not take
    write_bytes(folder / graph_file("first", INT8), data)
    add_int8(folder, data, len(photos))
    return len(graphs["first"]), len(data)


def _unneeded(record: logging.LogRecord) -> bool:
    """Not onnxruntime's advice to prepare the graph, which has been done."""
    return "pre-processing before quantization" not in record.getMessage()


def _fold(graph: bytes, path: Path) -> None:
    """Write the graph with its constants computed: weights that are stored in half precision become constants."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 3
    onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def _first_inputs(runtime: OnnxRuntime, photos: Sequence[Any], short_side: int) -> Iterator[Inputs]:
    """What the graph `first` is given, for each photograph and click."""
    for photo in photos:
        image = read_image(photo)
        height, width = image.shape[:2]
        view = View.fit((height, width), short_side)
        [kept] = runtime.open(view.image_to_frame(image)[None])
        for x, y in CLICKS:
            point = np.array([view.to_frame(x * (width - 1), y * (height - 1))], np.float32)
            click_map = disk_maps(point, np.array([True]), view.frame_hw)[None, :1]
            yield dict(zip(runtime.input_names["first"], runtime.around(kept, click_map[0]), strict=True))
