"""Plot the losses of training runs against their steps.

    python tools/learning_curve.py results/training/emc-mobilenetv2-twelfth.jsonl -o docs/images/learning.png

Reads the `log.jsonl` of run folders, or copies of them. Each point is the mean of `--mean` lines, 20 steps a line.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from emclick.plots import check_plot_format, new_figure, save_figure

LOSSES = {"coarse": "coarse mask (base network)", "corrected": "corrected mask"}


def read_log(path: Path) -> list[dict[str, float]]:
    """The lines of a run that tell of training, each step once: a resumed run repeats some."""
    file = path / "log.jsonl" if path.is_dir() else path
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    by_step = {line["step"]: line for line in lines if "total" in line}
    return [by_step[step] for step in sorted(by_step)]


def means(values: Sequence[float], count: int) -> np.ndarray:
    """Of each `count` values in turn; what is left over at the end goes into the last."""
    groups = max(1, len(values) // count)
    return np.array([np.mean(part) for part in np.array_split(np.asarray(values), groups)])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("logs", type=Path, nargs="+", help="run folders, or log files")
    parser.add_argument("--mean", type=int, default=5, help="lines of the log that make a point")
    parser.add_argument("-o", "--output", type=Path, required=True, help=".png, .svg or .pdf")
    arguments = parser.parse_args()
    if arguments.mean < 1:
        parser.error(f"--mean is {arguments.mean}; at least 1")
    check_plot_format(arguments.output)
    figure = new_figure(7, 3.2)
    panels = figure.subplots(1, len(LOSSES), sharex=True)
    for path in arguments.logs:
        lines = read_log(path)
        if not lines:
            parser.error(f"{path} tells of no step")
        steps = means([line["step"] for line in lines], arguments.mean)
        for panel, (loss, title) in zip(panels, LOSSES.items()):
            panel.plot(steps, means([line[loss] for line in lines], arguments.mean), label=path.stem)
            panel.set_title(title, fontsize=10)
            panel.set_xlabel("step")
    panels[0].set_ylabel("loss")
    panels[0].legend(fontsize=7, loc="lower left")
    print(save_figure(figure, arguments.output))


if __name__ == "__main__":
    main()
