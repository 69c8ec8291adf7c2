"""Measure what a person waits for: milliseconds from the press of the mouse to the painted mask, in Chromium.

    python tools/bench_page.py -o results/bench/page.json --fill docs/serve.md
    python tools/bench_page.py --fill docs/serve.md --check      # measures nothing; exit 1 if the table is out of date

Starts `emclick serve` on two photographs (examples/images/coffee.png, enlarged to 2 and 12 megapixels), opens them in
Chromium without a window, and clicks: the first click of each object is made when the image is open and prepared, the
later ones when the one before is painted. Keep the machine quiet meanwhile: server and browser share it.

Parts of a click: `before` from the press to the request that carries the click (a first click makes the object with the
same request), `server` the work on the answer until it is on disk, `travel` the rest of the request,
`paint` from the answer's arrival to the frame that shows the mask.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from blocks import fill_block
from PIL import Image
from playwright.sync_api import sync_playwright

import emclick
from emclick.benchmark.machine import cpu_time, stolen_percent
from emclick.benchmark.report import stolen_text
from emclick.card import read_card
from emclick.cpus import cpu_name, usable_cpus
from emclick.files import require_folder, write_text
from emclick.zoo import SHIPPED

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from web.browser.driver import PHOTOS, Desk, launch, new_profile, serving  # noqa: E402

FORMAT = "emclick-page-bench-1"
TOKEN = "bench"
PHOTO = PHOTOS / "coffee.png"
SIZES = {"2 MP": (1155, 1732), "12 MP": (2829, 4243)}
"""Name -> (height, width) in the photograph's own aspect."""
VIEWPORT = (1280, 800)
PAUSE_S = 0.4

STARTS = ((300, 120), (300, 225), (130, 270), (430, 300), (180, 60), (520, 160), (80, 120), (330, 350))
"""Where objects begin, px of the photograph as it is in examples/."""
STEPS = ((40, 12, True), (-45, 30, False), (18, -48, True), (60, 55, False), (-70, -25, False))
"""Later clicks, from where the object began."""

BARS = {("2 MP", "first"): (150, None), ("2 MP", "later"): (60, 120), ("12 MP", "first"): (300, None),
        ("12 MP", "later"): (120, 240)}  # fmt: skip
"""Most that the median and the p95 may be, ms."""

PARTS = ("before", "server", "travel", "paint")

RECORD = """
window.presses = [];
document.addEventListener("pointerdown", (event) => window.presses.push(event.timeStamp), true);
performance.setResourceTimingBufferSize(5000);
"""
LAST_REQUEST = """() => {
  const all = performance.getEntriesByType("resource").filter((each) => /\\/(clicks|objects)$/.test(each.name));
  const { startTime, responseEnd } = all[all.length - 1];
  return { press: window.presses.at(-1), sent: startTime, answered: responseEnd };
}"""


def write_photographs(folder: Path) -> None:
    with Image.open(PHOTO) as small:
        for name, (height, width) in SIZES.items():
            large = small.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
            large.save(folder / f"{name}.jpg", quality=92)


def wait_until_prepared(desk: Desk) -> None:
    """A preview is given only when the image is in memory and the model is idle."""
    image = desk.state()["image"]
    calm = 0
    while calm < 4:
        answer = desk.client.post(f"/api/images/{image}/preview", json={"x": 5, "y": 5})
        calm = calm + 1 if answer.status_code == 200 else 0
        time.sleep(0.1)


def timed_click(desk: Desk, x: float, y: float, positive: bool) -> dict[str, float]:
    """One click, painted: milliseconds, whole and in parts."""
    count = len(desk.state()["samples"])
    desk.press(x, y, positive)
    time.sleep(PAUSE_S)  # nothing is asked of the page meanwhile, and people do not click faster
    sample = desk.page.evaluate("emclickTest.painted(0)")  # asks the page less often than `wait` does
    assert len(desk.state()["samples"]) == count + 1
    at = desk.page.evaluate(LAST_REQUEST)
    return {
        "ms": sample["ms"],
        "before": at["sent"] - at["press"],
        "server": sample["server_ms"],
        "travel": at["answered"] - at["sent"] - sample["server_ms"],
        "paint": at["press"] + sample["ms"] - at["answered"],
    }


