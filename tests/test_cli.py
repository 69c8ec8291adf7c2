"""The command line, as a user types it: results, exit codes, one clear line for each failure."""

import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from emclick import cli
from emclick.card import Card
from emclick.images import read_mask, write_mask
from emclick.networks.checkpoint import save_model
from emclick.networks.model import EmcNetwork
from emclick.session import Session
from emclick.spec import CorrectionSpec, ModelSpec
from emclick.zoo import load

SPEC = ModelSpec("mobilenet_v2", CorrectionSpec(width=8, templates=8))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(0)
    return save_model(
        tmp_path_factory.mktemp("toy"), EmcNetwork(SPEC).state_dict(), Card("toy", SPEC, short_side=64)
    )


@pytest.fixture
def photo(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    path = tmp_path / "photo.png"
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def run(monkeypatch, capsys):
    """Run `emclick ARGS` in this process: (exit code, stdout, stderr)."""

    def call(*args):
        monkeypatch.setattr(sys, "argv", ["emclick", *map(str, args)])
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code or 0
        out = capsys.readouterr()
        return code, out.out, out.err

    return call


def test_segment_writes_the_session_s_mask_and_an_overlay(run, model, photo, tmp_path):
    mask, overlay = tmp_path / "m.png", tmp_path / "o.png"
    code, out, _ = run(
        "segment", photo, "--click", "30,20", "--click", "60.5,40,neg", "--click", "5,5,pos", "--model", model,
        "-o", mask, "--overlay", overlay,
    )  # fmt: skip
    assert code == 0
    assert out.count("click ") == 3
    session = Session(load(model), photo)
    session.click(30, 20)
    session.click(60.5, 40, positive=False)
    session.click(5, 5)
    assert np.array_equal(read_mask(mask), session.mask)
    assert Image.open(overlay).size == (70, 50)


def test_segment_corrects_a_mask_and_takes_a_negative_click_first(run, model, photo, tmp_path):
    given = np.zeros((50, 70), bool)
    given[10:40, 10:40] = True
    write_mask(tmp_path / "given.png", given)
    code, _, err = run(
        "segment", photo, "--click", "12,12,neg", "--initial-mask", tmp_path / "given.png", "--model", model,
        "-o", tmp_path / "m.png",
    )  # fmt: skip
    assert (code, err) == (0, "")
    session = Session(load(model), photo, initial_mask=given)
    assert np.array_equal(read_mask(tmp_path / "m.png"), session.click(12, 12, positive=False).mask)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--click", "30,20,neg"], "first click must be positive"),
        (["--click", "70,20"], "outside the image"),
        (["--click", "nan,20"], "finite"),
        (["--click", "1,1", "--threshold", "2"], "threshold"),
        (["--click", "1,1", "--short-side", "4"], "templates"),
        (["--click", "1,1", "--initial-mask", "missing.png"], "missing.png"),
        (["--click", "1,1", "--runtime", "abacus"], "choose from"),
    ],
)
def test_a_failure_is_one_line_and_exit_code_1_and_writes_nothing(run, model, photo, tmp_path, args, words):
    code, _, err = run("segment", photo, *args, "--model", model, "-o", tmp_path / "m.png")
    assert code == 1
    assert words in err
    assert err.count("\n") == 1
    assert err.startswith("emclick: ")
    assert "Traceback" not in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photo.png"]


def test_an_unreadable_image_and_an_unwritable_result(run, model, photo, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(photo.read_bytes()[:100])
    code, _, err = run("segment", broken, "--click", "1,1", "--model", model, "-o", tmp_path / "m.png")
    assert (code, err.count("\n")) == (1, 1)
    code, _, err = run("segment", photo, "--click", "1,1", "--model", model, "-o", tmp_path / "no" / "m.png")
    assert code == 1
    assert "cannot write" in err


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["photo.png", "-o", "m.png"],
        ["photo.png", "--click", "1", "-o", "m.png"],
        ["photo.png", "--click", "1,2,maybe", "-o", "m.png"],
        ["photo.png", "--click", "1,2"],
        ["photo.png", "--click", "1,2", "-o", "m.png", "--no-such-option"],
    ],
)
def test_wrong_usage_is_exit_code_2(run, args):
    assert run("segment", *args)[0] == 2


def test_an_unknown_model_lists_the_names(run, photo, tmp_path):
    code, _, err = run("segment", photo, "--click", "1,1", "--model", "emc-hrnet99", "-o", tmp_path / "m.png")
    assert code == 1
    assert "emc-hrnet18s" in err


def test_debug_shows_the_traceback(run, model, photo, tmp_path):
    from emclick.errors import ClickError

    with pytest.raises(ClickError):
        run("--debug", "segment", photo, "--click", "99,1", "--model", model, "-o", tmp_path / "m.png")


