"""What a measurement ran on."""

from __future__ import annotations

import platform
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import emclick
from emclick.cpus import cpu_name, usable_cpus

_LIBRARIES = ("numpy", "opencv-python-headless", "onnxruntime", "openvino", "torch")


def machine(threads: int) -> dict[str, Any]:
    """For a results file; `threads` is the largest number used, which `cores_used` follows."""
    return {
        "cpu": cpu_name(),
        "usable_cpus": usable_cpus(),
        "cores_used": min(threads, usable_cpus()),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "emclick": emclick.__version__,
        "libraries": {name: found for name in _LIBRARIES if (found := _version(name))},
        "blas": None,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def cpu_time(stat: Path = Path("/proc/stat")) -> tuple[int, int] | None:
    """CPU time since the machine started, in ticks: (used here, taken by the host of a virtual machine meanwhile).

    None where the system does not say (anything but Linux).
    """
    try:
        user, nice, system, _, _, irq, softirq, stolen = map(
            int, stat.read_text().split("\n")[0].split()[1:9]
        )
    except (OSError, ValueError):
        return None
    return user + nice + system + irq + softirq, stolen


def stolen_percent(before: tuple[int, int] | None, now: tuple[int, int] | None) -> float | None:
    """Percent of the CPU time asked for between two `cpu_time` that the host gave to others; None if unknown."""
    if before is None or now is None:
        return None
    used, stolen = now[0] - before[0], now[1] - before[1]
    return round(100 * stolen / max(used + stolen, 1), 1)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
