"""Make the pictures of masks after one, two and three clicks on the README's photograph.

python tools/readme_picture.py docs/images/cat.jpg                     # the photograph, and the shipped model's masks
python tools/readme_picture.py docs/images/methods.jpg EMC=DIR RITM=DIR FocalClick=DIR       # a row for each model
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

import emclick
from emclick.images import overlay, read_image

PHOTO = Path(__file__).parents[1] / "examples" / "images" / "cat.png"
CLICKS = ((240, 180, True), (60, 270, True), (390, 85, False))  # as in the README's command
GAP_PX = 6


def masks(photo: np.ndarray, model: emclick.Model) -> list[np.ndarray]:
    """The photograph with the mask after each click."""
    session = emclick.Session(model, photo)
    return [overlay(photo, session.click(*click).mask, session.clicks) for click in CLICKS]


def sheet(rows: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """Pictures of one size, uint8 RGB, in rows."""
    height, width = (side + GAP_PX for side in rows[0][0].shape[:2])
    whole = np.full((len(rows) * height, len(rows[0]) * width, 3), 255, np.uint8)
    for down, row in enumerate(rows):
        for across, each in enumerate(row):
            top, left = down * height, across * width
            whole[top : top + height - GAP_PX, left : left + width - GAP_PX] = each
    return whole[:-GAP_PX, :-GAP_PX]


def named(picture: np.ndarray, name: str) -> np.ndarray:
    """The picture with a name in its top left corner."""
    picture = picture.copy()
    for colour, thickness in (((0, 0, 0), 5), ((255, 255, 255), 2)):
        cv2.putText(picture, name, (10, 32), cv2.FONT_HERSHEY_SIMPLEX, 0.9, colour, thickness, cv2.LINE_AA)
    return picture


def main(arguments: Sequence[str]) -> None:
    if not arguments or any("=" not in each for each in arguments[1:]):
        sys.exit(__doc__)
    photo = read_image(PHOTO)
    if arguments[1:]:
        models = {
            name: emclick.load(folder) for name, _, folder in (each.partition("=") for each in arguments[1:])
        }
        rows = [masks(photo, model) for model in models.values()]
        rows = [[named(row[0], name), *row[1:]] for name, row in zip(models, rows, strict=True)]
    else:
        first, second, third = masks(photo, emclick.load())
        rows = [[photo, first], [second, third]]
    Image.fromarray(sheet(rows)).save(arguments[0], quality=88)


if __name__ == "__main__":
    main(sys.argv[1:])
