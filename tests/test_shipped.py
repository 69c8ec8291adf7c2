"""The model that ships: complete, small, as good as its card and the README say."""

import importlib.util
import json
import re
from pathlib import Path

import numpy as np
import pytest

import emclick
from emclick.card import WEIGHTS_NAME, read_card
from emclick.evaluation import report
from emclick.zoo import DEFAULT_MODEL, SHIPPED

PROJECT = Path(__file__).parents[1]
GRABCUT = PROJECT.parent / "shared" / "data" / "eval" / "GrabCut"
RESULTS = sorted((PROJECT / "results").glob("*.json"))


@pytest.fixture(scope="module")
def model():
    return emclick.load()


def test_the_card_is_complete_and_the_weights_are_small():
    card = read_card(SHIPPED / DEFAULT_MODEL)
    assert card.name == DEFAULT_MODEL
    assert (SHIPPED / DEFAULT_MODEL / WEIGHTS_NAME).stat().st_size < 12 * 2**20
    assert card.licence != "unknown"
    for entry in ("training_data", "terms", "recipe", "command", "training_hours", "machine"):
        assert card.about.get(entry), entry
    assert {"grabcut", "berkeley"} <= {name.partition("-")[0] for name in card.metrics}


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_results_are_of_the_shipped_weights_and_on_the_card(path):
    card = read_card(SHIPPED / DEFAULT_MODEL)
    results = json.loads(path.read_text(encoding="utf-8"))
    assert results["sha256"] == card.sha256
    assert card.metrics[path.stem]["noc"] == results["noc"]


def test_tables_in_the_docs_are_those_of_the_results_files():
    assert report.update(PROJECT / "README.md", check=True)
    assert report.update(PROJECT / "docs" / "numbers.md", check=True)


def test_three_clicks_cut_out_the_cat(model):
    session = emclick.Session(model, PROJECT / "examples" / "images" / "cat.png")
    mask = session.click(240, 180).mask
    assert mask[180, 240]  # the nose
    assert mask[100, 320]  # an eye
    assert not mask[60, 430]  # the background on the right
    assert 0.3 < mask.mean() < 0.95


@pytest.mark.skipif(not GRABCUT.is_dir(), reason="the GrabCut set is not in ../shared/data/eval")
def test_the_published_figures_reproduce(model):
    published = json.loads((PROJECT / "results" / "grabcut.json").read_text(encoding="utf-8"))["records"][:6]
    again = emclick.evaluate(model, "grabcut", GRABCUT, limit=6, max_clicks=5, progress=False)
    for old, new in zip(published, again.records):
        assert old["id"] == new["id"]
        assert old["clicks"][0] == list(new["clicks"][0])
        assert new["iou"][0] == pytest.approx(old["iou"][0], abs=0.01)
        assert np.max(new["iou"]) == pytest.approx(np.max(old["iou"][:5]), abs=0.03)


def test_results_of_other_weights_are_not_put_on_a_card(tmp_path):
    from emclick.errors import CheckpointError

    spec = importlib.util.spec_from_file_location("ship", PROJECT / "tools" / "ship.py")
    assert spec is not None
    assert spec.loader is not None
    ship = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(ship)
    results = {name: {} for name in ship.KEPT} | {"miou_at": dict.fromkeys(ship.MIOU_AT, 0.5), "sha256": "a"}
    (tmp_path / "set-384.json").write_text(json.dumps(results))
    assert ship.metrics([tmp_path / "set-384.json"], "a")["set-384"]["miou_at"]["1"] == 0.5
    with pytest.raises(CheckpointError, match="other weights"):
        ship.metrics([tmp_path / "set-384.json"], "b")


def _blocks(language: str) -> list[str]:
    text = (PROJECT / "README.md").read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.S)


def test_the_first_command_of_the_readme(tmp_path, monkeypatch, capsys):
    import sys

    from emclick import cli

    words = _blocks("sh")[0].split("&& emclick ")[1].split()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        sys, "argv", ["emclick", *(str(PROJECT / w) if w.startswith("examples/") else w for w in words)]
    )
    with pytest.raises(SystemExit) as done:
        cli.main()
    assert not done.value.code
    assert emclick.read_mask("mask.png").shape == emclick.read_image("overlay.png").shape[:2] == (300, 451)


def test_the_snippet_of_the_readme(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (code,) = _blocks("python")
    exec(code.replace("photo.jpg", str(PROJECT / "examples" / "images" / "cat.png").replace("\\", "/")), {})
    assert emclick.read_mask("mask.png").any()


def test_links_in_the_docs_lead_somewhere():
    pages = [PROJECT / name for name in ("README.md", "CONTRIBUTING.md")] + sorted(
        (PROJECT / "docs").glob("*.md")
    )
    for page in pages:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
