"""Make the README's picture: a photograph, and its mask after each of three clicks.

python examples/picture.py docs/images/cat.jpg
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

import emclick
from emclick.images import overlay

PHOTO = Path(__file__).parent / "images" / "cat.png"
CLICKS = [(240, 180, True), (60, 270, True), (390, 85, False)]
GAP_PX = 6


def main(target: str) -> None:
    session = emclick.Session(emclick.load(), PHOTO)
    panels = [session.image]
    for x, y, positive in CLICKS:
        prediction = session.click(x, y, positive)
        print(f"({x}, {y}) {'positive' if positive else 'negative'}: {prediction.ms:.0f} ms")
        panels.append(overlay(session.image, session.mask, session.clicks))
    gap = np.full((GAP_PX, panels[0].shape[1], 3), 255, np.uint8)
    left, right = (np.vstack([panels[i], gap, panels[i + 2]]) for i in range(2))
    column = np.full((left.shape[0], GAP_PX, 3), 255, np.uint8)
    Image.fromarray(np.hstack([left, column, right])).save(target, quality=88)


if __name__ == "__main__":
    main(sys.argv[1])
