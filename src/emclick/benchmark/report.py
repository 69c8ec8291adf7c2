"""Tables and a plot from a results file of `emclick bench`.

A table in a document is generated: between `<!-- bench:FILE VIEW -->` and `<!-- /bench -->`, where FILE is relative to
the document and VIEW one of `VIEWS` ("stages" if left out). `emclick.evaluation.report` writes and checks the blocks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from emclick.benchmark.handover import KILOBYTES
from emclick.benchmark.run import FORMAT
from emclick.benchmark.stages import CORRECTION, FIRST, STAGES
from emclick.errors import OptionError, UnknownNameError
from emclick.plots import check_plot_format, new_figure, save_figure
from emclick.results import markdown_table, read_results_file

Record = Mapping[str, Any]
Results = Mapping[str, Any]

_NAMES = ("model", "runtime", "precision", "threads")
_BLOCK = re.compile(
    r"(?P<open><!-- bench:(?P<words>[^\n]*?) -->\n)(?P<body>.*?)(?P<close><!-- /bench -->)", re.S
)


def read_bench(path: Path) -> Results:
    """A results file.

    Raises:
        DatasetError: it is missing or not a results file of `emclick bench`.
    """
    return read_results_file(path, "bench", lambda each: each.get("format") == FORMAT)


# --- cells ----------------------------------------------------------------------------------------------


def _number(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _ratio(record: Record) -> str:
    return _number(record["median_ms"] / record["floor_ms"], 2) if record["floor_ms"] else "-"


def _of_floor(record: Record | None) -> str:
    if record is None:
        return "-"
    return (
        f"{_number(record['median_ms'])} ({_ratio(record)})"
        if record["floor_ms"]
        else _number(record["median_ms"])
    )


def _median(record: Record | None) -> str:
    return "-" if record is None else _number(record["median_ms"], 0)


def names(record: Record) -> list[str]:
    """Model, runtime, precision and threads of a record."""
    device = "" if record.get("device", "cpu") == "cpu" else f" on {record['device']}"
    return [record["model"], record["runtime"] + device, record["precision"], str(record["threads"])]


STAGE_COLUMNS: Mapping[str, Callable[[Record], str]] = {
    "median ms": lambda r: _number(r["median_ms"]),
    "p95 ms": lambda r: _number(r["p95_ms"]),
    "floor ms": lambda r: _number(r["floor_ms"]),
    "x floor": _ratio,
    "cores": lambda r: _number(r.get("cores")),
    "peak MB": lambda r: _number(r["peak_mb"], 0),
}
"""Heading -> cell of a record, after the names. `-` stands for what was not measured."""

ByStage = Mapping[str, Record]

SUMMARY_COLUMNS: Mapping[str, Callable[[ByStage], str]] = {
    "params M": lambda s: _number(s[FIRST]["params"] / 1e6, 2) if FIRST in s else "-",
    "first GMAC": lambda s: _number(s[FIRST]["macs"] / 1e9, 2) if FIRST in s else "-",
    "correction GMAC": lambda s: _number(s[CORRECTION]["macs"] / 1e9, 2) if CORRECTION in s else "-",
    "open ms": lambda s: _number(s[FIRST].get("open_ms")) if FIRST in s else "-",
    "first ms (x floor)": lambda s: _of_floor(s.get(FIRST)),
    "correction ms (x floor)": lambda s: _of_floor(s.get(CORRECTION)),
    "click 2 MP ms": lambda s: _median(s.get("click@2mp")),
    "click 12 MP ms": lambda s: _median(s.get("click@12mp")),
    "load s": lambda s: _number(next(iter(s.values())).get("load_s"), 2),
    "peak MB": lambda s: _number(s[CORRECTION]["peak_mb"], 0) if CORRECTION in s else "-",
}
"""Heading -> cell of one configuration's records by stage, after the names."""


def by_stage(results: Results) -> dict[str, list[Record]]:
    """The records of each stage that was measured, in order."""
    found = {stage: [each for each in results["records"] if each["stage"] == stage] for stage in STAGES}
    return {stage: records for stage, records in found.items() if records}


# --- tables ---------------------------------------------------------------------------------------------


def stage_tables(results: Results) -> str:
    """A markdown table per stage: times, against the floor, and memory."""
    parts = []
    for stage, records in by_stage(results).items():
        columns = dict(STAGE_COLUMNS)
        if stage == FIRST:
            columns["open ms"] = lambda r: _number(r.get("open_ms"))
        if stage == CORRECTION and any(each.get("ready_ms") for each in records):
            columns["ready ms"] = lambda r: _number(r.get("ready_ms"))
        if _handed_over(results):
            columns["handover us"] = lambda r: _number(r.get("handover_us"), 0)
        cells = [[*names(each), *(cell(each) for cell in columns.values())] for each in records]
        parts.append(f"**{stage}**\n\n{markdown_table([*_NAMES, *columns], cells, 3)}")
    return "\n".join([*parts, caption(results)])


def summary_table(results: Results) -> str:
    """One markdown table, a row per configuration: what the models cost, and the times that matter most."""
    configs: dict[tuple[str, ...], dict[str, Record]] = {}
    for record in results["records"]:
        configs.setdefault(tuple(names(record)), {})[record["stage"]] = record
    cells = [
        [*config, *(cell(each) for cell in SUMMARY_COLUMNS.values())] for config, each in configs.items()
    ]
    return f"{markdown_table([*_NAMES, *SUMMARY_COLUMNS], cells, 3)}\n{caption(results)}"


