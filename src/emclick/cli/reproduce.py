"""`emclick reproduce`: the talk's tables again, our figures beside the published ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emclick.cli.compare import show_table, split_names, split_pairs
from emclick.cli.options import Markdown, ObjectLimit, Threads, Workers

if TYPE_CHECKING:
    from emclick.evaluation.reproduce import How

reproduce_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Measure the talk's tables again, beside the published figures; says what cannot run here, and why.",
)

OUTPUT_HELP = (
    "Results to write (JSON). Finished parts are kept in FILE.parts meanwhile; after an interruption the same "
    "command goes on from there."
)
Output = Annotated[Path, typer.Option("--output", "-o", help=OUTPUT_HELP, metavar="FILE")]
Roots = Annotated[
    list[str] | None,
    typer.Option(
        help="Where a dataset is, as for evaluate. May be given more than once.", metavar="NAME=DIR"
    ),
]
Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model", help="The model folder of a row; a wrong ROW lists them. May be given more than once.",
        metavar="ROW=DIR",
    ),
]  # fmt: skip
_PAIRS = "a list like NAME=DIR,NAME=DIR"


@reproduce_app.command("speed")
def speed_command(
    output: Output,
    markdown: Markdown = None,
    models: Annotated[
        str | None, typer.Option(help="Models to measure. Default: all of the table.", metavar="A,B")
    ] = None,
    runtime: Annotated[
        str, typer.Option(help="onnx, openvino or torch, which alone runs all methods.")
    ] = "torch",
    threads: Threads = None,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each model.", metavar="N")] = 5,
    device: Annotated[str, typer.Option(help="cpu, or cuda for the talk's table of GPUs.")] = "cpu",
) -> None:
    """What a click costs: milliseconds, parameters, multiply-adds.

    Models without weights here run on random ones. Keep the machine quiet meanwhile.

    Example: emclick reproduce speed --threads 2 -o speed.json --markdown speed.md
    """

    def measure(how: How) -> dict[str, Any]:
        from emclick.evaluation.reproduce import speed

        return speed(how, split_names(models), rounds=rounds, device=device)

    _run(measure, output, markdown, runtime=runtime, threads=threads)


@reproduce_app.command("accuracy")
def accuracy_command(
    output: Output,
    markdown: Markdown = None,
    root: Roots = None,
    model: Models = None,
    limit: ObjectLimit = None,
    workers: Workers = 1,
    threads: Threads = None,
    runtime: Annotated[str | None, typer.Option(help="onnx, openvino or torch.")] = None,
) -> None:
    """NoC of the systems whose weights and data are here, and of the shipped model.

    ROW is the name of the model, with -sbd behind it for weights that were trained on SBD. Every method
    runs by its published protocol, the shipped model as it is meant.

    Example: emclick reproduce accuracy --root grabcut=data/GrabCut --model ritm-hrnet18s=DIR -o accuracy.json
    """

    def measure(how: How) -> dict[str, Any]:
        from emclick.evaluation.reproduce import accuracy

        return accuracy(how, dict(split_pairs(model, _PAIRS)), dict(split_pairs(root, _PAIRS)))

    _run(measure, output, markdown, limit=limit, workers=workers, threads=threads, runtime=runtime)


@reproduce_app.command("ablation")
def ablation_command(
    output: Output,
    markdown: Markdown = None,
    root: Roots = None,
    model: Models = None,
    rows: Annotated[str | None, typer.Option(help="Rows wanted. Default: all.", metavar="A,B")] = None,
    recipes: Annotated[
        Path | None,
        typer.Option(
            help="Train the rows that no model is given for by ROW.toml of this folder.", metavar="DIR"
        ),
    ] = None,
    runs: Annotated[
        Path, typer.Option(help="With --recipes: where the run folders lie.", metavar="DIR")
    ] = Path("runs/ablation"),
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="With --recipes: where a source's data is, as --root of train.", metavar="NAME=DIR"
        ),
    ] = None,
    pretrained: Annotated[
        Path | None,
        typer.Option(help="With --recipes: backbone weights to start from.", metavar="FILE.safetensors"),
    ] = None,
    start_base: Annotated[
        Path | None,
        typer.Option(
            help="With --recipes: model folder whose trained base network all rows start from.", metavar="DIR"
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="With --recipes: cpu or cuda.")] = "cpu",
    paper: Annotated[
        bool,
        typer.Option("--paper", help="Evaluate by the published protocol, not at each model's own frame."),
    ] = False,
    limit: ObjectLimit = None,
    workers: Workers = 1,
    threads: Threads = None,
    runtime: Annotated[str | None, typer.Option(help="onnx, openvino or torch.")] = None,
) -> None:
    """NoC@90 with parts of the mask correction left out.

    Example: emclick reproduce ablation --recipes recipes/ablation --data shards=DIR --pretrained FILE.safetensors
    --root grabcut=data/GrabCut -o ablation.json
    """

    def measure(how: How) -> dict[str, Any]:
        from emclick.evaluation.reproduce import Training, ablation

        training = None
        if recipes is not None:
            from emclick.cli.extras import need_torch

            need_torch("reproduce ablation --recipes")
            training = Training(
                recipes, runs, data or [], str(pretrained or ""), str(start_base or ""), device
            )
        return ablation(
            how, dict(split_pairs(model, _PAIRS)), dict(split_pairs(root, _PAIRS)),
            training=training, keys=split_names(rows), paper=paper,
        )  # fmt: skip

    _run(measure, output, markdown, limit=limit, workers=workers, threads=threads, runtime=runtime)


def _run(
    measure: Callable[[How], dict[str, Any]], output: Path, markdown: Path | None, **settings: Any
) -> None:
    """Measure, write, show; what was kept of the parts goes once the results are there."""
    import json
    import shutil

    from emclick.evaluation.reproduce import How, parts_folder
    from emclick.evaluation.reproduce_report import markdown as to_markdown
    from emclick.files import require_folder, write_text

    for path in (output, markdown):
        if path is not None:
            require_folder(path)
    parts = parts_folder(output)
    results = measure(How(parts, **settings, note=lambda text: typer.echo(text, err=True)))
    write_text(output, json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    typer.echo(f"wrote {output}")
    if markdown is not None:
        typer.echo(f"wrote {write_text(markdown, to_markdown(results))}")
    shutil.rmtree(parts, ignore_errors=True)
    _show(results)


def _show(results: Mapping[str, Any]) -> None:
    from emclick.evaluation.reproduce_report import caption, missing, tables

    for table in tables(results):
        show_table(table.title, table.heads, table.lines, left=len(table.heads) - table.numbers)
    for line in missing(results):
        typer.echo(f"not measured: {line}")
    typer.echo(caption(results), nl=False)
