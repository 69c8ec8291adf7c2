"""Nobody gets in who should not, and nothing that comes brings the server down."""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path

import httpx
import pytest
from PIL import Image
from servers import TOKEN, Client, client_of, first_image, new_object, write_images

from emclick.web.app import create_app
from emclick.web.pictures import read_masks
from emclick.web.security import BODY_LIMITS, HEADERS, Access
from emclick.web.store import PROJECT_NAME, Project
from helpers import FakeModel

SECRET = "the content of a file outside"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("secure")
    (place / "secret.txt").write_text(SECRET)
    return write_images(place / "photos")


@pytest.fixture(scope="module")
def client(folder: Path):
    with client_of(folder) as made:
        yield made


def bare(client: Client, **headers: str) -> httpx.Client:
    """A client of the same server that knows nothing."""
    made = Client(client.app, headers=headers, raise_server_exceptions=False)
    made.portal = client.portal  # its event loop: a new one for each request is slow
    return made


def every_route(client: Client) -> list[tuple[str, str]]:
    made = new_object(client)
    ids = {"image_id": made["image"], "object_id": made["id"], "n": "0"}
    return [
        (method.upper(), path.format(**ids))
        for path, methods in client.app.openapi()["paths"].items()
        for method in methods
    ]


def test_without_the_token_there_is_nothing_but_health(client) -> None:
    stranger = bare(client)
    for method, path in [
        *every_route(client),
        ("GET", "/docs"),
        ("GET", "/openapi.json"),
        ("GET", "/static/index.html"),
    ]:
        answer = stranger.request(method, path)
        if path == "/health":
            assert answer.json()["status"] == "ok"
        else:
            assert answer.status_code == 401, f"{method} {path}"
            assert answer.json()["error"]["code"] == "token_missing"
            assert "set-cookie" not in answer.headers
            assert TOKEN not in answer.text


@pytest.mark.parametrize(
    "wrong", ["", " ", "x", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "%00", "é", "a" * 5000]
)
def test_a_wrong_token_is_none(client, wrong: str) -> None:
    assert bare(client).get("/", params={"token": wrong}).status_code == 401
    for headers in (
        {b"authorization": b"Bearer " + wrong.encode()},
        {b"cookie": b"emclick-token-8000=" + wrong.encode()},
        {b"cookie": b"emclick-token-8001=" + TOKEN.encode()},
        {b"authorization": b"Basic " + TOKEN.encode()},
    ):
        assert bare(client).get("/api/images", headers=headers).status_code == 401


def test_the_token_opens_the_page_and_the_cookie_keeps_it_open(client) -> None:
    stranger = bare(client)
    answer = stranger.get("/", params={"token": TOKEN})
    assert (answer.status_code, answer.history) == (200, [])
    assert "<html" in answer.text
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("emclick-token-8000=")
    for part in ("HttpOnly", "SameSite=Strict", "Path=/"):
        assert part in cookie
    assert stranger.get("/api/images").status_code == 200
    assert stranger.get("/").status_code == 200
    assert bare(client).get("/api/images", params={"token": TOKEN}).status_code == 401


def test_a_person_without_the_token_is_told_what_to_do(client) -> None:
    stranger = bare(client, accept="text/html,application/xhtml+xml,*/*;q=0.8")
    for query in ("", "?token=old"):
        answer = stranger.get(f"/{query}")
        assert (answer.status_code, answer.headers["content-type"]) == (401, "text/html; charset=utf-8")
        assert "emclick serve" in answer.text
        assert "error" not in answer.text
        assert all(answer.headers[name] == value for name, value in HEADERS.items())
        assert "set-cookie" not in answer.headers
        for outside in ("src=", "href=", "style", "<script", TOKEN):
            assert outside not in answer.text
    foreign = stranger.get("/", headers={"host": "<b>.example"})
    assert foreign.status_code == 403
    assert "--allow-host" in foreign.text
    assert "<b>" not in foreign.text
    assert stranger.get("/api/images").json()["error"]["code"] == "token_missing"
    assert stranger.post("/").json()["error"]["code"] == "token_missing"
    assert stranger.get("/", headers={"accept": "*/*"}).json()["error"]["code"] == "token_missing"


@pytest.mark.parametrize("token", ["simple", "a;b c", "ключ", "%41", 'q"=,', "\\", "x" * 500])
def test_any_token_works_in_all_three_places(folder: Path, tmp_path: Path, token: str) -> None:
    with Project.open(folder, tmp_path / "p.db", exclusive=True) as project:
        app = create_app(project, FakeModel(), Access(token, 1, frozenset({"testserver"})))
        client = Client(app)
        assert client.get("/", params={"token": token}).status_code == 200
        assert client.get("/api/project").status_code == 200
        bearer = {b"authorization": b"Bearer " + token.encode()}
        assert Client(app).get("/api/project", headers=bearer).status_code == 200
        assert Client(app).get("/", params={"token": token + "x"}).status_code == 401


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example", "", "[", "a@localhost.x",
     "0.0.0.0", "testserver.", "10.0.0.7:8000"],
)  # fmt: skip
def test_a_foreign_host_is_refused(client, host: str) -> None:
    answer = client.get("/api/images", headers={"host": host})
    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "host_refused"


