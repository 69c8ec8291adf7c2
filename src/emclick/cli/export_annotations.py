"""`emclick export-annotations`: a project's masks in a common format."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from emclick.annotations.base import Format
    from emclick.annotations.model import AnnotationSet


def export_annotations_command(
    folder: Annotated[Path, typer.Argument(help="The folder of photographs.", metavar="FOLDER")],
    format_name: Annotated[
        str,
        typer.Option("--format", "-f", help="coco, labelme, voc, yolo, instances or zip (all of them)."),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="New or empty folder; or a file: .zip for any format, .json for coco. "
            "Default: the photographs' folder's name and the format's, here.",
            metavar="OUT",
        ),
    ] = None,
    project: Annotated[
        Path | None, typer.Option(help="The project's file, if it is not in the folder.", metavar="FILE")
    ] = None,
    polygons: Annotated[
        bool, typer.Option("--polygons", help="Polygons where the format offers a choice (coco, labelme).")
    ] = False,
    bridge_holes: Annotated[
        bool,
        typer.Option("--bridge-holes", help="coco: polygons for objects with holes too, joined by a line."),
    ] = False,
    tolerance: Annotated[
        float,
        typer.Option(min=0, help="Let a polygon's edge move this far to save points.", metavar="PIXELS"),
    ] = 0.0,
    davis: Annotated[bool, typer.Option("--davis", help="voc: one PNG of objects, without classes.")] = False,
    images: Annotated[
        bool, typer.Option("--images", help="Copy the photographs too, to where the format has them.")
    ] = False,
) -> None:
    """Write what was annotated with `emclick serve` in a format that other programs read.

    COCO with RLE, LabelMe with masks and instances keep every mask to the pixel; docs/formats.md says what each
    format keeps and loses. The output appears whole or not at all, and replaces only a file that was named.

    Example: emclick export-annotations photos --format coco -o photos.json
    """
    from emclick.annotations import make_format
    from emclick.web.store import Project

    options = {
        "polygons": polygons,
        "bridge_holes": bridge_holes,
        "tolerance_px": tolerance,
        "davis": davis,
    }
    chosen = make_format(format_name, **{name: value for name, value in options.items() if value})
    target = output or _default(chosen, folder)
    with Project.open(folder, project, create=False) as opened:
        annotations = opened.annotations()
    written = write_annotations(chosen, annotations, target, folder if images else None)
    objects = sum(len(image.objects) for image in annotations.images)
    files = "1 file" if written == 1 else f"{written} files"
    typer.echo(f"{objects} objects on {len(annotations.images)} images; wrote {target} ({files})")


def _default(chosen: Format, folder: Path) -> Path:
    name = f"{folder.resolve().name}-{chosen.name}"
    return Path(name) if chosen.single_file is None else Path(name + Path(chosen.single_file).suffix)


def write_annotations(chosen: Format, annotations: AnnotationSet, target: Path, images: Path | None) -> int:
    """Export to a folder, or to a file where `target` has the suffix of one; how many files were made.

    Raises:
        WriteError: `target` is a folder with something in it, or cannot be written.
        AnnotationError: something that the format cannot say.
    """
    from emclick.annotations.archive import pack
    from emclick.errors import OptionError
    from emclick.files import require_folder, write_atomic

    suffix = target.suffix.lower()
    single = chosen.single_file is not None and suffix == Path(chosen.single_file).suffix
    if target.is_dir() or not (single or suffix == ".zip"):
        return len(chosen.export(annotations, target, images))
    if single and suffix != ".zip" and images is not None:
        raise OptionError(f"--images needs a folder or a .zip to write to, not {target}")
    require_folder(target)
    with tempfile.TemporaryDirectory(dir=target.resolve().parent, prefix=".emclick-") as temporary:
        made = chosen.export(annotations, Path(temporary) / "out", images)
        if single:
            write_atomic(target, lambda file: file.writelines(_pieces(made[0])))
        else:
            pack(Path(temporary) / "out", target)
    return 1


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            yield piece
