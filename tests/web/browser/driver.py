"""Chromium on the page of `emclick serve`: what the browser tests and the tools in tools/ share."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import cv2
import httpx
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, Playwright

import emclick
from emclick.annotations.model import Rle

CHROMIUM = "EMCLICK_CHROMIUM"
"""Environment variable that names the executable, where it is not on the path."""
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
ARGUMENTS = ("--no-sandbox", "--disable-gpu")
PHOTOS = Path(__file__).parents[3] / "examples" / "images"
ASSETS = Path(emclick.__file__).parent / "assets"
UNICODE_NAME = "café 写真 2.png"
ROTATED_NAME = "rotated.jpg"
UPRIGHT_TO_STORED = 6  # EXIF orientation: the camera was held upright, turn by 90 degrees to show it
WAIT_MS = 60_000  # the machine may be busy; a passing test never waits this long

WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) =>
  window.violations.push(`${event.violatedDirective} ${event.blockedURI}`));
"""


def find_chromium() -> str | None:
    """The executable, or None."""
    return os.environ.get(CHROMIUM) or next(filter(None, map(shutil.which, NAMES)), None)


def launch(playwright: Playwright, dpr: float = 1) -> Browser:
    """A Chromium without a window, on a screen with `dpr` device pixels to a CSS pixel."""
    return playwright.chromium.launch(
        executable_path=find_chromium(), args=[*ARGUMENTS, f"--force-device-scale-factor={dpr}"]
    )


def new_profile(browser: Browser, dpr: float = 1, width: int = 1280, height: int = 800) -> BrowserContext:
    """A window of its own, with cookies and storage of its own."""
    return browser.new_context(
        viewport={"width": width, "height": height}, device_scale_factor=dpr, color_scheme="light"
    )


