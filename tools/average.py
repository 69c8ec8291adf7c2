"""Average the weights of two models of one kind: often better than either, where one was trained on from the other.

    python tools/average.py runs/emc-mobilenetv2-fifth/model runs/emc-mobilenetv2-sixth/model -o FOLDER

The new model's card is the second one's, and says what was averaged. Weights are stored in float16; `emclick export
FOLDER -o FOLDER` then makes its graphs.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from emclick.networks.checkpoint import load_model, save_model


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("first", type=Path, help="model folder")
    parser.add_argument("second", type=Path, help="model folder of the same specification")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder to write")
    parser.add_argument("--share", type=float, default=0.5, help="of the second in the average, 0 to 1")
    arguments = parser.parse_args()
    if not 0 <= arguments.share <= 1:
        parser.error(f"--share is {arguments.share}; it lies between 0 and 1")
    (one, _), (other, card) = load_model(arguments.first), load_model(arguments.second)
    if one.spec != other.spec:
        parser.error(f"{arguments.first} and {arguments.second} are models of different specifications")
    theirs = other.state_dict()
    averaged = {
        key: torch.lerp(value.double(), theirs[key].double(), arguments.share).to(value.dtype)
        if value.is_floating_point()
        else theirs[key]
        for key, value in one.state_dict().items()
    }
    names = [
        each.parent.name if each.name == "model" else each.name
        for each in (arguments.first, arguments.second)
    ]
    told = f"{1 - arguments.share:g} of {names[0]} and {arguments.share:g} of {names[1]} (tools/average.py)"
    save_model(
        arguments.output, averaged, replace(card, about={**card.about, "averaged": told}), torch.float16
    )
    print(f"wrote {arguments.output}")


if __name__ == "__main__":
    main()
