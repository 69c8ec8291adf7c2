"""`emclick dataset` on tiny trees."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from emclick.cli import app
from emclick.cli.dataset import dataset_command
from emclick.data import counting
from emclick.data.counting import Counts, CountsFile
from emclick.errors import DatasetError, EmclickError, OptionError


def tree(root: Path, broken: bool = False) -> Path:
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for name, masks in (("a", 2), ("b", 1)):
        cv2.imwrite(str(root / "images" / f"{name}.png"), np.zeros((9, 9, 3), np.uint8))
        for number in range(1, masks + 1):
            mask = np.zeros((9, 9), np.uint8)
            mask[number : number + 3] = 255
            cv2.imwrite(str(root / "masks" / f"{name}_{number}.png"), mask)
    if broken:
        (root / "masks" / "b_1.png").write_bytes(b"not a picture")
    return root


def test_counts_and_files_that_cannot_be_read(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["dataset", "folder", "--root", str(tree(tmp_path / "whole"))])
    assert done.exit_code == 0, done.output
    assert "2 images, 3 objects" in done.output
    assert "no published counts" in done.output
    with pytest.raises(EmclickError, match=r"b_1\.png"):
        dataset_command("folder", tree(tmp_path / "broken", broken=True))
    with pytest.raises(EmclickError, match="no splits"):
        dataset_command("folder", tmp_path / "whole", split="val")


def test_another_number_than_published_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tree(tmp_path)
    for published, fits in ((Counts(2, 3), True), (Counts(2, 4), False), (Counts(2, 4, 0.5), True)):
        monkeypatch.setitem(counting.PUBLISHED, ("folder", ""), published)  # pyright: ignore[reportArgumentType]
        if fits:
            dataset_command("folder", root, split="")
        else:
            with pytest.raises(DatasetError, match="not the published set"):
                dataset_command("folder", root, split="")


@pytest.mark.parametrize(("name", "folder"), [("grabcut", "GrabCut"), ("berkeley", "Berkeley")])
def test_the_shared_evaluation_sets_are_the_published_ones(name: str, folder: str) -> None:
    root = Path(__file__).parents[1].parent / "shared" / "data" / "eval" / folder
    if not root.is_dir():
        pytest.skip(f"{folder} is not beside this checkout")
    dataset_command(name, root, split="")


def test_a_count_that_was_cut_off_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, output = tree(tmp_path / "set", broken=True), tmp_path / "counts.json"
    with pytest.raises(EmclickError, match=r"b_1\.png"):
        dataset_command("folder", root, output=output)
    assert (json.loads(output.read_text())["read"], json.loads(output.read_text())["objects"]) == (1, 2)
    shutil.copy(root / "masks" / "a_1.png", root / "masks" / "b_1.png")
    (root / "masks" / "a_1.png").write_bytes(b"counted, and not read again")
    dataset_command("folder", root, output=output)
    printed = capsys.readouterr().out
    assert "going on after 1 of 2 images" in printed
    assert "2 images, 3 objects" in printed
    other = tree(tmp_path / "other")
    for path in (other / "images" / "b.png", other / "masks" / "b_1.png"):
        path.unlink()
    with pytest.raises(OptionError, match="count of something else"):
        dataset_command("folder", other, output=output)
    output.write_text("{}")
    with pytest.raises(DatasetError, match="not a results file of `emclick dataset`"):
        dataset_command("folder", other, output=output)


def test_a_long_count_is_kept_every_few_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = CountsFile(tmp_path / "counts.json", {"dataset": "folder"})
    kept.update(1, 5)
    assert not (tmp_path / "counts.json").exists()
    monkeypatch.setattr(counting, "SAVE_EVERY_S", 0)
    kept.update(2, 7)
    again = CountsFile(tmp_path / "counts.json", {"dataset": "folder"})
    assert (again.read, again.objects) == (2, 7)
    CountsFile(None, {}).save()
