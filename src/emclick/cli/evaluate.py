"""`emclick evaluate`: NoC of a model on a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from emclick.cli.options import (
    Flip,
    Model,
    ObjectLimit,
    Precision,
    Runtime,
    ShortSide,
    Threads,
    Workers,
    ZoomIn,
)


def evaluate_command(
    dataset: Annotated[
        str,
        typer.Option(
            help="Dataset: grabcut, berkeley, davis, sbd, pascalvoc, coco_mval, davis585 (from its initial "
            "masks), or folder: images/NAME.* and masks/NAME.png or NAME_N.png, 0 background, 128 ignored, "
            "255 object."
        ),
    ],
    root: Annotated[Path, typer.Option(help="The dataset's folder, laid out as published.", metavar="DIR")],
    model: Model = None,
    runtime: Runtime = None,
    precision: Precision = None,
    limit: ObjectLimit = None,
    flip: Flip = False,
    short_side: ShortSide = None,
    zoom_in: ZoomIn = None,
    paper: Annotated[
        bool,
        typer.Option(
            "--paper",
            help="The published protocol of the method; EMC: short side 384 (DAVIS 576), flip, no zoom-in.",
        ),
    ] = False,
    stop_at: Annotated[
        float | None,
        typer.Option(
            help="Stop an object once it reaches this IoU: faster, but NoC above it and the later part of "
            "the mIoU curve are then not measured. Default: make all 20 clicks.",
            metavar="IOU",
        ),
    ] = None,
    workers: Workers = 1,
    threads: Threads = None,
    initial_masks: Annotated[
        bool, typer.Option(help="Start from the dataset's initial masks, where it has them.")
    ] = True,
    damage: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Start every object from its truth damaged to an IoU of 0.75 to 0.85 (eroded, dilated, shifted, "
            "parts dropped or added, as this seed decides): what correcting a mask costs.",
            metavar="SEED",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Write the results here (JSON). Finished objects are kept in FILE.journal meanwhile; after "
            "an interruption the same command goes on from there.",
            metavar="FILE",
        ),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Plot mIoU against clicks (.png, .svg, .pdf).", metavar="FILE")
    ] = None,
) -> None:
    """Measure a model: clicks that a robot user needs on every object of a dataset.

    The robot clicks on the middle of the largest error, up to 20 times per object. Printed are NoC@t, the
    mean number of clicks to an IoU of t % (20 where it is never reached), the objects that need 20 clicks
    or more, the failures (NoF), the mean IoU after some clicks, the share of clicks that made the mask worse
    by more than a point, and the milliseconds of first and later clicks.

    Example: emclick evaluate --dataset grabcut --root data/GrabCut --output grabcut.json --plot grabcut.png
    """
    from emclick.evaluation.benchmark import evaluate
    from emclick.evaluation.report import plot as write_plot
    from emclick.plots import check_plot_format

    if plot is not None:
        check_plot_format(plot)
    result = evaluate(
        model,
        dataset,
        root,
        limit=limit,
        flip=flip,
        short_side=short_side,
        zoom_in=zoom_in,
        paper=paper,
        stop_at=stop_at,
        workers=workers,
        threads=threads,
        runtime=runtime,
        precision=precision,
        use_initial_masks=initial_masks,
        damage=damage,
        output=output,
    )
    _show(result.summary)
    if plot is not None:
        write_plot([result.summary], plot)


def _show(summary: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    from emclick.evaluation.report import COLUMNS, rows

    console = Console()
    table = Table(show_header=False, title=f"{summary['model']} on {summary['dataset']}")
    table.add_column("figure")
    table.add_column("value", justify="right")
    for name, cell in zip(COLUMNS, rows([summary])[0]):
        table.add_row(name, cell)
    table.add_row("images/s", f"{summary['images_per_s']:.2f}")
    if summary["start_iou"] is not None:
        table.add_row("IoU at the start", f"{summary['start_iou']:.3f}")
        table.add_row("first clicks that lowered it", f"{summary['first_worse']:.1%}")
    console.print(table)
