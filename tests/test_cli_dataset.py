"""`emclick dataset` on tiny trees."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from emclick.cli import app
from emclick.cli.dataset import dataset_command
from emclick.data import counting
from emclick.data.counting import Counts
from emclick.errors import DatasetError, EmclickError


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
