"""The training loop on a toy: a run that was stopped is, to the bit, a run that was not; and it learns."""

from __future__ import annotations

import dataclasses
import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from emclick.errors import CheckpointError, RecipeError, WeightsError, WriteError
from emclick.networks.checkpoint import load_model
from emclick.training.loop import Trainer, train
from emclick.training.recipe import Phase, read_recipe
from emclick.training.workers import Workers
from training.toy import differences, read_state, recipe_text, write_shard


class Interrupted(BaseException):
    """Stands for a process that is gone: nothing in the loop may catch it."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shard(tmp_path_factory.mktemp("data"))


def run(data: Path, folder: Path, stop_after: int | None = None, **changes: str) -> Path:
    folder.mkdir(exist_ok=True)
    text = recipe_text(data, **changes)
    (folder / "recipe.toml").write_text(text, encoding="utf-8")
    return train(read_recipe(folder / "recipe.toml"), text, folder, stop_after=stop_after, quiet=True)


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The state of a run that nothing stopped."""
    folder = tmp_path_factory.mktemp("whole")
    run(data, folder)
    return read_state(folder)


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


@pytest.mark.parametrize("stops", [(1,), (3,), (4,), (2, 2, 1)], ids=str)
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


@pytest.mark.parametrize("at", [0, 2, 4])
def test_a_run_killed_between_checkpoints_repeats_the_steps_since(
    at: int, whole: dict[str, Any], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(data, tmp_path, stop_after=1)
    original, calls = Trainer.one_step, []

    def dies(self: Trainer, batch: Any) -> dict[str, float]:
        if len(calls) == at:
            raise Interrupted
        calls.append(None)
        return original(self, batch)

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "one_step", dies)
        with pytest.raises(Interrupted):
            run(data, tmp_path)
    assert read_state(tmp_path)["step"] == 1
    run(data, tmp_path)
    assert differences(read_state(tmp_path), whole) == []


KILLED = """
import os, sys
from pathlib import Path
from emclick.training.loop import Trainer, train
from emclick.training.recipe import read_recipe
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


def test_a_process_that_vanishes_after_a_checkpoint_is_resumed_to_the_bit(data: Path, tmp_path: Path) -> None:
    text = recipe_text(data, checkpoint_minutes="0.0", workers="1")
    (tmp_path / "recipe.toml").write_text(text, encoding="utf-8")
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False, timeout=300)
    assert killed.returncode == 7
    assert read_state(tmp_path)["step"] == 2
    run(data, tmp_path, checkpoint_minutes="0.0", workers="1")
    straight = tmp_path / "straight"
    run(data, straight, checkpoint_minutes="0.0", workers="1")
    assert differences(read_state(tmp_path)["network"], read_state(straight)["network"]) == []
    assert differences(read_state(tmp_path)["optimiser"], read_state(straight)["optimiser"]) == []


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


def test_another_recipes_state_is_refused(data: Path, tmp_path: Path) -> None:
    run(data, tmp_path, stop_after=1)
    kept = (tmp_path / "state.pt").read_bytes()
    with pytest.raises(CheckpointError, match="another recipe"):
        run(data, tmp_path, lr="2e-3")
    assert (tmp_path / "state.pt").read_bytes() == kept


@pytest.mark.parametrize("how", ["cut", "empty", "foreign"])
def test_a_damaged_state_is_refused_in_one_line(how: str, data: Path, tmp_path: Path) -> None:
    run(data, tmp_path, stop_after=1)
    path = tmp_path / "state.pt"
    content = path.read_bytes()
    if how == "foreign":
        torch.save({"weights": torch.zeros(3)}, path)
    else:
        path.write_bytes(content[: len(content) // 2] if how == "cut" else b"")
    with pytest.raises(WeightsError, match="move it away to start anew") as caught:
        run(data, tmp_path)
    assert "\n" not in str(caught.value)


def test_a_full_disk_leaves_the_state_before(
    whole: dict[str, Any], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(data, tmp_path, stop_after=2)
    files = sorted(p.name for p in tmp_path.iterdir())

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr("emclick.files.os.fsync", full)
        with pytest.raises(WriteError, match="nothing was changed"):
            run(data, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == files
    assert read_state(tmp_path)["step"] == 2
    run(data, tmp_path)
    assert differences(read_state(tmp_path), whole) == []


def test_a_source_without_a_root_is_named(data: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="--root shards="):
        run(data, tmp_path, root="''")


class Losses(list[dict[str, float]]):
    """A log that keeps what it is told."""

    def step(self, step: int, values: dict[str, float], images: int, stages: dict[str, float]) -> None:
        assert step == len(self) + 1
        assert set(stages) == {"data", "simulate", "forward", "backward", "update"}
        self.append(values)


def test_the_loss_goes_down(data: Path, tmp_path: Path) -> None:
    text = recipe_text(data, lr="3e-3", maximum="1", clip_norm="0.0", warmup_steps="0")
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
