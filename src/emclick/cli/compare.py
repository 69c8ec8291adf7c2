"""`emclick compare`: models of any method on the same objects, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from emclick.cli.options import Flip, Markdown, ObjectLimit, Precision, ShortSide, Threads


def split_names(text: str | None) -> list[str]:
    """ "A,B" as a list."""
    return [part.strip() for part in (text or "").split(",") if part.strip()]


def split_pairs(texts: list[str] | None, what: str) -> list[tuple[str, str]]:
    """["A=x,B=y", "C=z"] as pairs; a comma within a value stays with it."""
    pairs: list[tuple[str, str]] = []
    for text in texts or []:
        for part in text.split(","):
            name, separator, value = part.partition("=")
            if separator and name.strip() and value.strip():
                pairs.append((name.strip(), value.strip()))
            elif pairs and not separator:
                pairs[-1] = (pairs[-1][0], f"{pairs[-1][1]},{part}")
            else:
                raise typer.BadParameter(f"{text!r} is not {what}")
    return pairs


def compare_command(
    datasets: Annotated[
        list[str],
        typer.Option(
            help="Datasets and their folders, as for evaluate. May be given more than once.",
            metavar="NAME=DIR,NAME=DIR",
        ),
    ],
    models: Annotated[
        str | None,
        typer.Option(
            help="Names of `emclick models`, or model folders, of any method. Default: all whose weights are here.",
            metavar="A,B",
        ),
    ] = None,
    limit: ObjectLimit = None,
    workers: Annotated[
        int,
        typer.Option(
            min=1, help="Processes; each holds all models, and they share the CPU's threads.", metavar="N"
        ),
    ] = 1,
    threads: Threads = None,
    runtime: Annotated[
        str | None,
        typer.Option(
            help="onnx, openvino or torch, for all models. Default: what each has; torch is fairest."
        ),
    ] = None,
    precision: Precision = None,
    flip: Flip = False,
    short_side: ShortSide = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Write the results here (JSON). Finished objects are kept in FILE.DATASET.journal meanwhile; after "
            "an interruption the same command goes on from there.",
            metavar="FILE",
        ),
    ] = None,
    markdown: Markdown = None,
    plot: Annotated[
        Path | None,
        typer.Option(help="Plot NoC@90 against ms per later click (.png, .svg, .pdf).", metavar="FILE"),
    ] = None,
) -> None:
    """Measure models against each other: clicks that a robot user needs, and what each click costs.

    All models answer for one object before the next object, another one first each time, so that they meet the same
    machine. Printed are NoC, failures (NoF), the share of clicks that made a mask worse, the milliseconds of first
    and later clicks, and what the networks cost: parameters, and multiply-adds of a first and a later click.

    Example: emclick compare --models emc-mobilenetv2,runs/ritm/model --datasets grabcut=data/GrabCut -o compare.json
    """
    from emclick.evaluation.compare import compare, models_here
    from emclick.evaluation.compare_report import plot as write_plot
    from emclick.evaluation.compare_report import tables
    from emclick.files import require_folder, write_text
    from emclick.plots import check_plot_format

    for path in (output, markdown):
        if path is not None:
            require_folder(path)
    if plot is not None:
        check_plot_format(plot)
    results = compare(
        split_names(models) or models_here(),
        split_pairs(datasets, "a list of datasets like grabcut=DIR,berkeley=DIR"),
        limit=limit,
        flip=flip,
        short_side=short_side,
        workers=workers,
        threads=threads,
        runtime=runtime,
        precision=precision,
        output=output,
        note=lambda text: typer.echo(text, err=True),
    )
    if output is not None:
        typer.echo(f"wrote {output}")
    if markdown is not None:
        typer.echo(f"wrote {write_text(markdown, tables(results))}")
    if plot is not None:
        typer.echo(f"wrote {write_plot(results, plot)}")
    _show(results)


def _show(results: Mapping[str, Any]) -> None:
    from emclick.evaluation.compare_report import BRIEF, COLUMNS, by_dataset, caption

    for dataset, found in by_dataset(results).items():
        lines = [[COLUMNS[name](each) for name in BRIEF] for each in found]
        show_table(f"{dataset}, {found[0]['n']} objects", list(BRIEF), lines, left=2)
    typer.echo(caption(results), nl=False)


def show_table(title: str, heads: list[str], lines: list[list[str]], left: int) -> None:
    """Print a table; the first `left` columns are words, the others numbers."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False, title=title, title_justify="left")
    for number, head in enumerate(heads):
        table.add_column(head, justify="left" if number < left else "right", no_wrap=True)
    for line in lines:
        table.add_row(*line)
    # as wide as it is: in a narrow terminal long lines can still be read, cut cells cannot
    wide = Console(width=1000)
    console = Console(width=max(wide.measure(table).maximum, Console().width))
    console.print(table)
    console.print()
