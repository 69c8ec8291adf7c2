"""Brush, polygon, preview, touch and pen, files in and out: each done as a hand does it, and held to the server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("playwright")

from numpy.typing import NDArray

from emclick.annotations.model import Rle
from web.browser.driver import Desk, mask_of, same
from web.servers import Served

IMAGE = "coffee.jpg"
BOX = (100, 60, 180, 140)
"""x, y of a rectangle's first pixel and of the first one behind it."""


@pytest.fixture(scope="module")
def served(photographs: Path) -> Iterator[Served]:
    server = Served(photographs)
    yield server
    server.kill()


def in_step(desk: Desk) -> dict[str, Any]:
    """The active object; the page and the server agree on it."""
    desk.settled()
    shown = desk.active()
    assert shown is not None
    stored = desk.stored(shown["id"])
    assert same(shown, stored)
    return stored


def rectangle(desk: Desk) -> NDArray[np.bool_]:
    """`BOX` becomes an object, and is the one in work."""
    image = desk.image
    mask = np.zeros((image["height"], image["width"]), np.bool_)
    x0, y0, x1, y1 = BOX
    mask[y0:y1, x0:x1] = True
    body = {"rle": Rle.encode(mask).to_json()}
    one = desk.client.post(f"/api/images/{image['id']}/objects", json=body).json()["id"]
    desk.wait("state.objects.length === 1")
    desk.page.locator(f'[data-testid=object-row][data-id="{one}"] .object-name').click()
    desk.wait(f"state.object === '{one}'")
    desk.page.get_by_test_id("stage").focus()
    return mask


def test_the_first_click_is_one_request(desk: Desk) -> None:
    desk.open(IMAGE)
    sent: list[str] = []

    def note(request: Any) -> None:
        if request.method != "GET" and not request.url.endswith("/settings"):  # those are kept later
            sent.append(f"{request.method} {request.url.removeprefix(desk.url)}")

    desk.page.on("request", note)
    one = desk.click(80, 70)
    desk.page.remove_listener("request", note)
    assert sent == [f"POST /api/images/{one['image']}/objects"]
    assert [(each["x"], each["y"]) for each in one["clicks"]] == [(80, 70)]
    assert desk.state()["samples"][-1]["server_ms"] > 0
    assert in_step(desk)["can_undo"]
    # several clicks at once are one request and one step as well; until then they are hollow
    desk.key("Space")
    hollow = desk.page.get_by_test_id("unsent")
    desk.page.keyboard.down("Control")
    for point in ((60, 40), (90, 120), (40, 120)):
        desk.press(*point)
    hollow.nth(2).wait_for()
    desk.key("Control+z")
    hollow.nth(2).wait_for(state="detached")
    desk.page.keyboard.up("Control")
    desk.wait("state.objects.length === 2 && state.waiting === 0")
    assert [(each["x"], each["y"]) for each in in_step(desk)["clicks"]] == [(60, 40), (90, 120)]
    assert hollow.count() == 0


def test_a_click_is_seen_while_its_answer_is_awaited(desk: Desk) -> None:
    desk.open(IMAGE)
    one = desk.click(80, 70)
    held: list[Any] = []
    desk.page.route("**/clicks", lambda route: held.append(route))
    desk.press(140, 90, positive=False)
    hollow = desk.page.get_by_test_id("unsent")
    hollow.wait_for()
    assert hollow.get_attribute("class") == "unsent negative"
    box = hollow.bounding_box()
    assert box is not None
    assert (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2) == pytest.approx(
        desk.at(140, 90), abs=0.5
    )
    desk.wait("state.waiting === 1")
    for each in held:
        each.continue_()
    desk.page.unroute("**/clicks")
    desk.wait(f"state.seq > {one['seq']} && state.waiting === 0")
    assert hollow.count() == 0
    assert len(in_step(desk)["clicks"]) == 2


def test_a_preview_under_the_pointer(desk: Desk) -> None:
    desk.open(IMAGE)
    desk.key("w")
    try:
        # before there is an object
        desk.page.mouse.move(*desk.at(80, 70))
        desk.wait("state.preview")
        assert desk.image["objects"] == []
        # beside nothing there is nothing
        desk.page.keyboard.down("Shift")
        desk.page.mouse.move(*desk.at(82, 70))
        try:
            desk.wait("!state.preview")
        finally:
            desk.page.keyboard.up("Shift")
        # of a correction
        one = desk.click(80, 70)
        desk.page.mouse.move(*desk.at(150, 110))
        desk.wait("state.preview")
        assert desk.stored(one["id"]) == one
        assert in_step(desk) == one
    finally:
        desk.page.get_by_test_id("stage").focus()
        desk.key("w")
    desk.page.mouse.move(*desk.at(152, 110))
    desk.wait("!state.preview")


