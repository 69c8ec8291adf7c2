"""The picture on the screen: what is drawn where, what a click there means, and how fast it moves."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import cv2
import numpy as np
import pytest

pytest.importorskip("playwright")

from numpy.typing import NDArray
from PIL import Image

from emclick.annotations.model import Rle
from web.browser.driver import PHOTOS, Desk, mask_of, write_rotated
from web.servers import TOKEN, Served

HW = (400, 600)
MARKS = {
    (100, 60): (255, 0, 255),
    (449, 120): (0, 255, 255),
    (200, 339): (255, 255, 0),
    (520, 330): (0, 255, 0),
}
"""Centre of a square on the photograph -> its colour, which the photograph has nowhere."""
MARK = 7  # px from the centre to the edge, the centre's pixel not counted
ZOOMS = (0.4, 2.0, 5.5, 23.0)  # CSS px per image px
MANY = 500
MIDDLE = (640, 400)  # a place on the stage, CSS px of the window


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("stage") / "photographs"
    folder.mkdir()
    marked = np.asarray(Image.open(PHOTOS / "coffee.png").convert("RGB")).copy()
    assert marked.shape[:2] == HW
    for (x, y), colour in MARKS.items():
        marked[y - MARK : y + MARK + 1, x - MARK : x + MARK + 1] = colour
    Image.fromarray(marked).save(folder / "marked.png")
    write_rotated(folder / "rotated.jpg", Image.fromarray(marked))
    Image.open(PHOTOS / "coffee.png").save(folder / "many.png")
    server = Served(folder)
    yield server
    server.kill()


TURN = """([x, y, deltaY, times]) => {
  const turn = { clientX: x, clientY: y, deltaY, bubbles: true, cancelable: true };
  while (times--) document.querySelector("#stage").dispatchEvent(new WheelEvent("wheel", turn));
}"""


def zoom_to(desk: Desk, wanted: float, x: float, y: float) -> None:
    """Turn the wheel over an image point until the zoom is there; the point stays where it is."""
    place = desk.at(x, y)
    desk.page.mouse.move(*place)
    zoom = desk.state()["zoom"]
    far = -math.log(wanted / zoom) / 0.0018
    desk.page.evaluate(
        TURN, [*place, math.copysign(380, far), int(abs(far) // 380)]
    )  # all but the last turn at once
    for _ in range(20):
        zoom = desk.state()["zoom"]
        if abs(zoom / wanted - 1) < 0.01:
            break
        desk.page.mouse.wheel(0, -max(-380, min(380, math.log(wanted / zoom) / 0.0018)))
        desk.wait(f"Math.abs(state.zoom - {zoom}) > 1e-9")
    else:
        raise AssertionError(f"no zoom of {wanted}, but {zoom}")
    assert math.dist(desk.at(x, y), place) < 0.01


def centre(desk: Desk, x: float, y: float) -> None:
    """Drag an image point to the middle of the stage with the middle button, and a part of a pixel further."""
    stage = desk.page.get_by_test_id("stage").bounding_box()
    assert stage is not None
    start = desk.at(x, y)
    end = (stage["x"] + stage["width"] // 2 + 0.25, stage["y"] + stage["height"] // 2 + 0.5)
    desk.page.mouse.move(*start)
    desk.page.mouse.down(button="middle")
    desk.page.mouse.move(*end, steps=4)
    desk.page.mouse.up(button="middle")
    assert desk.at(x, y) == pytest.approx(end, abs=0.01)


def mark_on_screen(
    desk: Desk, colour: tuple[int, int, int], x: float, y: float, dpr: float
) -> tuple[float, float]:
    """The middle of a mark as it is seen on the screen, CSS px of the window: not what the page says of it.

    (x, y) is about where it is.
    """
    half = (MARK + 4) * desk.state()["zoom"] + 2
    left, top, side = (
        2 * math.floor(each / 2) for each in (x - half, y - half, 2 * half + 2)
    )  # whole device px
    shot = desk.shot(left, top, side, side)
    far = np.abs(shot.astype(int) - colour).max(axis=2)
    rows, columns = np.nonzero(far < 90)
    assert len(rows), "the mark is not to be seen"
    return left + (columns.mean() + 0.5) / dpr, top + (rows.mean() + 0.5) / dpr


@pytest.mark.parametrize("dpr", [1, 1.5, 2])
def test_a_click_lands_on_the_pixel_it_is_seen_on(desk: Desk, dpr: float) -> None:
    desk.open("marked.png")
    assert desk.state()["dpr"] == pytest.approx(dpr, abs=0.01)
    for zoom, ((x, y), colour) in zip(ZOOMS, MARKS.items()):
        desk.button("fit")
        zoom_to(desk, zoom, x, y)
        centre(desk, x, y)
        zoom = desk.state()["zoom"]
        place = desk.at(x, y)
        seen = mark_on_screen(desk, colour, *place, dpr)
        assert seen == pytest.approx(place, abs=0.6 / dpr), (zoom, dpr)
        for dx, dy in ((0, 0), (0.4, -0.3))[: 1 + (zoom > 20)]:
            desk.page.mouse.click(*desk.at(x + dx, y + dy))
            desk.wait("state.objects.length === 1 && state.objects[0].clicks.length === 1 && !state.waiting")
            one = desk.stored(desk.state()["object"])
            made = one["clicks"][0]
            assert (made["x"], made["y"]) == pytest.approx((x + dx, y + dy), abs=0.5e-2)
            assert abs(made["x"] - x - dx) <= 0.5 / zoom
            desk.key("Escape")
            desk.wait("!state.objects.length && !state.waiting")


@pytest.mark.parametrize("dpr", [1.5])
def test_a_turned_photograph_is_shown_and_clicked_upright(desk: Desk, dpr: float) -> None:
    desk.open("rotated.jpg")
    assert (desk.image["height"], desk.image["width"]) == HW
    for (x, y), colour in list(MARKS.items())[:2]:
        place = desk.at(x, y)
        assert mark_on_screen(desk, colour, *place, dpr) == pytest.approx(place, abs=0.5)
        one = desk.click(x, y)
        assert (one["clicks"][0]["x"], one["clicks"][0]["y"]) == pytest.approx((x, y), abs=0.5e-2)
        desk.key("Escape")
        desk.wait("!state.objects.length && !state.waiting")


PAINTED = """([points]) => {
  const canvas = document.querySelector("#overlay");
  const rect = canvas.getBoundingClientRect();
  const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", { willReadFrequently: true });
  copy.drawImage(canvas, 0, 0);
  const data = copy.getImageData(0, 0, canvas.width, canvas.height).data;
  const k = emclickTest.state().dpr;
  return points.map(([x, y]) => {
    const at = emclickTest.imageToClient(x, y);
    const column = Math.floor((at.x - rect.left) * k), row = Math.floor((at.y - rect.top) * k);
    if (column < 0 || row < 0 || column >= canvas.width || row >= canvas.height) return -1;
    return data[4 * (row * canvas.width + column) + 3];
  });
}"""


def painted(desk: Desk, points: NDArray[np.intp]) -> NDArray[np.int_]:
    """Alpha, 0 to 255, of the object in work at the middle of image pixels; -1 off the stage."""
    desk.page.evaluate("emclickTest.painted(0)")
    return np.array(desk.page.evaluate(PAINTED, [points.tolist()]))


def give(desk: Desk, one: str, mask: NDArray[np.bool_]) -> None:
    """Give an object a mask, as another program would, and wait until the page shows it."""
    body = {"rle": Rle.encode(mask).to_json(), "kind": "load"}
    answer = desk.client.put(f"/api/objects/{one}/mask", json=body)
    assert answer.status_code == 200
    desk.wait(f"state.objects.find((each) => each.id === '{one}')?.seq >= {answer.json()['seq']}")


def noise(mask: NDArray[np.bool_], half: int) -> NDArray[np.bool_]:
    """A mask as no model makes them: every fifth pixel of a square around the middle is turned."""
    turned = np.zeros(HW, np.bool_)
    turned[200 - half : 200 + half, 300 - half : 300 + half] = True
    return mask ^ (turned & (np.random.default_rng(3).random(HW) < 0.2))


@pytest.mark.parametrize(("dpr", "half"), [(1, 50), (1.5, 50), (1.5, 190)], ids=["1", "1.5", "raster"])
def test_the_painted_mask_is_the_servers_to_the_pixel(desk: Desk, dpr: float, half: int) -> None:
    desk.open("marked.png")
    one = desk.click(300, 200)
    ragged = noise(mask_of(one), half)
    give(desk, one["id"], ragged)
    zoom_to(desk, 8.0, 300, 200)
    y, x = np.mgrid[160:240, 260:340].reshape(2, -1)
    keep = np.hypot(x - 300, y - 200) > 3  # the click's own mark lies over it
    points = np.stack([x[keep], y[keep]], axis=1)
    alpha = painted(desk, points)
    shown = alpha >= 0
    assert shown.sum() > 2000
    assert np.array_equal(alpha[shown] > 0, ragged[points[shown, 1], points[shown, 0]])


def open_ragged(desk: Desk) -> None:
    """An object whose mask has tens of thousands of corners, in work."""
    desk.open("marked.png")
    one = desk.click(300, 200)
    ragged = noise(np.zeros(HW, np.bool_), 199)
    assert cv2.connectedComponents(ragged.view(np.uint8), connectivity=4)[0] > 5000
    give(desk, one["id"], ragged)


def test_a_very_ragged_mask_moves_fluently(desk: Desk, record_property: Callable[[str, Any], None]) -> None:
    open_ragged(desk)
    for zoom in (desk.state()["zoom"], 3.0):
        zoom_to(desk, zoom, 300, 200)
        moved = move(desk, around(30))
        record_property(f"CPU ms a frame, a ragged mask at {zoom:.2f}", moved.ms)
        # of its pixels, which are kept: nothing that takes longer the more corners there are
        assert moved.drawn["overlay drawImage"] == moved.frames
        assert not {each for each in moved.drawn if "path" in each or each.endswith("putImageData")}
    # its corners cannot be dragged one by one; that is said
    desk.key("p")
    desk.page.get_by_test_id("toasts").get_by_text("too many corners").wait_for()
    # beside another object it is drawn as well
    desk.key("c")
    desk.key("Space")
    desk.wait("!state.object")
    assert desk.page.evaluate(PAINTED_AT_REST)


PAINTED_AT_REST = """() => {
  const { width, height } = document.querySelector("#masks");
  const copy = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  return new Promise((done) => {
    const look = () => {
      copy.drawImage(document.querySelector("#masks"), 0, 0);
      const { data } = copy.getImageData(0, 0, width, height);
      if (data.some((value, at) => at % 4 === 3 && value)) done(true);
      else requestAnimationFrame(look);
    };
    look();
  });
}"""
"""Resolves once something is painted among the masks at rest."""

COUNT_DRAWING = """() => {
  if (window.drawn) return;
  window.drawn = {};
  for (const name of ["fill", "stroke", "drawImage", "clearRect", "putImageData"]) {
    const own = CanvasRenderingContext2D.prototype[name];
    CanvasRenderingContext2D.prototype[name] = function (...given) {
      const what = `${this.canvas.id || "other"} ${name}${given[0] instanceof Path2D ? " path" : ""}`;
      window.drawn[what] = (window.drawn[what] ?? 0) + 1;
      return own.apply(this, given);
    };
  }
}"""
"""From now on `window.drawn` counts what is drawn: "canvas call" -> times."""

REST = """async () => {
  const frame = () => new Promise(requestAnimationFrame);
  for (let quiet = 0; quiet < 3; quiet++) {
    window.drawn = {};
    await frame();
    if (document.querySelector("#masks").style.transform || Object.keys(window.drawn).length) quiet = 0;
  }
}"""
"""Resolves once nothing moves and nothing is drawn."""

MOVE = """async ([moves]) => {
  const root = document.querySelector("#stage");
  const frame = () => new Promise(requestAnimationFrame);
  const own = [window.setTimeout, window.clearTimeout];
  const held = new Map();
  window.setTimeout = (step, ...more) => (held.set(held.size + 1e9, [step, ...more]), held.size - 1 + 1e9);
  window.clearTimeout = (id) => held.has(id) ? held.set(id, null) : own[1].call(window, id);
  window.release = () => {
    [window.setTimeout, window.clearTimeout] = own;
    for (const each of held.values()) if (each) window.setTimeout(...each);
  };
  window.drawn = {};
  for (const [x, y, deltaY] of moves) {
    const place = { pointerId: 1, clientX: x, clientY: y, bubbles: true, cancelable: true }; // 1: the mouse
    if (deltaY) root.dispatchEvent(new WheelEvent("wheel", { ...place, deltaY }));
    else root.dispatchEvent(new PointerEvent("pointermove", place));
    await frame();
  }
  await frame();
  return window.drawn;
}"""
"""Moves the pointer, or turns the wheel, once a frame; the time that timers wait for stands still until `release()`."""


@dataclass
class Moved:
    """What a movement cost.

    Attributes:
        drawn: while moving, and `rested` once it was over: "canvas call" -> times.
        ms: of the main thread's CPU, for a frame.
    """

    frames: int
    drawn: dict[str, int]
    rested: dict[str, int]
    ms: float


def move(desk: Desk, moves: list[tuple[float, ...]]) -> Moved:
    """Drag the picture, its middle button held, through (x, y) of the window; (x, y, delta) turns the wheel there."""
    desk.page.evaluate(COUNT_DRAWING)
    session = desk.page.context.new_cdp_session(desk.page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def busy_s() -> float:
        metrics = session.send("Performance.getMetrics")["metrics"]
        return next(each["value"] for each in metrics if each["name"] == "TaskDuration")

    desk.page.mouse.move(*MIDDLE)
    desk.page.mouse.down(button="middle")
    desk.page.evaluate(REST)
    began = busy_s()
    drawn = desk.page.evaluate(MOVE, [moves])
    spent = busy_s() - began
    desk.page.evaluate("() => { window.drawn = {}; window.release(); }")
    desk.wait("!document.querySelector('#masks').style.transform")
    rested = desk.page.evaluate("window.drawn")
    desk.page.mouse.up(button="middle")
    session.detach()
    return Moved(len(moves), drawn, rested, 1000 * spent / len(moves))


def around(steps: int) -> list[tuple[float, ...]]:
    """Once round, by whole pixels, and a little further."""
    angles = np.linspace(0, 2 * math.pi, steps)
    circle = [
        (MIDDLE[0] + round(80 * math.sin(a)), MIDDLE[1] + round(80 * (1 - math.cos(a)))) for a in angles
    ]
    return [*circle, (MIDDLE[0] + 30, MIDDLE[1] - 20)]


def many_objects(side: int = 16) -> dict[str, Any]:
    """COCO annotations of `MANY` ragged blobs on many.png."""
    random = np.random.default_rng(1)
    found = []
    for number in range(MANY):
        mask = np.zeros(HW, np.uint8)
        x, y = random.integers(side, HW[1] - side), random.integers(side, HW[0] - side)
        angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        rim = side * random.uniform(0.5, 1, 24)[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        cv2.fillPoly(mask, [np.int32(rim + np.array([x, y]))], 1)  # type: ignore[arg-type]
        rle = Rle.encode(mask > 0)
        found.append({"id": number + 1, "image_id": 1, "category_id": 1, "segmentation": rle.to_json(),
                      "area": int(rle.area), "bbox": list(rle.box), "iscrowd": 0})  # fmt: skip
    image = {"id": 1, "file_name": "many.png", "height": HW[0], "width": HW[1]}
    return {"images": [image], "annotations": found, "categories": [{"id": 1, "name": "thing"}]}


def open_many(desk: Desk) -> None:
    """An image with `MANY` objects, all of them drawn."""
    if "/#image=" not in desk.page.url:
        desk.load()
    desk.calm()
    if desk.image["name"] != "many.png":
        desk.go_to("many.png")
    if len(desk.state()["objects"]) != MANY:
        import_many(desk)
    desk.page.evaluate(COUNT_DRAWING)
    desk.page.evaluate(REST)


def import_many(desk: Desk) -> None:
    answer = desk.client.post("/api/import?format=coco&name=many.json", content=json.dumps(many_objects()))
    assert answer.status_code == 200, answer.text
    assert answer.json()["objects"] == MANY
    desk.wait(f"state.objects.length === {MANY}")


def stage_pixels(desk: Desk) -> NDArray[np.int_]:
    """(h, w, 3): what is on the stage, without messages."""
    desk.page.evaluate(REST)
    desk.page.evaluate("document.querySelector('#toasts').replaceChildren()")
    stage = desk.page.get_by_test_id("stage").bounding_box()
    assert stage is not None
    return desk.shot(*(stage[each] for each in ("x", "y", "width", "height"))).astype(int)


def as_drawn_whole(desk: Desk) -> bool:
    """Whether the stage, drawn piece by piece, looks as it does drawn from nothing; a few pixels of edges may differ,
    as their smoothing depends on where a drawing is cut off."""
    pieces = stage_pixels(desk)
    desk.page.get_by_test_id("outline").click()
    stage_pixels(desk)
    desk.page.get_by_test_id("outline").click()
    whole = stage_pixels(desk)
    desk.page.get_by_test_id("stage").focus()
    return (np.abs(pieces - whole) > 16).any(axis=2).mean() < 2e-4


def test_five_hundred_objects_stay_fluid(desk: Desk, record_property: Callable[[str, Any], None]) -> None:
    open_many(desk)
    for zoom in (desk.state()["zoom"], 2.5):
        zoom_to(desk, zoom, 300, 200)
        moved = move(desk, around(30))
        record_property(f"CPU ms a frame, 500 objects at {zoom:.2f}", moved.ms)
        # no mask is drawn while the picture moves, nor is an empty overlay; then those that have come in from the edge
        assert moved.drawn == {"picture drawImage": moved.frames}
        assert moved.rested["masks drawImage"] == 1
        assert moved.rested.get("masks fill path", 0) < MANY / 4
    assert as_drawn_whole(desk)
    # zooming takes one drawing of them all, at the end
    desk.button("fit")
    moved = move(desk, [(*MIDDLE, delta) for delta in (20, 20, -30)])
    assert "masks fill path" not in moved.drawn
    assert (moved.rested["masks clearRect"], moved.rested["masks fill path"]) == (1, MANY)
    # one among many is made, picked, changed and found again; the others stay as they are drawn
    rows = desk.page.get_by_test_id("object-row")
    assert 0 < rows.count() < 100
    for key, then in (
        ("d", "state.object"),
        ("d", "state.object"),
        ("Delete", f"state.objects.length === {MANY - 1} && !state.waiting"),
        ("Control+z", f"state.objects.length === {MANY} && !state.waiting"),
        ("Escape", "!state.object"),
        ("d", "state.object"),
        ("Space", "!state.object && !state.waiting"),
    ):
        desk.page.evaluate(REST)
        desk.key(key)
        desk.wait(then)
        desk.page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        assert desk.page.evaluate("window.drawn['masks fill path'] ?? 0") < MANY / 4, key
    assert as_drawn_whole(desk)


@pytest.mark.slow
def test_moving_many_or_ragged_masks_takes_half_a_frame(desk: Desk) -> None:
    for begin in (open_many, open_ragged):
        begin(desk)
        for zoom in (desk.state()["zoom"], 2.5):
            zoom_to(desk, zoom, 300, 200)
            moved = move(desk, around(30))
            print(f"{begin.__name__} at {zoom:.2f}: {moved.ms:.1f} ms of CPU a frame")
            assert moved.ms < 16


def test_nothing_but_this_server_is_asked(desk: Desk) -> None:
    asked: list[str] = []
    desk.page.on("request", lambda request: asked.append(request.url))
    desk.load("marked.png")
    assert len(asked) > 20
    foreign = [each for each in asked if not each.startswith((desk.url, "blob:", "data:"))]
    assert foreign == []
    assert [quote(TOKEN) in each for each in asked].count(True) == 1  # the page's own address, and no other
    assert "token" not in desk.page.url
