"""The server: routes over a project and a model, behind the guardian; and the page's files."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, Response
from starlette.exceptions import HTTPException

import emclick
from emclick.errors import EmclickError
from emclick.session import Model
from emclick.web.actions import Actions
from emclick.web.engine import Engine
from emclick.web.errors import NotFoundError
from emclick.web.messages import HealthMessage
from emclick.web.reference import STYLE, reference_page
from emclick.web.routes.images import image_routes
from emclick.web.routes.objects import object_routes
from emclick.web.routes.project import project_routes
from emclick.web.security import Access, Guardian
from emclick.web.services import (
    RESPONSES,
    KnownHeader,
    Listeners,
    Services,
    is_known,
    on_error,
    on_http,
    on_invalid,
)
from emclick.web.store import Project

STATIC = Path(__file__).parent / "static"

MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8", ".json": "application/json", ".svg": "image/svg+xml",
    ".png": "image/png", ".ico": "image/x-icon", ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2", ".txt": "text/plain; charset=utf-8",
}  # fmt: skip
"""Of the page's files. Python's own table reads the Windows registry, where other programs change it."""

DESCRIPTION = """Click on an object, get its mask, correct it with more clicks.

Images, objects and masks are named by opaque ids. A mask is COCO RLE. A change is stored before it is answered. Any
change may carry a `key`, a string that the client makes up: sent twice, it is made once; and the object's `seq` that
the client last saw: if the object has changed since, the answer is 409 `stale` with the object as it is.
"""


def create_app(
    project: Project, model: Model, access: Access, *, model_name: str = "", sessions: int = 16
) -> FastAPI:
    """The ASGI application.

    Args:
        project: open; whoever opened it closes it.
        model: from `emclick.load()`.
        access: who may ask.
        model_name: as shown; None for the model's own.
        sessions: how many are kept in memory.
    """
    app = FastAPI(
        title="emclick", version=emclick.__version__, description=DESCRIPTION, docs_url=None, redoc_url=None,
        redirect_slashes=False, servers=[{"url": access.root_path or "/"}],
    )  # fmt: skip
    engine = Engine(
        model,
        sessions=sessions,
        unreadable=lambda picture, error: project.note_unreadable(picture.id, error),
    )
    name = model_name or str(getattr(model, "name", "model"))
    services = Services(project, engine, Actions(project, engine), Listeners(project), name)
    app.state.services = services
    app.add_middleware(Guardian, access=access)  # type: ignore[arg-type]
    for kind, handler in (
        (RequestValidationError, on_invalid), (HTTPException, on_http), (EmclickError, on_error),
        (MemoryError, on_error), (Exception, on_error),
    ):  # fmt: skip
        app.add_exception_handler(kind, handler)
    for routes in (project_routes, image_routes, object_routes):
        app.include_router(routes(services))
    _add_page(app)
    return app


def _add_page(app: FastAPI) -> None:
    # Looked up, never joined to a path: what is not in this table does not exist.
    files = {
        path.relative_to(STATIC).as_posix(): path for path in STATIC.rglob("*") if path.suffix in MEDIA_TYPES
    }

    @app.get("/health", tags=["server"])
    async def health() -> HealthMessage:
        """The server is there. Needs no token."""
        return HealthMessage(status="ok", version=emclick.__version__)

    @app.get("/", response_class=HTMLResponse, tags=["server"], responses=RESPONSES)
    async def page() -> Response:
        """The page. With `?token=TOKEN` it also sets the cookie."""
        return _file(files, "index.html", None)  # always whole: only an answer with the page sets the cookie

    @app.get("/static/{name:path}", include_in_schema=False)
    async def static(name: str, if_none_match: KnownHeader = None) -> Response:
        return _file(files, name, if_none_match)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(reference_page(app.openapi()))

    @app.get("/docs.css", include_in_schema=False)
    async def docs_style() -> Response:
        return Response(STYLE, media_type="text/css")


def _file(files: dict[str, Path], name: str, known: str | None) -> Response:
    path = files.get(name)
    if path is None:
        raise NotFoundError("there is no such file")
    # asked for again each time, answered with 304 if it is the same: an update shows at once
    file = FileResponse(
        path,
        media_type=MEDIA_TYPES[path.suffix],
        headers={"cache-control": "no-cache"},
        stat_result=path.stat(),
    )
    if not is_known(file.headers["etag"], known):
        return file
    return Response(status_code=304, headers={name: file.headers[name] for name in ("etag", "cache-control")})