def test_the_brush_adds_and_the_eraser_takes_away(desk: Desk) -> None:
    desk.open(IMAGE)
    # a stroke makes an object
    desk.key("b")
    desk.drag([(60, 50), (160, 50)])
    desk.wait("state.objects.length === 1 && state.waiting === 0")
    first = mask_of(in_step(desk))
    assert first[50, 60:161].all()
    rows = np.flatnonzero(first[:, 100])
    size = desk.state()["settings"]["brushSize"]
    assert abs(len(rows) - size) <= 1
    assert abs(rows.mean() - 50) <= 0.5
    # another one adds to it, the right button takes away
    desk.drag([(110, 50), (110, 120)])
    desk.wait("state.waiting === 0 && state.objects[0].can_undo")
    second = mask_of(in_step(desk))
    assert second[120, 110]
    assert (second & first).sum() == first.sum()
    seq = desk.state()["seq"]
    desk.drag([(60, 50), (80, 50)], button="right")
    desk.wait(f"state.seq > {seq} && state.waiting === 0")
    third = mask_of(in_step(desk))
    assert not third[50, 60:80].any()
    assert not (third & ~second).any()
    # and so does the eraser
    seq = desk.state()["seq"]
    desk.key("e")
    desk.drag([(150, 50), (165, 50)])
    desk.wait(f"state.seq > {seq} && state.waiting === 0")
    assert not mask_of(in_step(desk))[50, 150:160].any()
    desk.key("Control+z")
    desk.wait(f"state.seq > {seq + 1} && state.waiting === 0")
    assert np.array_equal(mask_of(in_step(desk)), third)


def test_corners_are_dragged_added_and_removed(desk: Desk) -> None:
    desk.open(IMAGE)
    mask = rectangle(desk)
    x0, y0, x1, y1 = BOX
    desk.key("p")
    assert desk.page.get_by_test_id("hint").inner_text().startswith("Drag a corner")
    # corners lie between pixels: the first one half a pixel before the first pixel's centre
    seq = desk.state()["seq"]
    desk.drag([(x0 - 0.5, y0 - 0.5), (x0 - 40.5, y0 - 0.5)])
    desk.wait(f"state.seq > {seq} && state.waiting === 0")
    dragged = mask_of(in_step(desk))
    assert dragged[mask].all()
    assert abs(dragged.sum() - mask.sum() - 40 * (y1 - y0) / 2) < 0.5 * (y1 - y0)
    assert dragged[y0 + 1, x0 - 37]
    assert not dragged[y1 - 2, x0 - 5]
    # a corner taken away leaves the triangle of the others
    seq = desk.state()["seq"]
    desk.press(x1 - 0.5, y1 - 0.5, positive=False)
    desk.wait(f"state.seq > {seq} && state.waiting === 0")
    assert not mask_of(in_step(desk))[y1 - 3, x1 - 3]
    # a new one on the edge below can be dragged out again
    for _ in range(2):
        seq = desk.state()["seq"]
        desk.key("Control+z")
        desk.wait(f"state.seq > {seq} && state.waiting === 0")
    assert np.array_equal(mask_of(in_step(desk)), mask)
    middle = (x0 + x1) / 2
    seq = desk.state()["seq"]
    desk.page.mouse.dblclick(*desk.at(middle, y1 - 0.5))
    desk.wait(f"state.seq > {seq} && state.waiting === 0")
    seq = desk.state()["seq"]
    desk.drag([(middle, y1 - 0.5), (middle, y1 + 29.5)])
    desk.wait(f"state.seq > {seq} && state.waiting === 0")
    out = mask_of(in_step(desk))
    assert out[y1 + 20, round(middle)]
    assert out[mask].all()


def test_a_double_click_is_one_click_and_a_later_press_takes_it_away(desk: Desk) -> None:
    desk.open(IMAGE)
    desk.page.mouse.dblclick(*desk.at(80, 70))
    desk.wait("state.waiting === 0 && state.objects[0]?.clicks.length === 1")
    assert len(in_step(desk)["clicks"]) == 1
    desk.page.wait_for_timeout(320)  # two clicks from now on
    desk.press(80, 70)
    desk.wait("state.waiting === 0 && !state.objects[0]?.clicks.length")
    # elsewhere, or with the other button, the second press is meant
    desk.press(80, 70)
    desk.press(120, 90)
    desk.press(120, 60, positive=False)
    desk.wait("state.waiting === 0 && state.objects[0]?.clicks.length === 3")
    assert [each["positive"] for each in in_step(desk)["clicks"]] == [True, True, False]


