"""The routes, as a client sees them."""

from __future__ import annotations

import io
import json
import tempfile
import threading
import time
import zipfile
from dataclasses import fields
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from servers import HW, click, client_of, first_image, mask_of, new_object, write_images

from emclick.annotations import FORMATS
from emclick.annotations.model import Rle
from emclick.web.app import MEDIA_TYPES, STATIC
from helpers import blob, picture

BLOB = Rle.encode(blob(*HW)).to_json()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_images(tmp_path / "photos")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory):
    with client_of(write_images(tmp_path_factory.mktemp("shared") / "photos")) as made:
        yield made


@pytest.fixture
def client(server):
    """A project in which nothing has been done: making the routes anew for each test takes half a second."""
    services = server.app.state.services
    services.engine._sessions.clear()
    services.engine._pictures.clear()
    with services.project.database.write() as tx:
        for table in ("item", "image_item", "object", "request", "label", "meta"):
            tx.run(f"DELETE FROM {table}")
        tx.run("UPDATE image SET status = 'todo', position = 0, top = 0")
    return server


def refused(answer, status: int, code: str) -> str:
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"error"}
    error = answer.json()["error"]
    assert error["code"] == code
    assert 5 < len(error["message"]) < 400
    return error["message"]


def test_the_four_fixed_routes(client) -> None:
    images = client.get("/api/images").json()
    assert [(each["name"], each["width"], each["height"]) for each in images] == [
        (f"image{n}.png", HW[1], HW[0]) for n in range(3)
    ]
    made = client.post(f"/api/images/{images[0]['id']}/objects")
    assert made.status_code == 200
    one = made.json()["id"]
    answer = client.post(f"/api/objects/{one}/clicks", json={"x": 20, "y": 12, "positive": True})
    assert answer.status_code == 200
    assert {"seq", "rle", "box", "ms"} <= set(answer.json())
    shown = client.get(f"/api/objects/{one}").json()
    assert shown["clicks"] == [{"x": 20, "y": 12, "positive": True}]
    assert shown["rle"] == answer.json()["rle"]
    assert mask_of(shown).shape == HW
    assert mask_of(shown).any()


def test_the_project_and_its_labels(client) -> None:
    shown = client.get("/api/project").json()
    assert shown["name"] == "photos"
    assert shown["model"] == "fake"
    assert shown["counts"] == {"todo": 3, "work": 0, "done": 0}
    assert "emc-mobilenetv2" in shown["models"]
    assert {each["name"] for each in shown["formats"]} >= {
        "coco",
        "labelme",
        "voc",
        "yolo",
        "instances",
        "zip",
    }
    kept = client.put("/api/project/labels", json=[{"name": "dog", "color": "#ff0000", "key": "1"}]).json()
    kept[0]["name"] = "Hündin"
    one = new_object(client, label="dog")["id"]
    assert client.put("/api/project/labels", json=kept).json() == kept
    assert client.get(f"/api/objects/{one}").json()["label"] == "Hündin"
    client.patch(f"/api/objects/{one}", json={"label": "new"})
    assert [each["name"] for each in client.get("/api/project").json()["labels"]] == ["Hündin", "new"]
    refused(client.put("/api/project/labels", json=[{"name": "", "color": "#ff0000"}]), 422, "invalid")
    refused(client.put("/api/project/labels", json=[{"name": "a", "color": "red"}]), 422, "invalid")
    client.put("/api/project/settings", json={"keys": {"undo": ["ctrl+z"]}, "opacity": 0.5})
    assert client.get("/api/project").json()["settings"] == {"keys": {"undo": ["ctrl+z"]}, "opacity": 0.5}


def test_the_status_of_images(client) -> None:
    image = first_image(client)["id"]
    assert first_image(client)["status"] == "todo"
    new_object(client)
    assert first_image(client)["status"] == "work"
    assert first_image(client)["objects"] == 1
    for _ in range(2):
        answer = client.patch(f"/api/images/{image}", json={"status": "done", "key": "k"})
        assert answer.json()["status"] == "done"
    assert [each["id"] for each in client.get("/api/images?status=done").json()] == [image]
    assert len(client.get("/api/images?status=todo").json()) == 2
    refused(client.get("/api/images?status=lost"), 422, "invalid")
    refused(client.patch(f"/api/images/{image}", json={"status": "lost"}), 422, "invalid")


def test_every_way_of_changing_an_object_answers_alike(client) -> None:
    one = new_object(client)["id"]
    at = f"/api/objects/{one}"
    answers = [
        click(client, one, 20, 12),
        client.post(
            f"{at}/clicks/batch", json={"clicks": [{"x": 8, "y": 25}, {"x": 50, "y": 3, "positive": False}]}
        ),
        client.request("DELETE", f"{at}/clicks/1"),
        client.post(f"{at}/undo"),
        client.post(f"{at}/redo", json={}),
        client.put(f"{at}/mask", json={"rle": BLOB, "kind": "brush"}),
        client.post(f"{at}/clean", json={"op": "fill"}),
        client.post(f"{at}/clean", json={"op": "min_area", "area": 10}),
        client.post(f"{at}/reset"),
    ]
    seqs = [0]
    for answer in answers:
        assert answer.status_code == 200, answer.text
        assert set(answer.json()) == {
            "seq",
            "rle",
            "box",
            "ms",
            "clicks",
            "threshold",
            "can_undo",
            "can_redo",
        }
        seqs.append(answer.json()["seq"])
    assert seqs == sorted(seqs)
    shown = client.get(at).json()
    assert (shown["clicks"], shown["can_undo"], shown["can_redo"]) == ([], True, False)
    assert not mask_of(shown).any()
    assert [len(answer.json()["clicks"]) for answer in answers[:5]] == [1, 3, 2, 3, 2]
    assert np.array_equal(mask_of(answers[5].json()), blob(*HW))
    assert mask_of(answers[6].json()).sum() == blob(*HW).sum() + 1
    assert answers[6].json()["box"] == [28, 10, 1, 1]


