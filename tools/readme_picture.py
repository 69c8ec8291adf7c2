"""Make the README's picture: a photograph, and its mask after one, two and three clicks of the shipped model.

python tools/readme_picture.py docs/images/cat.jpg
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

import emclick
from emclick.images import overlay, read_image

PHOTO = Path(__file__).parents[1] / "examples" / "images" / "cat.png"
CLICKS = ((240, 180, True), (60, 270, True), (390, 85, False))  # as in the README's command
GAP_PX = 6


def picture() -> np.ndarray:
    """(2 H + GAP_PX, 2 W + GAP_PX, 3) uint8: four pictures, two by two."""
    photo = read_image(PHOTO)
    session = emclick.Session(emclick.load(), photo)
    shown = [photo]
    for click in CLICKS:
        shown.append(overlay(photo, session.click(*click).mask, session.clicks))
    height, width = photo.shape[:2]
    sheet = np.full((2 * height + GAP_PX, 2 * width + GAP_PX, 3), 255, np.uint8)
    for number, each in enumerate(shown):
        top, left = number // 2 * (height + GAP_PX), number % 2 * (width + GAP_PX)
        sheet[top : top + height, left : left + width] = each
    return sheet


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    Image.fromarray(picture()).save(sys.argv[1], quality=90)
