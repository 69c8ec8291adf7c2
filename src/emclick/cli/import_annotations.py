"""`emclick import-annotations`: masks of other programs into a project."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

SHOWN = 20
"""Lines about things left out that are printed."""


def import_annotations_command(
    folder: Annotated[Path, typer.Argument(help="The folder of photographs.", metavar="FOLDER")],
    path: Annotated[
        Path, typer.Argument(help="File, folder or zip with the annotations.", metavar="ANNOTATIONS")
    ],
    format_name: Annotated[
        str, typer.Option("--format", "-f", help="coco, labelme, voc, yolo, instances or zip (of emclick).")
    ],
    project: Annotated[
        Path | None,
        typer.Option(
            help="The project's file, made if missing. Default: in the folder of photographs.", metavar="FILE"
        ),
    ] = None,
) -> None:
    """Take masks in, to be looked through and corrected by clicks with `emclick serve`.

    An image's objects come in after those that are there, finished, as one step that can be undone; one whose mask and
    label are there already is left out. Images are found by their names; what cannot be taken is listed. A damaged
    file changes nothing.

    Example: emclick import-annotations photos instances_val2017.json --format coco
    """
    from emclick.annotations import make_format
    from emclick.annotations.errors import AnnotationError
    from emclick.web.store import Project

    chosen = make_format(format_name)
    with Project.open(folder, project) as opened:
        found = chosen.read(path, opened.image_sizes())
        for line in found.skipped[:SHOWN]:
            typer.echo(f"left out: {line}", err=True)
        if len(found.skipped) > SHOWN:
            typer.echo(f"left out: {len(found.skipped) - SHOWN} more", err=True)
        if not found.images and found.skipped:
            raise AnnotationError(f"nothing in {path} belongs to the images in {folder}")
        added = opened.add_annotations(found)
    images = sum(bool(image.objects) for image in found.images)
    there = f"; {added.there} were there already" if added.there else ""
    typer.echo(f"added {added.objects} objects on {images} images{there}")
