"""A later click of the methods' public releases, of our own implementations, and of EMC, all in one run.

    git clone https://github.com/SamsungLabs/ritm_interactive_segmentation
    git clone https://github.com/XavierCHEN34/ClickSEG
    git clone https://github.com/feiaxyt/EMC-Click
    python tools/release_speed.py --ritm ritm_interactive_segmentation --clickseg ClickSEG --emc EMC-Click \
      -o results/compare/releases.json --fill docs/compare.md
    python tools/release_speed.py --fill docs/compare.md     # measures nothing; with --check exit 1 if out of date

Eager PyTorch on the CPU in float32, without flip. The release's code runs from its checkout, by its own predictor, on
seeded weights, which are converted for ours: the two see the same crops and give the same probabilities, and how nearly
is in the results (`differ`). What is timed is in `release_clicks.py`. All networks that share EMC's backbone are
processes that take turns, so that every ratio is between times of one run. Writes FILE.json and, beside it, FILE.md.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from blocks import fill_block
from release_clicks import CLICK, NETWORK, UNPREPARED

from emclick.benchmark.machine import cpu_time, machine, stolen_percent
from emclick.benchmark.models import seeded_model_folder
from emclick.benchmark.processes import Worker
from emclick.benchmark.report import stolen_text
from emclick.evaluation.published import CORRECTION, SPEED
from emclick.files import require_folder, write_text
from emclick.results import markdown_table

ROOT = Path(__file__).parents[1]
FORMAT = "emclick-releases-1"
RELEASE, OURS = "release", "ours"
PAUSE_S = 0.06

GROUPS = {
    "emc-hrnet18s": ("ritm-hrnet18s", "focalclick-hrnet18s"),
    "emc-hrnet32": ("ritm-hrnet32", "focalclick-hrnet32"),
    "emc-segformer-b0": ("focalclick-segformer-b0",),
    "emc-segformer-b3": ("focalclick-segformer-b3",),
}
"""EMC's model -> those that the talk sets its later click against."""

SOURCES = {
    "ritm": "https://github.com/SamsungLabs/ritm_interactive_segmentation",
    "focalclick": "https://github.com/XavierCHEN34/ClickSEG",
    "emc": "https://github.com/feiaxyt/EMC-Click",
}
"""Method -> its release."""

Record = dict[str, Any]


class Side(NamedTuple):
    """One process: a model, by its release or by us."""

    model: str
    by: str

    @property
    def stages(self) -> tuple[str, ...]:
        """Those it has."""
        unprepared = self.by == OURS and self.model.startswith("ritm")
        return (NETWORK, CLICK, UNPREPARED) if unprepared else (NETWORK, CLICK)


# --- measuring ------------------------------------------------------------------------------------------


def measure(checkouts: Mapping[str, Path], threads: int, rounds: int, repeats: int) -> dict[str, Any]:
    """What the results file holds.

    Args:
        checkouts: method -> folder of its release.
        threads: CPU threads of each process.
        rounds: turns of each process in each stage.
        repeats: samples of a turn, after one that does not count.
    """
    records: list[Record] = []
    differ: dict[str, float] = {}
    on, began = machine(threads), cpu_time()
    for emc, others in GROUPS.items():
        with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
            workers: dict[Side, Worker] = {}
            for model in (*others, emc):
                print(f"{emc}: {model}, making ready", flush=True)
                workers |= start(model, checkouts, Path(temporary), threads, stack)
            for stage in (NETWORK, CLICK, UNPREPARED):
                some = {side: worker for side, worker in workers.items() if stage in side.stages}
                print(f"{emc}: {stage}", flush=True)
                records += [
                    {"model": side.model, "by": side.by, "stage": stage, **summary}
                    for side, summary in in_turns(some, stage, rounds, repeats).items()
                ]
            for model in {side.model for side in workers if side.by == RELEASE}:
                theirs, own = (
                    np.load(Path(temporary) / f"{model}-{by}.npy").astype(np.float64)
                    for by in (RELEASE, OURS)
                )
                differ[model] = float(np.quantile(np.abs(theirs - own), 0.999))
    on["stolen_percent"] = stolen_percent(began, cpu_time())
    return {
        "format": FORMAT,
        "machine": on,
        "settings": {"threads": threads, "rounds": rounds, "repeats": repeats, "flip": False},
        "releases": {
            method: {"source": SOURCES[method], "commit": commit_of(checkout)}
            for method, checkout in checkouts.items()
        },
        "differ": differ,
        "records": records,
    }


