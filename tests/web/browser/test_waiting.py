"""What is done while the changes before are on their way comes out as if the server were quick."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("playwright")

from web.browser.driver import Desk, mask_of, same
from web.servers import Served

IMAGE = "coffee.jpg"
OTHER = "cat.png"


@pytest.fixture(scope="module")
def served(photographs: Path) -> Iterator[Served]:
    server = Served(photographs)
    yield server
    server.kill()


@contextlib.contextmanager
def slow(desk: Desk, pattern: str) -> Iterator[list[Any]]:
    """Requests for changes that fit `pattern` are held back; they go on at the end. Gives those held so far."""
    held: list[Any] = []
    over = False

    def hold(route: Any) -> None:
        if over or route.request.method == "GET":
            route.continue_()
        else:
            held.append(route)

    desk.page.route(pattern, hold)
    try:
        yield held
    finally:
        over = True
        for each in held:
            each.continue_()
        desk.page.unroute(pattern)


def places(one: dict[str, Any]) -> list[tuple[int, int]]:
    return [(round(each["x"]), round(each["y"])) for each in one["clicks"]]


def four_clicks(desk: Desk) -> str:
    desk.open(IMAGE)
    for x in (40, 80, 120, 160):
        one = desk.click(x, 60)
    return one["id"]


def test_a_point_pressed_twice_is_removed_once(desk: Desk) -> None:
    one = four_clicks(desk)
    with slow(desk, "**/clicks/*"):
        desk.press(40, 60)
        desk.press(40, 60)
        desk.wait("state.waiting === 2")
    desk.settled()
    assert places(desk.stored(one)) == [(80, 60), (120, 60), (160, 60)]
    # two points, pressed one after the other, are these two
    with slow(desk, "**/clicks/*"):
        desk.press(80, 60)
        desk.press(120, 60)
        desk.wait("state.waiting === 2")
    desk.settled()
    assert places(desk.stored(one)) == [(160, 60)]


def test_a_point_is_removed_while_a_click_is_on_its_way(desk: Desk) -> None:
    one = four_clicks(desk)
    with slow(desk, "**/clicks"):
        desk.press(100, 120)
        desk.press(80, 60)
        desk.key("Backspace")
        desk.wait("state.waiting === 3")
    desk.settled()
    assert places(desk.stored(one)) == [(40, 60), (120, 60), (160, 60)]
    assert same(desk.active(), desk.stored(one))


def test_undo_is_of_the_object_that_was_in_work(desk: Desk) -> None:
    one = four_clicks(desk)
    with slow(desk, "**/clicks"):
        desk.press(100, 120)
        desk.key("Control+z")
        desk.key("Space")
        desk.wait("state.waiting === 3 && !state.object")
    desk.settled()
    now = desk.stored(one)
    assert now["finished"]
    assert places(now) == [(40, 60), (80, 60), (120, 60), (160, 60)]


def test_undo_is_of_the_image_that_was_open(desk: Desk) -> None:
    desk.open(OTHER)
    desk.click(100, 100)
    desk.key("Space")
    desk.settled()
    other = desk.image
    one = four_clicks(desk)
    with slow(desk, "**/clicks"):
        desk.press(100, 120)
        desk.key("Control+z")
        desk.go_to(OTHER)
    desk.settled()
    assert [each["id"] for each in desk.image["objects"]] == [each["id"] for each in other["objects"]]
    assert desk.image["objects"] == other["objects"]
    assert places(desk.stored(one)) == [(40, 60), (80, 60), (120, 60), (160, 60)]


def stroke(desk: Desk, *, tool: str = "b") -> None:
    desk.key(tool)
    desk.drag([(30, 110), (190, 110)])
    desk.key("c")


def painted_on_the_click(desk: Desk, one: str) -> None:
    """The object has its click, and then the stroke on the mask that came of it."""
    done = mask_of(desk.stored(one))
    assert done[110, 30:191].all()
    desk.client.post(f"/api/objects/{one}/undo")
    before = desk.stored(one)
    assert places(before) == [(100, 60), (100, 20)]
    assert (done | mask_of(before)).sum() == done.sum()
    ys, _ = np.nonzero(done & ~mask_of(before))
    assert abs(ys.mean() - 110) < 8


def test_a_stroke_is_kept_when_another_image_is_opened(desk: Desk) -> None:
    desk.open(IMAGE)
    one = desk.click(100, 60)["id"]
    with slow(desk, "**/clicks"):
        desk.press(100, 20)
        stroke(desk)
        desk.wait("state.waiting === 2")
        desk.go_to(OTHER)
    desk.settled()
    painted_on_the_click(desk, one)


def test_a_stroke_is_kept_by_a_page_that_is_loaded_anew(desks: Callable[..., Desk]) -> None:
    desk = desks()
    desk.allowed = lambda each: "net::ERR_FAILED" in each
    desk.load(IMAGE).clear()
    one = desk.click(100, 60)["id"]
    path = f"**/api/objects/{one}/*"
    desk.page.route(path, lambda route: route.abort())
    desk.press(100, 20)
    stroke(desk)
    desk.wait("state.waiting === 2 && state.connection === 'offline'")
    desk.page.reload()
    # it is shown while it waits
    desk.wait("state.image && !state.loading && state.waiting === 2")
    shown = next(each for each in desk.state()["objects"] if each["id"] == one)
    assert mask_of(shown)[110, 30:191].all()
    desk.page.unroute(path)
    desk.settled()
    assert same(next(each for each in desk.state()["objects"] if each["id"] == one), desk.stored(one))
    painted_on_the_click(desk, one)


def test_what_is_on_its_way_is_seen_until_it_is_answered(desk: Desk) -> None:
    desk.open(IMAGE)
    one = desk.click(100, 60)["id"]
    with slow(desk, "**/mask") as held:
        stroke(desk)
        desk.wait("state.waiting === 1")
        desk.key("b")
        desk.drag([(30, 20), (60, 20)])
        desk.key("c")
        desk.wait("state.waiting === 2")
        shown = mask_of(desk.active() or {})
        assert shown[110, 30:191].all()
        assert shown[20, 30:61].all()
        # the first is answered, the second still waits
        held.pop(0).continue_()
        desk.wait("state.waiting === 1")
        shown = mask_of(desk.active() or {})
        assert shown[110, 30:191].all()
        assert shown[20, 30:61].all()
    desk.settled()
    assert same(desk.active(), desk.stored(one))
    assert np.array_equal(mask_of(desk.stored(one)), shown)


def test_the_brush_keeps_out_of_what_is_finished(desk: Desk) -> None:
    desk.open(IMAGE)
    desk.key("b")
    desk.drag([(110, 40), (110, 150)])
    desk.key("Space")
    desk.settled()
    (first,) = desk.image["objects"]
    assert first["finished"]
    desk.drag([(30, 110), (190, 110)])
    desk.settled()
    second = desk.stored(desk.state()["object"])
    assert second["id"] != first["id"]
    assert mask_of(second)[110, 30:60].all()
    assert not (mask_of(second) & mask_of(first)).any()
    desk.key("c")


def test_a_corner_that_is_only_pressed_changes_nothing(desk: Desk) -> None:
    desk.open(IMAGE)
    mask = np.zeros((desk.image["height"], desk.image["width"]), np.bool_)
    mask[60:140, 100:180] = True
    desk.key("b")
    desk.drag([(100, 60), (180, 60)])
    desk.key("p")
    desk.settled()
    one = desk.stored(desk.state()["object"])
    ys, xs = np.nonzero(mask_of(one))
    # somewhere on the rounded end there is a corner; wherever the press falls, nothing is to come of it
    sent: list[str] = []

    def note(request: Any) -> None:
        if request.method == "PUT" and request.url.endswith("/mask"):
            sent.append(request.url)

    desk.page.on("request", note)
    for y in np.unique(ys):
        desk.press(xs[ys == y].max() + 0.5, y)
    desk.key("c")
    desk.click(30, 130)
    desk.page.remove_listener("request", note)
    assert sent == []
    desk.key("Control+z")
    desk.wait(f"state.seq > {one['seq'] + 1} && state.waiting === 0")
    assert np.array_equal(mask_of(desk.stored(one["id"])), mask_of(one))


def test_a_server_that_cannot_store_says_why(desk: Desk) -> None:
    one = four_clicks(desk)
    desk.allowed = lambda each: "503" in each
    body = '{"error": {"code": "storage", "message": "the disk is full"}}'
    desk.page.route(
        "**/clicks", lambda route: route.fulfill(status=503, body=body, content_type="application/json")
    )
    desk.press(100, 120)
    desk.wait("state.connection === 'storage'")
    banner = desk.page.get_by_test_id("banner")
    banner.get_by_text("cannot save: the disk is full. 1 change kept here").wait_for()
    assert desk.page.get_by_test_id("saved").inner_text() == "Not saved"
    desk.page.unroute("**/clicks")
    desk.settled()
    banner.wait_for(state="hidden")
    assert places(desk.stored(one))[-1] == (100, 120)


def test_the_first_picture_is_asked_for_until_it_comes(desks: Callable[..., Desk]) -> None:
    desk = desks()
    desk.allowed = lambda each: "net::ERR_FAILED" in each
    failed: list[str] = []

    def fail(route: Any) -> None:
        failed.append(route.request.url)
        route.abort()

    desk.page.route("**/pixels*", fail)
    desk.page.goto(f"{desk.url}/?token={desk.token}")
    desk.wait("state.loading && !state.image")
    while not failed:
        desk.page.wait_for_timeout(20)
    desk.page.unroute("**/pixels*")
    desk.wait("state.image && !state.loading")


def test_an_image_opens_as_it_is_when_its_picture_has_come(desk: Desk) -> None:
    one = four_clicks(desk)
    desk.go_to(OTHER)
    held: list[Any] = []
    pixels = f"**/images/{desk.image_id(IMAGE)}/pixels*"
    desk.page.goto("about:blank")  # what was asked for ahead is over
    desk.page.route(pixels, lambda route: held.append(route))
    desk.page.goto(f"{desk.url}/?token={desk.token}#image={desk.image_id(IMAGE)}")
    while not held:
        desk.page.wait_for_timeout(20)
    desk.client.post(f"/api/objects/{one}/clicks", json={"x": 100, "y": 120, "positive": True})
    desk.page.wait_for_timeout(500)  # the news has gone by
    for each in held:
        each.continue_()
    desk.page.unroute(pixels)
    desk.wait(f"state.image === '{desk.image_id(IMAGE)}' && !state.loading")
    shown = next(each for each in desk.state()["objects"] if each["id"] == one)
    assert same(shown, desk.stored(one))
    assert places(shown)[-1] == (100, 120)


def test_undo_while_the_server_is_away_takes_back_what_was_not_sent(desk: Desk) -> None:
    one = four_clicks(desk)
    desk.allowed = lambda each: "net::ERR_FAILED" in each
    path = f"**/api/objects/{one}/*"
    desk.page.route(path, lambda route: route.abort())
    desk.press(100, 120)
    desk.wait("state.connection === 'offline'")
    desk.press(30, 130)
    stroke(desk)
    desk.wait("state.waiting === 3")
    shown = desk.active()
    desk.key("Control+z")
    desk.wait("state.waiting === 2")
    assert not same(desk.active(), shown or {})  # the stroke is not seen any more
    desk.key("Control+z")
    desk.wait("state.waiting === 1")
    desk.key("Control+z")  # the first may have reached the server: this is for it to undo
    desk.wait("state.waiting === 2")
    desk.page.unroute(path)
    desk.settled()
    now = desk.stored(one)
    assert places(now) == [(40, 60), (80, 60), (120, 60), (160, 60)]
    assert same(desk.active(), now)


def test_redo_goes_on_with_the_object_that_it_brings_back(desk: Desk) -> None:
    desk.open(IMAGE)
    one = desk.click(40, 60)["id"]
    desk.click(80, 60)
    for left in ("state.waiting === 0", "state.waiting === 0", "state.waiting === 0 && !state.object"):
        desk.key("Control+z")
        desk.wait(left)
    with slow(desk, "**/redo"):
        for _ in range(3):
            desk.key("Control+y")
        desk.wait("state.waiting === 3")
    desk.settled()
    assert places(desk.stored(one)) == [(40, 60), (80, 60)]
    assert same(desk.active(), desk.stored(one))


def test_a_lock_holds_against_undo_and_delete(desk: Desk) -> None:
    one = four_clicks(desk)
    desk.client.patch(f"/api/objects/{one}", json={"locked": True})
    desk.wait("state.objects[0].locked")
    before = desk.stored(one)
    toasts = desk.page.get_by_test_id("toasts")
    for key in ("Control+z", "Delete", "Backspace"):
        toasts.evaluate("(each) => each.replaceChildren()")
        desk.key(key)
        toasts.get_by_text("This object is locked").wait_for()
        assert toasts.locator(".toast").count() == 1
    desk.settled()
    assert desk.stored(one) == before
    desk.client.patch(f"/api/objects/{one}", json={"locked": False})


def test_a_hidden_object_is_shown_when_it_is_changed(desk: Desk) -> None:
    one = four_clicks(desk)
    desk.client.patch(f"/api/objects/{one}", json={"visible": False})
    desk.wait("state.objects[0].visible === false")
    desk.click(100, 120)
    desk.settled()
    assert desk.stored(one)["visible"]


def test_keys_are_the_menus_while_it_is_open(desk: Desk) -> None:
    desk.open(IMAGE)
    desk.page.get_by_test_id("export").press("Enter")
    desk.page.get_by_test_id("formats").wait_for()
    for key in ("ArrowRight", "b"):
        desk.key(key)
    desk.page.wait_for_timeout(100)
    state = desk.state()
    assert (state["image"], state["loading"], state["tool"]) == (desk.image_id(IMAGE), "", "click")
    desk.key("Escape")
    desk.page.get_by_test_id("formats").wait_for(state="hidden")


def test_what_is_emptied_while_it_is_finished_is_not_kept(desk: Desk) -> None:
    desk.open(IMAGE)
    with slow(desk, "**/objects"):
        desk.press(100, 60)
        desk.key("Backspace")
        desk.key("Space")
        desk.wait("state.waiting === 3")
    desk.settled()
    desk.wait("state.objects.length === 0 && state.waiting === 0")
    assert desk.image["objects"] == []
