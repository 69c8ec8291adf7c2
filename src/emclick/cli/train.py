"""`emclick train`: run or resume a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def train_command(
    recipe: Annotated[Path, typer.Argument(help="The recipe, a TOML file.", metavar="RECIPE.toml")],
    root: Annotated[
        list[str] | None,
        typer.Option(
            help="Where a source's data is: the dataset's name in the recipe and its folder. Repeat for more.",
            metavar="NAME=DIR",
        ),
    ] = None,
    pretrained: Annotated[
        Path | None,
        typer.Option(help="Backbone weights to start from (see convert).", metavar="FILE.safetensors"),
    ] = None,
    start_from: Annotated[
        Path | None, typer.Option(help="Model folder whose weights to start from.", metavar="DIR")
    ] = None,
    start_base: Annotated[
        Path | None,
        typer.Option(help="EMC model folder whose base network alone to start from.", metavar="DIR"),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="Another seed than the recipe's; give --output too.", metavar="N"),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Run folder. Default: runs/NAME.", metavar="DIR")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    stop_after: Annotated[
        int | None,
        typer.Option(min=1, help="Stop, with everything saved, after N further steps.", metavar="N"),
    ] = None,
) -> None:
    """Train a model, or go on where an interrupted run stopped.

    The run folder keeps everything: the same command resumes it, with the same result as if it had never
    stopped. Ctrl-C saves and stops. `model/` in it is a model folder at any time. For several processes
    or GPUs: torchrun --nproc-per-node 4 -m emclick train RECIPE.toml --device cuda

    Example: emclick train recipes/emc-mobilenetv2.toml --root shards=data/train --pretrained mobilenet.safetensors
    """
    from emclick.cli.extras import need_torch

    need_torch("train")
    from emclick.training.loop import train
    from emclick.training.recipe import override, parse_recipe, read_recipe, with_seed

    chosen, text = read_recipe(recipe), recipe.read_text(encoding="utf-8")
    if seed is not None:
        text = with_seed(text, seed)
        chosen = parse_recipe(text)
    changed = override(
        chosen,
        roots=root or [],
        pretrained=str(pretrained) if pretrained else None,
        start_from=str(start_from) if start_from else None,
        start_base=str(start_base) if start_base else None,
    )
    folder = output or Path("runs") / changed.name
    model = train(changed, text, folder, device=device, stop_after=stop_after)
    typer.echo(f"model so far: {model}")