def test_correcting_a_given_mask(client) -> None:
    made = new_object(client, rle=BLOB, label="cell", color="#00ff00")
    assert np.array_equal(mask_of(made), blob(*HW))
    assert made["box"] == list(Rle.encode(blob(*HW)).box)
    answer = click(client, made["id"], 3, 3, False)  # with a mask the first click may be negative
    assert answer.status_code == 200
    client.post(f"/api/objects/{made['id']}/undo")
    assert np.array_equal(mask_of(client.get(f"/api/objects/{made['id']}").json()), blob(*HW))


def test_an_object_and_its_first_click_in_one_request(client) -> None:
    apart = new_object(client)["id"]
    click(client, apart, 20, 12)
    wanted = client.get(f"/api/objects/{apart}").json()
    body = {"label": "cat", "clicks": [{"x": 20, "y": 12, "positive": True}], "key": "k"}
    made = new_object(client, **body)
    assert made.pop("ms") >= 0
    assert made["label"] == "cat"
    assert made["rle"] == wanted["rle"]
    assert made["clicks"] == wanted["clicks"]
    assert made == client.get(f"/api/objects/{made['id']}").json()
    # sent again it is answered, not made; and goes on like any other
    again = new_object(client, **body)
    assert again["id"] == made["id"]
    shown = client.get(f"/api/images/{made['image']}").json()
    assert [each["id"] for each in shown["objects"]] == [apart, made["id"]]
    for one in (apart, made["id"]):
        click(client, one, 8, 25)
    after = [client.get(f"/api/objects/{one}").json() for one in (apart, made["id"])]
    assert after[0]["rle"] == after[1]["rle"]
    # the clicks are a step of the object's history, the object one of the image's
    for _ in range(2):
        shown = client.post(f"/api/objects/{made['id']}/undo").json()
    assert (shown["clicks"], shown["can_undo"]) == ([], False)
    assert len(client.post(f"/api/images/{made['image']}/undo").json()["objects"]) == 1


def test_an_object_with_several_clicks_or_a_mask_to_correct(client) -> None:
    clicks = [{"x": 20, "y": 12}, {"x": 50, "y": 3, "positive": False}]
    made = new_object(client, clicks=clicks)
    assert [each["positive"] for each in made["clicks"]] == [True, False]
    assert client.post(f"/api/objects/{made['id']}/undo").json()["clicks"] == []
    given = new_object(client, rle=BLOB)["id"]
    click(client, given, 3, 3, False)
    corrected = new_object(client, rle=BLOB, clicks=[{"x": 3, "y": 3, "positive": False}])
    assert corrected["rle"] == client.get(f"/api/objects/{given}").json()["rle"]


def test_a_first_click_that_is_refused_makes_no_object(client) -> None:
    at = f"/api/images/{first_image(client)['id']}/objects"
    for clicks, code in (
        ([{"x": 56, "y": 3}], "click_outside"),
        ([{"x": 3, "y": 3, "positive": False}], "click_refused"),
        ([{"x": 3, "y": 3}, {"x": "3", "y": 3}], "invalid"),
    ):
        refused(client.post(at, json={"clicks": clicks, "label": "no"}), 422, code)
    assert first_image(client)["objects"] == 0
    assert client.get("/api/project").json()["labels"] == []


