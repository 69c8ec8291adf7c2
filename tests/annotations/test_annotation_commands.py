"""`emclick export-annotations` and `import-annotations` on a small project."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from contracts.format_contract import image_of, masks
from emclick.annotations import FORMATS, make_format
from emclick.annotations.errors import AnnotationError
from emclick.annotations.model import AnnotationSet
from emclick.cli.export_annotations import export_annotations_command
from emclick.cli.import_annotations import import_annotations_command
from emclick.errors import OptionError, WriteError
from emclick.web.store import Project

HW = (24, 31)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "my phötos"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.png", "sub/b.png"):
        Image.fromarray(np.zeros((*HW, 3), np.uint8)).save(folder / name)
    return folder


@pytest.fixture
def given(photos: Path) -> AnnotationSet:
    """What is in the project of `photos`."""
    shapes = masks(HW)
    annotations = AnnotationSet(
        (
            image_of("a.png", (shapes["hole"], "dog"), (shapes["islands"], "cat")),
            image_of("sub/b.png", (shapes["diagonal"], "dog")),
        ),
        ("cat", "dog"),
    )
    with Project.open(photos) as project:
        assert project.add_annotations(annotations).objects == 3
    return annotations


def run(*arguments: object) -> str:
    """The output; raises what the command raises."""
    app = typer.Typer()
    app.command("export-annotations")(export_annotations_command)
    app.command("import-annotations")(import_annotations_command)
    result = CliRunner().invoke(app, [str(each) for each in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def drawn(annotations: AnnotationSet) -> dict[str, list[tuple[str, str]]]:
    return {
        image.name: [(each.label, each.mask.counts) for each in image.objects] for image in annotations.images
    }


@pytest.mark.parametrize("name", sorted(set(FORMATS) - {"voc"}))
def test_out_of_one_project_into_another(
    name: str, photos: Path, given: AnnotationSet, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert "3 objects on 2 images" in run("export-annotations", photos, "--format", name, "-o", out)
    other = tmp_path / "other.sqlite3"
    said = run("import-annotations", photos, out, "--format", name, "--project", other)
    assert "added 3 objects on 2 images" in said
    with Project.open(photos, other) as project:
        assert drawn(project.annotations()) == drawn(given)


def test_files_instead_of_folders(photos: Path, given: AnnotationSet, tmp_path: Path) -> None:
    target = tmp_path / "all.json"
    target.write_text("older")
    run("export-annotations", photos, "--format", "coco", "--polygons", "--bridge-holes", "-o", target)
    entries = json.loads(target.read_text(encoding="utf-8"))["annotations"]
    assert [type(entry["segmentation"]) for entry in entries] == [list] * 3
    run("export-annotations", photos, "--format", "labelme", "-o", tmp_path / "me.zip", "--images")
    with zipfile.ZipFile(tmp_path / "me.zip") as archive:
        assert sorted(archive.namelist()) == ["a.json", "a.png", "sub/b.json", "sub/b.png"]
        assert archive.read("a.png") == (photos / "a.png").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all.json", "me.zip", photos.name]
    sizes = {image.name: image.image_hw for image in given.images}
    assert drawn(make_format("labelme").read(tmp_path / "me.zip", sizes)) == drawn(given)


def test_the_default_place(
    photos: Path, given: AnnotationSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run("export-annotations", photos, "--format", "coco")
    run("export-annotations", photos, "--format", "yolo")
    assert (tmp_path / f"{photos.name}-coco.json").is_file()
    assert (tmp_path / f"{photos.name}-yolo" / "data.yaml").is_file()


def test_what_cannot_be_is_said(photos: Path, given: AnnotationSet, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="polygons"):
        run("export-annotations", photos, "--format", "voc", "--polygons")
    with pytest.raises(WriteError, match="empty"):
        run("export-annotations", photos, "--format", "yolo", "-o", photos)
    with pytest.raises(OptionError, match="images"):
        run("export-annotations", photos, "--format", "coco", "--images", "-o", tmp_path / "x.json")
    with pytest.raises(AnnotationError, match="nothing"):
        run("import-annotations", photos, tmp_path / "nothing", "--format", "coco")
    assert sorted(path.name for path in tmp_path.iterdir()) == [photos.name]


def test_images_left_out_are_listed_and_none_at_all_is_a_failure(photos: Path, tmp_path: Path) -> None:
    box = (masks(HW)["box"], "dog")
    foreign = AnnotationSet(
        (image_of("a.png", box), *(image_of(f"gone {n}.png", box) for n in range(30))), ("dog",)
    )
    make_format("coco").export(foreign, tmp_path / "some")
    said = run("import-annotations", photos, tmp_path / "some", "--format", "coco")
    assert "'gone 3.png'" in said
    assert "10 more" in said
    assert "added 1 objects on 1 images" in said
    make_format("coco").export(AnnotationSet(foreign.images[1:], ("dog",)), tmp_path / "none")
    with pytest.raises(AnnotationError, match="belongs"):
        run("import-annotations", photos, tmp_path / "none", "--format", "coco")
