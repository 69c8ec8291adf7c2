"""Tables from a results file of `emclick reproduce`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import mean
from typing import Any, NamedTuple

from emclick.evaluation.published import ACCURACY_COLUMNS, CORRECTION, SPEED
from emclick.results import markdown_table

Results = Mapping[str, Any]
Row = Mapping[str, Any]

NAMES = {"grabcut": "GrabCut", "berkeley": "Berkeley", "sbd": "SBD", "davis": "DAVIS", "pascalvoc": "Pascal"}
"""Datasets as the talk writes them."""


class Table(NamedTuple):
    """A table; the first of its columns are words, the last `numbers` ones numbers."""

    title: str
    heads: list[str]
    lines: list[list[str]]
    numbers: int


def tables(results: Results) -> list[Table]:
    """Those of a results file; what was not measured is `-` in them."""
    return _TABLES[results["what"]](results)


def _cell(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _pair(published: float | None, here: float | None, digits: int = 2) -> str:
    """Published / measured."""
    return f"{_cell(published, digits)} / {_cell(here, digits)}"


# --- speed ----------------------------------------------------------------------------------------------


def _speed(results: Results) -> list[Table]:
    rows = results["rows"]
    if results["settings"]["device"] != "cpu":
        heads = ["method", "ms, published (two settings)", "ms, here"]
        lines = [[row["label"], " / ".join(map(str, row["ms"])), _ms(row)] for row in rows]
        return [Table("GPU, per click", heads, lines, 2)]
    published = {row.model: row.ms for row in SPEED if row.stage == CORRECTION}
    here = {row["model"]: row["here"] for row in rows if row["stage"] == CORRECTION}
    lines = []
    for row in rows:
        record = row["here"] or {}
        emc, ours = published.get(row["against"]), here.get(row["against"])
        lines.append([
            row["label"],
            str(row["input_px"]),
            _pair(row["params_m"], _in(record.get("params"), 1e6)),
            _pair(row["gmacs"], _in(record.get("macs"), 1e9)),
            _cell(row["ms"], 0),
            _ms(row),
            _cell(row["ms"] / emc if emc else None, 1),
            _cell(record["median_ms"] / ours["median_ms"] if record and ours else None, 1),
        ])  # fmt: skip
    heads = [
        "method", "input", "params M, published / here", "GMAC, published / here", "ms, published", "ms, here",
        "EMC later clicks in one, published", "here",
    ]  # fmt: skip
    return [Table("CPU, per click", heads, lines, 7)]


def _ms(row: Row) -> str:
    return _cell(row["here"]["median_ms"] if row["here"] else None, 1)


def _in(value: float | None, unit: float) -> float | None:
    return None if value is None else value / unit


# --- accuracy -------------------------------------------------------------------------------------------


def _accuracy(results: Results) -> list[Table]:
    heads = ["method", "trained on"] + [f"{NAMES[dataset]} {at}" for dataset, at in ACCURACY_COLUMNS]
    lines = []
    for row in results["rows"]:
        published = {(dataset, at): value for dataset, at, value in row["noc"]}
        cells = [
            _pair(published.get((dataset, at)), _noc(row, dataset, str(at)))
            for dataset, at in ACCURACY_COLUMNS
        ]
        lines.append([row["label"], row["data"], *cells])
    noc = Table("NoC, published / here", heads, lines, len(ACCURACY_COLUMNS))
    whole = []
    for row in results["whole"]:
        cells = []
        for at, value in row["noc"].items():
            here = (row["here"] or {}).get(str(at), {})
            minutes = row["minutes"].get(at)
            cells += [_pair(value, here.get("noc")), _pair(minutes, here.get("minutes"), 0)]
        whole.append([row["label"], *cells])
    heads = ["method", "NoC@90", "minutes to 90", "NoC@95", "minutes to 95"]
    return [noc, Table("Whole SBD evaluation, published / here", heads, whole, 4)]


def _noc(row: Row, dataset: str, at: str) -> float | None:
    here = (row["here"] or {}).get(dataset)
    return here["noc"][at] if here else None


# --- ablation -------------------------------------------------------------------------------------------


def _ablation(results: Results) -> list[Table]:
    groups = {"Modules, NoC@90": results["rows"], "Negative templates, NoC@90": results["negatives"]}
    return [_ablated(title, rows, results["datasets"]) for title, rows in groups.items() if rows]


def _ablated(title: str, rows: Sequence[Row], datasets: Sequence[str]) -> Table:
    printed = list(rows[0]["noc90"])
    heads = ["row", *(f"{NAMES[name]}, published" for name in printed), "place"]
    heads += [*(f"{NAMES.get(name, name)}, here" for name in datasets), "place here"]
    before = ranks([mean(row["noc90"].values()) for row in rows])
    found = [[_noc(row, name, "90") for name in datasets] for row in rows]
    measured = [[value for value in each if value is not None] for each in found]
    means = [mean(some) if some and len(some) == len(each) else None for some, each in zip(measured, found)]
    after = ranks(means)
    lines = [
        [row["label"], *(_cell(value) for value in row["noc90"].values()), place, *map(_cell, here), now]
        for row, place, here, now in zip(rows, before, found, after, strict=True)
    ]
    return Table(title, heads, lines, len(heads) - 1)


def ranks(means: Sequence[float | None]) -> list[str]:
    """The place of each by its mean, 1 for the fewest clicks; "-" for what is not there."""
    there = sorted(value for value in means if value is not None)
    return ["-" if value is None else str(there.index(value) + 1) for value in means]


_TABLES: Mapping[str, Callable[[Results], list[Table]]] = {
    "speed": _speed,
    "accuracy": _accuracy,
    "ablation": _ablation,
}


# --- text -----------------------------------------------------------------------------------------------


def missing(results: Results) -> list[str]:
    """One line for each reason why rows were not measured, with how to get what it needs, and the rows."""
    found: dict[str, list[str]] = {}
    for row in [*results["rows"], *results.get("whole", []), *results.get("negatives", [])]:
        if row["why"]:
            name = f"{row['label']} (ROW {row['key']})" if row.get("key") else row["label"]
            found.setdefault(row["why"], []).append(name)
    return [f"{why}. {', '.join(dict.fromkeys(names))}" for why, names in found.items()]


def markdown(results: Results) -> str:
    """All tables, what is missing, and what it was measured on, ending in a newline."""
    parts = []
    for table in tables(results):
        lines = markdown_table(table.heads, table.lines, len(table.heads) - table.numbers)
        parts.append(f"**{table.title}**\n\n{lines}")
    if lines := missing(results):
        parts.append("Not measured here:\n\n" + "".join(f"- {line}\n" for line in lines))
    return "\n".join([*parts, caption(results)])


def caption(results: Results) -> str:
    """Where the figures come from, one paragraph ending in a newline."""
    on = results["machine"]
    said = ", ".join(f"{name} {value}" for name, value in results["settings"].items() if value is not None)
    return (
        f"Published: {results['source']}. Here: {on['cpu']}, {on['cores_used']} of {on['usable_cpus']} usable CPUs; "
        f"{on['system']}, Python {on['python']}; {on['date']}; {said}.\n"
    )
