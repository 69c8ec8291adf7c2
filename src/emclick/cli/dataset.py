"""`emclick dataset`: is a dataset all there?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def dataset_command(
    name: Annotated[str, typer.Argument(help="Dataset, as for evaluate and train.")],
    root: Annotated[Path, typer.Option(help="Its folder, laid out as published.", metavar="DIR")],
    split: Annotated[
        str, typer.Option(help="Split, where the dataset has several: val, train.", metavar="NAME")
    ] = "",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o",
            help="Counts to write (JSON), also while it counts: the same command goes on from there.",
            metavar="FILE",
        ),
    ] = None,
) -> None:  # fmt: skip
    """Read every file of a dataset, count images and objects, and compare with the published counts.

    Nothing is converted: evaluation and training read the files as they are published. Run this before a long
    training. A file that cannot be read is named.

    Example: emclick dataset sbd --split train --root data/SBD --output sbd-train.json
    """
    from rich.progress import Progress

    from emclick.data.counting import PUBLISHED, CountsFile, count
    from emclick.data.sources import open_source
    from emclick.errors import DatasetError, OptionError

    try:
        source = open_source(name, root, **({"split": split} if split else {}))
    except TypeError as error:
        raise OptionError(f"dataset {name} has no splits: leave out --split") from error
    kept = CountsFile(output, {"dataset": name, "split": split, "samples": len(source)})
    if kept.read:
        typer.echo(f"going on after {kept.read} of {len(source)} images, which {output} has")
    with Progress(transient=True) as progress:
        task = progress.add_task(f"reading {name}", total=len(source))

        def done(read: int, objects: int) -> None:
            progress.update(task, completed=read)
            kept.update(read, objects)

        try:
            found = count(source, done, kept.read, kept.objects)
        finally:
            kept.save()
    typer.echo(f"{found.images} images, {found.objects} objects")
    named = split or next((known for dataset, known in PUBLISHED if dataset == name), "")
    published = PUBLISHED.get((name, named))
    if published is None:
        typer.echo("no published counts are known")
        return
    about = "about " if published.share else ""
    typer.echo(f"published: {about}{published.images} images, {about}{published.objects} objects")
    if not published.fits(found):
        raise DatasetError(
            f"{name} at {root} is not the published set; figures on it do not compare with published ones"
        )