def test_debug_may_stand_anywhere(run, photo, tmp_path):
    from emclick.errors import UnknownNameError

    with pytest.raises(UnknownNameError):
        run("segment", photo, "--click", "9,1", "--model", "nope", "-o", tmp_path / "m.png", "--debug")


def test_an_error_that_nobody_foresaw_is_one_line_too(run, photo, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("first\nsecond")

    monkeypatch.setattr("emclick.zoo.load", fail)
    code, _, err = run("segment", photo, "--click", "9,1", "-o", tmp_path / "m.png")
    assert (code, err) == (1, "emclick: unexpected RuntimeError: first second (--debug shows where)\n")


def test_the_names_of_the_results_are_checked_before_the_work(run, model, photo, tmp_path):
    for more in (
        ["-o", tmp_path / "m.png", "--overlay", tmp_path / "o.txt"],
        ["-o", tmp_path / "no" / "m.png"],
    ):
        code, out, err = run("segment", photo, "--click", "9,1", "--model", model, *more)
        assert (code, out, err.count("\n")) == (1, "", 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photo.png"]
    code, _, err = run(
        "evaluate",
        "--dataset",
        "folder",
        "--root",
        tmp_path,
        "--model",
        model,
        "--plot",
        tmp_path / "no" / "p.png",
    )
    assert code == 1
    assert "there is no folder" in err


def test_models_lists_every_name_and_how_to_get_it(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    code, out, _ = run("models")
    assert code == 0
    for name in (
        "emc-mobilenetv2",
        "emc-hrnet18s",
        "emc-hrnet18",
        "emc-hrnet32",
        "emc-segformer-b0",
        "emc-segformer-b3",
    ):
        assert name in out
    assert "emclick convert" in out


def test_version_and_help(run):
    import emclick

    assert run("--version")[1].strip() == f"emclick {emclick.__version__}"
    for command in ("segment", "models", "convert", "evaluate", "train"):
        code, out, _ = run(command, "--help")
        assert code == 0
        assert "Usage" in out


def test_convert_refuses_what_is_no_checkpoint(run, tmp_path):
    bad = tmp_path / "bad.pth"
    for content, words in [
        (None, "no file"),
        (b"not a checkpoint", "not a torch checkpoint"),
        ({"config": 1}, 'no "state_dict"'),
        ({"state_dict": {"a": 1}}, "no tensors"),
        ({"state_dict": {"refiner.x": torch.zeros(1)}}, "missing key"),
        ([1, 2], "not a checkpoint dictionary"),
    ]:
        bad.unlink(missing_ok=True)
        if isinstance(content, bytes):
            bad.write_bytes(content)
        elif content is not None:
            torch.save(content, bad)
        code, _, err = run("convert", bad, "-o", tmp_path / "out")
        assert (code, err.count("\n")) == (1, 1), err
        assert words in err
        assert not (tmp_path / "out").exists()


class _Harmful:
    def __reduce__(self):
        return (print, ("a class of the file was run",))


def test_convert_never_imports_classes(run, tmp_path, capsys):
    torch.save({"state_dict": {}, "config": _Harmful()}, tmp_path / "evil.pth")
    code, out, err = run("convert", tmp_path / "evil.pth", "-o", tmp_path / "out")
    assert code == 1
    assert "never" in err
    assert "was run" not in out + err


def test_train_says_what_a_recipe_lacks(run, tmp_path):
    code, _, err = run("train", tmp_path / "no.toml")
    assert (code, err.count("\n")) == (1, 1)
    recipe = tmp_path / "r.toml"
    text = """name = "r"
about = { when = %s }
[model]
base = "mobilenet_v2"
[[sources]]
dataset = "folder"
root = "."
options = { bogus = 1 }
[[phases]]
steps = 1
batch = 1
crop_hw = [64, 64]
scale = [1.0, 1.0]
"""
    recipe.write_text(text % "2026-11-22")
    code, _, err = run("train", recipe, "-o", tmp_path / "run")
    assert code == 1
    assert "JSON" in err
    recipe.write_text(text % "'now'")
    for options, words in [
        (["--device", "abacus"], "choose from cpu, cuda"),
        ([] if torch.cuda.is_available() else ["--device", "cuda"], "cuda|do not fit"),
        ([], "do not fit"),
    ]:
        code, _, err = run("train", recipe, "-o", tmp_path / "run", *options)
        assert code == 1
        assert re.search(words, err, re.I), err
        assert err.startswith("emclick: ")
        assert not err.startswith("emclick: unexpected")


def test_python_dash_m(photo):
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "emclick",
            "segment",
            photo,
            "--click",
            "99,1",
            "-o",
            "m.png",
            "--model",
            "nope",
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("emclick: unknown model")
