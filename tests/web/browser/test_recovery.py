"""The server dies and comes back, a second window looks on: no click is lost, made twice, or made blindly."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("playwright")

from numpy.typing import NDArray

from emclick.annotations.model import Rle
from web.browser.driver import Desk, mask_of, same
from web.servers import Served


class Mortal:
    """A server that is killed and started again at the same address."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server = Served(folder)
        self.url = self.server.url

    def kill(self) -> None:
        self.server.kill()

    def start(self) -> None:
        self.server = Served(self.folder, "--port", self.url.rpartition(":")[2])
        assert self.server.url == self.url, self.server.lines


@pytest.fixture(scope="module")
def served(photographs: Path) -> Iterator[Mortal]:
    mortal = Mortal(photographs)
    yield mortal
    mortal.kill()


def server_is_away(complaint: str) -> bool:
    """What the browser itself says of requests that nobody answers."""
    return (
        re.search(
            r"net::ERR_(CONNECTION|CONTENT_LENGTH|EMPTY|SOCKET|FAILED|INCOMPLETE|NETWORK|ABORTED)", complaint
        )
        is not None
    )


def choose(desk: Desk, button: str, name: str, data: bytes) -> None:
    """Press a button that asks for a file, and give it one."""
    with desk.page.expect_file_chooser() as chosen:
        desk.button(button)
    chosen.value.set_files({"name": name, "mimeType": "application/octet-stream", "buffer": data})


def png(mask: NDArray[np.bool_]) -> bytes:
    return cv2.imencode(".png", mask.astype(np.uint8) * 255)[1].tobytes()


def test_labels_and_files_made_while_the_server_is_gone_are_sent_once(desk: Desk, served: Mortal) -> None:
    desk.allowed = server_is_away
    desk.open("cat.png")
    entry, one = desk.image, desk.click(100, 100)["id"]
    hw = (entry["height"], entry["width"])
    mask = np.zeros(hw, np.bool_)
    mask[50:90, 60:140] = True
    annotations = {
        "images": [{"id": 1, "file_name": "cat.png", "height": hw[0], "width": hw[1]}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": Rle.encode(~mask).to_json(),
                         "area": int((~mask).sum()), "bbox": [0, 0, hw[1], hw[0]], "iscrowd": 0}],
        "categories": [{"id": 1, "name": "far"}],
    }  # fmt: skip
    served.kill()
    desk.page.get_by_test_id("new-label").fill("near")
    desk.key("Enter")
    desk.page.get_by_test_id("edit-labels").click()
    name = desk.page.get_by_label("Label name")
    assert name.input_value() == "near"
    name.fill("close by")
    name.press("Enter")
    desk.page.get_by_test_id("edit-labels").click()
    desk.page.get_by_test_id("label").get_by_text("close by").wait_for()
    desk.press(160, 120)
    desk.wait("state.connection === 'offline'")
    choose(desk, "loadMask", "mask.png", png(mask))
    toasts = desk.page.get_by_test_id("toasts")
    toasts.get_by_text("kept here").wait_for()
    choose(desk, "loadMask", "mask.png", bytes(1_100_000))
    toasts.get_by_text("too large to be kept").wait_for()
    desk.button("export")
    choose(desk, "import-coco", "more.json", json.dumps(annotations).encode())
    # the label, on the object, its new name, the click, the object finished, the mask, the import
    desk.wait("state.waiting === 7")
    served.start()
    desk.settled()
    desk.wait("state.objects.length === 3 && state.objects.every((each) => each.seq)")
    shown = desk.image["objects"]
    assert [each["id"] == one for each in shown] == [True, False, False]
    assert (shown[0]["label"], places(shown[0])) == ("close by", [(100, 100), (160, 120)])
    assert np.array_equal(mask_of(shown[1]), mask)
    assert np.array_equal(mask_of(shown[2]), ~mask)
    assert [each["name"] for each in desk.ask("project")["labels"]] == ["close by", "far"]
    assert desk.page.evaluate("Object.keys(localStorage).filter((each) => each.startsWith('emclick-'))") == []
    assert all(same(each, desk.stored(each["id"])) for each in desk.state()["objects"])


def places(one: dict) -> list[tuple[int, int]]:
    return [(round(each["x"]), round(each["y"])) for each in one["clicks"]]


