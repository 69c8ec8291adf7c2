"""Make the pictures of the annotation tool in the docs, from a real session in Chromium with the default model.

    python tools/screenshots.py docs/images

Writes serve.png (an object in work) and serve.webp (an animation: clicks, a correction, the object finished, the next).
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw
from playwright.sync_api import sync_playwright

from emclick.files import write_atomic, write_bytes

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from web.browser.driver import PHOTOS, Desk, launch, new_profile, serving

TOKEN = "pictures"
WINDOW = (1280, 800)
LABELS = (("cat", "#ff7a1a"), ("cup", "#2f9bff"), ("saucer", "#a06bff"), ("spoon", "#21c25e"))
COLOURS = (192, 64)  # of the still picture's palette: the photograph's, and all else's
DEMO_WIDTH = 960
STEP_MS, LOOK_MS, END_MS = 70, 750, 1800
MOVES = 5  # frames of a movement of the mouse
ARROW = ((0, 0), (0, 17), (4, 13), (7, 20), (10, 19), (7, 12), (12, 12))

CUP = ((300, 120, True), (365, 285, False), (240, 265, True), (335, 235, True))
SPOON = ((365, 285, True), (408, 75, True))


class Film:
    """Frames of a page, with the mouse's arrow, which screenshots leave out."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.frames: list[Image.Image] = []
        self.shown_ms: list[int] = []
        self.pointer = (640.0, 420.0)

    def add(self, shown_ms: int) -> None:
        frame = Image.open(io.BytesIO(self.desk.page.screenshot())).convert("RGB")
        x, y = self.pointer
        arrow = [(x + dx, y + dy) for dx, dy in ARROW]
        ImageDraw.Draw(frame).polygon(arrow, fill="white", outline="black", width=1)
        height = round(DEMO_WIDTH * WINDOW[1] / WINDOW[0])
        self.frames.append(frame.resize((DEMO_WIDTH, height), Image.Resampling.LANCZOS))
        self.shown_ms.append(shown_ms)

    def move(self, x: float, y: float) -> None:
        """The mouse to a point of the window."""
        (x0, y0), steps = self.pointer, range(1, MOVES + 1)
        for share in (step / MOVES for step in steps):
            share = share * share * (3 - 2 * share)  # slow at both ends
            self.pointer = (x0 + (x - x0) * share, y0 + (y - y0) * share)
            self.desk.page.mouse.move(*self.pointer)
            self.add(STEP_MS)

    def act(self, do: Callable[[], Any], shown_ms: int = LOOK_MS) -> None:
        do()
        self.desk.settled()
        self.desk.page.evaluate(
            "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )
        self.add(shown_ms)

    def click(self, x: float, y: float, positive: bool) -> None:
        self.move(*self.desk.at(x, y))
        self.act(lambda: self.desk.click(x, y, positive))

    def write(self, path: Path) -> None:
        first, *rest = self.frames
        write_atomic(
            path,
            lambda file: first.save(
                file,
                "WEBP",
                save_all=True,
                append_images=rest,
                duration=self.shown_ms,
                loop=0,
                quality=70,
                method=4,
            ),
        )


def start(desk: Desk, image: str) -> None:
    desk.open(image)
    labels = [{"name": name, "color": colour} for name, colour in LABELS]
    assert desk.client.put("/api/project/labels", json=labels).status_code == 200
    desk.page.reload()
    desk.wait("state.image && !state.loading")


def with_palette(picture: Image.Image, box: tuple[float, float, float, float]) -> Image.Image:
    """A palette picture in which the few pixels outside `box` have colours of their own."""
    inside = [round(each) for each in box]
    photograph = picture.crop((inside[0], inside[1], inside[2], inside[3]))
    rest = picture.copy()
    rest.paste("white", (inside[0], inside[1], inside[2], inside[3]))
    colours: list[int] = []
    ways = Image.Quantize.MEDIANCUT, Image.Quantize.MAXCOVERAGE
    for part, count, way in zip((photograph, rest), COLOURS, ways):
        colours += (part.quantize(count, method=way).getpalette() or [])[: 3 * count]
    palette = Image.new("P", (1, 1))
    palette.putpalette(colours)
    return picture.quantize(palette=palette, dither=Image.Dither.NONE)


def still(desk: Desk, path: Path) -> None:
    start(desk, "coffee.png")
    desk.key("4")
    desk.click(*SPOON[0])
    desk.key("Space")
    desk.wait("!state.object && state.waiting === 0")
    desk.key("2")
    for click in CUP:
        desk.click(*click)
    desk.settled()
    picture = Image.open(io.BytesIO(desk.page.screenshot())).convert("RGB")
    stage = desk.page.get_by_test_id("stage").bounding_box()
    assert stage is not None
    reduced = with_palette(
        picture, (stage["x"], stage["y"], stage["x"] + stage["width"], stage["y"] + stage["height"])
    )
    data = io.BytesIO()
    reduced.save(data, "PNG", optimize=True)
    write_bytes(path, data.getvalue())


def film(desk: Desk, path: Path) -> None:
    start(desk, "coffee.png")
    desk.key("2")
    made = Film(desk)
    made.add(LOOK_MS)
    for click in CUP:
        made.click(*click)
    made.act(lambda: desk.key("Space"))
    made.act(lambda: desk.key("4"))
    made.click(*SPOON[0])
    made.act(lambda: desk.key("Space"), END_MS)
    made.write(path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    for make, name in ((still, "serve.png"), (film, "serve.webp")):
        with tempfile.TemporaryDirectory(prefix="emclick-", ignore_cleanup_errors=True) as temporary:
            photographs = Path(temporary, "photographs")
            photographs.mkdir()
            for each in sorted(PHOTOS.iterdir()):
                (photographs / each.name).write_bytes(each.read_bytes())
            with serving(photographs, TOKEN) as url, sync_playwright() as playwright:
                browser = launch(playwright)
                make(Desk(new_profile(browser, 1, *WINDOW), url, TOKEN), folder / name)
                browser.close()
        print(f"{folder / name}: {(folder / name).stat().st_size / 1024:.0f} KB")


if __name__ == "__main__":
    main()
