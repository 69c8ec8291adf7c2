"""Where the time of a click goes: onnxruntime and OpenVINO by kind of work, beside what the multiply-adds need.

    python tools/profile_graphs.py -o results/bench/profile.json --fill docs/numbers.md
    python tools/profile_graphs.py --fill docs/numbers.md --check     # measures nothing; exit 1 if out of date

The graphs of `SUBJECTS` at 384x384, by the runtimes' own profilers, whose clocks cost a little: the sums are somewhat
more than a run without them. The floor of a kind is the time that numpy's product of square matrices needs for as many
multiply-adds.
"""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from blocks import run_tool

from emclick.benchmark.floor import FLOOR_JOB, matrix_side
from emclick.benchmark.machine import machine
from emclick.benchmark.models import prepare_model
from emclick.benchmark.processes import Worker
from emclick.card import read_card
from emclick.clicks import ClickMaps, disk_cells, disk_maps
from emclick.cpus import usable_cpus
from emclick.graphs import read_graphs
from emclick.results import markdown_table
from emclick.runtimes.onnx import OnnxRuntime
from emclick.runtimes.openvino import OpenvinoRuntime
from emclick.runtimes.openvino_graphs import KEPT

ROOT = Path(__file__).parents[1]
FORMAT = "emclick-profile-4"
SIDE = 384
RUNS, WARM_UP = 60, 10
SUBJECTS = (
    ("emc-mobilenetv2", "correction"), ("emc-mobilenetv2", "fuse"), ("emc-hrnet18", "correction"),
    ("emc-mobilenetv2", "first"), ("emc-hrnet18s", "first"), ("emc-segformer-b0", "first"),
)  # fmt: skip
"""Models, some on random weights, and their graphs. `first` is the base network beyond its first layers, without the
correction after it, `fuse` what is made behind the answer before a correction."""
POINTWISE, DEPTHWISE, DENSE, ATTENTION, PRODUCTS, LAYOUT, REST = KINDS = (
    "1x1 convolutions", "depthwise convolutions", "other convolutions", "attention", "matrix products",
    "layout changes", "all else",
)  # fmt: skip

Times = dict[str, float]
"""Kind -> milliseconds of one run."""

_ONNX = {
    "MultiHeadAttention": ATTENTION, "Gemm": PRODUCTS, "MatMul": PRODUCTS, "FusedMatMul": PRODUCTS,
    "ReorderInput": LAYOUT, "ReorderOutput": LAYOUT, "Transpose": LAYOUT, "Concat": LAYOUT,
}  # fmt: skip
_OPENVINO = {
    "MatMul": PRODUCTS, "FullyConnected": PRODUCTS, "Reorder": LAYOUT, "Transpose": LAYOUT, "Concatenation": LAYOUT,
}  # fmt: skip


def correction_inputs(width: int) -> list[np.ndarray]:
    """Random numbers behind the answer before and three clicks, in the order of the graph's inputs."""
    cells, (maps, points) = SIDE // 4, three_clicks()
    fused, query = np.random.default_rng(0).standard_normal((2, 1, cells, cells, width)).astype(np.float32)
    inverse_norms = 1 / np.linalg.norm(fused, axis=3)
    return [
        fused,
        query,
        inverse_norms,
        maps.distances()[None],
        points[None],
        np.array([1, 0, 1], np.float32),
    ]


def fuse_inputs(width: int) -> list[np.ndarray]:
    """Of all cells, two of the clicks made, random sums."""
    cells, (maps, _) = SIDE // 4, three_clicks()
    sums, of_features = (
        np.random.default_rng(0).standard_normal((2, 1, cells, cells, width)).astype(np.float32)
    )
    return [disk_cells(maps.patches[:2], (cells, cells))[None], sums, of_features]


def three_clicks() -> tuple[ClickMaps, np.ndarray]:
    points = np.array([[100, 100], [200, 200], [300, 50]], np.float32)
    return ClickMaps.of(points, np.array([True, False, True]), (SIDE, SIDE)), points


