"""`emclick export`: a model as ONNX graphs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


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
) -> None:
    """Write a model as ONNX graphs, which run without PyTorch.

    Three graphs, float32, batch 1, any height, width and number of clicks: `image.onnx` (once per image),
    `first.onnx` (first click of an object) and `correction.onnx` (every click). `graphs.json` beside them names
    every input and output with its shape, range and meaning. Before anything is written, the graphs are run on
    photographs and held to PyTorch. The folder is a model for every command's --model.

    Example: emclick export models/emc-hrnet18s -o onnx/emc-hrnet18s
    """
    from emclick.cli.extras import need_torch

    need_torch("export")
    from emclick.networks.export import export_model

    typer.echo(f"{model}: tracing and checking, about a minute")
    checked = export_model(model, output)
    assert checked is not None
    ties = f"; {len(checked.ties)} left out for a tie of templates" if checked.ties else ""
    typer.echo(f"differs from PyTorch by {checked.error:.1e} over {checked.clicks} predictions{ties}")
    typer.echo(f"wrote {output or model}")
