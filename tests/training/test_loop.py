"""The training loop on a toy: a run that was stopped is, to the bit, a run that was not; and it learns."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

import toy_base
from emclick.errors import CheckpointError, RecipeError, WeightsError, WriteError
from emclick.networks.checkpoint import load_model
from emclick.training.loop import Trainer, train
from emclick.training.recipe import Phase, read_recipe
from emclick.training.workers import Workers
from training.toy import differences, read_state, recipe_text, write_shard


class Interrupted(BaseException):
    """Stands for a process that is gone: nothing in the loop may catch it."""


@pytest.fixture(scope="module", autouse=True)
def small_base() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        toy_base.registered(patched)
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shard(tmp_path_factory.mktemp("data"))


def text_of(data: Path, **changes: str) -> str:
    return recipe_text(data, base=f'"{toy_base.NAME}"', **changes)


def run(data: Path, folder: Path, stop_after: int | None = None, **changes: str) -> Path:
    folder.mkdir(exist_ok=True)
    text = text_of(data, **changes)
    (folder / "recipe.toml").write_text(text, encoding="utf-8")
    return train(read_recipe(folder / "recipe.toml"), text, folder, stop_after=stop_after, quiet=True)


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The state of a run that nothing stopped."""
    folder = tmp_path_factory.mktemp("whole")
    run(data, folder)
    return read_state(folder)