def test_clicks_made_while_the_server_is_gone_are_sent_once(desk: Desk, served: Mortal) -> None:
    desk.allowed = server_is_away
    desk.open("cat.png")
    made = [(100, 100), (160, 100), (220, 100), (280, 100), (100, 200), (160, 200)]
    desk.click(*made[0])
    served.kill()
    for point in made[1:4]:
        desk.press(*point)
    desk.wait("state.waiting === 3 && state.connection === 'offline'")
    banner = desk.page.get_by_test_id("banner")
    assert "3 changes kept here" in banner.inner_text()
    assert desk.page.get_by_test_id("saved").inner_text() == "Not saved"
    done, mark = (desk.page.get_by_test_id(name).bounding_box() for name in ("done", "saved"))
    assert done is not None
    assert mark is not None
    assert done["x"] + done["width"] < mark["x"]
    # they are seen where they were made, and stay there when the picture moves
    hollow = desk.page.get_by_test_id("unsent")
    assert marked_places(desk) == pytest.approx(np.array(made[1:4]), abs=0.5)
    before = desk.state()["zoom"]
    desk.page.mouse.move(*desk.at(220, 150))
    desk.page.mouse.wheel(0, -200)
    desk.wait(f"state.zoom > {before}")
    desk.drag([(220, 150), (200, 170)], button="middle")
    desk.page.evaluate(TWO_FRAMES)
    assert marked_places(desk) == pytest.approx(np.array(made[1:4]), abs=0.5)
    # but not while masks are hidden, nor over corners to be dragged
    desk.page.keyboard.down("h")
    hollow.first.wait_for(state="detached")
    desk.page.keyboard.up("h")
    hollow.nth(2).wait_for()
    desk.key("p")
    hollow.first.wait_for(state="detached")
    desk.key("c")
    hollow.nth(2).wait_for()
    served.start()
    desk.settled()
    assert not banner.is_visible()
    assert hollow.count() == 0
    one = desk.stored(desk.state()["object"])
    assert places(one) == made[:4]
    assert same(desk.active(), one)


def test_a_stroke_made_while_the_server_is_gone_is_laid_on_the_click_before_it(
    desk: Desk, served: Mortal
) -> None:
    desk.allowed = server_is_away
    desk.open("cat.png")
    one = desk.click(100, 100)
    served.kill()
    desk.press(220, 160)
    desk.key("b")
    desk.drag([(60, 250), (300, 250)])
    desk.key("c")
    desk.wait("state.waiting === 2 && state.connection === 'offline'")
    shown = desk.active()
    assert shown is not None
    assert mask_of(shown)[250, 60:301].all()  # seen at once
    toasts = desk.page.get_by_test_id("toasts")
    toasts.evaluate("(each) => each.replaceChildren()")  # of the test before
    toast = toasts.get_by_text("The server is back")
    held: list[Any] = []
    desk.page.route("**/clicks", lambda route: held.append(route))
    lists = f"{desk.url}/api/images"
    try:
        with desk.page.expect_response(lambda each: each.url == lists and each.ok):
            served.start()
        assert toast.count() == 0  # the server is there again, but not all is saved
    finally:
        for each in held:
            each.continue_()
        desk.page.unroute("**/clicks")
    toast.wait_for()
    desk.settled()
    done = desk.stored(one["id"])
    assert same(desk.active(), done)
    desk.key("Control+z")
    desk.wait(f"state.seq > {done['seq']} && state.waiting === 0")
    clicked = desk.stored(one["id"])
    assert places(clicked) == [(100, 100), (220, 160)]
    assert not np.array_equal(mask_of(clicked), mask_of(one))
    assert not (mask_of(clicked) & ~mask_of(done)).any()
    assert mask_of(done)[250, 60:301].all()


def test_a_closed_window_leaves_its_clicks_to_the_next(
    desk: Desk, desks: Callable[..., Desk], served: Mortal
) -> None:
    first, desk = desk, desks(beside=desk)
    first.allowed = desk.allowed = server_is_away
    desk.load("coffee.jpg").clear()
    image = desk.state()["image"]
    served.kill()
    desk.press(60, 60)
    desk.press(200, 120)
    desk.wait(
        "state.waiting === 2 && state.connection === 'offline'"
    )  # the object with its click, and another
    desk.page.close(run_before_unload=False)
    served.start()
    assert desk.ask(f"images/{image}")["objects"] == []
    again = desks(beside=desk)
    again.load("coffee.jpg")
    again.settled()
    again.wait("state.objects.length === 1 && state.objects[0].clicks.length === 2")
    (one,) = again.ask(f"images/{image}")["objects"]
    assert places(one) == [(60, 60), (200, 120)]


TWO_FRAMES = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


def marked_places(desk: Desk) -> NDArray[np.float64]:
    """(n, 2): x, y in image px of the marks of clicks that have not been answered."""
    (x0, y0), zoom = desk.at(0, 0), desk.state()["zoom"]
    boxes = [each.bounding_box() for each in desk.page.get_by_test_id("unsent").all()]
    middles = [(each["x"] + each["width"] / 2, each["y"] + each["height"] / 2) for each in boxes if each]
    return (np.array(middles) - (x0, y0)) / zoom