def test_a_press_at_the_same_place_of_a_moved_image_is_no_double_click(desk: Desk) -> None:
    desk.open(IMAGE)
    place = desk.at(80, 70)
    began = desk.page.evaluate("performance.now()")
    desk.page.mouse.click(*place)
    desk.page.mouse.down(button="middle")
    desk.page.mouse.move(place[0] - 60, place[1])
    desk.page.mouse.up(button="middle")
    desk.page.mouse.click(*place)
    took = desk.page.evaluate("performance.now()") - began
    if took > 300:
        pytest.skip(f"two clicks took {took:.0f} ms here")
    desk.wait("state.waiting === 0 && state.objects[0]?.clicks.length === 2")
    first, second = in_step(desk)["clicks"]
    assert (first["x"], second["y"]) == pytest.approx((80, 70), abs=0.5)
    assert second["x"] > 90


def test_deleting_rows_from_the_keyboard_goes_on_with_the_next(desk: Desk) -> None:
    desk.open(IMAGE)
    for x in (60, 160, 260):
        desk.click(x, 80)
        desk.key("Space")
        desk.wait("!state.object && state.waiting === 0")
    ids = [each["id"] for each in desk.state()["objects"]]
    desk.cleared.update(ids)  # news of a change may have the page ask for one that is deleted by then

    def held() -> str | None:
        return desk.page.evaluate(
            "document.activeElement?.closest('[data-testid=object-row]')?.dataset.id ?? null"
        )

    desk.page.locator(f'[data-testid=object-row][data-id="{ids[1]}"] .bin').focus()
    desk.key("Enter")
    desk.wait("state.objects.length === 2 && state.waiting === 0")
    assert held() == ids[2]
    desk.key("Enter")
    desk.wait("state.objects.length === 1 && state.waiting === 0")
    assert held() == ids[0]  # the last of the list: the one before
    desk.key("Enter")
    desk.wait("!state.objects.length && state.waiting === 0")
    assert held() is None
    assert desk.page.evaluate("document.activeElement.dataset.testid") == "stage"


def touch(session: Any, kind: str, *points: tuple[float, float]) -> None:
    places = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(points)]
    session.send("Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": places})


def test_fingers_click_move_and_zoom(desk: Desk) -> None:
    desk.open(IMAGE)
    session = desk.page.context.new_cdp_session(desk.page)
    # a tap is a click
    touch(session, "Start", desk.at(80, 70))
    touch(session, "End")
    desk.wait("state.objects.length === 1 && state.waiting === 0")
    (made,) = in_step(desk)["clicks"]
    assert (made["x"], made["y"]) == pytest.approx((80, 70), abs=0.5)
    # one finger moves the picture, two zoom it around their middle, and neither clicks
    before = desk.state()
    x, y = desk.at(80, 70)
    touch(session, "Start", (x, y))
    for step in range(1, 5):
        touch(session, "Move", (x + 10 * step, y + 5 * step))
    touch(session, "End")
    assert desk.at(80, 70) == pytest.approx((x + 40, y + 20), abs=12)  # it starts once it is no tap any more
    x, y = desk.at(80, 70)
    touch(session, "Start", (x - 50, y))
    touch(session, "Start", (x - 50, y), (x + 50, y))
    for step in range(1, 6):
        touch(session, "Move", (x - 50 - 10 * step, y), (x + 50 + 10 * step, y))
    touch(session, "End")
    after = desk.state()
    assert after["zoom"] == pytest.approx(2 * before["zoom"], rel=0.02)
    assert desk.at(80, 70) == pytest.approx((x, y), abs=2)
    assert len(in_step(desk)["clicks"]) == 1
    session.detach()


def test_a_pen_clicks_and_brushes(desk: Desk) -> None:
    desk.open(IMAGE)
    session = desk.page.context.new_cdp_session(desk.page)

    def pen(kind: str, x: float, y: float, down: bool) -> None:
        place = desk.at(x, y)
        session.send("Input.dispatchMouseEvent", {
            "type": f"mouse{kind}", "x": place[0], "y": place[1], "button": "left", "buttons": int(down),
            "clickCount": 1, "pointerType": "pen",
        })  # fmt: skip

    pen("Pressed", 80, 70, True)
    pen("Released", 80, 70, False)
    desk.wait("state.objects.length === 1 && state.waiting === 0")
    one = in_step(desk)
    assert [(round(each["x"]), round(each["y"])) for each in one["clicks"]] == [(80, 70)]
    desk.key("b")
    pen("Pressed", 20, 20, True)
    for x in (40, 60, 80):
        pen("Moved", x, 20, True)
    pen("Released", 80, 20, False)
    desk.wait(f"state.seq > {one['seq']} && state.waiting === 0")
    assert mask_of(in_step(desk))[20, 20:81].all()
    session.detach()


