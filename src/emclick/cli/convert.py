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
) -> None:
    """Turn published weights into ours.

    A checkpoint of the EMC-Click release becomes a model folder (safetensors and a readable card) that
    every command takes as --model. Which of the five models it is shows from its keys and shapes; every key
    must have its place, and no code from the file is ever run.

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
    card = convert_official(source, output)
    typer.echo(f"{card.name}: every key accounted for; wrote {output}")