def test_a_first_click_sent_twice_at_once_makes_one_object(client) -> None:
    made = []

    def send() -> None:
        made.append(new_object(client, clicks=[{"x": 20, "y": 12}], key="k")["id"])

    threads = [threading.Thread(target=send) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(made) == 4
    assert len(set(made)) == 1
    assert first_image(client)["objects"] == 1
    assert len(click(client, made[0], 8, 25).json()["clicks"]) == 2


def test_a_preview_before_there_is_an_object(client) -> None:
    image = first_image(client)["id"]
    at = f"/api/images/{image}/preview"
    assert client.post(at, json={"x": 20, "y": 12}).status_code == 204  # the image is not at hand
    one = new_object(client, clicks=[{"x": 20, "y": 12}])
    before = client.get(f"/api/images/{image}").json()
    found = client.post(at, json={"x": 20, "y": 12})
    assert found.status_code == 200
    assert found.json()["rle"] == one["rle"]
    assert client.get(f"/api/images/{image}").json() == before
    with client.app.state.services.engine.gate.held():
        assert client.post(at, json={"x": 20, "y": 12}).status_code == 204
    refused(client.post(at, json={"x": 56, "y": 12}), 422, "click_outside")
    refused(client.post("/api/images/none/preview", json={"x": 5, "y": 5}), 404, "not_found")


def test_fields_and_threshold(client) -> None:
    one = new_object(client)["id"]
    click(client, one, 20, 12)
    changes = {
        "label": "a",
        "color": "#010203",
        "visible": False,
        "locked": True,
        "finished": True,
        "order": 2.5,
    }
    shown = client.patch(f"/api/objects/{one}", json=changes).json()
    assert {name: shown[name] for name in changes} == changes
    before = mask_of(shown)
    shown = client.patch(f"/api/objects/{one}", json={"threshold": 0.05, "color": None}).json()
    assert (shown["threshold"], shown["color"]) == (0.05, None)
    assert mask_of(shown).sum() > before.sum()
    assert np.array_equal(mask_of(client.post(f"/api/objects/{one}/undo").json()), before)
    for wrong in (
        {"threshold": 0},
        {"threshold": 1.0},
        {"order": "x"},
        {"label": "a\nb"},
        {"color": "#1"},
        {"odd": 1},
    ):
        refused(client.patch(f"/api/objects/{one}", json=wrong), 422, "invalid")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"x": 56, "y": 3}, "click_outside"), ({"x": 3, "y": -0.6}, "click_outside"),
        ({"x": 3, "y": 3, "positive": False}, "click_refused"), ({"x": "3", "y": 3}, "invalid"),
        ({"x": True, "y": 3}, "invalid"), ({"x": 3}, "invalid"), ({"x": 3, "y": 3, "positve": False}, "invalid"),
        ({"x": 3, "y": 3, "positive": 1}, "invalid"), ({"x": 10**400, "y": 3}, "invalid"), ([], "invalid"),
        ({"x": 3, "y": 3, "seq": 2**70}, "invalid"), ({"x": 3, "y": 3, "key": ""}, "invalid"),
    ],
)  # fmt: skip
def test_clicks_that_are_none(client, body, code: str) -> None:
    one = new_object(client)["id"]
    refused(client.post(f"/api/objects/{one}/clicks", json=body), 422, code)
    assert client.get(f"/api/objects/{one}").json()["can_undo"] is False


@pytest.mark.parametrize(
    "text", ['{"x": NaN, "y": 1}', '{"x": Infinity, "y": 1}', '{"x": 1', "\xff", "[" * 100_000]
)
def test_bodies_that_are_no_json(client, text: str) -> None:
    one = new_object(client)["id"]
    answer = client.post(
        f"/api/objects/{one}/clicks",
        content=text.encode("latin-1"),
        headers={"content-type": "application/json"},
    )
    assert answer.status_code in (400, 422)
    assert answer.json()["error"]["message"]


def test_surrogates_do_not_get_in(client) -> None:
    one = new_object(client)["id"]
    headers = {"content-type": "application/json"}
    for method, path, body in (
        ("PATCH", f"/api/objects/{one}", b'{"label": "\\ud800"}'),
        ("POST", f"/api/objects/{one}/clicks", b'{"x": 1, "y": 1, "key": "\\ud800"}'),
        ("PUT", "/api/project/settings", b'{"a": "\\ud800", "b": "\\u0000"}'),
        ("PUT", "/api/project/labels", b'[{"name": "\\ud800", "color": "#000000"}]'),
    ):
        answer = client.request(method, path, content=body, headers=headers)
        assert answer.status_code == 422, answer.text
    assert client.get("/api/project").status_code == 200


@pytest.mark.parametrize(
    "rle",
    [
        {"size": [40, 56], "counts": ""}, {"size": [40, 56], "counts": "zzzz"}, {"size": [40, 56], "counts": "0"},
        {"size": [56, 40], "counts": BLOB["counts"]}, {"size": [40, 56], "counts": BLOB["counts"] + "1"},
        {"size": [-1, -1], "counts": "0"}, {"size": [2**40, 2**40], "counts": "0"}, {"size": [40], "counts": "0"},
        {"size": [40, 56], "counts": "é"}, {"size": [40, 56], "counts": "o" * 5000},
    ],
)  # fmt: skip
def test_masks_that_are_none(client, rle) -> None:
    one = new_object(client)["id"]
    for answer in (
        client.put(f"/api/objects/{one}/mask", json={"rle": rle}),
        client.post(f"/api/images/{first_image(client)['id']}/objects", json={"rle": rle}),
    ):
        assert answer.status_code == 422
        assert answer.json()["error"]["code"] in ("mask_refused", "invalid")
    assert first_image(client)["objects"] == 1