@pytest.mark.parametrize("host", ["localhost:9", "127.0.0.1:8000", "[::1]:8000", "LOCALHOST", "testserver"])
def test_our_own_host_is_not(client, host: str) -> None:
    assert client.get("/api/images", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "http://localhost:1234", "https://testserver.evil.example", "file://", "",
     "http://testserver:81", "ftp://testserver", "http://[", "http://user@localhost"],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "PUT", "PATCH", "OPTIONS"])
def test_a_foreign_origin_is_refused(client, origin: str, method: str) -> None:
    answer = client.request(method, "/api/images", headers={"origin": origin, "host": "testserver"})
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers


def test_our_own_origin_is_not(client) -> None:
    for origin, host in (("http://testserver", "testserver"), ("http://localhost:8000", "localhost:8000"),
                         ("https://testserver", "127.0.0.1:8000")):  # fmt: skip
        assert client.get("/api/images", headers={"origin": origin, "host": host}).status_code == 200
    for site in ("cross-site", "same-site"):  # another port of this machine is the same site
        assert client.get("/api/images", headers={"sec-fetch-site": site}).status_code == 403
    assert client.get("/api/images", headers={"sec-fetch-site": "same-origin"}).status_code == 200


def test_a_form_of_another_page_changes_nothing(client) -> None:
    made = new_object(client)
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        answer = client.post(
            f"/api/objects/{made['id']}/clicks", content=b'{"x": 20, "y": 12}', headers={"content-type": kind}
        )
        assert answer.status_code == 422
    assert client.get(f"/api/objects/{made['id']}").json()["clicks"] == []


UPWARD = (
    "../../secret.txt", "..%2f..%2fsecret.txt", "%2e%2e/%2e%2e/secret.txt", "....//....//secret.txt",
    "..\\..\\secret.txt",
    "..%5c..%5csecret.txt", "/etc/passwd", "//etc/passwd", "%00", "image0.png", PROJECT_NAME, "C:\\secret.txt",
    "..%252f..%252fsecret.txt", "\\\\host\\share", "file:///etc/passwd", "' OR 1=1 --", "*", "a" * 3000,
)  # fmt: skip


@pytest.mark.parametrize("text", UPWARD)
def test_no_path_gets_in_anywhere(client, folder: Path, text: str) -> None:
    image, one = first_image(client)["id"], new_object(client)["id"]
    before = sorted(each.name for each in folder.parent.rglob("*"))
    requests = [
        ("GET", f"/static/{text}", None), ("GET", f"/static/js/{text}", None), ("GET", f"/{text}", None),
        ("GET", f"/api/images/{text}", None), ("GET", f"/api/images/{text}/pixels", None),
        ("GET", f"/api/images/{text}/thumbnail", None), ("POST", f"/api/images/{text}/open", None),
        ("GET", f"/api/images/{image}/{text}", None), ("GET", f"/api/objects/{text}", None),
        ("POST", f"/api/objects/{text}/clicks", {"x": 1, "y": 1}),
        ("DELETE", f"/api/objects/{one}/clicks/{text}", None),
        ("GET", f"/api/export?format={text}", None), ("POST", f"/api/import?format={text}", None),
        ("POST", f"/api/import?format=coco&name={text}", None), ("GET", f"/api/images?status={text}", None),
        ("GET", f"/api/images/{image}/pixels?v={text}", None),
        ("POST", f"/api/images/{image}/objects", {"label": text}), ("PATCH", f"/api/objects/{one}", {"label": text}),
        ("POST", f"/api/objects/{one}/clicks", {"x": 20, "y": 12, "key": text}),
        ("PUT", "/api/project/settings", {"path": text}),
    ]  # fmt: skip
    for method, path, body in requests:
        answer = client.request(method, path, json=body)
        assert answer.status_code < 500, f"{method} {path}: {answer.text}"
        assert SECRET not in answer.text
        assert "root:" not in answer.text
        if method == "GET" and "?" not in path and text not in ("*",):
            assert answer.status_code in (401, 404, 405, 422), path[:100]
    assert sorted(each.name for each in folder.parent.rglob("*")) == before


def test_paths_of_this_machine_are_never_told(client, folder: Path) -> None:
    texts = [client.get(path).text for path in ("/api/project", "/api/images", "/openapi.json", "/docs")]
    texts.append(client.post("/api/import?format=coco", content=b"{").text)
    texts.append(client.post("/api/import?format=instances", content=b"{").text)
    for text in texts:
        assert str(folder.parent) not in text
        assert json.dumps(str(folder.parent))[1:-1] not in text