def first_inputs(graphs: dict[str, bytes]) -> list[np.ndarray]:
    """What the first layers make of a random image and a click in the middle."""
    runtime = OnnxRuntime(graphs)
    [kept] = runtime.open(np.random.default_rng(0).random((1, 3, SIDE, SIDE), np.float32))
    middle = np.full((1, 2), SIDE / 2, np.float32)
    return list(runtime.around(kept, disk_maps(middle, np.ones(1, np.bool_), (SIDE, SIDE))[:1]))


def kind_of_conv(weights: Sequence[int], groups: int) -> str:
    """By the kernel's shape (out, in / groups, k, k) and the number of groups."""
    if tuple(weights[-2:]) == (1, 1):
        return POINTWISE
    return DEPTHWISE if groups == weights[0] else DENSE


def of_onnx(
    part: str, graph: bytes, arrays: Iterable[np.ndarray], threads: int
) -> tuple[Times, dict[str, float], list[float]]:
    """Milliseconds and multiply-adds by kind, and the milliseconds of each unprofiled run."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    plain = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    feed = dict(zip([each.name for each in plain.get_inputs()], arrays, strict=True))
    whole = timed(lambda: plain.run(None, feed))
    with tempfile.TemporaryDirectory() as folder:
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        for _ in range(RUNS):
            session.run(None, feed)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    times: dict[str, list[float]] = defaultdict(list)
    nodes = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            times[event["name"]].append(event["dur"] / 1000)
            nodes[event["name"]] = event["args"]
    kinds, macs = dict.fromkeys(KINDS, 0.0), dict.fromkeys(KINDS, 0.0)
    for name, node in nodes.items():
        # of weights that were packed before the run only the result's shape tells
        shapes, (made, *_) = (
            [next(iter(each.values())) for each in node[which]]
            for which in ("input_type_shape", "output_type_shape")
        )
        kind = _ONNX.get(node["op_name"], REST)
        if node["op_name"] in ("Conv", "FusedConv"):
            kind = kind_of_conv(shapes[1], shapes[0][1] // shapes[1][1])
            macs[kind] += math.prod(made) * math.prod(shapes[1][1:])
        elif kind == ATTENTION:
            macs[kind] += 2 * math.prod(shapes[0]) * shapes[1][1]
        elif kind == PRODUCTS:
            macs[kind] += math.prod(made) * shapes[0][-1]
        kinds[kind] += float(np.median(times[name]))
    return kinds, macs, whole


def of_openvino(
    part: str, graph: bytes, arrays: list[np.ndarray], threads: int, precision: str
) -> tuple[Times, list[float]]:
    """Milliseconds by kind, and the milliseconds of each unprofiled run."""
    plain = OpenvinoRuntime({part: graph}, threads, precision)
    arrays = [
        in_half(array) if precision == "bf16" and name.startswith(KEPT) else array
        for name, array in zip(plain._names[part], arrays, strict=True)
    ]
    whole = timed(lambda: plain.run(part, *arrays))
    runtime = OpenvinoRuntime({part: graph}, threads, precision)
    runtime._settings["PERF_COUNT"] = True
    for _ in range(RUNS):
        runtime.run(part, *arrays)
    (request,) = runtime._compiled.values()
    kinds = dict.fromkeys(KINDS, 0.0)
    for node in request.request.get_compiled_model().get_runtime_model().get_ordered_ops():
        told = {name: _text(value) for name, value in node.get_rt_info().items()}
        micros, layer = told.get("execTimeMcs", ""), told.get("layerType", "")
        if not micros.isdigit():  # not run
            continue
        kind = _OPENVINO.get(layer, REST)
        if "Convolution" in layer:
            weights = list(node.get_input_shape(1))  # (groups, out, in, k, k) of a grouped one
            groups = weights.pop(0) if len(weights) == 5 else 1
            kind = kind_of_conv([groups * weights[0], *weights[1:]], groups)
        elif any(each in told.get("originalLayersNames", "") for each in ("scaled_dot", "ScaledDot")):
            kind = ATTENTION
        kinds[kind] += int(micros) / 1000
    return kinds, whole


def in_half(array: np.ndarray) -> np.ndarray:
    """bfloat16, as this runtime takes it, by truncation."""
    return (array.view(np.uint32) >> 16).astype(np.uint16)


def _text(value: Any) -> str:
    return str(value.astype(str) if hasattr(value, "astype") else value)


def timed(run: Callable[[], object]) -> list[float]:
    """Milliseconds of each of `RUNS` runs, after some to warm up."""
    for _ in range(WARM_UP):
        run()
    times = []
    for _ in range(RUNS):
        began = time.perf_counter()
        run()
        times.append((time.perf_counter() - began) * 1000)
    return times


def floor_rate(macs: float, threads: int) -> float:
    """Multiply-adds per millisecond of numpy's product of two square matrices, of `macs` in all."""
    side = matrix_side(round(macs))
    with Worker(FLOOR_JOB, {}, threads) as worker:
        worker.ask(do="prepare", stage=str(side))
        samples = worker.ask(do="run", times=WARM_UP + RUNS)["samples"][WARM_UP:]
    return side**3 / float(np.median([each["ms"] for each in samples]))