def test_a_key_is_applied_once_and_answered_again(client) -> None:
    one = new_object(client)["id"]
    at = f"/api/objects/{one}"
    first = click(client, one, 20, 12, key="k1").json()
    again = click(client, one, 20, 12, key="k1").json()
    assert {**again, "ms": 0} == {**first, "ms": 0}
    click(client, one, 8, 25, key="k2")
    late = click(
        client, one, 20, 12, key="k1"
    ).json()  # it has moved on: the present state, all of the picture
    assert len(late["clicks"]) == 2
    assert late["box"] == [0, 0, HW[1], HW[0]]
    for _ in range(2):
        assert len(client.post(f"{at}/undo", json={"key": "k3"}).json()["clicks"]) == 1
    for _ in range(2):
        assert client.delete(f"{at}/clicks/0?key=k4").json()["clicks"] == []
    made = [new_object(client, key="k5")["id"] for _ in range(2)]
    assert made[0] == made[1] != one
    for _ in range(2):
        shown = client.patch(at, json={"label": "a", "threshold": 0.3, "key": "k6"}).json()
        assert (shown["label"], shown["threshold"]) == ("a", 0.3)
    for _ in range(2):
        shown = client.delete(f"{at}?key=k7").json()
        assert [each["id"] for each in shown["objects"]] == [made[0]]
    for _ in range(2):
        shown = client.post(f"/api/images/{first_image(client)['id']}/undo", json={"key": "k8"}).json()
        assert len(shown["objects"]) == 2


def test_a_key_of_another_change_is_refused(client) -> None:
    image = new_object(client)["image"]
    client.post(f"/api/images/{image}/undo", json={"key": "k"})
    refused(client.post(f"/api/images/{image}/objects", json={"key": "k"}), 409, "key_used")


def test_two_tabs_do_not_overwrite_each_other(client) -> None:
    one = new_object(client)
    first = click(client, one["id"], 20, 12, seq=one["seq"]).json()
    answer = click(client, one["id"], 8, 25, seq=one["seq"])
    refused(answer, 409, "stale")
    assert answer.json()["error"]["object"] == client.get(f"/api/objects/{one['id']}").json()
    assert click(client, one["id"], 8, 25, seq=first["seq"]).status_code == 200
    for method, path, body in (
        ("POST", "undo", {}), ("PUT", "mask", {"rle": BLOB}), ("POST", "clean", {"op": "fill"}), ("POST", "reset", {}),
        ("POST", "clicks/batch", {"clicks": [{"x": 1, "y": 1}]}),
    ):  # fmt: skip
        stale = client.request(method, f"/api/objects/{one['id']}/{path}", json={**body, "seq": one["seq"]})
        refused(stale, 409, "stale")
    for path in ("", "/clicks/0"):
        refused(client.delete(f"/api/objects/{one['id']}{path}?seq={one['seq']}"), 409, "stale")
    refused(client.patch(f"/api/objects/{one['id']}", json={"label": "x", "seq": one["seq"]}), 409, "stale")
    assert len(client.get(f"/api/objects/{one['id']}").json()["clicks"]) == 2


def test_a_stale_key_that_was_applied_is_answered_not_refused(client) -> None:
    one = new_object(client)
    body = {"key": "k", "seq": one["seq"]}
    first = click(client, one["id"], 20, 12, **body).json()
    assert click(client, one["id"], 20, 12, **body).json()["seq"] == first["seq"]
    assert len(client.get(f"/api/objects/{one['id']}").json()["clicks"]) == 1


def test_two_tabs_at_once(client) -> None:
    one = new_object(client)["id"]
    statuses = []

    def tab(x: int) -> None:
        for y in range(10):
            seq = client.get(f"/api/objects/{one}").json()["seq"]
            statuses.append(click(client, one, x, y, seq=seq).status_code)

    tabs = [threading.Thread(target=tab, args=(x,)) for x in (5, 50)]
    for each in tabs:
        each.start()
    for each in tabs:
        each.join()
    assert set(statuses) <= {200, 409}
    assert len(client.get(f"/api/objects/{one}").json()["clicks"]) == statuses.count(200)


def test_the_images_undo(client) -> None:
    image = first_image(client)["id"]
    one = new_object(client, label="a")["id"]
    click(client, one, 20, 12)
    client.delete(f"/api/objects/{one}")
    refused(client.get(f"/api/objects/{one}"), 404, "not_found")
    refused(click(client, one, 1, 1), 404, "not_found")
    shown = client.post(f"/api/images/{image}/undo").json()
    assert shown["objects"][0]["clicks"] == [{"x": 20, "y": 12, "positive": True}]
    assert (shown["can_undo"], shown["can_redo"]) == (True, True)
    assert client.post(f"/api/images/{image}/redo").json()["objects"] == []
    for _ in range(2):
        client.post(f"/api/images/{image}/undo")
    refused(client.post(f"/api/images/{image}/undo"), 409, "history")


def test_everything_is_there_after_a_restart(folder: Path) -> None:
    with client_of(folder) as client:
        one = new_object(client, label="a")["id"]
        points = ((20, 12, True), (40.5, 30.25, False), (8, 25, True))
        answers = [click(client, one, x, y, positive).json() for x, y, positive in points]
        client.post(f"/api/objects/{one}/undo")
        before = [client.get(path).json() for path in (f"/api/objects/{one}", "/api/images", "/api/project")]
    with client_of(folder) as client:
        after = [client.get(path).json() for path in (f"/api/objects/{one}", "/api/images", "/api/project")]
        assert after == before
        assert client.post(f"/api/objects/{one}/redo").json()["rle"] == answers[2]["rle"]
        for expected in (answers[1], answers[0]):
            assert client.post(f"/api/objects/{one}/undo").json()["rle"] == expected["rle"]
        again = click(client, one, 40.5, 30.25, False).json()
        assert again["rle"] == answers[1]["rle"]


