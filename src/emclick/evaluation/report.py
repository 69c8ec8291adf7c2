"""Tables and plots from results files.

A table in a document is generated: between `<!-- results:FILES -->` and `<!-- /results -->`, where FILES are
results files or patterns (`results/*.json`), relative to the document, separated by blanks.

    python -m emclick.evaluation.report README.md docs/*.md            # write the tables anew
    python -m emclick.evaluation.report README.md docs/*.md --check    # exit 1 if one is out of date
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from emclick.benchmark.report import fill_bench
from emclick.errors import DatasetError, EmclickError, OptionError
from emclick.files import write_text
from emclick.plots import check_plot_format, new_figure, save_figure
from emclick.results import markdown_table, read_results_file

Results = Mapping[str, Any]

_BLOCK = re.compile(
    r"(?P<open><!-- results:(?P<files>[^\n]*?) -->\n)(?P<body>.*?)(?P<close><!-- /results -->)", re.S
)


def read_results(path: Path) -> Results:
    """A results file.

    Raises:
        DatasetError: it is missing or not a results file.
    """
    return read_results_file(path, "evaluate", lambda each: {"n", "noc", "miou_at"} <= set(each))


# --- tables ---------------------------------------------------------------------------------------------


def _number(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


# Heading -> cell. `-` stands for what was not measured.
COLUMNS: Mapping[str, Callable[[Results], str]] = {
    "model": lambda r: str(r.get("model", "-")),
    "dataset": lambda r: str(r.get("dataset", "-")),
    "n": lambda r: str(r["n"]),
    "frame": lambda r: str(r.get("short_side", "-")),
    "flip": lambda r: "yes" if r.get("flip") else "no",
    "zoom-in": lambda r: "yes" if r.get("zoom_in") else "no",
    "runtime": lambda r: f"{r.get('runtime', '-')} {r.get('precision', 'fp32')}",
    "NoC@85": lambda r: _number(r["noc"]["85"]),
    "NoC@90": lambda r: _number(r["noc"]["90"]),
    "NoC@95": lambda r: _number(r["noc"]["95"]),
    "≥20@90": lambda r: _number(r["at_limit"]["90"], 0),
    "NoF@90": lambda r: _number(r["nof"]["90"], 0),
    "mIoU@1": lambda r: _percent(r["miou_at"].get("1")),
    "mIoU@3": lambda r: _percent(r["miou_at"].get("3")),
    "mIoU@5": lambda r: _percent(r["miou_at"].get("5")),
    "mIoU@10": lambda r: _percent(r["miou_at"].get("10")),
    "worse %": lambda r: _percent(r["worse_clicks"]),
    "first ms": lambda r: _number(r["first_ms"], 0),
    "later ms": lambda r: _number(r["later_ms"], 0),
}

START_COLUMNS: Mapping[str, Callable[[Results], str]] = {
    "IoU at the start": lambda r: _percent(r.get("start_iou")),
    "first clicks that lowered it %": lambda r: _percent(r.get("first_worse")),
}
"""Beside the others, where all objects started from a mask."""

_LEFT = ("model", "dataset")


def columns_for(results: Sequence[Results]) -> Mapping[str, Callable[[Results], str]]:
    """The columns of a table of these results."""
    started = all(each.get("start_iou") is not None for each in results)
    return {**COLUMNS, **START_COLUMNS} if results and started else COLUMNS


def rows(results: Sequence[Results]) -> list[list[str]]:
    """The cells of `COLUMNS` for each results file."""
    return [[cell(each) for cell in COLUMNS.values()] for each in results]


def table(results: Sequence[Results]) -> str:
    """A markdown table, one row per results file, ending in a newline."""
    columns = columns_for(results)
    cells = [[cell(each) for cell in columns.values()] for each in results]
    return markdown_table(list(columns), cells, _LEFT)


def fill(document: str, folder: Path) -> str:
    """The text of a markdown document with the tables of its marked blocks made anew.

    Raises:
        DatasetError: a block names files that are missing or are not results files.
        OptionError: the document has no block, or one is not closed.
    """
    if document.count("<!-- results:") != len(_BLOCK.findall(document)) or not _BLOCK.search(document):
        raise OptionError(
            "no block `<!-- results:FILES -->` ... `<!-- /results -->`, or one that is not closed"
        )

    def make(block: re.Match[str]) -> str:
        results = [read_results(path) for path in _files(block["files"], folder)]
        return f"{block['open']}{table(results)}{block['close']}"

    return _BLOCK.sub(make, document)


def _files(patterns: str, folder: Path) -> list[Path]:
    found: list[Path] = []
    for pattern in patterns.split():
        try:
            paths = sorted(folder.glob(pattern))
        except (ValueError, NotImplementedError) as error:
            raise DatasetError(f"cannot use the pattern {pattern}: {error}") from error
        if not paths:
            raise DatasetError(f"no results file {pattern} in {folder}")
        found += paths
    if not found:
        raise DatasetError("a results block names no files: write <!-- results:results/NAME.json -->")
    return found


def update(path: Path, check: bool = False) -> bool:
    """Make the tables of a markdown file anew, or with `check` only compare.

    Returns:
        Whether the file was up to date already.

    Raises:
        DatasetError, OptionError: as `fill`, or the document cannot be read.
    """
    try:
        before = path.read_bytes().decode("utf-8")
    except (OSError, ValueError) as error:
        raise DatasetError(f"cannot read {path}: {error}") from error
    after = fill(fill_bench(before, path.parent), path.parent)
    if after != before and not check:
        write_text(path, after)
    return after == before


# --- plots ----------------------------------------------------------------------------------------------


def plot(results: Sequence[Results], path: Path) -> Path:
    """Write mIoU against clicks, one line per results file; the suffix of `path` says the format.

    Raises:
        UnknownNameError: a suffix other than .png, .svg and .pdf.
        MissingExtraError: matplotlib is not installed.
        WriteError: the file cannot be written.
    """
    check_plot_format(path)
    from matplotlib.ticker import MaxNLocator

    figure = new_figure(6.4, 4.4)
    axes = figure.add_subplot()
    for each in results:
        clicks = [int(k) for k in each["miou_at"]]
        axes.plot(clicks, list(each["miou_at"].values()), marker="o", markersize=3, label=_label(each))
    axes.set_xlabel("clicks")
    axes.set_ylabel("mIoU")
    axes.set_ylim(top=1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend()

    return save_figure(figure, path)


def _label(results: Results) -> str:
    how = "".join(f", {name}" for name, key in (("zoom-in", "zoom_in"), ("flip", "flip")) if results.get(key))
    model, dataset, frame = (results.get(name, "?") for name in ("model", "dataset", "short_side"))
    return f"{model} on {dataset} ({frame}{how})"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command of this module; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m emclick.evaluation.report", description="Make the results tables of documents anew."
    )
    parser.add_argument("documents", nargs="+", type=Path, help="markdown files with results blocks")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit 1 if a table is out of date"
    )
    options = parser.parse_args(arguments)
    status = 0
    for path in options.documents:
        try:
            current = update(path, options.check)
        except EmclickError as error:
            print(f"{path}: {error}", file=sys.stderr)
            status = 1
            continue
        if not current and options.check:
            print(f"{path}: out of date; run python -m emclick.evaluation.report {path}", file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