@pytest.mark.parametrize(("end", "limit"), [(end, limit) for end, limit in BODY_LIMITS if limit <= 1 << 20])
def test_a_body_that_is_too_large_is_refused(client, end: str, limit: int) -> None:
    path = "/api/project/settings" if end else f"/api/objects/{new_object(client)['id']}/clicks"
    method = "PUT" if end else "POST"
    answer = client.request(
        method, path, content=b"[" * (limit + 1), headers={"content-type": "application/json"}
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")

    def endless():
        for _ in range(limit // 4096 + 2):
            yield b" " * 4096

    answer = client.request(method, path, content=endless(), headers={"content-type": "application/json"})
    assert answer.status_code == 413
    assert client.get("/api/project").status_code == 200


def test_a_length_that_lies_is_measured(client) -> None:
    answer = client.put(
        "/api/project/settings", content=b"[" * (65 << 10),
        headers={"content-type": "application/json", "content-length": "5"},
    )  # fmt: skip
    assert answer.status_code == 413


def test_every_answer_has_the_headers(client) -> None:
    for path in ("/", "/health", "/api/images", "/static/index.html", "/api/nothing", "/docs"):
        for who in (client, bare(client)):
            answer = who.get(path)
            for name, value in HEADERS.items():
                assert answer.headers[name] == value, f"{name} on {path}"
    policy = client.get("/").headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src 'self'" in policy
    assert client.get("/api/images").headers["cache-control"] == "no-store"


def bomb(size: int) -> bytes:
    file = io.BytesIO()
    Image.new("1", (8, 8)).save(file, "PNG")
    data = bytearray(file.getvalue())
    data[16:24] = struct.pack(">II", size, size)
    return bytes(data)


def gif(size: int) -> bytes:
    return (
        b"GIF89a"
        + struct.pack("<HH", size, size)
        + b"\x80\0\0"
        + b"\0" * 6
        + b",\0\0\0\0\x08\0\x08\0\0\x02\x02\x44\x01\0;"
    )


def whole_png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (30, 20)).save(file, "PNG")
    return file.getvalue()


HOSTILE = {
    "bomb.png": bomb(60_000), "bomb2.png": bomb(2**31 - 1), "zero.png": bomb(0), "bomb.gif": gif(65_535),
    "empty.jpg": b"", "text.png": b"<svg onload=alert(1)>", "page.jpg": b"<html><script>alert(1)</script>",
    "cut.png": whole_png()[:60], "soi.jpg": b"\xff\xd8\xff" * 3000, "zeros.tif": b"II*\0" + b"\xff" * 64,
    "loop.tif": b"II*\0\x08\0\0\0\x00\0\x08\0\0\0", "eps.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    "long-chunk.png": whole_png()[:33] + struct.pack(">I", 2**31 - 1) + b"iTXt" + b"x" * 100,
    "riff.webp": b"RIFF\xff\xff\xff\xffWEBPVP8X",
}  # fmt: skip


def test_hostile_files_are_told_and_do_no_harm(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "photos", 1)
    for name, data in HOSTILE.items():
        (folder / name).write_bytes(data)
    with client_of(folder) as client:
        images = client.get("/api/images").json()
        assert len(images) == len(HOSTILE) + 1
        for each in images:
            at = f"/api/images/{each['id']}"
            answers = [
                client.get(f"{at}/pixels"),
                client.get(f"{at}/thumbnail"),
                client.post(f"{at}/objects"),
                client.get(at),
            ]
            if each["name"] == "image0.png":
                assert all(answer.status_code == 200 for answer in answers)
            else:
                assert all(answer.status_code in (200, 422) for answer in answers), each["name"]
                assert answers[0].status_code == 422 or answers[0].headers["content-type"].startswith(
                    "image/"
                )
                assert answers[2].status_code == 422 or each["problem"] is None
        good = next(each["id"] for each in images if each["name"] == "image0.png")
        for data in HOSTILE.values():
            assert client.post(f"/api/images/{good}/masks", content=data).status_code in (200, 422)
            for name in ("coco", "labelme", "voc", "yolo", "instances", "zip"):
                assert client.post(f"/api/import?format={name}", content=data).status_code in (200, 422)
        assert client.get("/health").status_code == 200


def test_mask_bombs_are_refused() -> None:
    for name in ("bomb.png", "bomb2.png", "zero.png"):
        with pytest.raises((OSError, ValueError)):
            read_masks(HOSTILE[name], (40, 56))


def test_below_a_root_path_with_the_proxy_leaving_it_or_not(folder: Path, tmp_path: Path) -> None:
    with Project.open(folder, tmp_path / "p.db", exclusive=True) as project:
        project.read_sizes()
        app = create_app(project, FakeModel(), Access("t", 1, frozenset({"testserver"}), "/tools/cut"))
        for before in ("", "/tools/cut"):
            client = Client(app)
            page = client.get(f"{before}/?token=t")
            assert page.status_code == 200
            assert "Path=/tools/cut/;" in page.headers["set-cookie"]
            client.headers["authorization"] = "Bearer t"
            assert len(client.get(f"{before}/api/images").json()) == 3
            assert client.get(f"{before}/health").status_code == 200
            assert client.get(f"{before}/static/index.html").status_code == 200
        assert Client(app).get("/tools/cutlery/").status_code == 401
        bare_root = Client(app).get("/tools/cut?token=t", follow_redirects=False)
        assert (bare_root.status_code, bare_root.headers["location"]) == (307, "/tools/cut/?token=t")
