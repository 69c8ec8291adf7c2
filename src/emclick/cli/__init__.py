"""The command line. One file per command; everything heavy is imported inside the commands."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from emclick.cli.bench import bench_command
from emclick.cli.compare import compare_command
from emclick.cli.convert import convert_command
from emclick.cli.dataset import dataset_command
from emclick.cli.doctor import doctor_command
from emclick.cli.evaluate import evaluate_command
from emclick.cli.export import export_command
from emclick.cli.export_annotations import export_annotations_command
from emclick.cli.import_annotations import import_annotations_command
from emclick.cli.models import models_command
from emclick.cli.reproduce import reproduce_app
from emclick.cli.segment import segment_command
from emclick.cli.serve import serve_command
from emclick.cli.train import train_command
from emclick.errors import EmclickError

app = typer.Typer(
    name="emclick",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        import emclick

        typer.echo(f"emclick {emclick.__version__}")
        raise typer.Exit


@app.callback()
def emclick_command(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the whole traceback of a failure. May stand anywhere.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Click on an object, get its mask, correct it with more clicks, on an ordinary CPU.

    Exit codes: 0 done; 1 failed, with one line that says why; 2 wrong usage.
    """


app.command("segment")(segment_command)
app.command("serve")(serve_command)
app.command("export-annotations")(export_annotations_command)
app.command("import-annotations")(import_annotations_command)
app.command("models")(models_command)
app.command("evaluate")(evaluate_command)
app.command("compare")(compare_command)
app.command("train")(train_command)
app.command("dataset")(dataset_command)
app.command("convert")(convert_command)
app.command("export")(export_command)
app.command("doctor")(doctor_command)
app.command("bench")(bench_command)
app.add_typer(reproduce_app, name="reproduce")


def main() -> None:
    """Entry point of `emclick` and `python -m emclick`."""
    debug = "--debug" in sys.argv  # wherever it stands
    try:
        app(args=[argument for argument in sys.argv[1:] if argument != "--debug"])
    except KeyboardInterrupt:
        typer.echo("emclick: interrupted", err=True)
        sys.exit(130)
    except Exception as error:
        if debug:
            raise
        text = " ".join(str(error).split()) or type(error).__name__
        if not isinstance(error, EmclickError | OSError | MemoryError):
            text = f"unexpected {type(error).__name__}: {text} (--debug shows where)"
        typer.echo(f"emclick: {text}", err=True)
        sys.exit(1)
