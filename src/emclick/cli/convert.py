"""`emclick convert`: foreign weights into ours."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def convert_command(
    source: Annotated[
        Path,
        typer.Argument(
            help="An authors' checkpoint (.pth), or a public MobileNetV2 file (.tflite).", metavar="FILE"
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder to write, made if missing.", metavar="DIR")
    ],
    name: Annotated[
        str | None,
        typer.Option(
            "--as", help="What it must be, where keys do not tell: see `emclick models`.", metavar="MODEL"
        ),
    ] = None,
) -> None:
    """Turn published weights into ours.

    A checkpoint of the authors of EMC-Click, RITM, FocalClick, f-BRS or CDNet becomes a model folder
    (safetensors and a readable card) that every command takes as --model. Which model it is shows from its
    keys and shapes; every key must have its place, and no code from the file is ever run.

    A TFLite file of MobileNetV2 (DeepLabv3 or ImageNet, 8 bit) becomes backbone weights that
    `emclick train --pretrained` starts from.

    Example: emclick convert hrnet18s_cocolvis.pth -o models/emc-hrnet18s
    """
    from emclick.cli.extras import need_torch

    need_torch("convert")
    from emclick.networks.convert import convert_official, convert_pretrained

    if source.suffix == ".tflite":
        typer.echo(f"wrote {convert_pretrained(source, output)}")
        return
    from emclick.networks.releases import recognised, twins

    card = convert_official(source, output, name)
    typer.echo(f"{card.name}: every key accounted for; wrote {output}")
    if name is None and (others := twins(recognised(card.name))):
        typer.echo(f"its keys are also those of {', '.join(others)}: if it is that, say so with --as")
