"""A day's work in a real browser with the default model: what a person sees is what the server has."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("playwright")

from web.browser.driver import ROTATED_NAME, UNICODE_NAME, Desk, mask_of, same
from web.servers import Served


@pytest.fixture(scope="module")
def served(photographs: Path) -> Iterator[Served]:
    server = Served(photographs, fake=False)
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


def test_three_objects_from_first_click_to_export(desk: Desk, tmp_path: Path) -> None:
    desk.open("cat.png")

    # the first: two clicks on it, one beside it; undo and redo
    desk.click(240, 180)
    desk.click(60, 270)
    three = desk.click(390, 85, positive=False)
    assert [each["positive"] for each in three["clicks"]] == [True, True, False]
    assert mask_of(three)[180, 240]
    assert not mask_of(three)[85, 390]
    desk.key("Control+z")
    desk.wait("state.objects[0].clicks.length === 2")
    assert in_step(desk)["rle"] != three["rle"]
    desk.key("Control+y")
    desk.wait("state.objects[0].clicks.length === 3")
    assert in_step(desk)["rle"] == three["rle"]
    # the brush takes a hole out of it
    desk.key("e")
    desk.drag([(200, 150), (260, 150)])
    desk.wait(f"state.objects[0].seq > {three['seq']}")
    brushed = in_step(desk)
    assert not mask_of(brushed)[150, 205:255].any()
    assert mask_of(brushed).sum() < mask_of(three).sum()
    desk.key("c")
    # its label
    desk.page.get_by_test_id("new-label").fill("tom & jerry")
    desk.key("Enter")
    desk.wait("state.objects[0].label === 'tom & jerry'")
    assert in_step(desk)["label"] == "tom & jerry"
    desk.page.get_by_test_id("stage").focus()
    desk.key("Enter")
    desk.wait("!state.object && state.objects[0].finished")
    desk.settled()

    # the second and the third; the label stays, then is taken off
    ear = desk.click(70, 40)
    assert ear["label"] == "tom & jerry"
    desk.click(430, 280, positive=False)
    desk.key("Space")
    desk.wait("!state.object")
    desk.key("0")
    desk.click(420, 250)
    desk.click(240, 180, positive=False)
    desk.button("finish")
    desk.wait("!state.object && state.objects.length === 3 && state.objects.every((each) => each.finished)")
    desk.settled()
    cat = desk.image
    assert [each["label"] for each in cat["objects"]] == ["tom & jerry", "tom & jerry", ""]
    assert [len(each["clicks"]) for each in cat["objects"]] == [3, 2, 2]

    # done, and the next image
    desk.key("Shift+Enter")
    desk.wait(f"state.image && state.image !== '{cat['id']}' && !state.loading")
    desk.settled()
    assert desk.ask(f"images/{cat['id']}")["status"] == "done"
    desk.go_to(UNICODE_NAME)
    desk.click(300, 200)

    # all is there after a reload, the object in work included
    before = in_step(desk)
    desk.page.reload()
    desk.wait(f"state.object === '{before['id']}'")
    assert in_step(desk) == before
    desk.key("Space")
    desk.go_to("cat.png")
    shown = {each["id"]: each for each in desk.state()["objects"]}
    assert all(same(shown[each["id"]], each) for each in cat["objects"])

    # the export holds the server's masks, bit for bit
    desk.button("export")
    with desk.page.expect_download() as started:
        desk.button("export-coco")
    path = tmp_path / started.value.suggested_filename
    started.value.save_as(path)
    exported = read_coco(path)
    sizes = {each["id"]: (each["file_name"], each["height"], each["width"]) for each in exported["images"]}
    masks = sorted(
        (sizes[each["image_id"]][0], str(each["segmentation"])) for each in exported["annotations"]
    )
    expected = []
    for entry in desk.ask("images"):
        for each in desk.ask(f"images/{entry['id']}")["objects"]:
            expected.append((entry["name"], str(each["rle"])))
    assert len(expected) == 4
    assert masks == sorted(expected)


def read_coco(path: Path) -> dict[str, Any]:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            name = next(each for each in archive.namelist() if each.endswith(".json"))
            return json.loads(archive.read(name))
    return json.loads(path.read_text(encoding="utf-8"))


def test_a_loaded_mask_is_corrected_by_clicks(desk: Desk, tmp_path: Path) -> None:
    desk.open(ROTATED_NAME)
    entry = desk.image
    assert (entry["width"], entry["height"]) == (360, 239)
    mask = np.zeros((239, 360), np.uint8)
    mask[40:, :180] = 255  # the left half of the cat
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    with desk.page.expect_file_chooser() as chosen:
        desk.button("loadMask")
    chosen.value.set_files(tmp_path / "mask.png")
    desk.wait("state.object")
    loaded = in_step(desk)
    assert np.array_equal(mask_of(loaded), mask > 0)
    assert loaded["clicks"] == []
    corrected = mask_of(desk.click(250, 140))
    assert corrected[140, 250]
    assert corrected[mask > 0].mean() > 0.8
    assert corrected.sum() > (mask > 0).sum()
    desk.key("Control+z")
    desk.wait("state.objects.every((each) => !each.clicks.length)")
    assert np.array_equal(mask_of(in_step(desk)), mask > 0)


def test_without_a_mouse(desk: Desk) -> None:
    desk.open("coffee.jpg")
    desk.key("k")
    assert desk.page.get_by_test_id("hint").inner_text().startswith("Arrows move the crosshair")
    for _ in range(3):
        desk.key("ArrowLeft")
    desk.key("Shift+ArrowDown")
    desk.key(".")
    desk.wait("state.objects[0]?.clicks.length === 1 && state.waiting === 0")
    x, y = (in_step(desk)["clicks"][0][axis] for axis in "xy")
    assert x == int(x)
    assert y == int(y)
    for _ in range(8):
        desk.key("ArrowUp")
    desk.key(",")
    desk.wait("state.objects[0].clicks.length === 2 && state.waiting === 0")
    second = in_step(desk)["clicks"][1]
    assert not second["positive"]
    assert second["x"] == x
    assert second["y"] < y
    desk.key("Backspace")
    desk.wait("state.objects[0].clicks.length === 1 && state.waiting === 0")
    desk.key("Space")
    desk.wait("!state.object && state.objects[0].finished")
    desk.settled()
    assert [each["finished"] for each in desk.image["objects"]] == [True]

    # every control is reached by Tab, has a name and shows that it has the focus
    names: set[str] = set()
    for _ in range(60):  # round once, the browser's own end included
        desk.key("Tab")
        one = desk.page.evaluate(FOCUSED)
        if one is None:
            continue
        if one["name"] == "stage" and names:
            break
        assert one["name"], one
        assert one["ring"], one
        names.add(one["name"])
    assert {"search", "tool-brush", "next", "done", "export", "theme", "new-label", "opacity"} <= names


FOCUSED = """() => {
  const each = document.activeElement;
  if (!each || each === document.body) return null;
  const style = getComputedStyle(each);
  const name = each.dataset.testid ?? each.getAttribute("aria-label") ?? each.textContent.trim();
  const ring = style.outlineStyle !== "none" || style.boxShadow !== "none";
  return { tag: each.tagName, name, ring };
}"""
