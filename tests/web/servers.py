"""Projects, clients and real servers for the tests of `emclick serve`."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
from starlette.testclient import TestClient

from emclick.annotations.model import Rle
from emclick.methods.base import Options
from emclick.methods.emc import EmcMethod
from emclick.web.app import create_app
from emclick.web.security import Access
from emclick.web.store import Project
from helpers import FakeModel, FakeRuntime, picture


class Client(TestClient):
    """A client that tells its app."""

    app: Any


TOKEN = "a token; with space"
HW = (40, 56)

SERVE = """
import sys
sys.path[:0] = {paths!r}
import typer, emclick.zoo
from helpers import FakeModel
from emclick.cli.serve import serve_command
if {fake!r}:
    emclick.zoo.load = lambda *_, **__: FakeModel()
typer.run(serve_command)
"""


@dataclass
class ZoomModel(FakeModel):
    """A fake model whose sessions zoom in: there every step hangs on the threshold."""

    runtime: FakeRuntime = field(default_factory=FakeRuntime)
    short_side: int = 64
    zoom_in: bool = True

    def method(self, options: Options) -> EmcMethod:
        return EmcMethod(self.runtime, self.templates, options)


def write_images(folder: Path, count: int = 3, hw: tuple[int, int] = HW) -> Path:
    """A folder of PNGs, image0.png and so on."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        cv2.imwrite(str(folder / f"image{number}.png"), picture(*hw, seed=number)[..., ::-1])
    return folder


@contextlib.contextmanager
def client_of(folder: Path, *, model: Any = None, sessions: int = 16) -> Iterator[Client]:
    """A client that knows the token, of a server in this process."""
    with Project.open(folder, exclusive=True) as project:
        project.read_sizes()
        access = Access(TOKEN, 8000, frozenset({"testserver"}))
        app = create_app(project, model or FakeModel(), access, sessions=sessions)
        with Client(app, raise_server_exceptions=False) as client:  # entered: one event loop for all requests
            client.headers["Authorization"] = f"Bearer {TOKEN}"
            try:
                yield client
            finally:
                app.state.services.engine.close()


def first_image(client: Any) -> dict[str, Any]:
    return client.get("/api/images").json()[0]


def new_object(client: Any, **body: Any) -> dict[str, Any]:
    answer = client.post(f"/api/images/{first_image(client)['id']}/objects", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def click(client: Any, object_id: str, x: float, y: float, positive: bool = True, **more: Any) -> Any:
    return client.post(
        f"/api/objects/{object_id}/clicks", json={"x": x, "y": y, "positive": positive, **more}
    )


def mask_of(answer: dict[str, Any]) -> np.ndarray:
    return Rle.from_json(answer["rle"]).decode()


class Served:
    """`emclick serve` as a process of its own, on any free port."""

    def __init__(self, folder: Path, *arguments: str, fake: bool = True) -> None:
        paths = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2] / "src")]
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVE.format(paths=paths, fake=fake), str(folder), "--token", TOKEN,
             "--no-browser", "--port", "0", *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        self.lines: list[str] = []
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.strip())
            if line.startswith("open http"):
                break
        else:
            self.process.wait()
            self.url = ""
            return
        self.url = self.lines[-1].removeprefix("open ").partition("/?")[0]

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30)

    def wait_until_up(self) -> None:
        for _ in range(200):
            with contextlib.suppress(httpx.HTTPError):
                httpx.get(f"{self.url}/health", timeout=5)
                return
            time.sleep(0.02)
        raise AssertionError("the server does not answer")

    def kill(self) -> None:
        """The process is gone at once, as after a power cut but for the disk."""
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
