"""`emclick bench`: what clicks cost on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emclick.cli.options import Markdown

if TYPE_CHECKING:
    from emclick.benchmark.run import Plan


def _listed(text: str | None) -> list[str]:
    return [part.strip() for part in (text or "").split(",") if part.strip()]


def _whole_numbers(text: str | None) -> list[int]:
    try:
        return [int(part) for part in _listed(text)]
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a list of whole numbers like 1,2") from None


def bench_command(
    output: Annotated[Path, typer.Option("--output", "-o", help="Results to write (JSON).", metavar="FILE")],
    models: Annotated[
        str | None,
        typer.Option(help="Names of `emclick models`, or model folders. Default: all names.", metavar="A,B"),
    ] = None,
    runtimes: Annotated[
        str | None, typer.Option(help="Runtimes. Default: all that are installed.", metavar="A,B")
    ] = None,
    threads: Annotated[
        str | None,
        typer.Option(help="CPU threads. Default: the CPUs that this process may use.", metavar="N,M"),
    ] = None,
    precision: Annotated[
        str, typer.Option(help="What to compute in: fp32, bf16, ...", metavar="A,B")
    ] = "fp32",
    stages: Annotated[
        str | None,
        typer.Option(
            help="What to measure: first, correction, click@0.3mp, click@2mp, click@12mp, click@50mp. Default: all.",
            metavar="A,B",
        ),
    ] = None,
    rounds: Annotated[
        int,
        typer.Option(min=1, help="Turns of every configuration; more make steadier medians.", metavar="N"),
    ] = 7,
    device: Annotated[str, typer.Option(help="cpu, or for the torch runtime cuda.")] = "cpu",
    markdown: Markdown = None,
    plot: Annotated[
        Path | None, typer.Option(help="Also write a plot (.png, .svg, .pdf).", metavar="FILE")
    ] = None,
    train: Annotated[
        Path | None,
        typer.Option(
            help="Measure the training loop of this recipe instead: images per second, by stage.",
            metavar="RECIPE.toml",
        ),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="With --train: steps to measure.", metavar="N")] = 20,
    root: Annotated[
        list[str] | None,
        typer.Option(help="With --train: where a source's data is, as for train.", metavar="NAME=DIR"),
    ] = None,
) -> None:
    """Measure what clicks cost on this machine.

    Stages: `first` is the base network and the first correction, `correction` everything that a later click changes,
    from cached state to logits, both on a 384x384 frame; `click@2mp` is a whole later click on a picture of 2
    megapixels, image in memory to mask. Beside each stands the floor: the time of a matrix product of as many
    multiply-adds as the plain network has, on the same threads.

    Each combination of model, runtime, precision and threads runs in a process of its own; those of one model take
    turns, so that they meet the same machine. What cannot run here is left out with a line that says why. Models
    without weights run on random ones, which PyTorch makes. Keep the machine quiet meanwhile.

    With --train, threads (one number) and device apply, precision is the recipe's, and the rest of the options is
    not used. The networks start fresh, and nothing is kept.

    Example: emclick bench --models emc-mobilenetv2 --threads 1,2 --output bench.json --markdown bench.md

    Example: emclick bench --train RECIPE.toml --root shards=DIR --output training.json
    """
    from emclick.files import require_folder

    if train is not None:
        others = {
            "models": models,
            "runtimes": runtimes,
            "stages": stages,
            "markdown": markdown,
            "plot": plot,
        }
        for name, given in others.items():
            if given is not None:
                raise typer.BadParameter(f"--{name} does not go with --train")
        _bench_training(train, root or [], steps, device, _whole_numbers(threads), output)
        return

    for path in (output, markdown):
        if path is not None:
            require_folder(path)
    if plot is not None:
        from emclick.plots import check_plot_format

        check_plot_format(plot)

    from emclick.benchmark.run import Plan
    from emclick.benchmark.stages import STAGES
    from emclick.cpus import usable_cpus
    from emclick.zoo import list_models

    plan = Plan(
        models=_listed(models) or list_models(),
        runtimes=_listed(runtimes) or _installed(),
        threads=_whole_numbers(threads) or [usable_cpus()],
        precisions=_listed(precision),
        stages=_listed(stages) or list(STAGES),
        rounds=rounds,
        device=device,
    )
    results = _run(plan.checked())
    _write(results, output, markdown, plot)


def _bench_training(
    recipe: Path, roots: list[str], steps: int, device: str, threads: list[int], output: Path
) -> None:
    from emclick.cli.extras import need_torch
    from emclick.files import require_folder, write_text

    require_folder(output)
    need_torch("bench --train")
    import json

    import torch
    from rich.progress import Progress

    from emclick.benchmark.training import STAGES, WARM_UP, bench_training
    from emclick.errors import OptionError
    from emclick.training.recipe import override, read_recipe

    if len(threads) > 1 or min(threads, default=1) < 1:
        raise OptionError("with --train give one number of threads, at least 1")
    chosen = override(read_recipe(recipe), roots=roots)
    if threads:
        torch.set_num_threads(threads[0])
    with Progress(transient=True) as progress:
        task = progress.add_task("training", total=WARM_UP + steps)
        results = bench_training(
            chosen, steps=steps, device=device, step=lambda done: progress.update(task, completed=done)
        )
    write_text(output, json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    typer.echo(f"wrote {output}")
    middle = results["median_ms"]
    parts = ", ".join(f"{stage} {middle[stage]:.0f}" for stage in STAGES)
    typer.echo(f"{results['images_per_s']:.2f} images/s; median step {middle['step']:.0f} ms ({parts})")


def _installed() -> list[str]:
    import importlib.util

    from emclick.runtimes import NEEDS, RUNTIMES

    return [
        name for name in RUNTIMES if name not in NEEDS or importlib.util.find_spec(NEEDS[name]) is not None
    ]


def _run(plan: Plan) -> dict[str, Any]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from emclick.benchmark.run import bench

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:.0f} %"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True, refresh_per_second=2) as progress:
        task = progress.add_task("starting", total=1)
        return bench(
            plan,
            note=lambda text: console.print(text, style="yellow", markup=False, highlight=False),
            step=lambda text, done: progress.update(task, description=text, completed=done),
        )


def _write(results: dict[str, Any], output: Path, markdown: Path | None, plot: Path | None) -> None:
    import json

    from emclick.benchmark.report import VIEWS
    from emclick.benchmark.report import plot as write_plot
    from emclick.files import write_text

    write_text(output, json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    typer.echo(f"wrote {output}")
    if markdown is not None:
        write_text(markdown, "\n".join(view(results) for view in VIEWS.values()))
        typer.echo(f"wrote {markdown}")
    if plot is not None:
        typer.echo(f"wrote {write_plot(results, plot)}")
    _show(results)


def _show(results: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    from emclick.benchmark.report import STAGE_COLUMNS, by_stage, caption, names

    console = Console()
    for stage, records in by_stage(results).items():
        table = Table(box=None, header_style="bold", pad_edge=False)
        table.add_column(stage, no_wrap=True)
        for head in STAGE_COLUMNS:
            table.add_column(head, justify="right")
        for record in records:
            table.add_row(" ".join(names(record)), *(cell(record) for cell in STAGE_COLUMNS.values()))
        console.print(table)
        console.print()
    console.print(caption(results), markup=False, highlight=False, end="")