def start(
    model: str, checkouts: Mapping[str, Path], folder: Path, threads: int, stack: ExitStack
) -> dict[Side, Worker]:
    """The processes of a model; without its release, ours is on random weights of its own."""
    from emclick.networks.convert import convert_official

    workers: dict[Side, Worker] = {}
    own, weights = folder / model, folder / f"{model}.pth"
    answers = {by: str(folder / f"{model}-{by}.npy") for by in (RELEASE, OURS)}
    checkout = checkouts.get(model.partition("-")[0])
    if checkout is None:
        seeded_model_folder(model, own)
    else:
        options: dict[str, Any] = {"model": model, "checkout": str(checkout), "weights": str(weights)}
        options |= {"answer": answers[RELEASE], "threads": threads}
        worker = Worker("release_clicks:ReleaseClicks", options, threads)
        workers[Side(model, RELEASE)] = stack.enter_context(worker)
        convert_official(weights, own, model)
    options = {"folder": str(own), "answer": answers[OURS], "threads": threads}
    workers[Side(model, OURS)] = stack.enter_context(Worker("release_clicks:OurClicks", options, threads))
    return workers


def in_turns(
    workers: Mapping[Side, Worker], stage: str, rounds: int, repeats: int
) -> dict[Side, dict[str, float]]:
    """Times of one stage: each process in turn, from another one on each time."""
    samples: dict[Side, list[float]] = {side: [] for side in workers}
    for worker in workers.values():
        worker.ask(do="prepare", stage=stage)
    order = list(workers)
    for number in range(rounds if order else 0):
        first = number % len(order)
        for side in order[first:] + order[:first]:
            time.sleep(PAUSE_S)
            answer = workers[side].ask(do="run", times=repeats + 1)
            samples[side] += [each["ms"] for each in answer["samples"][1:]]
    for worker in workers.values():
        worker.ask(do="end")
    return {side: summary_of(found) for side, found in samples.items()}


def summary_of(found: Sequence[float]) -> dict[str, float]:
    """Median and quartiles."""
    p25, median, p75 = (round(float(each), 3) for each in np.percentile(found, (25, 50, 75)))
    return {"median_ms": median, "p25_ms": p25, "p75_ms": p75, "samples": len(found)}