def measure(threads: int) -> dict[str, Any]:
    profiles = []
    for name, part in SUBJECTS:
        print(f"{name}, {part}", flush=True)
        with tempfile.TemporaryDirectory() as target:
            subject = prepare_model(name, Path(target), graphs=True)
            card = read_card(subject.folder)
            graphs = read_graphs(subject.folder, card)
        width = card.spec.correction.width
        if part == "first":
            arrays = first_inputs(graphs)
        else:
            arrays = (correction_inputs if part == "correction" else fuse_inputs)(width)
        kinds, macs, whole = of_onnx(part, graphs[part], arrays, threads)
        columns = {"onnx fp32": {"kinds": kinds, "median_ms": float(np.median(whole))}}
        for precision in ("fp32", "bf16"):
            kinds, whole = of_openvino(part, graphs[part], arrays, threads, precision)
            columns[f"openvino {precision}"] = {"kinds": kinds, "median_ms": float(np.median(whole))}
        rate = floor_rate(sum(macs.values()), threads)
        profiles.append(
            {
                "model": name, "part": part, "seeded": subject.seeded, "sha256": card.sha256, "macs": macs,
                "floor_ms": {kind: each / rate for kind, each in macs.items()}, "columns": columns,
            }
        )  # fmt: skip
    return {
        "format": FORMAT,
        "machine": machine(threads),
        "side": SIDE,
        "threads": threads,
        "profiles": profiles,
    }


def tables(results: Mapping[str, Any]) -> str:
    """Markdown: a table for each profile."""
    on = results["machine"]
    side = results["side"]
    parts = [
        f"**{each['model']}, {each['part']}**{' (random weights)' if each['seeded'] else ''}\n\n{table(each)}\n"
        for each in results["profiles"]
    ]
    return "".join(parts) + f"{on['cpu']}, {results['threads']} threads; {side}x{side}; {on['date']}.\n"


def table(profile: Mapping[str, Any]) -> str:
    """Markdown: a row per kind of work."""
    columns, floors, macs = profile["columns"].values(), profile["floor_ms"], profile["macs"]

    def line(name: str, macs: str, floor: str, times: Iterable[float]) -> list[str]:
        return [name, macs, floor, *(f"{each:.2f}" for each in times)]

    used = [kind for kind in KINDS if macs[kind] or any(each["kinds"][kind] for each in columns)]
    lines = [
        line(
            kind, f"{macs[kind] / 1e6:.0f}", f"{floors[kind]:.2f}", (each["kinds"][kind] for each in columns)
        )
        for kind in used
    ]
    sums = (sum(each["kinds"].values()) for each in columns)
    lines.append(line("sum", f"{sum(macs.values()) / 1e6:.0f}", f"{sum(floors.values()):.2f}", sums))
    lines.append(line("a run without the profiler", "", "", (each["median_ms"] for each in columns)))
    heads = ["", "M multiply-adds", "floor ms", *(f"{name} ms" for name in profile["columns"])]
    return markdown_table(heads, lines, 1)


def main() -> None:
    output = ROOT / "results" / "bench" / "profile.json"
    run_tool(__doc__, "profile", output, lambda: measure(usable_cpus()), tables)


if __name__ == "__main__":
    main()
