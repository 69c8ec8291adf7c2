"""Put a trained model into the package, with its results on the card.

    python tools/ship.py runs/emc-mobilenetv2/model results/*.json --short-side 384 --zoom-in

The results must be of these very weights (same SHA-256); the card's frame and zoom-in are set to the options'. Run it
once without results files to ship, evaluate the shipped model, then again with them to fill in the card. The ONNX
graphs are made anew and checked unless those there are of the same weights.
"""

import argparse
import dataclasses
import json
from pathlib import Path

from emclick.card import CARD_NAME, WEIGHTS_NAME, Card, read_card, verify_weights
from emclick.errors import CheckpointError, WeightsError
from emclick.evaluation.report import read_results
from emclick.files import make_folder, write_bytes, write_text
from emclick.graphs import read_graphs
from emclick.networks.export import export_model
from emclick.zoo import SHIPPED

KEPT = ("n", "noc", "nof", "at_limit", "worse_clicks", "short_side", "flip", "zoom_in")
MIOU_AT = ("1", "3", "5", "10")


def metrics(paths: list[Path], sha256: str) -> dict[str, dict]:
    """The figures a card shows, by results file name."""
    found = {}
    for path in sorted(paths):
        results = read_results(path)
        if results["sha256"] != sha256:
            raise CheckpointError(f"{path} was made with other weights; evaluate this model again")
        found[path.stem] = {name: results[name] for name in KEPT} | {
            "miou_at": {clicks: results["miou_at"][clicks] for clicks in MIOU_AT}
        }
    return found


def is_of(folder: Path, card: Card) -> bool:
    """Whether the graphs in a folder were made from the card's weights."""
    try:
        read_graphs(folder, card)
    except (WeightsError, CheckpointError):
        return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, help="model folder of the run")
    parser.add_argument("results", type=Path, nargs="*", help="results files of these weights")
    parser.add_argument("--short-side", type=int, required=True, help="frame the card names, px")
    parser.add_argument("--zoom-in", action="store_true", help="the model is meant for zoom-in")
    arguments = parser.parse_args()
    card: Card = read_card(arguments.model)
    data = verify_weights(arguments.model, card)
    card = dataclasses.replace(
        card, short_side=arguments.short_side, zoom_in=arguments.zoom_in,
        metrics=metrics(arguments.results, card.sha256),
    )  # fmt: skip
    target = make_folder(SHIPPED / card.name)
    write_bytes(target / WEIGHTS_NAME, data)
    write_text(target / CARD_NAME, json.dumps(card.to_dict(), indent=2, ensure_ascii=False) + "\n")
    if not is_of(target, card):
        print(export_model(target))
    print(f"{target}: {len(data) / 2**20:.1f} MB, {len(card.metrics)} results")


if __name__ == "__main__":
    main()
