"""`emclick export`: a model as ONNX graphs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

CALIBRATING_PHOTOS = 32


def export_command(
    model: Annotated[
        str,
        typer.Argument(
            help="Name of `emclick models`, or a folder made by convert or train.", metavar="MODEL"
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Folder to write, made if missing. Default: the model's own folder.",
            metavar="DIR",
        ),
    ] = None,
    int8: Annotated[
        bool,
        typer.Option(
            "--int8", help="Also write the base network in 8-bit integers, for --precision int8 with onnx."
        ),
    ] = False,
    calibrate: Annotated[
        Path | None,
        typer.Option(
            help="With --int8: folder of photographs like those the model will see; the first 32 give the ranges of "
            "its activations. Default: two that come with emclick.",
            metavar="DIR",
        ),
    ] = None,
) -> None:
    """Write a model as ONNX graphs, which run without PyTorch.

    Six graphs, float32, batch 1, any height, width and number of clicks: `image.onnx` (once per image),
    `around.onnx` and `first.onnx` (first click of an object), `mask.onnx`, `fuse.onnx` and `correction.onnx` (every
    click).
    `graphs.json` beside them names every input and output with its shape, range and meaning. Before anything is
    written, the graphs are run on photographs and held to PyTorch. The folder is a model for every command's --model.

    8-bit integers are not exact: measure what they cost with `emclick evaluate --precision int8`, and what they bring
    on your CPU with `emclick bench --precision fp32,int8`.

    Example: emclick export models/emc-hrnet18s -o onnx/emc-hrnet18s
    """
    from emclick.cli.extras import need_torch

    if calibrate is not None and not int8:
        raise typer.BadParameter("--calibrate goes with --int8")
    need_torch("export")
    from emclick.networks.export import ASSETS, export_model
    from emclick.networks.quantize import export_int8, photographs

    photos = photographs(ASSETS if calibrate is None else calibrate, CALIBRATING_PHOTOS) if int8 else []

    typer.echo(f"{model}: tracing and checking, about a minute")
    checked = export_model(model, output)
    assert checked is not None
    ties = f"; {len(checked.ties)} left out for a tie of templates" if checked.ties else ""
    typer.echo(f"differs from PyTorch by {checked.error:.1e} over {checked.clicks} predictions{ties}")
    if int8:
        before, after = export_int8(output or model, photos)
        typer.echo(f"int8: first.onnx of {before / 1e6:.1f} MB becomes {after / 1e6:.1f} MB")
    typer.echo(f"wrote {output or model}")