def test_changes_are_told_and_waited_for(client) -> None:
    start = client.get("/api/changes").json()["seq"]
    nothing = {"seq": start, "images": [], "objects": [], "deleted": []}
    assert client.get(f"/api/changes?since={start}").json() == nothing
    made = []
    timer = threading.Timer(0.2, lambda: made.append(new_object(client)))
    timer.start()
    began = time.perf_counter()
    told = client.get(f"/api/changes?since={start}&wait=10").json()
    assert time.perf_counter() - began < 5
    timer.join()
    assert told["objects"] == [made[0]["id"]]
    assert told["images"] == [made[0]["image"]]
    assert client.get(f"/api/changes?since={2**53 - 1}").json()["seq"] == told["seq"]
    refused(client.get("/api/changes?since=-1"), 422, "invalid")


def test_pixels_and_thumbnails(folder: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(picture(30, 50)).save(folder / "a.jpg", exif=exif)
    (folder / "b.jpg").write_bytes(b"broken")
    with client_of(folder) as client:
        turned, broken, *_ = client.get("/api/images").json()
        assert (turned["width"], turned["height"]) == (30, 50)
        answer = client.get(f"/api/images/{turned['id']}/pixels")
        assert answer.headers["content-type"] == "image/jpeg"
        with Image.open(io.BytesIO(answer.content)) as shown:
            assert shown.size == (30, 50)
            assert shown.getexif().get(274, 1) == 1
        assert "no-cache" in answer.headers["cache-control"]
        tag = answer.headers["etag"]
        assert (
            client.get(f"/api/images/{turned['id']}/pixels", headers={"if-none-match": tag}).status_code
            == 304
        )
        kept = client.get(f"/api/images/{turned['id']}/pixels?v={turned['version']}")
        assert "immutable" in kept.headers["cache-control"]
        with Image.open(io.BytesIO(client.get(f"/api/images/{turned['id']}/thumbnail").content)) as small:
            assert small.size == (30, 50)
        assert broken["problem"]
        assert str(folder) not in broken["problem"]
        for path in ("pixels", "thumbnail"):
            message = refused(client.get(f"/api/images/{broken['id']}/{path}"), 422, "image_unreadable")
            assert str(folder) not in message
        refused(client.post(f"/api/images/{broken['id']}/objects"), 422, "image_unreadable")
        refused(client.post(f"/api/images/{broken['id']}/open"), 422, "image_unreadable")
        assert client.get(f"/api/images/{broken['id']}").json()["problem"] == broken["problem"]


@pytest.mark.parametrize("asked", ["pixels", "thumbnail", "open"])
def test_pixels_that_cannot_be_read_become_the_images_problem(folder: Path, asked: str) -> None:
    for name in ("image0.bmp", "image1.bmp"):  # their headers are good
        Image.fromarray(picture(*HW)).save(folder / name)
        (folder / name).write_bytes((folder / name).read_bytes()[:900])
    with client_of(folder) as client:
        cut, used, *rest = [each for each in client.get("/api/images").json() if each["name"][-3:] == "bmp"]
        assert (rest, cut["problem"], cut["width"]) == ([], None, HW[1])
        assert client.post(f"/api/images/{used['id']}/objects", json={"rle": BLOB}).status_code == 200
        seq = client.get("/api/project").json()["seq"]
        if asked == "open":
            for each in (cut, used):
                assert client.post(f"/api/images/{each['id']}/open").status_code == 202
                assert client.get(f"/api/changes?since={seq}&wait=20").json()["images"]
                seq = client.get("/api/project").json()["seq"]
        else:
            for each in (cut, used):
                message = refused(client.get(f"/api/images/{each['id']}/{asked}"), 422, "image_unreadable")
                assert str(folder) not in message
            changed = client.get(f"/api/changes?since={seq}").json()["images"]
            assert set(changed) == {cut["id"], used["id"]}
        listed = {each["id"]: each for each in client.get("/api/images").json()}
        assert all(listed[each["id"]]["problem"] for each in (cut, used))
        assert str(folder) not in listed[cut["id"]]["problem"]
        refused(client.post(f"/api/images/{cut['id']}/objects"), 422, "image_unreadable")
        assert len(client.get(f"/api/images/{used['id']}").json()["objects"]) == 1


def test_pixels_that_may_be_read_later_are_no_problem(folder: Path) -> None:
    with client_of(folder) as client:
        image = first_image(client)
        (folder / image["name"]).rename(folder / "elsewhere")
        refused(client.get(f"/api/images/{image['id']}/pixels"), 422, "image_unreadable")
        assert first_image(client)["problem"] is None


def test_a_picture_that_no_longer_fits_its_objects_is_not_shown(folder: Path) -> None:
    with client_of(folder) as client:
        one = new_object(client, rle=BLOB)["id"]
    cv2.imwrite(str(folder / "image0.png"), picture(44, 60))
    with client_of(folder) as client:
        image = first_image(client)
        assert "60x44" in image["problem"]
        for kind in ("pixels", "thumbnail"):
            refused(client.get(f"/api/images/{image['id']}/{kind}"), 409, "image_changed")
        assert "60x44" in refused(click(client, one, 5, 5), 409, "image_changed")
        assert client.get(f"/api/objects/{one}").json()["rle"] == BLOB


def test_opening_prepares_this_image_and_the_next(client) -> None:
    images = client.get("/api/images").json()
    assert client.post(f"/api/images/{images[0]['id']}/open").status_code == 202
    engine = client.app.state.services.engine
    for _ in range(300):
        if len(engine._pictures) == 2:
            break
        time.sleep(0.01)
    assert {key[0] for key in engine._pictures} == {images[0]["id"], images[1]["id"]}


def test_mask_files_become_objects(client) -> None:
    image = first_image(client)["id"]
    values = np.zeros(HW, np.uint8)
    values[3:9, 4:20], values[20:30, 30:50] = 1, 2
    palette = Image.fromarray(values)
    palette.putpalette(list(range(256)) * 3)
    file = io.BytesIO()
    palette.save(file, "PNG")
    at = f"/api/images/{image}/masks"
    made = client.post(at, content=file.getvalue()).json()["objects"]
    assert [mask_of(each).sum() for each in made] == [96, 200]
    form = client.post(f"{at}?key=f", files={"file": ("mask.png", file.getvalue(), "image/png")}).json()[
        "objects"
    ]
    again = client.post(f"{at}?key=f", files={"file": ("mask.png", file.getvalue(), "image/png")}).json()[
        "objects"
    ]
    assert [each["rle"] for each in form] == [each["rle"] for each in made]
    assert [each["id"] for each in form] == [each["id"] for each in again]
    assert click(client, made[0]["id"], 5, 5, False).status_code == 200
    assert len(client.post(f"/api/images/{image}/undo").json()["objects"]) == 2
    assert client.post(at, content=cv2.imencode(".png", values * 0)[1].tobytes()).json() == {"objects": []}
    refused(client.post(at, content=cv2.imencode(".png", values[1:])[1].tobytes()), 422, "mask_refused")
    refused(client.post(at, content=b"no image"), 422, "image_unreadable")
    refused(
        client.post(at, content=b"--x", headers={"content-type": "multipart/form-data; boundary=x"}),
        422,
        "form",
    )
    noise = np.random.default_rng(0).integers(0, 60_000, HW).astype(np.uint16)
    refused(client.post(at, content=cv2.imencode(".png", noise)[1].tobytes()), 422, "mask_refused")


def test_more_labels_than_a_person_makes(client) -> None:
    """LVIS has 1203."""
    image = first_image(client)
    labels = [{"id": n, "name": f"label\t{n}"} for n in range(1203)]
    file = {
        "images": [{"id": 1, "file_name": image["name"]}],
        "categories": labels,
        "annotations": [{"id": 1, "image_id": 1, "category_id": 7, "segmentation": BLOB}],
    }
    answer = client.post("/api/import?format=coco", content=json.dumps(file).encode())
    assert answer.json() == {"objects": 1, "already_there": 0, "skipped": []}
    kept = client.get("/api/project").json()["labels"]
    assert [each["name"] for each in kept] == [f"label {n}" for n in range(1203)]
    assert client.put("/api/project/labels", json=kept).json() == kept
    assert new_object(client, label=kept[7]["name"])["label"] == "label 7"


def test_a_label_comes_only_with_its_object(client) -> None:
    refused(client.patch("/api/objects/nope", json={"label": "dog"}), 404, "not_found")
    image = first_image(client)["id"]
    outside = {"label": "dog", "clicks": [{"x": 1000, "y": 1}]}
    refused(client.post(f"/api/images/{image}/objects", json=outside), 422, "click_outside")
    assert client.get("/api/project").json()["labels"] == []


def test_neighbours_that_are_finished_or_locked_are_kept_out_of(client) -> None:
    one = new_object(client, rle=BLOB)["id"]
    for field in ("visible", "finished", "locked"):
        other = new_object(client, rle=BLOB)["id"]
        client.patch(f"/api/objects/{other}", json={field: field != "visible"})
        cleaned = client.post(f"/api/objects/{one}/clean", json={"op": "avoid"}).json()
        assert mask_of(cleaned).any() == (field == "visible")
        client.patch(f"/api/objects/{other}", json={"finished": False, "locked": False})
        client.put(f"/api/objects/{one}/mask", json={"rle": BLOB})


def test_exports_take_the_options_of_their_format(client) -> None:
    new_object(client, rle=BLOB, label="dog")
    kinds = []
    for query in ("", "&polygons=true", "&polygons=true&bridge_holes=true", "&bridge_holes=true"):
        (entry,) = client.get(f"/api/export?format=coco{query}").json()["annotations"]
        kinds.append(type(entry["segmentation"]))
    assert kinds == [dict, dict, list, dict]  # the mask has a hole
    exact, loose = (
        len(client.get(f"/api/export?format=yolo&tolerance_px={each}").content) for each in (0, 3)
    )
    assert loose < exact
    with zipfile.ZipFile(io.BytesIO(client.get("/api/export?format=voc&davis=true").content)) as archive:
        pictures = {name for name in archive.namelist() if name.endswith(".png")}
        assert pictures == {f"Annotations/image{n}.png" for n in range(3)}
    said = refused(client.get("/api/export?format=voc&polygons=true"), 422, "refused")
    assert "davis" in said
    refused(client.get("/api/export?format=yolo&tolerance_px=nan"), 422, "refused")
    refused(client.get("/api/export?format=coco&tolerance_px=much"), 422, "invalid")
    refused(client.get("/api/export?format=coco&poligons=true"), 422, "invalid")
    refused(client.get("/api/export?polygons=true"), 422, "invalid")


def test_downloads_of_different_kinds_have_different_names(client) -> None:
    names = {}
    for query in ("coco", "coco&polygons=true", "coco&polygons=true&bridge_holes=true", "labelme",
                  "labelme&polygons=true", "voc", "voc&davis=true", "yolo", "zip"):  # fmt: skip
        told = client.get(f"/api/export?format={query}").headers["content-disposition"]
        names[query] = told.partition("UTF-8''")[2]
    assert len(set(names.values())) == len(names)
    assert names["coco"] == "photos-coco.json"
    assert names["coco&polygons=true"] == "photos-coco-polygons.json"
    assert names["coco&polygons=true&bridge_holes=true"] == "photos-coco-polygons-bridged.json"
    assert names["voc&davis=true"] == "photos-voc-davis.zip"


def test_every_option_of_every_format_is_described(client) -> None:
    described = client.get("/openapi.json").json()["paths"]["/api/export"]["get"]["parameters"]
    found = {each["name"]: each for each in described}
    for name, kind in FORMATS.items():
        for option in fields(kind):
            assert name in found[option.name]["description"].partition(":")[0]
    assert {name: each["schema"]["type"] for name, each in found.items()} == {
        "format": "string",
        "polygons": "boolean",
        "bridge_holes": "boolean",
        "tolerance_px": "number",
        "davis": "boolean",
    }


@pytest.mark.parametrize("name", ["coco", "labelme", "voc", "yolo", "instances", "zip"])
def test_what_goes_out_comes_in(client, name: str) -> None:
    one = new_object(client, rle=BLOB, label="dog")["id"]
    sent = client.get(f"/api/export?format={name}")
    assert sent.status_code == 200, sent.text
    assert "photos" in sent.headers["content-disposition"]
    client.delete(f"/api/objects/{one}")
    answer = client.post(f"/api/import?format={name}", content=sent.content)
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"objects": 1, "already_there": 0, "skipped": []}
    image = client.get(f"/api/images/{first_image(client)['id']}").json()
    (found,) = image["objects"]
    # yolo's polygons have neither the hole nor every pixel
    assert (mask_of(found) != blob(*HW)).sum() <= (0 if name != "yolo" else 80)
    assert found["label"] in ("dog", "")