VIEWS: Mapping[str, Callable[[Results], str]] = {"stages": stage_tables, "summary": summary_table}


def stolen_text(machine: Mapping[str, Any]) -> str:
    """A clause on what the host of a virtual machine took meanwhile; empty if little or unknown."""
    stolen = machine.get("stolen_percent") or 0
    return f"; its host gave {stolen:.0f} % of the CPU time to others" if stolen >= 1 else ""


def caption(results: Results) -> str:
    """What the numbers were measured on and how, one paragraph ending in a newline."""
    machine, settings = results["machine"], results["settings"]
    seeded = sorted({each["model"] for each in results["records"] if each.get("seeded")})
    side = settings["side"]
    lines = [
        f"{machine['cpu']}, {machine['cores_used']} of {machine['usable_cpus']} usable CPUs; {machine['system']}, "
        f"Python {machine['python']}, {_listed(machine['libraries'])}; {machine['date']}{stolen_text(machine)}.",
        f"Medians of {settings['rounds']} interleaved rounds; first and correction on a {side}x{side} frame, clicks at "
        "the model's own, 0.15 s after the last answer; open: the image's part, done before the first click and not in "
        "first; ready: what is made behind an answer, not in the next correction; peak memory of the process up to "
        "that stage.",
        f"Floor: float32 `numpy.matmul` of the plain network's multiply-adds, {machine['blas'] or 'BLAS unknown'}, "
        "same threads, same rounds.",
    ]
    if _handed_over(results):
        lines.append(
            f"Handover: one CPU reads {KILOBYTES} KB that another has just written, median of the same rounds; two to "
            "three times as much where the two share no cache."
        )
    if others := sorted({each["model"] for each in results["records"] if _at_own_frame(each, side)}):
        lines.append(f"First and correction at the model's own frame, whole clicks: {', '.join(others)}.")
    if seeded:
        lines.append(f"On random weights: {', '.join(seeded)}.")
    return "\n".join(lines) + "\n"


def _handed_over(results: Results) -> bool:
    return any(each.get("handover_us") for each in results["records"])


def _at_own_frame(record: Record, side: int) -> bool:
    return record["stage"] in (FIRST, CORRECTION) and record.get("short_side", side) != side


def _listed(libraries: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in libraries.items())


def bench_table(path: Path, view: str = "stages") -> str:
    """Markdown of a results file, ending in a newline.

    Raises:
        DatasetError: the file is missing or not a results file of `emclick bench`.
        UnknownNameError: no such view.
    """
    if view not in VIEWS:
        raise UnknownNameError("view of bench results", view, sorted(VIEWS))
    return VIEWS[view](read_bench(path))


def fill_bench(document: str, folder: Path) -> str:
    """The text of a markdown document with its bench blocks made anew; one without any stays as it is.

    Raises:
        DatasetError, UnknownNameError: as `bench_table`.
        OptionError: a block is not closed, or names no file.
    """
    if document.count("<!-- bench:") != len(_BLOCK.findall(document)):
        raise OptionError("a block `<!-- bench:FILE -->` is not closed with `<!-- /bench -->`")

    def make(block: re.Match[str]) -> str:
        file, *view = block["words"].split()[:2] or [""]
        if not file:
            raise OptionError("a bench block names no file: write <!-- bench:results/bench.json -->")
        return f"{block['open']}{bench_table(folder / file, *view)}{block['close']}"

    return _BLOCK.sub(make, document)


# --- plot -----------------------------------------------------------------------------------------------


def plot(results: Results, path: Path) -> Path:
    """Write bars of the medians, a panel per stage, with a mark at each floor and a whisker to p95.

    Raises:
        UnknownNameError: a suffix other than .png, .svg and .pdf.
        MissingExtraError: matplotlib is not installed.
        WriteError: the file cannot be written.
    """
    check_plot_format(path)
    stages = by_stage(results)
    bars = max(map(len, stages.values()))
    columns = min(2, len(stages))
    lines = -(-len(stages) // columns)
    figure = new_figure(6.4 * columns, lines * (1.2 + 0.25 * bars))
    for axes, (name, records) in zip(figure.subplots(lines, columns, squeeze=False).flat, stages.items()):
        places = range(len(records))
        medians = [each["median_ms"] for each in records]
        beyond = [max(0, each["p95_ms"] - each["median_ms"]) for each in records]
        axes.barh(
            places, medians, xerr=[[0] * len(records), beyond], color="tab:blue", ecolor="0.4", height=0.7
        )
        floors = [(each["floor_ms"], place) for place, each in enumerate(records) if each["floor_ms"]]
        if floors:
            axes.scatter(*zip(*floors), marker="|", s=120, color="tab:red", zorder=3)
        axes.set_yticks(places, [" ".join(names(each)) for each in records], fontsize=8)
        axes.invert_yaxis()
        axes.set_title(f"{name}, ms", fontsize=10)
        axes.grid(axis="x", alpha=0.3)
    for axes in figure.axes[len(stages) :]:
        axes.remove()
    figure.suptitle(f"{results['machine']['cpu']}; bar: median, line: to p95, red: floor", fontsize=9)

    return save_figure(figure, path)
