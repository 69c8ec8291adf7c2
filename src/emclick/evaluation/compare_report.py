"""Tables and a plot from a results file of `emclick compare`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from emclick.evaluation.compare import FORMAT
from emclick.evaluation.report import COLUMNS as EVALUATE_COLUMNS
from emclick.plots import check_plot_format, new_figure, save_figure
from emclick.results import markdown_table, read_results_file

Results = Mapping[str, Any]


def read_comparison(path: Path) -> Results:
    """A results file.

    Raises:
        DatasetError: it is missing or not a results file of `emclick compare`.
    """
    return read_results_file(path, "compare", lambda each: each.get("format") == FORMAT)


def _in(unit: float, key: str) -> Callable[[Results], str]:
    return lambda result: "-" if result.get(key) is None else f"{result[key] / unit:.2f}"


_TAKEN = (
    "model", "frame", "flip", "zoom-in", "runtime", "NoC@85", "NoC@90", "NoC@95", "NoF@90", "worse %", "first ms",
    "later ms",
)  # fmt: skip

COLUMNS: Mapping[str, Callable[[Results], str]] = {
    "method": lambda result: str(result["method"]),
    **{name: EVALUATE_COLUMNS[name] for name in _TAKEN},
    "params M": _in(1e6, "params"),
    "first GMAC": _in(1e9, "first_macs"),
    "later GMAC": _in(1e9, "later_macs"),
}
"""Heading -> cell of one result. `-` stands for what was not measured."""

BRIEF = tuple(name for name in COLUMNS if name not in ("frame", "flip", "zoom-in", "runtime"))
"""Those of `COLUMNS` that a terminal shows."""

_LEFT = ("method", "model")


def by_dataset(results: Results) -> dict[str, list[Results]]:
    """The results of each dataset, in order."""
    found: dict[str, list[Results]] = {}
    for result in results["results"]:
        found.setdefault(result["dataset"], []).append(result)
    return found


def rows(results: Sequence[Results]) -> list[list[str]]:
    """The cells of `COLUMNS` for each result."""
    return [[cell(result) for cell in COLUMNS.values()] for result in results]


def tables(results: Results) -> str:
    """A markdown table per dataset and what it was measured on, ending in a newline."""
    parts = []
    for dataset, found in by_dataset(results).items():
        table = markdown_table(list(COLUMNS), rows(found), _LEFT)
        parts.append(f"**{dataset}**, {found[0]['n']} objects\n\n{table}")
    return "\n".join([*parts, caption(results)])


def caption(results: Results) -> str:
    """What it was measured on and how, one paragraph ending in a newline."""
    on, settings = results["machine"], results["settings"]
    workers = settings["workers"]
    processes = "one process" if workers == 1 else f"{workers} processes"
    return (
        f"{on['cpu']}, {on['cores_used']} of {on['usable_cpus']} usable CPUs, {processes}; {on['system']}, Python "
        f"{on['python']}; {on['date']}. All models on one object before the next; milliseconds are medians per "
        f"click, from the click to the mask.\n"
    )


def plot(results: Results, path: Path) -> Path:
    """Write NoC@90 against milliseconds per later click, a panel per dataset, a point per model.

    Raises:
        UnknownNameError: a suffix other than .png, .svg and .pdf.
        MissingExtraError: matplotlib is not installed.
        WriteError: the file cannot be written.
    """
    check_plot_format(path)
    panels = by_dataset(results)
    methods = list(dict.fromkeys(result["method"] for result in results["results"]))
    figure = new_figure(5.2 * len(panels), 4.2)
    for axes, (dataset, found) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items()):
        shown = [each for each in found if each["later_ms"] is not None]
        for each in shown:
            place = (each["later_ms"], each["noc"]["90"])
            axes.scatter(*place, color=f"C{methods.index(each['method'])}", zorder=3)
            axes.annotate(each["model"], place, xytext=(5, 4), textcoords="offset points", fontsize=8)
        if shown:
            axes.set_xscale("log")
        axes.margins(0.25)
        axes.set_title(dataset, fontsize=10)
        axes.set_xlabel("ms per later click")
        axes.set_ylabel("NoC@90")
        axes.grid(alpha=0.3, which="both")

    return save_figure(figure, path)
