"""CPUs by affinity and quota, on made-up control groups."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from emclick.cpus import cpu_name, usable_cpus


@pytest.fixture(autouse=True)
def eight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)


def files(root: Path, content: dict[str, str]) -> Path:
    for name, text in content.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("content", "own", "expected"),
    [
        ({}, "0::/\n", 8),
        ({"cpu.max": "max 100000\n"}, "0::/\n", 8),
        ({"cpu.max": "250000 100000\n"}, "0::/\n", 3),
        ({"cpu.max": "1600000 100000\n"}, "0::/\n", 8),
        ({"a/b/cpu.max": "400000 100000", "a/cpu.max": "200000 100000"}, "0::/a/b\n", 2),
        ({"a/b/cpu.max": "10000 100000"}, "0::/a/b\n", 1),
        ({"other/cpu.max": "100000 100000"}, "0::/a\n", 8),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, "4:cpu,cpuacct:/\n", 8),
        ({"cpu/x/cpu.cfs_quota_us": "150000", "cpu/x/cpu.cfs_period_us": "50000"}, "4:cpu,cpuacct:/x\n", 3),
        ({"cpu/cpu.cfs_quota_us": "200000", "cpu/cpu.cfs_period_us": "100000"}, "4:memory:/\n", 2),
        ({"cpu.max": "rubbish"}, "rubbish\n\n", 8),
    ],
)
def test_quota(tmp_path: Path, content: dict[str, str], own: str, expected: int) -> None:
    groups = files(tmp_path / "groups", content)
    groups.mkdir(exist_ok=True)
    (tmp_path / "own").write_text(own)
    assert usable_cpus(groups, tmp_path / "own") == expected


def test_affinity_is_respected_and_nothing_need_exist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5}, raising=False)
    assert usable_cpus(tmp_path / "no", tmp_path / "no") == 2
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert usable_cpus(tmp_path / "no", tmp_path / "no") == 6


def test_the_processor_has_a_name() -> None:
    assert cpu_name().strip()
