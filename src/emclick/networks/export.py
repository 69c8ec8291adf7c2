"""A model as ONNX graphs: traced from its parts, held to PyTorch on photographs, then written."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch.export import Dim

from emclick.card import CARD_NAME, Card, read_card
from emclick.clicks import DISK_CHANNELS, ClickMaps, disk_maps
from emclick.errors import CheckpointError, OptionError
from emclick.files import make_folder, write_bytes, write_text
from emclick.geometry import View
from emclick.graphs import MANIFEST_NAME, Graph, graph_file, graphs_of, manifest
from emclick.images import read_image
from emclick.methods import METHODS
from emclick.networks import click_maps
from emclick.networks.checkpoint import load_model
from emclick.networks.model import EmcNetwork
from emclick.networks.split import split
from emclick.networks.templates import template_scores
from emclick.runtimes.base import CorrectionInput, EmcRuntime
from emclick.zoo import find_folder

OPSET = 20
TOLERANCE = 1e-3
"""Logits may differ from those of `EmcNetwork` by this, at the 99.9th percentile."""
TIE = 3e-6
"""Template scores this close may change places by rounding, and with them two channels of the network."""

ASSETS = Path(__file__).parent.parent / "assets"
PHOTOS = (
    ("cat.jpg", ((0.53, 0.6, True), (0.13, 0.9, True), (0.87, 0.28, False))),
    ("coffee.jpg", ((0.5, 0.5, True), (0.9, 0.9, False), (0.45, 0.7, True))),
)
"""What an export is checked on: photographs, and clicks as shares of width and height, with polarity."""

_TRACED_HW = (192, 256)


@dataclass(frozen=True)
class Check:
    """How far a runtime is from `EmcNetwork` in float32 on the CPU.

    Attributes:
        error: largest over clicks of the 99.9th percentile over pixels of the difference of logits.
        clicks: how many were compared, the coarse logits of a first click counting as one.
        ties: clicks left out because two template scores tie, with the gap between them.
    """

    error: float
    clicks: int
    ties: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        return {
            "error_p999": self.error,
            "tolerance": TOLERANCE,
            "clicks": self.clicks,
            "ties": list(self.ties),
        }


@torch.inference_mode()
def check_runtime(
    runtime: EmcRuntime, network: EmcNetwork, short_side: int, tolerance: float = TOLERANCE
) -> Check:
    """Compare a runtime with `network` on photographs, each click from the same logits before it.

    Args:
        runtime: to be held to it.
        network: the plain one, in eval mode.
        short_side: of the frames, px.
        tolerance: differences beyond it are forgiven where a tie of template scores explains them.
    """
    errors, compared = [0.0], 0
    ties: list[tuple[float, float]] = []

    def compare(found: np.ndarray[Any, Any], wanted: torch.Tensor) -> float:
        return float(np.quantile(np.abs(found - wanted.numpy()), 0.999))

    for name, shares in PHOTOS:
        image = read_image(ASSETS / name)
        view = View.fit((image.shape[0], image.shape[1]), short_side)
        frame = view.image_to_frame(image)[None]
        xy = [(x * image.shape[1], y * image.shape[0]) for x, y, _ in shares]
        points = np.array([view.to_frame(*each) for each in xy], np.float32)
        opened, pixels = runtime.open(frame), torch.from_numpy(frame)
        click_map = disk_maps(points[:1], np.array([True]), view.frame_hw)[None, :1]
        features, coarse = runtime.first(opened, click_map)
        base = network.first(pixels, torch.from_numpy(click_map))
        errors.append(compare(coarse, base.coarse_logits))
        compared += 1
        maps, ours, previous = (
            click_maps.ClickMaps(1, view.frame_hw),
            ClickMaps(view.frame_hw),
            base.coarse_logits,
        )
        yes = torch.ones(1, dtype=torch.bool)
        for number, (point, (_, _, positive)) in enumerate(zip(points, shares), 1):
            maps.add(torch.from_numpy(point)[None], yes & positive, yes)
            ours = ours.add(point, positive)
            wanted = network.correct(pixels, base.features, maps.input(), previous)
            given = CorrectionInput(
                [ours], points[None, :number], np.array([each[2] for each in shares[:number]]), previous.numpy()
            )  # fmt: skip
            error = compare(runtime.correct(opened, features, given), wanted)
            if (
                error > tolerance
                and (gap := smallest_gap(network, pixels, base.features, maps, previous)) < TIE
            ):
                ties.append((gap, error))
            else:
                errors.append(error)
                compared += 1
            previous = wanted
    if 4 * len(ties) > compared:  # so many are no accident
        return Check(max(errors + [error for _, error in ties]), compared + len(ties), ())
    return Check(max(errors), compared, tuple(gap for gap, _ in ties))


def smallest_gap(
    network: EmcNetwork,
    pixels: torch.Tensor,
    features: torch.Tensor,
    maps: click_maps.ClickMaps,
    previous: torch.Tensor,
) -> float:
    """The smallest difference between neighbours among the best template scores of either polarity."""
    corrector, clicks = network.corrector, maps.input()
    fused = corrector.fuse(pixels, features, clicks.disks, previous)
    scores = template_scores(
        fused, clicks.points, clicks.positive, clicks.exists, clicks.distances,
        use_similarity=corrector.spec.selection,
    )  # fmt: skip
    best = scores.topk(corrector.spec.templates + 1, dim=2).values
    return float((best[..., :-1] - best[..., 1:]).min())


def export_model(
    model: str | os.PathLike[str], output: str | os.PathLike[str] | None = None, *, check: bool = True
) -> Check | None:
    """Write the graphs of a model: `image.onnx`, `around.onnx`, `first.onnx`, `mask.onnx`, `fuse.onnx`,
    `correction.onnx` and `graphs.json`.

    Args:
        model: name of the zoo, or a model folder.
        output: folder to write, made if missing; it becomes a model folder without `model.safetensors`. None
            adds the graphs to the model's own folder.
        check: compare onnxruntime with PyTorch on photographs first.

    Raises:
        CheckpointError: the graphs differ from the network by more than `TOLERANCE`; nothing is written.
        OptionError: a model of a method whose networks have no graphs.
        WeightsError, UnknownNameError: as `emclick.load`.
        WriteError: the folder is not writable or the disk is full.
    """
    from emclick.runtimes.onnx import OnnxRuntime

    folder = find_folder(model)
    method = METHODS[read_card(folder).method]
    if "onnx" not in method.runtimes:
        raise OptionError(
            f"{model} cannot be exported: {method.needs}; it runs on {', '.join(method.runtimes)}"
        )
    network, card = load_model(folder)
    graphs = trace(network)
    checked = check_runtime(OnnxRuntime(graphs), network, card.short_side) if check else None
    if checked is not None and not checked.error <= TOLERANCE:  # NaN too
        raise CheckpointError(
            f"the graphs of {card.name} differ from PyTorch by {checked.error:.1e} (at most {TOLERANCE:.0e}); "
            "nothing was written"
        )
    _write(folder if output is None else make_folder(output), folder, card, graphs, checked)
    return checked


def _write(target: Path, folder: Path, card: Card, graphs: dict[str, bytes], check: Check | None) -> None:
    tools = {name: version(name) for name in ("torch", "onnx", "onnxruntime")}
    facts = {"opset": OPSET, "tools": tools} | (check.to_dict() if check is not None else {})
    for name, data in graphs.items():
        write_bytes(target / graph_file(name), data)
    if target != folder:  # also over an export of earlier weights
        write_text(target / CARD_NAME, json.dumps(card.to_dict(), indent=2, ensure_ascii=False) + "\n")
    maps = len(onnx.load_from_string(graphs["around"]).graph.output)
    # last: until it is there, the graphs are not the model's
    write_text(
        target / MANIFEST_NAME, json.dumps(manifest(card, graphs_of(maps), graphs, facts), indent=2) + "\n"
    )


def trace(network: EmcNetwork) -> dict[str, bytes]:
    """The graphs of `network`, serialised: batch 1, any height, width and number of clicks."""
    parts = split(network)
    height, width, clicks = Dim("h", min=2), Dim("w", min=2), Dim("n", min=1)
    frame, grid, cells = {2: 4 * height, 3: 4 * width}, {2: height, 3: width}, {1: height, 2: width}
    some = {1: Dim("a", min=2), 2: Dim("b", min=2)}
    free = {1: Dim.DYNAMIC, 2: Dim.DYNAMIC}  # of maps at other scales, whose sizes depend on each other
    image = torch.rand(1, 3, *_TRACED_HW)
    down, across = (slice(0, side // 4 - 8) for side in _TRACED_HW)  # some of the cells
    with torch.no_grad():
        opened, image_sums, rows, columns, *around = parts.image(image)
        coarse, feature_sums = parts.first(*around)
        before = (image_sums, rows, columns, coarse)
        mask_sums = parts.mask(*before)
    finer = opened.shape[1] // coarse.shape[2]
    opened_near = opened[:, : finer * down.stop, : finer * across.stop]
    disk_near = torch.zeros(1, 1, 4 * down.stop, 4 * across.stop)
    disks = torch.zeros(1, down.stop, across.stop, DISK_CHANNELS)
    of_all = torch.rand(2, 1, *coarse.shape[2:], image_sums.shape[3])
    changed = (torch.rand(1, 2, *coarse.shape[2:]), 100 * torch.rand(1, 3, 2), torch.ones(3))
    arguments: dict[str, tuple[tuple[torch.Tensor, ...], tuple[Any, ...]]] = {
        "image": ((image,), (frame,)),
        "around": ((opened_near, disk_near), (free, {2: Dim.DYNAMIC, 3: Dim.DYNAMIC})),
        "first": (tuple(around), ((free,) * len(around),)),
        "mask": (before, (cells, {1: height, 2: height}, {1: width, 2: width}, grid)),
        "fuse": ((disks, mask_sums[:, down, across], feature_sums[:, down, across]), (some, some, some)),
        "correction": (
            (*of_all, torch.rand(1, *coarse.shape[2:]), *changed),
            (cells, cells, cells, grid, {1: clicks}, {0: clicks}),
        ),
    }
    graphs = graphs_of(len(around))
    return {
        name: _export(name, graphs[name], getattr(parts, name), *given) for name, given in arguments.items()
    }


def _export(
    name: str, graph: Graph, part: torch.nn.Module, arguments: tuple[Any, ...], shapes: tuple[Any, ...]
) -> bytes:
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), _quiet():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            part, tuple(each.clone() for each in arguments), dynamo=True, dynamic_shapes=shapes,
            input_names=graph.input_names, output_names=graph.output_names, opset_version=OPSET, verbose=False,
        )  # fmt: skip
    assert program is not None
    model = _without_traces(program.model_proto)
    for value, array in zip((*model.graph.input, *model.graph.output), (*graph.inputs, *graph.outputs)):
        value.doc_string = f"({array.shape}) float32, {array.range}: {array.about}"
    model.graph.doc_string = f"emclick, {name}: {graph.when}"
    return _without_loss_in_half(model).SerializeToString()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks on packages that it does not need."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _without_traces(model: onnx.ModelProto) -> onnx.ModelProto:
    """Without what the exporter notes of its work: it names files of the machine that exported."""
    graph = model.graph
    for part in (
        model,
        graph,
        *graph.node,
        *graph.value_info,
        *graph.initializer,
        *graph.input,
        *graph.output,
    ):
        del part.metadata_props[:]
    return model


def _without_loss_in_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Store weights that half precision holds exactly as such: same numbers, half the bytes."""
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT:
            continue
        values = onnx.numpy_helper.to_array(tensor)
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        if values.size < 256 or not np.array_equal(half.astype(np.float32), values):
            continue
        name = tensor.name
        tensor.CopyFrom(onnx.numpy_helper.from_array(half, f"{name}.half"))
        casts.append(onnx.helper.make_node("Cast", [f"{name}.half"], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model
