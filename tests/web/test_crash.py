"""A server that is killed at any moment: no answered click is lost, and the project opens clean."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import sqlite3
import threading
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
from servers import HW, Served, click, mask_of, new_object, write_images

from emclick.cli.serve import listen, serve_command
from emclick.errors import EmclickError, MissingExtraError
from emclick.session import Session
from emclick.web.errors import ProjectBusyError
from emclick.web.store import PROJECT_NAME, Project
from helpers import FakeModel, picture


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_images(tmp_path / "photos")


class Clicker(threading.Thread):
    """Clicks, undoes and brushes until the server is gone; keeps what was answered."""

    def __init__(self, served: Served, one: str, seed: int) -> None:
        super().__init__()
        self.served, self.one = served, one
        self.random = np.random.default_rng(seed)
        self.sent = 0
        self.answered: list[dict] = []
        self.made: list[dict] = []  # objects with their first click, each in one request

    def run(self) -> None:
        with self.served.client() as client:
            while True:
                x, y = int(self.random.integers(HW[1])), int(self.random.integers(HW[0]))
                self.sent += 1
                try:
                    if self.random.random() < 0.15:
                        self.made.append(new_object(client, clicks=[{"x": x, "y": y}], key=f"{self.sent}"))
                        continue
                    if self.random.random() < 0.15 and self.answered and self.answered[-1]["can_undo"]:
                        answer = client.post(f"/api/objects/{self.one}/undo")
                    else:
                        answer = click(client, self.one, x, y)
                except httpx.HTTPError:
                    return
                assert answer.status_code == 200, answer.text
                self.answered.append(answer.json())


def killed_while_clicking(folder: Path, kills: int) -> int:
    random = np.random.default_rng(7)
    served = Served(folder)
    served.wait_until_up()
    with served.client() as client:
        one = new_object(client)["id"]
        click(client, one, 20, 12)
        last = client.get(f"/api/objects/{one}").json()
    total = 0
    for number in range(kills):
        clicker = Clicker(served, one, number)
        clicker.start()
        for _ in range(500):
            if clicker.answered:  # the first one rebuilds the session
                break
            time.sleep(0.01)
        time.sleep(float(random.uniform(0, 0.3)))
        served.kill()
        clicker.join()
        total += len(clicker.answered)
        with sqlite3.connect(f"file:{folder / PROJECT_NAME}?mode=ro", uri=True) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        served = Served(folder)
        served.wait_until_up()
        with served.client() as client:
            now = client.get(f"/api/objects/{one}").json()
            for each in clicker.made:
                assert client.get(f"/api/objects/{each['id']}").json()["clicks"] == each["clicks"]
            known = clicker.answered[-1] if clicker.answered else last
            # the one on its way when the server died may be stored or not; nothing else
            if now["seq"] == known["seq"]:
                assert (now["clicks"], now["rle"]) == (known["clicks"], known["rle"])
            else:
                assert (
                    now["seq"] == max(each["seq"] for each in (known, *clicker.made)) + 1
                )  # one counter for all
            last = now
    with served.client() as client:
        story_is_whole(client, one)
    served.kill()
    return total


def story_is_whole(client: httpx.Client, one: str) -> None:
    """Undo to the start and redo to the end: every mask is that of a session that makes the same clicks."""
    shown = client.get(f"/api/objects/{one}").json()
    while shown["can_redo"]:
        shown = client.post(f"/api/objects/{one}/redo").json()
    stored = [shown]
    while shown["can_undo"]:
        shown = client.post(f"/api/objects/{one}/undo").json()
        stored.append(shown)
    assert stored[-1]["clicks"] == []
    session = Session(FakeModel(), picture(*HW, seed=0))
    for each in reversed(stored[:-1]):
        made = each["clicks"][-1]
        session.click(**made)
        assert len(session.clicks) == len(each["clicks"])
        assert np.array_equal(session.mask, mask_of(each))


def test_two_kills_lose_nothing(folder: Path) -> None:
    assert killed_while_clicking(folder, 2) > 4


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_hundred_kills_lose_nothing(folder: Path) -> None:
    assert killed_while_clicking(folder, 100) > 200


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="the process cannot be stopped here")
def test_a_copy_at_any_moment_opens_clean(folder: Path, tmp_path: Path) -> None:
    served = Served(folder)
    served.wait_until_up()
    with served.client() as client:
        one = new_object(client)["id"]
    clicker = Clicker(served, one, 1)
    clicker.start()
    try:
        for number in range(5):
            time.sleep(0.15)
            answered = len(clicker.answered)
            os.kill(served.process.pid, signal.SIGSTOP)  # all files as they are in one moment
            copy = tmp_path / f"copy{number}.sqlite3"
            for end in ("", "-wal"):
                if Path(f"{folder / PROJECT_NAME}{end}").exists():
                    shutil.copy(f"{folder / PROJECT_NAME}{end}", f"{copy}{end}")
            os.kill(served.process.pid, signal.SIGCONT)
            with Project.open(folder, copy, exclusive=True) as project:
                assert project.database.read("PRAGMA integrity_check")[0][0] == "ok"
                state = project.objects.get(one)
                known = clicker.answered[answered - 1] if answered else {"seq": 0}
                assert state.seq >= known["seq"]
                assert state.rle.decode().shape == HW
    finally:
        served.kill()
        clicker.join()


def test_the_lock_dies_with_its_process(folder: Path) -> None:
    served = Served(folder)
    served.wait_until_up()
    with pytest.raises(ProjectBusyError, match="another process has the project"):
        Project.open(folder, exclusive=True)
    served.kill()
    with Project.open(folder, exclusive=True) as project:
        assert project.images.all()[0].name == "image0.png"


def test_the_command_says_what_is_in_the_way(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emclick.zoo.load", lambda *_, **__: FakeModel())
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for arguments, says in (
            ({"port": port}, f"port {port} .* is taken"),
            ({"folder": tmp_path / "nowhere"}, "no folder"),
            ({"token": ""}, "--token"),
            ({"project": tmp_path}, "folder"),
            ({"host": "no.such.host.invalid"}, "--host"),
        ):
            with pytest.raises(EmclickError, match=says):
                serve_command(**{"folder": folder, "host": "127.0.0.1", "no_browser": True, **arguments})
    Project.open(folder, exclusive=True).close()  # and let go of the project each time


def test_without_a_port_the_next_free_one_is_taken() -> None:
    first, second = listen("127.0.0.1", None), listen("127.0.0.1", None)
    try:
        assert first.getsockname()[1] != second.getsockname()[1]
    finally:
        first.close()
        second.close()


def test_what_is_not_installed_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "uvicorn" else object())
    with pytest.raises(MissingExtraError, match=r"needs uvicorn: pip install"):
        serve_command(folder)


@pytest.mark.skipif(os.name != "posix", reason="Ctrl-C cannot be sent to one process here")
def test_ctrl_c_stops_quietly(folder: Path) -> None:
    served = Served(folder)
    served.wait_until_up()
    with served.client() as client:
        waiting = threading.Thread(
            target=lambda: _ignore(lambda: client.get("/api/changes?since=99999&wait=20"))
        )
        waiting.start()
        time.sleep(0.3)
        served.process.send_signal(signal.SIGINT)
        assert served.process.stdout is not None
        rest = served.process.stdout.read()
        assert served.process.wait(15) == 0
        waiting.join()
    assert "everything is saved" in rest
    assert "Traceback" not in rest
    served.process.stdout.close()


def _ignore(call) -> None:
    with contextlib.suppress(httpx.HTTPError):
        call()