def killed_while_clicking(desk: Desk, served: Mortal, rounds: int) -> None:
    """The server dies with a click on its way: answered or not, it is there once."""
    chance = random.Random(5)
    made: list[tuple[int, int]] = []
    for number in range(rounds):
        for place in range(3):
            made.append((40 + 90 * place + number % 3 * 30, 20 + 20 * number))
            desk.press(*made[-1])
        desk.page.evaluate(f"new Promise((done) => setTimeout(done, {chance.uniform(0, 60)}))")
        served.kill()
        made.append((330, 20 + 20 * number))
        desk.press(*made[-1])
        served.start()
        desk.settled()
        desk.wait(f"state.objects.find((each) => each.id === state.object).clicks.length === {len(made)}")
        one = desk.stored(desk.state()["object"])
        assert places(one) == made
        assert same(desk.active(), one)


def test_killed_while_clicking(desk: Desk, served: Mortal) -> None:
    desk.allowed = server_is_away
    desk.open("rotated.jpg")
    killed_while_clicking(desk, served, rounds=1)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_ten_times_while_clicking(desk: Desk, served: Mortal) -> None:
    desk.allowed = server_is_away
    desk.open("café 写真 2.png")
    killed_while_clicking(desk, served, rounds=10)


def test_two_windows_on_one_image(desk: Desk, desks: Callable[..., Desk]) -> None:
    left = desk.open("cat.png")
    right = desks(beside=left)
    right.allowed = lambda each: "409" in each or server_is_away(each)
    right.load("cat.png")
    assert right.state()["objects"] == []

    # what one does, the other shows
    one = left.click(300, 150)["id"]
    right.wait("state.objects.length === 1")
    right.wait(f"state.objects.find((each) => each.id === '{one}').clicks.length === 1")
    left.click(340, 180)
    right.wait(f"state.objects.find((each) => each.id === '{one}').clicks.length === 2")
    shown = next(each for each in right.state()["objects"] if each["id"] == one)
    assert same(shown, left.stored(one))
    row = right.page.locator(f'[data-testid=object-row][data-id="{one}"]')
    row.locator(".object-name").click()
    right.wait(f"state.object === '{one}'")
    right.click(320, 220)
    left.wait("state.objects.find((each) => each.id === state.object).clicks.length === 3")

    # a click on what is not seen any more is refused and told
    right.page.route("**/api/changes*", lambda route: route.abort())
    right.page.route(f"**/api/objects/{one}", lambda route: route.abort())
    right.page.route(f"**/api/images/{left.state()['image']}", lambda route: route.abort())
    left.click(150, 60)
    right.press(360, 250)
    toast = right.page.get_by_test_id("toasts")
    toast.get_by_text("changed in another window").wait_for()
    right.wait(
        "state.waiting === 0 && state.objects.find((each) => each.id === state.object).clicks.length === 4"
    )
    now = left.stored(one)
    assert places(now) == [(300, 150), (340, 180), (320, 220), (150, 60)]
    assert right.active()["rle"] == now["rle"]  # type: ignore[index]
    right.page.wait_for_timeout(320)  # so soon it would be half of a double click
    right.click(360, 250)
    assert places(left.stored(one))[-1] == (360, 250)


def test_what_another_window_deletes_goes_with_what_else_it_changes(
    desk: Desk, desks: Callable[..., Desk]
) -> None:
    left = desk.open("coffee.jpg")
    kept = left.click(60, 60)["id"]
    left.key("Space")
    gone = left.click(150, 100)["id"]
    left.key("Space")
    left.settled()
    right = desks(beside=left)
    right.load("coffee.jpg")
    right.wait("state.objects.length === 2")
    held: list[Any] = []
    right.page.route("**/api/changes*", lambda route: held.append(route))
    # the request that waits now brings the first change, the next one is held back
    left.client.patch(f"/api/objects/{kept}", json={"label": "cup"})
    right.wait(f"state.objects.find((each) => each.id === '{kept}').label === 'cup'")
    while not held:
        right.page.wait_for_timeout(20)
    left.client.post(f"/api/objects/{kept}/clicks", json={"x": 80, "y": 60, "positive": True})
    left.client.delete(f"/api/objects/{gone}")
    for each in held:
        each.continue_()
    right.page.unroute("**/api/changes*")
    right.wait("state.objects.length === 1 && state.objects[0].clicks.length === 2")
    left.wait("state.objects.length === 1")


def test_another_folder_at_the_same_address_is_not_given_the_changes(
    desk: Desk, served: Mortal, tmp_path: Path
) -> None:
    desk.allowed = lambda each: server_is_away(each) or "404" in each
    desk.open("cat.png")
    one = desk.click(100, 100)
    served.kill()
    desk.press(220, 160)
    desk.wait("state.waiting === 1 && state.connection === 'offline'")
    cv2.imwrite(str(tmp_path / "other.png"), np.zeros((40, 60, 3), np.uint8))
    other = Served(tmp_path, "--port", served.url.rpartition(":")[2])
    desk.wait("state.connection === 'denied'")
    assert desk.state()["waiting"] == 1
    other.kill()
    served.start()
    desk.settled()
    assert places(desk.stored(one["id"])) == [(100, 100), (220, 160)]
