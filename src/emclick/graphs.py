"""The graphs of an exported model: what goes in, what comes out. The manifest is written from here.

Sizes: a frame of (H, W) pixels, both multiples of 4; h = H/4, w = W/4; C channels of the correction network;
N clicks; a, b: rows and columns of some of the cells, or all. Everything is float32, batch 1, and all sizes but C are
free.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from emclick.card import Card
from emclick.errors import CheckpointError, OptionError, WeightsError
from emclick.files import write_text
from emclick.spec import ModelSpec

MANIFEST_NAME = "graphs.json"
FORMAT = "emclick-graphs-6"


@dataclass(frozen=True)
class Array:
    """An input or output of a graph: its name, its shape in the letters above, its range and its meaning.

    `repeated`: it stands for one or more, their names numbered from 1.
    """

    name: str
    shape: str
    range: str
    about: str
    repeated: bool = False

    def to_dict(self) -> dict[str, str]:
        return {"name": self.name, "shape": self.shape, "range": self.range, "about": self.about}


@dataclass(frozen=True)
class Graph:
    """One graph: when it runs, and its arrays in order."""

    when: str
    inputs: tuple[Array, ...]
    outputs: tuple[Array, ...]

    @property
    def input_names(self) -> list[str]:
        return [each.name for each in self.inputs]

    @property
    def output_names(self) -> list[str]:
        return [each.name for each in self.outputs]


_OPENED = Array(
    "opened", "1, any, any, any", "any", "what the base network keeps of the image, channels last"
)
_IMAGE_SUMS = Array(
    "image_sums", "1, h, w, C", "any", "the image's share of the correction network's first layer"
)
_WEIGHTS = "how the mask before is upsampled (bilinear, corners aligned): [k, i, j] is the weight of"
_ROWS = Array("rows", "4, h, h", "0 to 1", f"{_WEIGHTS} its row j in frame row 4 i + k")
_COLUMNS = Array("columns", "4, w, w", "0 to 1", f"{_WEIGHTS} its column i in frame column 4 j + k")
_FEATURE_SUMS = Array(
    "feature_sums", "1, h, w, C", "any", "the object's features, ready for the correction network"
)
_DISK = "1 within 5 px (squared distance from the pixel's whole row and column at most 25) of a click, else 0"
_POINT = (
    "row = y * H / image height, column = x * W / image width, not rounded, x and y in image pixels from the "
)
_POINT += "centre of the top-left pixel"

_AROUND = Array(
    "around",
    "1, any, any, any",
    "any",
    "a map of the base network that feels a click near it alone",
    repeated=True,
)

_GRAPHS = {
    "image": Graph(
        "once per image",
        (Array("image", "1, 3, H, W", "0 to 1", "RGB, resized to the frame: bilinear, corners aligned"),),
        (_OPENED, _IMAGE_SUMS, _ROWS, _COLUMNS, _AROUND),
    ),
    "around": Graph(
        "at an object's first click: on all cells; or, faster, on those near the click, see docs/runtimes.md; not "
        "without a positive click",
        (
            Array("opened", "1, any, any, any", "any", "of these cells"),
            Array("click_map", "1, 1, 4a, 4b", "0 or 1", f"of the first positive click alone: {_DISK}"),
        ),
        (_AROUND,),
    ),
    "first": Graph(
        "at an object's first click, after `around`, before its correction",
        (_AROUND,),
        (Array("coarse_logits", "1, 1, h, w", "any", "the previous logits of the first correction"), _FEATURE_SUMS),
    ),
    "mask": Graph(
        "at every click, the first included, or, faster, as soon as the mask before is known",
        (_IMAGE_SUMS, _ROWS, _COLUMNS, Array("previous_logits", "1, 1, h, w", "any", "the logits of the click before; "
         "at the first click the coarse logits; a mask to correct enters as +2 inside and -2 outside")),
        (Array("mask_sums", "1, h, w, C", "any", "`image_sums` and the mask's share"),),
    ),
    "fuse": Graph(
        "at every click, the first included, after `mask`: on all cells at once; or, faster, on all cells before there "
        "is a click and at the click on those near it, see docs/runtimes.md",
        (
            Array("disks", "1, a, b, 32", "0 or 1", f"of every click: {_DISK}; the pixel of row r and column c is "
                  "channel 16 * negative + 4 * (r % 4) + c % 4 of cell (r // 4, c // 4)"),
            Array("mask_sums", "1, a, b, C", "any", "of these cells"),
            Array("feature_sums", "1, a, b, C", "any", "of these cells"),
        ),
        (
            Array("fused", "1, a, b, C", "any", "ready for `correction`, as the two others; right where no cell left "
                  "out is nearer than 8"),
            Array("query", "1, a, b, C", "any", "of each cell"),
            Array("inverse_norms", "1, a, b", "above 0", "of each cell"),
        ),
    ),
    "correction": Graph(
        "at every click, the first included, after `fuse`",
        (
            Array("fused", "1, h, w, C", "any", "of all cells"),
            Array("query", "1, h, w, C", "any", "of all cells"),
            Array("inverse_norms", "1, h, w", "above 0", "of all cells"),
            Array("distances", "1, 2, h, w", "0 to 1", "distance in px to the nearest positive (0), negative (1) click "
                  "over sqrt(H*H + W*W), at frame size, resized to h, w: bilinear, corners aligned; a polarity without "
                  "clicks has the distance 1 px everywhere"),
            Array("points", "1, N, 2", "0 to H, 0 to W", f"(row, column) of every click in the frame: {_POINT}"),
            Array("positive", "N", "0 or 1", "1 for a positive click"),
        ),
        (Array("logits", "1, 1, h, w", "any", "resize to the frame, sigmoid, resize to the image: bilinear, corners "
               "aligned; the object is where the probability exceeds 0.5"),),
    ),
}  # fmt: skip

PARTS = tuple(_GRAPHS)
"""Names of the graphs, in the order in which they first run."""


def graphs_of(maps: int) -> dict[str, Graph]:
    """The graphs of a model whose base network gives so many maps that feel a click near it alone."""

    def numbered(arrays: tuple[Array, ...]) -> tuple[Array, ...]:
        return tuple(
            replace(each, name=f"{each.name}{number}", repeated=False) if each.repeated else each
            for each in arrays
            for number in range(1, maps + 1 if each.repeated else 2)
        )

    return {
        name: Graph(graph.when, numbered(graph.inputs), numbered(graph.outputs))
        for name, graph in _GRAPHS.items()
    }


INT8 = "int8"
"""The precision of a further, quantised `first` graph, which a folder may hold (`networks.quantize`)."""


def graph_file(name: str, precision: str = "") -> str:
    """File name of a graph."""
    return f"{name}.{precision}.onnx" if precision else f"{name}.onnx"


def manifest(
    card: Card, graphs: Mapping[str, Graph], files: Mapping[str, bytes], check: Mapping[str, Any]
) -> dict[str, Any]:
    """What `graphs.json` says of the `graphs`, with content `files`, of the model `card`."""
    assert isinstance(card.spec, ModelSpec)
    return {
        "format": FORMAT,
        "model": card.name,
        "weights_sha256": card.sha256,
        "short_side": card.short_side,
        "templates": card.spec.correction.templates,
        "sizes": "H, W: the frame, multiples of 4, H * W / 16 at least `templates`; h = H/4, w = W/4; C channels; "
        "N clicks; a, b: rows and columns of some of the cells, or all; everything float32",
        "check": dict(check),
        "graphs": {
            name: {
                "file": graph_file(name),
                "sha256": hashlib.sha256(files[name]).hexdigest(),
                "bytes": len(files[name]),
                "when": graph.when,
                "inputs": [each.to_dict() for each in graph.inputs],
                "outputs": [each.to_dict() for each in graph.outputs],
            }
            for name, graph in graphs.items()
        },
    }


def has_graphs(folder: str | os.PathLike[str]) -> bool:
    """Whether a model folder holds exported graphs."""
    return (Path(folder) / MANIFEST_NAME).is_file()


def add_int8(folder: str | os.PathLike[str], data: bytes, photographs: int) -> None:
    """Name the quantised `first` graph in the manifest; `photographs` is how many its ranges are from."""
    path = Path(folder) / MANIFEST_NAME
    content = json.loads(path.read_text(encoding="utf-8"))
    entry = {
        "file": graph_file("first", INT8), "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data),
        "photographs": photographs,
    }  # fmt: skip
    write_text(path, json.dumps(content | {INT8: {"first": entry}}, indent=2) + "\n")


def read_graphs(folder: str | os.PathLike[str], card: Card, precision: str = "fp32") -> dict[str, bytes]:
    """Read and verify the graphs of a model folder: name -> serialised ONNX.

    With precision "int8", `first` is the quantised graph.

    Raises:
        WeightsError: they are missing, truncated or changed, or were made from other weights than the card's.
        CheckpointError: the manifest does not parse.
        OptionError: there is no graph of that precision.
    """
    path = Path(folder) / MANIFEST_NAME
    again = f"run `emclick export {folder}`"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise CheckpointError(
                f"{path} has format {content['format']!r}; this version reads {FORMAT!r}: {again}"
            )
        made_from, listed = content["weights_sha256"], {name: content["graphs"][name] for name in PARTS}
        if precision == INT8:
            if INT8 not in content:
                raise OptionError(
                    f"{folder} holds no int8 graph: make it with `emclick export {folder} --int8`"
                )
            listed |= content[INT8]
        checksums = {name: (str(entry["file"]), str(entry["sha256"])) for name, entry in listed.items()}
    except OSError as error:
        raise WeightsError(
            f"{folder} holds no ONNX graphs: {again}, or load it with the torch runtime"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, CheckpointError | OptionError):
            raise
        raise CheckpointError(f"{path} is not a manifest of graphs: {error!r}") from error
    if made_from != card.sha256:
        raise WeightsError(
            f"the graphs in {folder} were made from other weights than its card names: {again}"
        )
    found = {}
    for name, (file, checksum) in checksums.items():
        try:
            found[name] = (Path(folder) / Path(file).name).read_bytes()
        except OSError as error:
            raise WeightsError(f"cannot read {Path(folder) / file}: {error.strerror}") from error
        if hashlib.sha256(found[name]).hexdigest() != checksum:
            raise WeightsError(f"{Path(folder) / file} is truncated or changed: {again}, or get it again")
    return found