def clicks(desk: Desk, name: str, later: int, first: int) -> dict[str, list[dict[str, float]]]:
    """Samples of first and later clicks on one photograph, after one object to warm up."""
    desk.go_to(f"{name}.jpg")
    wait_until_prepared(desk)
    scale = SIZES[name][1] / Image.open(PHOTO).width
    found: dict[str, list[dict[str, float]]] = {"first": [], "later": []}
    for number in range(-1, first):
        x, y = STARTS[number % len(STARTS)]
        shares = [later // first + (each < later % first) for each in range(first)]
        made = [timed_click(desk, x * scale, y * scale, True)]
        for step in range(shares[number] if number >= 0 else 2):
            dx, dy, positive = STEPS[step % len(STEPS)]
            made.append(timed_click(desk, (x + dx) * scale, (y + dy) * scale, positive))
        desk.key("Escape")  # discards: the next object meets an empty picture
        desk.wait("!state.objects.length && state.waiting === 0")
        if number >= 0:
            found["first"].append(made[0])
            found["later"].extend(made[1:])
    return found


def record(name: str, kind: str, samples: list[dict[str, float]]) -> dict[str, Any]:
    height, width = SIZES[name]
    times = [each["ms"] for each in samples]
    return {
        "photograph": name, "height": height, "width": width, "click": kind, "samples": len(times),
        "median_ms": round(float(np.median(times)), 1), "p95_ms": round(float(np.percentile(times, 95)), 1),
        "parts_median_ms": {part: round(float(np.median([each[part] for each in samples])), 1) for part in PARTS},
        "all_ms": [round(each, 1) for each in times],
    }  # fmt: skip


def measure(later: int, first: int, threads: int) -> dict[str, Any]:
    before = cpu_time()
    with tempfile.TemporaryDirectory(prefix="emclick-", ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary)
        write_photographs(folder)
        with serving(folder, TOKEN, "--threads", str(threads)) as url, sync_playwright() as playwright:
            browser = launch(playwright)
            profile = new_profile(browser, 1, *VIEWPORT)
            profile.add_init_script(RECORD)
            desk = Desk(profile, url, TOKEN).open()
            project = desk.ask("project")
            found = {name: clicks(desk, name, later, first) for name in SIZES}
            browser_version = browser.version
            browser.close()
    return {
        "format": FORMAT,
        "machine": {
            "cpu": cpu_name(), "usable_cpus": usable_cpus(), "cores_used": min(threads, usable_cpus()),
            "system": f"{platform.system()} {platform.machine()}", "python": platform.python_version(),
            "emclick": emclick.__version__, "chromium": browser_version,
            "libraries": {name: version(name) for name in ("onnxruntime", "fastapi", "uvicorn")},
            "date": time.strftime("%Y-%m-%d", time.gmtime()), "stolen_percent": stolen_percent(before, cpu_time()),
        },
        "settings": {
            "model": project["model"], "sha256": read_card(SHIPPED / project["model"]).sha256, "threads": threads,
            "window": list(VIEWPORT), "photograph": f"examples/images/{PHOTO.name}, enlarged",
        },
        "records": [record(name, kind, each) for name, kinds in found.items() for kind, each in kinds.items()],
    }  # fmt: skip


def table(results: dict[str, Any]) -> str:
    """Markdown, ending in a newline."""
    lines = ["| photograph | click | median ms | p95 ms | bar | " + " | ".join(PARTS) + " |",
             "|:--|:--|--:|--:|--:|" + "--:|" * len(PARTS)]  # fmt: skip
    for each in results["records"]:
        bar = " / ".join(str(most) for most in BARS[each["photograph"], each["click"]] if most is not None)
        parts = " | ".join(f"{each['parts_median_ms'][part]:.1f}" for part in PARTS)
        times = f"{each['median_ms']:.1f} | {each['p95_ms']:.1f}"
        lines.append(f"| {each['photograph']} | {each['click']} | {times} | {bar} | {parts} |")
    machine, settings = results["machine"], results["settings"]
    return "\n".join([*lines, "", (
        f"{machine['cpu']}, {settings['threads']} threads on {machine['usable_cpus']} usable CPUs, shared by server "
        f"and browser; {machine['system']}, Python {machine['python']}, Chromium {machine['chromium']}; "
        f"{settings['model']}, {settings['sha256'][:12]}; {settings['photograph']}; {machine['date']}"
        f"{stolen_text(machine)}."
    )]) + "\n"  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "results" / "bench" / "page.json")
    parser.add_argument("--later", type=int, default=30, help="later clicks on each photograph")
    parser.add_argument("--first", type=int, default=8, help="objects on each photograph")
    parser.add_argument("--threads", type=int, default=usable_cpus(), help="of the model")
    parser.add_argument("--fill", type=Path, help="markdown file whose block `<!-- page -->` takes the table")
    parser.add_argument("--check", action="store_true", help="only hold the table against the results file")
    arguments = parser.parse_args()
    if arguments.check:
        results = json.loads(arguments.output.read_text(encoding="utf-8"))
    else:
        require_folder(arguments.output)
        results = measure(arguments.later, arguments.first, arguments.threads)
        write_text(arguments.output, json.dumps(results, indent=1, ensure_ascii=False) + "\n")
        print(table(results))
        print(f"wrote {arguments.output}")
    if arguments.fill:
        fill_block(arguments.fill, "page", table(results), arguments.check)


if __name__ == "__main__":
    main()