def test_annotations_come_in_and_go_out_by_the_page(desk: Desk, tmp_path: Path) -> None:
    desk.open(IMAGE)
    height, width = desk.image["height"], desk.image["width"]
    ring = np.zeros((height, width), np.bool_)
    ring[30:110, 40:160] = True
    ring[50:70, 60:90] = False
    islands = np.zeros_like(ring)
    islands[5:9, 5:200:10] = True
    masks = {"ring": ring, "isles, two": islands}
    annotations = {
        "images": [{"id": 4, "file_name": IMAGE, "height": height, "width": width}],
        "annotations": [
            {"id": n, "image_id": 4, "category_id": n, "segmentation": Rle.encode(mask).to_json(), "iscrowd": 0,
             "area": int(mask.sum()), "bbox": list(Rle.encode(mask).box)}
            for n, mask in enumerate(masks.values(), 1)
        ],
        "categories": [{"id": n, "name": name} for n, name in enumerate(masks, 1)],
    }  # fmt: skip
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(annotations))
    desk.button("export")
    with desk.page.expect_file_chooser() as chosen:
        desk.button("import-coco")
    chosen.value.set_files(path)
    desk.page.get_by_test_id("toasts").get_by_text("2 objects imported").wait_for()
    desk.wait("state.objects.length === 2 && state.waiting === 0")
    shown = {each["label"]: each for each in desk.state()["objects"]}
    assert {name: mask_of(each).tolist() for name, each in shown.items()} == {
        name: mask.tolist() for name, mask in masks.items()
    }
    desk.page.get_by_test_id("label").get_by_text("isles, two").wait_for()
    # out again, what the server has, bit for bit
    desk.button("export")
    with desk.page.expect_download() as started:
        desk.button("export-coco")
    started.value.save_as(tmp_path / "out.json")
    out = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    names = {each["id"]: each["name"] for each in out["categories"]}
    assert {names[each["category_id"]]: each["segmentation"] for each in out["annotations"]} == {
        each["label"]: each["rle"] for each in desk.image["objects"]
    }
    # what is no such file is told, and nothing comes of it
    path.write_text("{")
    desk.button("export")
    with desk.page.expect_file_chooser() as chosen:
        desk.button("import-coco")
    desk.allowed = lambda complaint: "422" in complaint
    chosen.value.set_files(path)
    desk.page.get_by_test_id("toasts").locator(".error").wait_for()
    desk.wait("state.objects.length === 2 && state.waiting === 0")


def test_what_closes_a_menu_does_nothing_else(desk: Desk) -> None:
    desk.open(IMAGE)
    one = desk.click(80, 70)
    menu = desk.page.get_by_test_id("formats")
    for close in (lambda: desk.key("Escape"), lambda: desk.press(150, 100)):
        desk.button("export")
        menu.wait_for()
        close()
        menu.wait_for(state="hidden")
        assert in_step(desk) == one
    desk.press(150, 100)
    desk.wait(f"state.seq > {one['seq']} && state.waiting === 0")


LAID_OUT = """() => {
  const shown = [...document.querySelectorAll("#topbar button, #topbar .image-name, #topbar .mark, #status > *")];
  return shown
    .filter((each) => each.checkVisibility() && each.textContent + each.querySelector("svg"))
    .map((each) => {
      const { left, top, right, bottom } = each.getBoundingClientRect();
      return [each.dataset.testid ?? each.title ?? each.className, left, top, right, bottom];
    })
    .filter(([, left, top, right, bottom]) => right > left && bottom > top);
}"""
"""Name and left, top, right, bottom of what the bars show."""


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (1190, 700), (1070, 700), (950, 700), (390, 844)])
def test_nothing_overlaps_or_lies_outside(desk: Desk, width: int, height: int) -> None:
    desk.open(IMAGE)
    desk.page.set_viewport_size({"width": width, "height": height})
    try:
        desk.wait(f"window.innerWidth === {width}")
        found = desk.page.evaluate(LAID_OUT)
        assert len(found) > 8
        for number, (name, left, top, right, bottom) in enumerate(found):
            assert left >= 0, name
            assert top >= 0, name
            assert right <= width + 0.5, name
            assert bottom <= height + 0.5, name
            for other, x0, y0, x1, y1 in found[:number]:
                apart = x1 <= left + 1.5 or right <= x0 + 1.5 or y1 <= top + 1.5 or bottom <= y0 + 1.5
                assert apart, (name, other)
        name = desk.page.get_by_test_id("image-name").bounding_box()
        assert name is not None
        assert name["width"] > 60
        for opener, opened in (("export", "[data-testid=formats]"), ("help", "dialog[open]")):
            desk.button(opener)
            box = desk.page.locator(opened).bounding_box()
            assert box is not None
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= width
            close = (
                desk.page.locator(f"{opened} button").all()[-1 if opener == "export" else 1].bounding_box()
            )
            assert close is not None
            assert close["x"] + close["width"] <= box["x"] + box["width"]
            desk.key("Escape")
    finally:
        desk.page.set_viewport_size({"width": 1280, "height": 800})
