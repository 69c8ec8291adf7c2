"""Write the recipes of the ablation, one per row of the talk's tables 4 and 5, which differ in the network alone.

python tools/ablation_recipes.py            # recipes/ablation/*.toml
"""

from __future__ import annotations

import sys
from dataclasses import fields
from pathlib import Path

from emclick.evaluation.published import ABLATION, ABLATION_NEGATIVES, Ablation
from emclick.files import write_text
from emclick.spec import CorrectionSpec

FOLDER = Path(__file__).parents[1] / "recipes" / "ablation"

TEXT = """\
# Ablation, row "{label}": a small equal budget for all rows, far below the published one.
#   emclick reproduce ablation --recipes recipes/ablation --data shards=DIR --pretrained FILE.safetensors \\
#     --root grabcut=DIR -o ablation.json
# Made by tools/ablation_recipes.py: the rows differ in the name and the correction network alone.
name = "ablation-{key}"
short_side = 256
scale_base = "crop"
seed = 1
precision = "bf16"
ema = 0.99
workers = 1
checkpoint_minutes = 3.0

licence = "Apache-2.0 for what is ours; the training data's terms apply besides, see terms"

[about]
training_data = "the shared mix, see recipes/emc-mobilenetv2.toml"
terms = "several of the training sets are meant for research; judge their terms before commercial use"

[model]
base = "mobilenet_v2"
correction = {{ {correction} }}

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
steps = 300
batch = 16
crop_hw = [192, 192]
scale = [1.0, 2.0]

[objects]
min_area_px = 300

[clicks]
maximum = 11

[optimiser]
name = "adamw"
lr = 1.5e-3
backbone_factor = 0.2
weight_decay = 0.01
clip_norm = 10.0
schedule = "cosine"
warmup_steps = 50
"""


def correction_table(spec: CorrectionSpec) -> str:
    """Width and templates, and what differs from the whole network."""
    changed = [each.name for each in fields(spec) if getattr(spec, each.name) != each.default]
    names = dict.fromkeys(["width", "templates", *changed])
    return ", ".join(f"{name} = {str(getattr(spec, name)).lower()}" for name in names)


def recipe_text(row: Ablation) -> str:
    """The recipe of a row that has a network."""
    assert row.correction is not None
    return TEXT.format(label=row.label, key=row.key, correction=correction_table(row.correction))


def main() -> int:
    """Write them all."""
    for row in (*ABLATION, *ABLATION_NEGATIVES):
        if row.correction is not None:
            print(write_text(FOLDER / f"{row.key}.toml", recipe_text(row)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
