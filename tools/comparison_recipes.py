"""Write the recipes of the comparisons at equal budget: rows that differ in one thing alone.

python tools/comparison_recipes.py          # recipes/{ablation,equal-budget,options}/*.toml

`recipes/ablation` has a row for each network of the talk's tables 4 and 5, all of as many steps.
`recipes/equal-budget` has EMC, RITM and FocalClick on one backbone, frame, data and optimiser, each with as many
steps as an hour of one core takes (`EQUAL_BUDGET_STEPS`, from `emclick bench --train`).
`recipes/options` has a row for each option of EMC's training beyond the published one (`OPTIONS`), half as long.
"""

from __future__ import annotations

import sys
from dataclasses import fields
from pathlib import Path

from emclick.evaluation.published import ABLATION, ABLATION_NEGATIVES, Ablation
from emclick.files import write_text
from emclick.spec import CorrectionSpec

RECIPES = Path(__file__).parents[1] / "recipes"

TEXT = """\
{head}
# Made by tools/comparison_recipes.py: {differ}
name = "{name}"
{top}scale_base = "crop"
seed = 1
precision = "bf16"
ema = 0.99
{saving}
licence = "Apache-2.0 for what is ours; the training data's terms apply besides, see terms"

[about]
training_data = "the shared mix, see recipes/emc-mobilenetv2.toml"
terms = "several of the training sets are meant for research; judge their terms before commercial use"

[model]
base = "mobilenet_v2"
{model}
[[sources]]
dataset = "shards"
[sources.weight]
voc_animals = 0.45
coco = 0.22
ccp = 0.08
sod = 0.05
bsds_regions = 0.05
carparts = 0.04
humanseg = 0.04
sed2 = 0.03
camvid = 0.02
football = 0.02

[[phases]]
steps = {steps}
batch = 16
crop_hw = [192, 192]
scale = [1.0, 2.0]
{zoom}
[objects]
min_area_px = 300

[clicks]
{clicks}

[optimiser]
name = "adamw"
lr = 1.5e-3
backbone_factor = 0.2
weight_decay = 0.01
clip_norm = 10.0
schedule = "cosine"
warmup_steps = 50
{loss}"""

ABLATION_HEAD = """\
# Ablation, row "{label}": a small equal budget for all rows, far below the published one.
#   emclick reproduce ablation --recipes recipes/ablation --data shards=DIR --start-base runs/emc-equal-budget/model \\
#     --root grabcut=DIR -o ablation.json"""

EQUAL_BUDGET_HEAD = """\
# {method} at equal budget: one hour of one core, beside the others of this folder.
#   taskset -c 0 emclick train recipes/equal-budget/{file} --root shards=DIR --pretrained FILE.safetensors"""

OPTIONS_HEAD = """\
# Options of training at equal budget, row "{label}": as many samples for each row of this folder.
#   taskset -c 0 emclick train recipes/options/{file} --root shards=DIR --pretrained FILE.safetensors
# Then emclick evaluate, from nothing and with --damage 0; again with --seed 2."""

EQUAL_BUDGET_STEPS = {"emc": 2240, "ritm": 3420, "focalclick": 2640}
"""3,600 s over the mean seconds of a step on one core: 1.61, 1.05 and 1.37, at the mean number of further clicks
(results/training/equal-budget-*.json)."""
METHOD_CLICKS = {
    "emc": "maximum = 11",
    "ritm": "maximum = 3\ngamma = 1.0",
    "focalclick": "maximum = 3\ngamma = 1.0",
}
"""As published, but for EMC's fewer further clicks."""

ZOOM = "zoom_probability = 0.4 # what zoom-in shows from the second click on\nzoom = [0.5, 1.1]\n"

OPTIONS: dict[str, tuple[str, dict[str, str]]] = {
    "plain": ("as emc-mobilenetv2.toml with zoom-in", {}),
    "no-zoom": ("nothing at the object's scale", {"zoom": ""}),
    "initial": ("three in ten from a damaged mask", {"zoom": f"{ZOOM}initial_probability = 0.3\n"}),
    "stray": ("clicks anywhere on the error", {"clicks": f"{METHOD_CLICKS['emc']}\nstray = 0.3"}),
    "edge": ("more weight at the object's edge", {"loss": "\n[loss]\nedge = 2.0\n"}),
    "kept": ("more weight where the mask was right", {"loss": "\n[loss]\nkept = 1.0\n"}),
}
"""Row -> (label, what differs in the template)."""


def correction_table(spec: CorrectionSpec) -> str:
    """Width and templates, and what differs from the whole network."""
    changed = [each.name for each in fields(spec) if getattr(spec, each.name) != each.default]
    names = dict.fromkeys(["width", "templates", *changed])
    values = ", ".join(f"{name} = {str(getattr(spec, name)).lower()}" for name in names)
    return f"correction = {{ {values} }}\n"


def ablation_text(row: Ablation) -> str:
    """The recipe of a row that has a network."""
    assert row.correction is not None
    return TEXT.format(
        head=ABLATION_HEAD.format(label=row.label),
        differ="the rows differ in the name and the correction network alone.",
        name=f"ablation-{row.key}",
        top="short_side = 256\n",
        saving="workers = 1\ncheckpoint_minutes = 3.0\n",
        model=correction_table(row.correction),
        steps=150,
        zoom="",
        clicks=METHOD_CLICKS["emc"],
        loss="",
    )


def equal_budget_text(method: str) -> str:
    """The recipe of a method."""
    return TEXT.format(
        head=EQUAL_BUDGET_HEAD.format(method=method, file=f"{method}.toml"),
        differ="they differ in the method, its simulated clicks and the steps that fit into the budget.",
        name=f"{method}-equal-budget",
        top=f'method = "{method}"\nshort_side = 256\nzoom_in = true\n',
        saving="workers = 0 # all in one process, whose CPU time is the budget\ncheckpoint_minutes = 3.0\n",
        model=correction_table(CorrectionSpec()) if method == "emc" else "",
        steps=EQUAL_BUDGET_STEPS[method],
        zoom=ZOOM,
        clicks=METHOD_CLICKS[method],
        loss="",
    )


def option_text(row: str) -> str:
    """The recipe of a row of `OPTIONS`."""
    label, changed = OPTIONS[row]
    given = {
        "head": OPTIONS_HEAD.format(label=label, file=f"{row}.toml"),
        "differ": "they differ in the name and the option alone.",
        "name": f"option-{row}",
        "top": "short_side = 256\nzoom_in = true\n",
        "saving": "workers = 0\ncheckpoint_minutes = 3.0\n",
        "model": correction_table(CorrectionSpec()),
        "steps": EQUAL_BUDGET_STEPS["emc"] // 2,
        "zoom": ZOOM,
        "clicks": METHOD_CLICKS["emc"],
        "loss": "",
    }
    return TEXT.format(**{**given, **changed})


def texts() -> dict[Path, str]:
    """Every file and what it holds."""
    rows = [row for row in (*ABLATION, *ABLATION_NEGATIVES) if row.correction is not None]
    return {
        **{RECIPES / "ablation" / f"{row.key}.toml": ablation_text(row) for row in rows},
        **{RECIPES / "equal-budget" / f"{each}.toml": equal_budget_text(each) for each in EQUAL_BUDGET_STEPS},
        **{RECIPES / "options" / f"{each}.toml": option_text(each) for each in OPTIONS},
    }


def main() -> int:
    """Write them all."""
    for path, text in texts().items():
        path.parent.mkdir(exist_ok=True)
        print(write_text(path, text))
    return 0


if __name__ == "__main__":
    sys.exit(main())
