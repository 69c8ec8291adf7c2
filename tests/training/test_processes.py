"""Two training processes are one with the same batch: gradients, statistics and clicks."""

from __future__ import annotations

import multiprocessing
import os
import socket
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.multiprocessing.spawn import start_processes

from emclick.networks.blocks import ConvNormAct
from emclick.networks.sync_norm import SyncNorm, synchronise
from emclick.training.loop import train
from emclick.training.recipe import read_recipe
from emclick.training.workers import Workers
from training.toy import read_state, recipe_text, write_shard

COUNT = 2


def train_here(folder: Path) -> None:
    text = (folder / "recipe.toml").read_text(encoding="utf-8")
    train(read_recipe(folder / "recipe.toml"), text, folder, stop_after=1, quiet=True)


def check_norm() -> None:
    """In each process: its half of the samples through SyncNorm against all of them through BatchNorm."""
    rank = dist.get_rank()
    torch.manual_seed(0)
    plain = nn.BatchNorm2d(3)
    nn.init.normal_(plain.weight)
    nn.init.normal_(plain.bias)
    ours = SyncNorm(3)
    ours.load_state_dict(plain.state_dict())
    x = torch.randn(4, 3, 5, 6) * 2 + 1
    direction = torch.randn_like(x)
    whole = x.clone().requires_grad_()
    half = x[2 * rank : 2 * rank + 2].clone().requires_grad_()
    expected, found = plain(whole), ours(half)
    (expected * direction).sum().backward()
    (found * direction[2 * rank : 2 * rank + 2]).sum().backward()
    mine = slice(2 * rank, 2 * rank + 2)
    assert whole.grad is not None
    torch.testing.assert_close(found.detach(), expected[mine].detach(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(half.grad, whole.grad[mine], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.running_mean, plain.running_mean, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(ours.running_var, plain.running_var, rtol=1e-5, atol=1e-6)
    assert ours.num_batches_tracked == 1
    for own, other in ((ours.weight, plain.weight), (ours.bias, plain.bias)):
        assert own.grad is not None
        dist.all_reduce(own.grad)
        torch.testing.assert_close(own.grad, other.grad, rtol=1e-4, atol=1e-5)


def process(rank: int, port: int, folder: str) -> None:
    os.environ.update(
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
        RANK=str(rank),
        WORLD_SIZE=str(COUNT),
        LOCAL_RANK=str(rank),
    )
    dist.init_process_group("gloo")
    check_norm()
    dist.destroy_process_group()
    train_here(Path(folder))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_two_processes_are_one_with_the_same_batch(tmp_path: Path) -> None:
    data = write_shard(tmp_path)
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
        # templates by distance alone: by similarity, in a network that knows nothing yet, scores tie
        correction = "{ width = 16, templates = 16, selection = false }"
        text = recipe_text(data, batch="4", clip_norm="0.0", warmup_steps="0", correction=correction)
        (folder / "recipe.toml").write_text(text, encoding="utf-8")
    train_here(folders[0])
    how = "spawn"
    if "forkserver" in multiprocessing.get_all_start_methods():
        how = "forkserver"
        multiprocessing.set_forkserver_preload([__name__])  # PyTorch is imported once for both
    arguments = (free_port(), str(folders[1]))
    started = start_processes(process, arguments, nprocs=COUNT, join=False, daemon=True, start_method=how)
    # one that fails leaves the other in a sum that never comes: it takes the first signal for a wish to stop gently
    while not started.join(grace_period=5):
        pass
    one, two = (read_state(folder) for folder in folders)
    assert one["step"] == two["step"] == 1
    assert one["network"].keys() == two["network"].keys()
    for key, value in one["network"].items():
        if "running" in key:
            torch.testing.assert_close(two["network"][key], value, rtol=1e-3, atol=1e-5, msg=key)
    # Adam makes a full step out of any gradient, however small, so compare its first moments: the gradients.
    assert one["optimiser"]["state"].keys() == two["optimiser"]["state"].keys()
    largest = max(float(entry["exp_avg"].abs().max()) for entry in one["optimiser"]["state"].values())
    apart = {
        number: float((entry["exp_avg"] - two["optimiser"]["state"][number]["exp_avg"]).abs().max())
        for number, entry in one["optimiser"]["state"].items()
    }
    assert max(apart.values()) < 1e-3 * largest, (
        largest,
        sorted(apart.items(), key=lambda item: -item[1])[:5],
    )


def test_synchronise_replaces_every_norm_and_keeps_what_it_holds() -> None:
    inner = nn.BatchNorm2d(4, eps=1e-3, momentum=0.3)
    module = nn.Sequential(ConvNormAct(3, 4), nn.Sequential(inner)).eval()
    assert inner.running_mean is not None
    inner.running_mean.fill_(2.0)
    x = torch.randn(2, 3, 4, 4)
    before, keys = module(x), list(module.state_dict())
    synchronise(module)
    assert list(module.state_dict()) == keys
    norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]
    assert [type(m) for m in norms] == [SyncNorm, SyncNorm]
    assert not any(m.training for m in norms)
    assert (norms[1].eps, norms[1].momentum) == (1e-3, 0.3)
    assert torch.equal(module(x), before)


def test_each_process_has_a_gpu_of_its_own_before_it_meets_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else all of them vote on the first one, and NCCL refuses or hangs."""
    done: list[object] = []
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_RANK", "3")
    monkeypatch.setattr(torch.cuda, "set_device", lambda number: done.append(number))
    monkeypatch.setattr(dist, "init_process_group", lambda backend: done.append(backend))
    monkeypatch.setattr(dist, "destroy_process_group", lambda: done.append("left"))
    monkeypatch.setattr(dist, "get_rank", lambda: 7)
    monkeypatch.setattr(dist, "get_world_size", lambda: 8)
    with Workers.join("cuda") as workers:
        assert workers.device("cuda") == "cuda:3"
    assert done == [3, "nccl", "left"]
    done.clear()
    with Workers.join("cpu"):
        pass
    assert done == ["gloo", "left"]