def write_photographs(folder: Path) -> Path:
    """A folder with four photographs: cat.png, coffee.png with an unicode name, and a JPEG that EXIF turns upright."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(PHOTOS / "cat.png", folder / "cat.png")
    shutil.copy(ASSETS / "coffee.jpg", folder / "coffee.jpg")
    shutil.copy(PHOTOS / "coffee.png", folder / UNICODE_NAME)
    write_rotated(folder / ROTATED_NAME, Image.open(ASSETS / "cat.jpg"))
    return folder


def write_rotated(path: Path, upright: Image.Image) -> None:
    """A JPEG that lies on its side and says so."""
    exif = Image.Exif()
    exif[274] = UPRIGHT_TO_STORED
    upright.transpose(Image.Transpose.ROTATE_90).save(path, quality=95, subsampling=0, exif=exif)


@contextlib.contextmanager
def serving(folder: Path, token: str, *arguments: str) -> Iterator[str]:
    """`emclick serve` as a user starts it, on any free port; its address."""
    command = [
        sys.executable,
        "-m",
        "emclick",
        "serve",
        str(folder),
        "--token",
        token,
        "--no-browser",
        "--port",
        "0",
    ]
    process = subprocess.Popen(
        [*command, *arguments], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}
    )
    assert process.stdout is not None
    try:
        url = next((line for line in process.stdout if line.startswith("open http")), "")
        if not url:
            raise RuntimeError("emclick serve did not start; what it said is above")
        yield url.removeprefix("open ").partition("/?")[0]
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


class Desk:
    """One page in one browser, and the server's own word on what it shows."""

    def __init__(self, context: BrowserContext, url: str, token: str) -> None:
        self.url, self.token = url, token
        self.page: Page = context.new_page()
        self.page.set_default_timeout(WAIT_MS)
        self.page.add_init_script(WATCH)
        self.complaints: list[str] = []
        self.allowed: Callable[[str], bool] = lambda _: False  # complaints that the test provokes
        self.cleared: set[str] = set()  # ids of objects that `clear` has deleted
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        self.client = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=60)

    def _on_console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text} {message.location.get('url', '')}")

    # --- getting somewhere -----------------------------------------------------------------------------------

    def open(self, image: str = "") -> Desk:
        """An image by its name, without objects and nothing begun; the page is loaded if it is not there yet, which
        takes longer than most tests."""
        if self.page.url.startswith(self.url) and not self.page.is_closed():
            self.calm()
        else:
            self.load()
        if image and self.image["name"] != image:
            self.go_to(image)
        self.clear()
        return self

    def calm(self) -> None:
        """Put down what was begun, and the tools."""
        self.wait("state.connection === 'saved' && !state.loading")
        self.page.get_by_test_id("stage").focus()
        for key in ("Escape", "Escape", "c", "0"):
            self.key(key)
        self.wait("!state.object && state.waiting === 0")
        self.button("fit")

    def clear(self) -> None:
        """Delete the objects of the open image."""
        for each in self.image["objects"]:
            self.cleared.add(each["id"])
            self.client.delete(f"/api/objects/{each['id']}")
        self.wait("state.objects.length === 0")

    def load(self, image: str = "") -> Desk:
        """Load the page anew, and an image by its name; the one that the page picks if none is given."""
        answer = self.page.goto(f"{self.url}/?token={quote(self.token)}")
        assert answer is not None
        assert answer.status == 200
        self.wait("state.image && !state.loading")
        if image and self.image["name"] != image:
            self.go_to(image)
        return self

    def go_to(self, image: str) -> None:
        """Open an image of the list."""
        one = self.image_id(image)
        self.page.locator(f'[data-testid=image-row][data-id="{one}"]').click()
        self.wait(f"state.image === '{one}' && !state.loading")

    def wait(self, condition: str) -> None:
        """Until `condition`, JavaScript about `state`, holds."""
        self.page.wait_for_function(
            f"() => {{ const state = window.emclickTest?.state(); return Boolean(state && ({condition})); }}"
        )

    def forgive(self) -> None:
        """Forget the complaints so far, and allow none."""
        self.complaints.clear()
        self.allowed = lambda _: False

    def settled(self) -> None:
        """Until every change made here is answered."""
        self.wait("state.waiting === 0 && state.connection === 'saved'")

    def state(self) -> dict[str, Any]:
        return self.page.evaluate("emclickTest.state()")

    # --- the mouse and the keyboard --------------------------------------------------------------------------

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where an image point is in the window, CSS px."""
        place = self.page.evaluate(f"emclickTest.imageToClient({x}, {y})")
        return place["x"], place["y"]

    def press(self, x: float, y: float, positive: bool = True) -> None:
        """Press the mouse on an image point and wait for nothing."""
        self.page.mouse.click(*self.at(x, y), button="left" if positive else "right")

    def click(self, x: float, y: float, positive: bool = True) -> dict[str, Any]:
        """A click that is answered and painted; the object as the server has it."""
        before = len((self.active() or {"clicks": []})["clicks"])
        self.press(x, y, positive)
        self.wait(
            "state.waiting === 0 && state.objects.find((each) => each.id === state.object)"
            f"?.clicks.length === {before + 1}"
        )
        return self.stored(self.state()["object"])

    def key(self, key: str) -> None:
        self.page.keyboard.press(key)

    def button(self, name: str) -> None:
        """Press a button by its data-testid."""
        self.page.get_by_test_id(name).click()

    def drag(self, points: list[tuple[float, float]], button: Any = "left") -> None:
        """Draw with the button held through image points."""
        first, *rest = [self.at(*point) for point in points]
        self.page.mouse.move(*first)
        self.page.mouse.down(button=button)
        for point in rest:
            self.page.mouse.move(*point, steps=3)
        self.page.mouse.up(button=button)

    # --- what is there ---------------------------------------------------------------------------------------

    def active(self) -> dict[str, Any] | None:
        """The object being worked on, as the page has it."""
        state = self.state()
        return next((each for each in state["objects"] if each["id"] == state["object"]), None)

    def ask(self, path: str) -> Any:
        answer = self.client.get(f"/api/{path}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def stored(self, one: str) -> dict[str, Any]:
        """An object, as the server has it."""
        return self.ask(f"objects/{one}")

    @property
    def image(self) -> dict[str, Any]:
        """The open image with its objects, as the server has it."""
        return self.ask(f"images/{self.state()['image']}")

    def image_id(self, name: str) -> str:
        return next(each["id"] for each in self.ask("images") if each["name"] == name)

    def shot(self, x: float, y: float, width: float, height: float) -> NDArray[np.uint8]:
        """(h, w, 3) uint8, RGB: a part of the window in device px; x, y, width, height in CSS px."""
        data = self.page.screenshot(clip={"x": x, "y": y, "width": width, "height": height})
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]  # type: ignore[return-value]

    def complained(self) -> list[str]:
        """Errors and warnings of the console and of the content security policy, but for those `allowed`."""
        violations = [] if self.page.is_closed() else self.page.evaluate("window.violations ?? []")
        told = [*self.complaints, *violations]
        return [each for each in told if not self.allowed(each) and not self.is_of_cleared(each)]

    def is_of_cleared(self, complaint: str) -> bool:
        """Whether the page asked for an object that had changed, when `clear` had deleted it already."""
        return "404" in complaint and complaint.endswith(
            tuple(f"/api/objects/{each}" for each in self.cleared)
        )


def mask_of(one: dict[str, Any]) -> NDArray[np.bool_]:
    return Rle.from_json(one["rle"]).decode()


def same(page: dict[str, Any] | None, server: dict[str, Any]) -> bool:
    """Whether the page shows an object as the server has it."""
    names = ("id", "clicks", "rle", "label", "finished", "seq", "can_undo", "can_redo")
    return page is not None and all(page[name] == server[name] for name in names)
