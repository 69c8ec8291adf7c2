"""`emclick serve`: the annotation tool in the browser."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emclick.cli.options import Model, Runtime, Threads

if TYPE_CHECKING:
    import socket
    from types import FrameType

    from fastapi import FastAPI

    from emclick.web.store import Project

FIRST_PORT, PORTS = 8000, 50


def serve_command(
    folder: Annotated[Path, typer.Argument(help="Photographs, in this folder and below.", metavar="FOLDER")],
    project: Annotated[
        Path | None,
        typer.Option(help="Where the work is kept. Default: .emclick.sqlite3 in FOLDER.", metavar="FILE"),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help=f"Default: {FIRST_PORT}, or the next one that is free."),
    ] = None,
    token: Annotated[
        str | None, typer.Option(help="What a browser or program must know. Default: random, and printed.")
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            help="A name by which a proxy or browser may call this server. Repeat for more.",
            metavar="NAME[:PORT]",
        ),
    ] = None,
    root_path: Annotated[
        str, typer.Option(help="What a proxy puts before every path.", metavar="/PATH")
    ] = "",
    model: Model = None,
    runtime: Runtime = None,
    threads: Threads = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Do not open a browser.")] = False,
) -> None:
    """Open the annotation tool on a folder of photographs.

    Every click is saved before it is answered: close the page or the program whenever you like. Stop with Ctrl-C.

    Example: emclick serve photos
    """
    from emclick.errors import MissingExtraError, OptionError

    for module in ("fastapi", "uvicorn", "pycocotools"):
        if importlib.util.find_spec(module) is None:
            raise MissingExtraError(f"`emclick serve` needs {module}: pip install {module}")
    if token == "":
        raise OptionError("--token must not be empty")

    import secrets
    from urllib.parse import quote

    from emclick.web.app import create_app
    from emclick.web.security import Access
    from emclick.web.store import Project
    from emclick.zoo import DEFAULT_MODEL, load

    root = f"/{root_path.strip('/')}" if root_path.strip("/") else ""
    with Project.open(folder, project, exclusive=True) as opened:
        loaded = load(model or DEFAULT_MODEL, runtime=runtime, threads=threads)
        listening = listen(host, port)
        chosen = listening.getsockname()[1]
        secret = token or secrets.token_urlsafe(24)
        hosts = frozenset(name.lower() for name in (*(allow_host or []), host)) - {"", "0.0.0.0", "::"}
        access = Access(secret, chosen, hosts, root)
        app = create_app(opened, loaded, access, model_name=loaded.name)
        done = opened.read_sizes(budget_s=1)
        shown = "127.0.0.1" if host in ("", "0.0.0.0", "::") else host
        shown = f"[{shown}]" if ":" in shown else shown
        url = f"http://{shown}:{chosen}{root}/?token={quote(secret, safe='')}"
        found = len(opened.images.all())
        typer.echo(f"{found} images in {opened.folder}; the work is kept in {opened.path}")
        if not found:
            typer.echo("no images here yet: put some into the folder and start again")
        if not _is_loopback(host):
            typer.echo(
                "other machines can reach this address; whoever knows the token can change the project"
            )
        typer.echo(f"open {url}")
        _run(app, listening, url="" if no_browser else url, sizes=None if done else opened)
    typer.echo("stopped; everything is saved")


def listen(host: str, port: int | None) -> socket.socket:
    """A listening socket on `port`, or on the first free one from 8000 on.

    Raises:
        PortError: it is taken, or the address is not this machine's.
    """
    import errno
    import os
    import socket

    from emclick.web.errors import PortError

    candidates = [port] if port is not None else [*range(FIRST_PORT, FIRST_PORT + PORTS), 0]
    for candidate in candidates:
        try:
            family, kind, proto, _, address = socket.getaddrinfo(host, candidate, type=socket.SOCK_STREAM)[0]
        except OSError as error:
            raise PortError(f"cannot listen on {host}: no such address; give another --host") from error
        listening = socket.socket(family, kind, proto)
        try:
            if (
                os.name == "posix"
            ):  # a port just left is free; on Windows this would share it with another program
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(128)
        except OSError as error:
            listening.close()
            taken = error.errno in (errno.EADDRINUSE, getattr(errno, "WSAEADDRINUSE", -1), errno.EACCES)
            if taken and port is None:
                continue
            if error.errno == errno.EACCES:
                raise PortError(f"port {port} may not be used by this user: give another --port") from error
            if taken:
                raise PortError(
                    f"port {port} on {host} is taken: stop what uses it, or give another --port"
                ) from error
            raise PortError(
                f"cannot listen on {host}: {error.strerror or error}; give another --host"
            ) from error
        return listening
    raise PortError(f"no free port on {host}: give one with --port")


def _is_loopback(name: str) -> bool:
    import ipaddress

    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return name == "localhost"


def _run(app: FastAPI, listening: socket.socket, *, url: str, sizes: Project | None) -> None:
    import contextlib
    import threading
    import webbrowser

    import uvicorn

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            app.state.services.listeners.close()  # pages that wait for news would hold it up
            super().handle_exit(sig, frame)

    config = uvicorn.Config(
        app, log_level="warning", access_log=False, timeout_graceful_shutdown=5, server_header=False,
        lifespan="off", proxy_headers=False,
    )  # fmt: skip
    if url:
        threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
    if sizes is not None:
        threading.Thread(target=_read_sizes, args=(sizes,), daemon=True).start()
    with contextlib.suppress(KeyboardInterrupt):
        Server(config).run(sockets=[listening])


def _read_sizes(project: Project) -> None:
    import contextlib

    from emclick.errors import EmclickError

    with contextlib.suppress(EmclickError):  # what is left is read when an image is opened
        project.read_sizes()