def commit_of(checkout: Path) -> str | None:
    """Of a git checkout; None if the folder is none."""
    if not (checkout / ".git").exists():
        return None
    said = subprocess.run(
        ["git", "-C", str(checkout), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    return said.stdout.strip() or None


# --- tables ---------------------------------------------------------------------------------------------

TITLES = {
    CLICK: "A later click, from the list of clicks to the image's mask",
    NETWORK: "The network alone, from its frame, the clicks and the mask before to logits of the frame",
}


def tables(results: Mapping[str, Any]) -> str:
    """Markdown: whole clicks, networks alone, EMC by its own release; and what it was measured on."""
    found = {(each["model"], each["by"], each["stage"]): each["median_ms"] for each in results["records"]}
    parts = [f"**{title}**\n\n{versus(found, stage)}" for stage, title in TITLES.items()]
    if "emc" in results["releases"]:
        lines = [
            [
                label_of(emc),
                *(cell(found.get((emc, by, stage))) for stage in TITLES for by in (RELEASE, OURS)),
            ]
            for emc in GROUPS
        ]
        heads = ["EMC's later click", "click: release ms", "ours ms", "network: release ms", "ours ms"]
        parts.append(f"**EMC by its own release**\n\n{markdown_table(heads, lines, 1)}")
    return "\n".join([*parts, caption(results)])


def versus(found: Mapping[tuple[str, str, str], float], stage: str) -> str:
    """A row per model of the talk: its release, ours, and EMC's later click on the same backbone."""
    lines = []
    for emc, others in GROUPS.items():
        for model in others:
            theirs, own, corrected = (
                found.get(each)
                for each in ((model, RELEASE, stage), (model, OURS, stage), (emc, OURS, stage))
            )
            unprepared = [cell(found.get((model, OURS, UNPREPARED)))] if stage == CLICK else []
            share = own / theirs if own and theirs else None
            in_one = theirs / corrected if theirs and corrected else None
            talk = talks_ratio(model)
            lines.append([
                label_of(model), cell(theirs), cell(own), *unprepared, cell(share, 2), met(share and share <= 1),
                cell(corrected), cell(in_one, 2), cell(talk, 2), met(in_one and in_one >= talk),
            ])  # fmt: skip
    heads = [
        "method", "release ms", "ours ms", *(["part new ms"] if stage == CLICK else []), "ours / release",
        "no slower", "EMC later click ms", "in one of the release", "talk", "met",
    ]  # fmt: skip
    return markdown_table(heads, lines, 1)


def talks_ratio(model: str) -> float:
    """EMC's later clicks in one of the method's, as the talk gives them."""
    published = {row.model: row for row in SPEED if row.stage == CORRECTION}
    row = published[model]
    return row.ms / published[row.against].ms


def label_of(model: str) -> str:
    """As the talk prints it; EMC's by its name."""
    return next((row.label for row in SPEED if row.model == model and row.against), model)


def cell(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def met(value: bool | float | None) -> str:
    return "-" if value is None else "yes" if value else "no"


def caption(results: Mapping[str, Any]) -> str:
    """What it was measured on, one paragraph ending in a newline."""
    on, settings, differ = results["machine"], results["settings"], results["differ"]
    commits = ", ".join(
        f"{each['source'].removeprefix('https://github.com/')} {(each['commit'] or 'of unknown commit')[:10]}"
        for each in results["releases"].values()
    )
    return (
        f"{on['cpu']}, {settings['threads']} threads; PyTorch {on['libraries']['torch']}; medians of "
        f"{settings['rounds'] * settings['repeats']} clicks{stolen_text(on)}; {on['date']}. {commits}. After the click "
        f"the probabilities of release and ours differ by at most {max(differ.values()):.0e} (99.9th percentile).\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ritm", type=Path, help="checkout of RITM's release")
    parser.add_argument("--clickseg", type=Path, help="checkout of FocalClick's release")
    parser.add_argument("--emc", type=Path, help="checkout of EMC-Click's release; may be left out")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5, help="turns of each process in each stage")
    parser.add_argument("--repeats", type=int, default=4, help="clicks in a turn")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "results" / "compare" / "releases.json")
    parser.add_argument(
        "--fill", type=Path, help="markdown file whose block `<!-- releases -->` takes the tables"
    )
    parser.add_argument("--check", action="store_true", help="only say whether --fill would change the file")
    arguments = parser.parse_args()
    if not (arguments.fill or (arguments.ritm and arguments.clickseg)):
        parser.error("--ritm and --clickseg: say where the releases are checked out")
    if arguments.ritm and arguments.clickseg:
        require_folder(arguments.output)
        given = {"ritm": arguments.ritm, "focalclick": arguments.clickseg, "emc": arguments.emc}
        checkouts = {method: folder.resolve() for method, folder in given.items() if folder}
        results = measure(checkouts, arguments.threads, arguments.rounds, arguments.repeats)
        write_text(arguments.output, json.dumps(results, indent=1) + "\n")
        write_text(arguments.output.with_suffix(".md"), tables(results))
        print(tables(results))
    if arguments.fill:
        text = tables(json.loads(arguments.output.read_text(encoding="utf-8")))
        fill_block(arguments.fill, "releases", text, arguments.check)


if __name__ == "__main__":
    main()
