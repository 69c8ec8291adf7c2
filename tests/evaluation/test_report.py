"""Tables, marked blocks and plots."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from emclick.errors import DatasetError, MissingExtraError, OptionError, UnknownNameError
from emclick.evaluation import report


def results(**changes: Any) -> dict[str, Any]:
    return {
        "n": 50,
        "noc": {"80": 1.5, "85": 2.114, "90": 3.126, "95": None},
        "nof": {"80": 0, "85": 1, "90": 2, "95": None},
        "at_limit": {"80": 0, "85": 2, "90": 4, "95": None},
        "miou_at": {"1": 0.8123, "2": 0.84, "3": 0.86, "5": 0.91, "10": 0.95, "20": 0.97},
        "worse_clicks": 0.0251,
        "first_ms": 84.4,
        "later_ms": None,
        "model": "emc-x",
        "dataset": "grabcut",
        "short_side": 384,
        "flip": True,
        "runtime": "onnx",
        "precision": "bf16",
        **changes,
    }  # fmt: skip


ROW = (
    "| emc-x | grabcut | 50 | 384 | yes | no | onnx bf16 | 2.11 | 3.13 | - | 4 | 2 "
    "| 81.2 | 86.0 | 91.0 | 95.0 | 2.5 | 84 | - |\n"
)


def save(path: Path, **changes: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results(**changes)), encoding="utf-8")


def test_table() -> None:
    lines = report.table([results(), results(model="emc-y", flip=False)]).splitlines(keepends=True)
    assert lines[0].startswith(
        "| model | dataset | n | frame | flip | zoom-in | runtime | NoC@85 | NoC@90 | NoC@95 | ≥20@90 | NoF@90 |"
    )
    assert lines[2] == ROW
    assert lines[3].startswith("| emc-y | grabcut | 50 | 384 | no |")
    assert {line.count("|") for line in lines} == {20}


@pytest.fixture
def document(tmp_path: Path) -> Path:
    save(tmp_path / "res" / "a.json")
    save(tmp_path / "res" / "b.json", model="emc-y")
    save(tmp_path / "other.json", model="emc-z")
    path = tmp_path / "README.md"
    path.write_bytes(
        "Ünï\r\n<!-- results:res/*.json -->\nold\n<!-- /results -->\nmiddle\n"
        "<!-- results:other.json res/a.json -->\n<!-- /results -->\nend\n".encode()
    )
    return path


def test_tables_of_corrected_masks_tell_where_they_started() -> None:
    started = results(start_iou=0.801, first_worse=0.02)
    text = report.table([started, started])
    assert "IoU at the start" in text.splitlines()[0]
    assert text.splitlines()[2].endswith("| 80.1 | 2.0 |")
    assert "IoU at the start" not in report.table([started, results()])


def test_blocks_are_replaced_and_nothing_else(document: Path) -> None:
    assert report.update(document) is False
    text = document.read_bytes().decode()
    first, second = text.split("middle")
    assert [line.split()[1] for line in first.splitlines() if line.startswith("| emc")] == ["emc-x", "emc-y"]
    assert [line.split()[1] for line in second.splitlines() if line.startswith("| emc")] == ["emc-z", "emc-x"]
    assert text.startswith("Ünï\r\n<!-- results:res/*.json -->\n| model")
    assert text.endswith("<!-- /results -->\nend\n")
    assert "old" not in text
    assert report.update(document) is True
    assert document.read_bytes().decode() == text


def test_check_writes_nothing_and_says_what_is_out_of_date(
    document: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = document.read_bytes()
    assert report.main([str(document), "--check"]) == 1
    assert "out of date" in capsys.readouterr().err
    assert document.read_bytes() == before
    assert report.main([str(document)]) == 0
    assert report.main([str(document), "--check"]) == 0
    save(document.parent / "res" / "a.json", noc={"80": 1.5, "85": 2.1, "90": 3.2, "95": None})
    assert report.main([str(document), "--check"]) == 1


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("no block", OptionError, "no block"),
        ("<!-- results:a.json -->\n", OptionError, "not closed"),
        ("<!-- results:none.json -->\n<!-- /results -->", DatasetError, r"none\.json"),
        ("<!-- results:bad.json -->\n<!-- /results -->", DatasetError, r"bad\.json is not a results file"),
        ("<!-- results:list.json -->\n<!-- /results -->", DatasetError, r"list\.json is not a results file"),
        ("<!-- results: -->\n<!-- /results -->", DatasetError, "names no files"),
    ],
)
def test_bad_blocks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, error: type[Exception], message: str
) -> None:
    (tmp_path / "bad.json").write_text("{")
    (tmp_path / "list.json").write_text("[1]")
    path = tmp_path / "d.md"
    path.write_text(text)
    with pytest.raises(error, match=message):
        report.update(path)
    assert report.main([str(path)]) == 1
    assert "d.md" in capsys.readouterr().err
    assert path.read_text() == text


def test_missing_document(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"none\.md"):
        report.update(tmp_path / "none.md")


def test_plot(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for name in ("curve.png", "curve.svg", "curve.PDF"):
        report.plot([results(), results(model="<&>", flip=False)], tmp_path / name)
    with Image.open(tmp_path / "curve.png") as image:
        assert min(image.size) > 400
        assert len(image.convert("RGB").getcolors(1 << 20) or []) > 10
    svg = (tmp_path / "curve.svg").read_text(encoding="utf-8")
    assert svg.count("<svg") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curve.PDF", "curve.png", "curve.svg"]


def test_plot_draws_the_curve_that_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    axes_module = pytest.importorskip("matplotlib.axes")
    drawn: list[tuple[list[float], list[float]]] = []
    original = axes_module.Axes.plot

    def spy(self: Any, x: list[float], y: list[float], **options: Any) -> Any:
        drawn.append((x, y))
        return original(self, x, y, **options)

    monkeypatch.setattr(axes_module.Axes, "plot", spy)
    report.plot([results()], tmp_path / "c.png")
    assert drawn == [([1, 2, 3, 5, 10, 20], [0.8123, 0.84, 0.86, 0.91, 0.95, 0.97])]


def test_plot_formats_and_a_missing_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnknownNameError, match=r"\.pdf, \.png, \.svg"):
        report.plot([results()], tmp_path / "curve.jpg")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match="pip install"):
        report.plot([results()], tmp_path / "curve.png")
    assert list(tmp_path.iterdir()) == []