@pytest.fixture
def stopped(stopped_once: Path, tmp_path: Path) -> Path:
    """The folder of a run that stopped after a step, for the test to go on with."""
    shutil.copytree(stopped_once, tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.fixture(scope="module")
def stopped_once(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stopped")
    run(data, folder, stop_after=1)
    return folder


def test_a_whole_run_ends_where_the_recipe_says(whole: dict[str, Any], data: Path, tmp_path: Path) -> None:
    assert whole["step"] == 6
    assert whole["average_updates"] == 6
    moments = [entry["step"] for entry in whole["optimiser"]["state"].values()]
    assert {float(step) for step in moments} == {6.0}
    assert differences(whole["network"], whole["average"])
    other = run(data, tmp_path, seed="4")
    state = read_state(tmp_path)
    assert differences(state["network"], whole["network"])
    network, card = load_model(other)
    assert card.name == "toy"
    assert card.about["steps"] == "6 of 6"
    for key, value in network.state_dict().items():  # float16 on disk
        torch.testing.assert_close(value, state["average"][key], rtol=1e-3, atol=1e-4)


# within the first phase, where the second begins, within it, and before the last step
@pytest.mark.parametrize("stops", [(3,), (2, 2, 1)], ids=str)
def test_a_stopped_run_is_resumed_to_the_bit(
    stops: tuple[int, ...], whole: dict[str, Any], data: Path, tmp_path: Path
) -> None:
    done = 0
    for stop in stops:
        run(data, tmp_path, stop_after=stop)
        done += stop
        assert read_state(tmp_path)["step"] == done
    torch.manual_seed(99)  # another process, another random state
    run(data, tmp_path)
    assert differences(read_state(tmp_path), whole) == []


@pytest.mark.parametrize("at", [0, 4])
def test_a_run_killed_between_checkpoints_repeats_the_steps_since(
    at: int, whole: dict[str, Any], data: Path, stopped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, calls = Trainer.one_step, []

    def dies(self: Trainer, batch: Any) -> dict[str, float]:
        if len(calls) == at:
            raise Interrupted
        calls.append(None)
        return original(self, batch)

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "one_step", dies)
        with pytest.raises(Interrupted):
            run(data, stopped)
    assert read_state(stopped)["step"] == 1
    run(data, stopped)
    assert differences(read_state(stopped), whole) == []


KILLED = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import pytest, toy_base
from emclick.training.loop import Trainer, train
from emclick.training.recipe import read_recipe
toy_base.registered(pytest.MonkeyPatch())
folder = Path(sys.argv[1])
original = Trainer.save
def save(self):
    original(self)
    if self.state.step == 2:
        os._exit(7)  # as SIGKILL: no handler, no clean-up
Trainer.save = save
path = folder / "recipe.toml"
train(read_recipe(path), path.read_text(encoding="utf-8"), folder, quiet=True)
"""


def test_a_process_that_vanishes_after_a_checkpoint_is_resumed_to_the_bit(
    whole: dict[str, Any], data: Path, tmp_path: Path
) -> None:
    """With the samples made by another process, which changes none of them."""
    text = text_of(data, checkpoint_minutes="0.0", workers="1")
    (tmp_path / "recipe.toml").write_text(text, encoding="utf-8")
    command = [sys.executable, "-c", KILLED, str(tmp_path), str(Path(toy_base.__file__).parent)]
    killed = subprocess.run(command, check=False, timeout=300)
    assert killed.returncode == 7
    assert read_state(tmp_path)["step"] == 2
    run(data, tmp_path, checkpoint_minutes="0.0", workers="1")
    for part in ("network", "optimiser"):
        assert differences(read_state(tmp_path)[part], whole[part]) == []


def test_ctrl_c_finishes_the_step_saves_and_leaves_the_handlers_as_they_were(
    whole: dict[str, Any], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.getsignal(signal.SIGINT)
    original = Trainer.one_step

    def interrupted(self: Trainer, batch: Any) -> dict[str, float]:
        if self.state.step == 1:
            signal.raise_signal(signal.SIGINT)
        return original(self, batch)

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "one_step", interrupted)
        run(data, tmp_path)
    assert signal.getsignal(signal.SIGINT) is before
    assert read_state(tmp_path)["step"] == 2
    run(data, tmp_path)
    assert differences(read_state(tmp_path), whole) == []


def test_a_signal_that_also_ends_the_data_workers_saves_too(
    whole: dict[str, Any], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Trainer.batches

    def dying(self: Trainer) -> Iterator[Any]:
        for number, batch in enumerate(original(self)):
            if number == 2:
                signal.raise_signal(signal.SIGTERM)
                raise RuntimeError("DataLoader worker exited unexpectedly")
            yield batch

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "batches", dying)
        run(data, tmp_path)
    assert read_state(tmp_path)["step"] == 2
    run(data, tmp_path)
    assert differences(read_state(tmp_path), whole) == []


def test_another_recipes_state_is_refused(data: Path, stopped: Path) -> None:
    kept = (stopped / "state.pt").read_bytes()
    with pytest.raises(CheckpointError, match="another recipe"):
        run(data, stopped, lr="2e-3")
    assert (stopped / "state.pt").read_bytes() == kept


@pytest.mark.parametrize("how", ["cut", "empty", "foreign"])
def test_a_damaged_state_is_refused_in_one_line(how: str, data: Path, stopped: Path) -> None:
    path = stopped / "state.pt"
    content = path.read_bytes()
    if how == "foreign":
        torch.save({"weights": torch.zeros(3)}, path)
    else:
        path.write_bytes(content[: len(content) // 2] if how == "cut" else b"")
    with pytest.raises(WeightsError, match="move it away to start anew") as caught:
        run(data, stopped)
    assert "\n" not in str(caught.value)


def test_a_full_disk_leaves_the_state_before(
    whole: dict[str, Any], data: Path, stopped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = sorted(p.name for p in stopped.iterdir())

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr("emclick.files.os.fsync", full)
        with pytest.raises(WriteError, match="nothing was changed"):
            run(data, stopped)
    assert sorted(p.name for p in stopped.iterdir()) == files
    assert read_state(stopped)["step"] == 1
    run(data, stopped)
    assert differences(read_state(stopped), whole) == []


def test_a_source_without_a_root_is_named(data: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="--root shards="):
        run(data, tmp_path, root="''")


def test_a_batch_that_the_processes_cannot_share_is_refused_at_once(data: Path, tmp_path: Path) -> None:
    """Also where it is a later phase's: two processes, batches of 2, then of 5."""
    text = text_of(data).replace("batch = 4", "batch = 5")
    (tmp_path / "recipe.toml").write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError, match="batch 5 cannot be shared by 2 processes"):
        Trainer(read_recipe(tmp_path / "recipe.toml"), text, tmp_path, "cpu", Workers(count=2))


def test_a_state_without_cpu_time_is_gone_on_with(data: Path, stopped: Path) -> None:
    state = torch.load(stopped / "state.pt", weights_only=True)
    assert state.pop("cpu_seconds") > 0
    torch.save(state, stopped / "state.pt")
    model = run(data, stopped, stop_after=1)
    assert load_model(model)[1].about["cpu_hours"] >= 0


def test_a_run_is_validated_by_the_robot(data: Path, tmp_path: Path) -> None:
    """Two clicks leave nothing to say of the third."""
    pytest.importorskip("tensorboard")
    folder = tmp_path / "validation"
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    pixels = np.full((48, 64, 3), 90, np.uint8)
    pixels[12:36, 16:44] = 200
    cv2.imwrite(str(folder / "images" / "one.png"), pixels)
    cv2.imwrite(str(folder / "masks" / "one.png"), np.where(pixels[..., 0] > 100, 255, 0).astype(np.uint8))
    settings = {
        "dataset": "'folder'",
        "root": f"'{folder.as_posix()}'",
        "every_steps": 2,
        "clicks": 2,
        "short_side": 48,
    }
    table = "\n".join(f"{name} = {value}" for name, value in settings.items())
    text = f"{text_of(data)}\n[validation]\n{table}\n"
    (tmp_path / "recipe.toml").write_text(text, encoding="utf-8")
    train(read_recipe(tmp_path / "recipe.toml"), text, tmp_path / "run", stop_after=2, quiet=False)
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    (validation,) = (line for line in lines if "validation_noc90" in line)
    assert validation["step"] == 2
    assert 1 <= validation["validation_noc90"] <= 2
    assert validation["validation_miou3"] is None


class Losses(list[dict[str, float]]):
    """A log that keeps what it is told."""

    def step(self, step: int, values: dict[str, float], images: int, stages: dict[str, float]) -> None:
        assert step == len(self) + 1
        assert set(stages) == {"data", "simulate", "forward", "backward", "update"}
        self.append(values)


def test_the_loss_goes_down(data: Path, tmp_path: Path) -> None:
    text = text_of(data, lr="3e-3", maximum="1", clip_norm="0.0", warmup_steps="0")
    (tmp_path / "recipe.toml").write_text(text, encoding="utf-8")
    recipe = dataclasses.replace(
        read_recipe(tmp_path / "recipe.toml"), phases=(Phase(30, 4, (48, 48), (1.0, 1.2)),)
    )
    losses = Losses()
    Trainer(recipe, text, tmp_path, "cpu", Workers()).run(losses)  # pyright: ignore[reportArgumentType]
    assert len(losses) == 30
    # The coarse mask comes of a backbone without norms that has seen nothing yet, and is slow to move.
    for name, share in (("coarse", 0.95), ("corrected", 0.8)):
        first, last = (sum(v[name] for v in part) / 6 for part in (losses[:6], losses[-6:]))
        assert last < share * first, (name, first, last)