def test_an_import_sent_again_is_made_once(client) -> None:
    one = new_object(client, rle=BLOB, label="dog")["id"]
    image = first_image(client)["id"]
    client.patch(f"/api/images/{image}", json={"status": "done"})
    sent = client.get("/api/export?format=zip").content
    client.delete(f"/api/objects/{one}")
    client.patch(f"/api/images/{image}", json={"status": "work"})
    for _ in range(2):
        answer = client.post("/api/import?format=zip&key=k", content=sent).json()
        assert answer == {"objects": 1, "already_there": 0, "skipped": []}
    assert first_image(client)["objects"] == 1


def test_a_file_that_comes_in_twice_is_in_once(client) -> None:
    made = [new_object(client, rle=BLOB, label=label)["id"] for label in ("dog", "cat", "cat")]
    sent = client.get("/api/export?format=coco").content
    for each in made[1:]:
        client.delete(f"/api/objects/{each}")
    seen = [client.post("/api/import?format=coco", content=sent).json() for _ in range(2)]
    assert [(each["objects"], each["already_there"]) for each in seen] == [(2, 1), (0, 3)]
    assert first_image(client)["objects"] == 3
    client.patch(f"/api/objects/{made[0]}", json={"label": "wolf"})
    assert client.post("/api/import?format=coco", content=sent).json()["objects"] == 1


