"""A thousand clicks in one session, and all the way back: what memory grows by, and whether every mask returns.

    python tools/long_session.py -o results/bench/long-session.json --fill docs/numbers.md
    python tools/long_session.py --fill docs/numbers.md --check     # clicks nothing; exit 1 if out of date

The shipped model in the default runtime, on a photograph brought to two megapixels, with seeded clicks anywhere in it.
The mask and the probabilities of every hundredth state are held, as checksums, against what undo and then redo bring
back. Linux only: resident memory is read from /proc.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from blocks import run_tool
from rich.progress import track

import emclick
from emclick.benchmark.machine import machine
from emclick.cpus import usable_cpus
from emclick.images import read_image
from emclick.results import markdown_table

ROOT = Path(__file__).parents[1]
FORMAT = "emclick-long-session-1"
WIDTH_HEIGHT = (1632, 1224)
CLICKS, EVERY = 1000, 100
SHOWN = (0, 20, 100, 500, CLICKS)


def resident_mb() -> float:
    """Memory of this process now, in MB (10^6 bytes)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmRSS:"))


def mark(session: emclick.Session) -> tuple[int, int, int]:
    """Checksums of the current prediction, and how many clicks it has."""
    return zlib.crc32(session.probability), zlib.crc32(session.mask), len(session.clicks)


def measure() -> dict[str, Any]:
    photograph = read_image(ROOT / "examples" / "images" / "cat.png")
    image = cv2.resize(photograph, WIDTH_HEIGHT, interpolation=cv2.INTER_CUBIC)
    session = emclick.Session(emclick.load(), image)
    rng = np.random.default_rng(0)
    marks, memory, times = {0: mark(session)}, {0: resident_mb()}, []
    for count in track(range(1, CLICKS + 1), "clicks"):
        x, y = rng.uniform((0, 0), np.subtract(WIDTH_HEIGHT, 1))
        times.append(session.click(x, y, count == 1 or bool(rng.integers(2))).ms)
        if count % EVERY == 0:
            marks[count] = mark(session)
        if count % EVERY == 0 or count in SHOWN:
            memory[count] = resident_mb()
    differ = set()
    for way, counts in ((session.undo, range(CLICKS - 1, -1, -1)), (session.redo, range(1, CLICKS + 1))):
        for count in track(counts, way.__name__):
            way()
            if count in marks and mark(session) != marks[count]:
                differ.add(count)
    return {
        "format": FORMAT,
        "machine": machine(usable_cpus()),
        "model": "emc-mobilenetv2",
        "image_wh": WIDTH_HEIGHT,
        "resident_mb": {str(count): round(each, 1) for count, each in memory.items()},
        "kb_a_click": round((memory[CLICKS] - memory[EVERY]) / (CLICKS - EVERY) * 1000, 1),
        "median_ms": {"2-100": _median(times[1:100]), "901-1000": _median(times[-100:])},
        "compared": sorted(marks),
        "differ": sorted(differ),
        "resident_mb_at_the_end": round(resident_mb(), 1),
    }


def _median(times: list[float]) -> float:
    return round(float(np.median(times)), 2)


def table(results: dict[str, Any]) -> str:
    """Markdown: memory and time, and what came back."""
    memory, (few, many) = results["resident_mb"], results["median_ms"].values()
    heads = [
        *(f"MB after {count}" for count in SHOWN),
        "KB a click",
        "ms, clicks 2-100",
        "ms, clicks 901-1000",
    ]
    line = [
        *(f"{memory[str(count)]:.0f}" for count in SHOWN),
        f"{results['kb_a_click']:.0f}",
        f"{few}",
        f"{many}",
    ]
    compared, differ = len(results["compared"]), len(results["differ"])
    told = f"{compared - differ} of {compared} states that undo and redo came by were those of before, to the bit."
    return f"{markdown_table(heads, [line], 0)}\n{told} {results['machine']['cpu']}, {results['machine']['date']}.\n"


def main() -> None:
    output = ROOT / "results" / "bench" / "long-session.json"
    run_tool(__doc__, "long-session", output, measure, table)


if __name__ == "__main__":
    main()
