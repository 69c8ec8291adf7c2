"""What the routes share, and the errors' way to an answer."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field
from typing import Annotated, Any

import anyio
from fastapi import Header, Request
from fastapi.responses import JSONResponse, Response

from emclick.annotations.errors import AnnotationError
from emclick.annotations.model import Rle
from emclick.errors import (
    ClickError,
    EmclickError,
    FrameError,
    HistoryError,
    ImageReadError,
    MaskError,
    MissingExtraError,
    UnknownNameError,
    WriteError,
)
from emclick.web.actions import Actions
from emclick.web.engine import Engine
from emclick.web.errors import (
    ImageChangedError,
    NotFoundError,
    ProjectBusyError,
    RequestError,
    StaleError,
    StorageError,
)
from emclick.web.messages import ErrorMessage, object_json
from emclick.web.records import ObjectState
from emclick.web.store import Project

_NEWS_AFTER_S = 0.03  # who made the change is answered first: both answers want the same thread


class Listeners:
    """Wakes requests that wait for a change."""

    def __init__(self, project: Project) -> None:
        self._waiting: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()
        self._lock = threading.RLock()  # the signal that ends the server may come while it is held
        self._closed = False
        project.database.listen(lambda _: self.wake())

    @property
    def closed(self) -> bool:
        """Whether the server is about to end: nobody is to wait any more."""
        return self._closed

    def close(self) -> None:
        """Let all go who wait."""
        self._closed = True
        self.wake()

    async def wait(self, seconds: float) -> None:
        """Until the next change, or so many seconds."""
        me = (asyncio.get_running_loop(), asyncio.Event())
        with self._lock:
            self._waiting.add(me)
        try:
            with anyio.move_on_after(seconds):
                await me[1].wait()
                if not self._closed:
                    await anyio.sleep(_NEWS_AFTER_S)
        finally:
            with self._lock:
                self._waiting.discard(me)

    def wake(self) -> None:
        """All who wait, from any thread."""
        with self._lock:
            waiting, self._waiting = self._waiting, set()
        for loop, event in waiting:
            if not loop.is_closed():
                loop.call_soon_threadsafe(event.set)


@dataclass(frozen=True)
class Services:
    """What the routes work with.

    Attributes:
        model_name: as shown.
        slow: one slow job at a time (thumbnails, imports, exports), so that clicks keep their threads and CPUs.
        sending: pictures being made ready to be sent.
    """

    project: Project
    engine: Engine
    actions: Actions
    listeners: Listeners
    model_name: str
    slow: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(1))
    sending: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(2))


# kind of error -> (status, code); the first that fits
ERRORS: tuple[tuple[type[BaseException], int, str], ...] = (
    (StaleError, 409, "stale"),
    (NotFoundError, 404, "not_found"),
    (ImageChangedError, 409, "image_changed"),
    (StorageError, 503, "storage"),  # to be sent again: nothing was stored
    (ProjectBusyError, 503, "storage"),
    (ClickError, 422, "click_refused"),
    (MaskError, 422, "mask_refused"),
    (HistoryError, 409, "history"),
    (FrameError, 422, "image_too_small"),
    (ImageReadError, 422, "image_unreadable"),
    (AnnotationError, 422, "annotations_refused"),
    (MissingExtraError, 501, "not_installed"),
    (UnknownNameError, 422, "unknown_name"),
    (WriteError, 503, "storage"),
    (EmclickError, 422, "refused"),
    (MemoryError, 422, "memory"),  # not to be sent again: it would want as much
)

_WORDLESS = {"memory": "the memory of the server is not enough for this; nothing was changed"}

_STATUS_CODES = {400: "malformed", 404: "not_found", 405: "method", 413: "too_large", 415: "media_type"}

RESPONSES: dict[int | str, dict[str, Any]] = {
    401: {"model": ErrorMessage, "description": "No token."},
    403: {"model": ErrorMessage, "description": "A foreign host or origin."},
    422: {"model": ErrorMessage, "description": "A request that cannot be taken as it is."},
    503: {
        "model": ErrorMessage,
        "description": "It could not be stored now; nothing was changed: send it again.",
    },
}
FOUND: dict[int | str, dict[str, Any]] = {
    404: {"model": ErrorMessage, "description": "There is no such thing."}
}
CHANGING: dict[int | str, dict[str, Any]] = {
    **FOUND,
    400: {"model": ErrorMessage, "description": "The body is not JSON."},
    409: {
        "model": ErrorMessage,
        "description": "It has changed since (`stale`), or there is nothing to undo.",
    },
    413: {"model": ErrorMessage, "description": "The body is too large."},
}


KnownHeader = Annotated[str | None, Header(alias="if-none-match")]
"""ETags that the client has."""


def error_response(status: int, code: str, message: str, state: ObjectState | None = None) -> JSONResponse:
    """The one shape of errors."""
    error: dict[str, Any] = {"code": code, "message": message.encode("utf-8", "replace").decode()}
    if state is not None:
        error["object"] = object_json(state)
    return JSONResponse({"error": error}, status)


def is_known(tag: str, known: str | None) -> bool:
    """Whether an ETag is among those of the header If-None-Match."""
    return known is not None and tag in [each.strip().removeprefix("W/") for each in known.split(",")]


def preview_response(found: tuple[Rle, float] | None) -> Response:
    """A `PreviewMessage`, or 204 without one."""
    if found is None:
        return Response(status_code=204)
    rle, ms = found
    return JSONResponse({"rle": rle.to_json(), "ms": ms})


async def on_error(_: Request, error: Exception) -> JSONResponse:
    """Any error of ours, or one nobody foresaw, as an answer."""
    if isinstance(error, RequestError):
        return error_response(error.status, error.code, str(error))
    for kind, status, code in ERRORS:
        if isinstance(error, kind):
            state = error.state if isinstance(error, StaleError) else None
            words = " ".join(str(error).split()) or _WORDLESS.get(code, code)
            return error_response(status, code, words, state)
    return error_response(500, "internal", f"the server failed ({type(error).__name__}); nothing was changed")


async def on_invalid(_: Request, error: Any) -> JSONResponse:
    """A request that does not fit its message."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if part != "body")
    return error_response(422, "invalid", f"{where or 'the request'}: {first['msg']}"[:300])


async def on_http(_: Request, error: Any) -> JSONResponse:
    """No such path, no such method, no JSON."""
    response = error_response(
        error.status_code, _STATUS_CODES.get(error.status_code, "refused"), str(error.detail)
    )
    response.headers.update(error.headers or {})
    return response