def test_what_is_wrong_with_a_file_is_told_by_its_own_name(client) -> None:
    image = first_image(client)["id"]
    png = cv2.imencode(".png", np.zeros(HW, np.uint16))[1].tobytes()
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as file:
        file.writestr("inner/marks.json", '{"images": [],')
    said = {
        name: refused(
            client.post(f"/api/import?format={kind}&name={name}", content=data), 422, "annotations_refused"
        )
        for name, kind, data in (
            ("cat.png", "coco", png),
            ("cut.json", "coco", b'{"images":\n ['),
            ("all.zip", "coco", zipped.getvalue()),
            ("own.zip", "zip", zipped.getvalue()),
        )
    }
    assert said["cat.png"] == "cat.png is not JSON: it is not text in UTF-8"
    assert said["cut.json"].startswith("cut.json is not valid JSON")
    assert said["all.zip"].startswith("inner/marks.json is not valid JSON")
    assert said["own.zip"].startswith("the zip holds no")
    for data in (png[: len(png) // 2], b"no image", b""):
        message = refused(client.post(f"/api/images/{image}/masks", content=data), 422, "image_unreadable")
        assert "the file" in message or "the mask file" in message
        said[message] = message
    assert not any(tempfile.gettempdir() in each or "codec" in each for each in said.values())


def test_imports_that_are_none(client) -> None:
    folder = client.app.state.services.project.folder
    refused(client.post("/api/import?format=coco", content=b"{"), 422, "annotations_refused")
    refused(client.post("/api/import?format=nothing", content=b"{}"), 422, "unknown_name")
    refused(client.post("/api/import?format=../x", content=b"{}"), 422, "unknown_name")
    bad = io.BytesIO()
    with zipfile.ZipFile(bad, "w") as file:
        file.writestr("../../escaped.json", "{}")
    for each in ("coco", "labelme", "zip"):
        assert client.post(f"/api/import?format={each}", content=bad.getvalue()).status_code in (200, 422)
    assert not (folder.parent / "escaped.json").exists()
    image = {"id": 1, "file_name": "gone.png", "width": 4, "height": 4}
    other = json.dumps({"images": [image], "annotations": [], "categories": []}).encode()
    answer = client.post("/api/import?format=coco", content=other).json()
    assert answer["objects"] == 0
    assert "gone.png" in answer["skipped"][0]


def test_a_thousand_objects_stay_responsive(folder: Path) -> None:
    """A click asks the database as much as it does among few; the times are those of a slow and busy machine."""
    from emclick.web.records import Guard

    with client_of(folder) as client:
        database = client.app.state.services.project.database
        first, second = (each["id"] for each in client.get("/api/images").json()[:2])
        statements: list[str] = []
        for connection in (database._reader, database._writer):
            connection.set_trace_callback(statements.append)

        def make(image: str, count: int) -> list[str]:
            wanted = [("", None, Rle.from_json(BLOB))] * count
            return client.app.state.services.project.images.make_objects(image, wanted, Guard())

        def asked(object_id: str) -> int:
            """By ten clicks, after one that opens the session."""
            click(client, object_id, 20, 12)
            statements.clear()
            for x in range(10):
                assert click(client, object_id, x, 12).status_code == 200
            return len(statements)

        among_few = asked(make(first, 3)[1])
        made = make(second, 1000)
        began = time.process_time()
        assert len(client.get(f"/api/images/{second}").json()["objects"]) == 1000
        assert time.process_time() - began < 5
        began = time.process_time()
        assert 0 < asked(made[500]) <= among_few
        assert time.process_time() - began < 5
        for connection in (database._reader, database._writer):
            connection.set_trace_callback(None)


def test_storage_that_fails_is_told_and_the_server_lives_on(client) -> None:
    one = new_object(client)["id"]
    writer = client.app.state.services.project.database._writer
    writer.execute("PRAGMA query_only=1")
    for answer in (
        click(client, one, 20, 12),
        client.post(f"/api/images/{first_image(client)['id']}/objects"),
    ):
        assert "read-only" in refused(answer, 503, "storage")
    assert client.get("/api/images").status_code == 200
    writer.execute("PRAGMA query_only=0")
    assert len(click(client, one, 8, 25).json()["clicks"]) == 1


def test_a_network_that_fails_is_told_and_the_next_click_works(client) -> None:
    one = new_object(client)["id"]
    runtime = client.app.state.services.engine._model.runtime
    click(client, one, 20, 12)
    runtime.fail_at = len(runtime.calls) + 1
    message = refused(click(client, one, 8, 25), 500, "internal")
    assert "network failed" not in message
    assert len(click(client, one, 8, 25).json()["clicks"]) == 2


def test_the_page_and_its_files(client) -> None:
    page = client.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    for path in STATIC.rglob("*.*"):
        answer = client.get(f"/static/{path.relative_to(STATIC).as_posix()}")
        assert answer.status_code == 200
        assert answer.headers["content-type"] == MEDIA_TYPES[path.suffix]
        assert answer.content == path.read_bytes()
    script = client.get("/static/js/main.js")
    assert script.headers["cache-control"] == "no-cache"
    again = client.get("/static/js/main.js", headers={"If-None-Match": f'"x", W/{script.headers["etag"]}'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", script.headers["etag"])
    assert client.get("/static/js/main.js", headers={"If-None-Match": '"x"'}).status_code == 200
    assert (
        client.get("/", headers={"If-None-Match": page.headers["etag"]}).status_code == 200
    )  # with its cookie
    refused(client.get("/static/"), 404, "not_found")
    refused(client.get("/static/js"), 404, "not_found")


def test_the_description_is_whole_and_needs_nothing_from_elsewhere(client) -> None:
    schema = client.get("/openapi.json").json()
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            assert operation.get("description"), f"{method} {path} is not described"
            assert len(operation["responses"]) >= 2 or path == "/health"
    page = client.get("/docs").text
    assert all(path.replace("{", "{") in page for path in schema["paths"])
    assert "<script" not in page
    assert "http" not in page.replace("openapi", "")
    assert client.get("/docs.css").headers["content-type"].startswith("text/css")


def test_no_such_path_and_no_such_method(client) -> None:
    refused(client.get("/api/nothing"), 404, "not_found")
    refused(client.delete("/api/images"), 405, "method")
    refused(client.get("/api/images/nothing"), 404, "not_found")
