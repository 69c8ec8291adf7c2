"""Routes of the project: labels, settings, changes, import and export."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import Field, fields
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints
from urllib.parse import quote

import anyio
from fastapi import APIRouter, Body, Query, Request
from fastapi.responses import FileResponse
from pydantic import Field as QueryField
from pydantic import create_model
from starlette.background import BackgroundTask

import emclick
from emclick.annotations import FORMATS, make_format
from emclick.annotations.base import Format
from emclick.annotations.errors import AnnotationError
from emclick.errors import WeightsError
from emclick.web.errors import RequestError
from emclick.web.messages import (
    ChangesMessage,
    FormatMessage,
    ImportedMessage,
    LabelIn,
    LabelMessage,
    Message,
    ProjectMessage,
)
from emclick.web.services import CHANGING, RESPONSES, Services
from emclick.web.temporary import PREFIX, without_temporary
from emclick.zoo import find_folder, list_models

_OPTION_WORDS = {"bridge_holes": "bridged"}
"""What options are called in the names of downloads, where it is not their own name."""


def _export_query() -> type[Message]:
    """The query of an export: a format, and every option that one of the table's formats has."""
    found: dict[str, tuple[Any, Field[Any], list[str]]] = {}
    for name in FORMATS:
        hints = get_type_hints(FORMATS[name])
        for option in fields(FORMATS[name]):
            kind, first, of = found.get(option.name, (hints[option.name], option, []))
            found[option.name] = kind | hints[option.name], first, [*of, name]
    query: dict[str, Any] = {"format": (str, QueryField(description="A name of `formats`."))}
    for name, (kind, first, of) in found.items():
        about = f"{', '.join(of)}: {first.metadata.get('about', 'an option')}"
        query[name] = kind, QueryField(first.default, description=about)
    return create_model("ExportQuery", __base__=Message, **query)


if TYPE_CHECKING:
    ExportQuery = Message
else:
    ExportQuery = _export_query()


def project_routes(services: Services) -> APIRouter:
    """`/api/project`, `/api/changes`, `/api/export`, `/api/import`."""
    router = APIRouter(prefix="/api", tags=["project"], responses=RESPONSES)
    project = services.project

    @router.get("/project")
    def get_project() -> ProjectMessage:
        """The project: its labels, how far it is, what can be exported."""
        seq, *_ = project.images.changed_since(2**53)
        return ProjectMessage.model_validate(
            {
                "id": project.identity(),
                "name": project.name,
                "model": services.model_name,
                "models": _models_here(),
                "labels": [_label(each) for each in project.labels()],
                "counts": project.images.counts(),
                "settings": project.settings(),
                "formats": [FormatMessage(name=name, lossy=FORMATS[name].lossy) for name in FORMATS],
                "version": emclick.__version__,
                "seq": seq,
            }
        )

    @router.put("/project/settings", responses=CHANGING)
    def put_settings(settings: Annotated[dict[str, Any], Body()]) -> dict[str, Any]:
        """Keep a JSON object for the page, up to 64 KB; gives it back."""
        try:
            json.dumps(settings, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:  # half a character, which no answer could carry
            raise RequestError(422, "invalid", "the settings hold text that is no Unicode") from error
        project.set_settings(settings)
        return project.settings()

    @router.put("/project/labels", responses=CHANGING)
    def put_labels(labels: Annotated[list[LabelIn], Body()]) -> list[LabelMessage]:
        """Replace the labels. One sent with its `id` keeps it, and a new name goes to its objects too."""
        kept = project.set_labels([(each.id, each.name, each.color, each.key) for each in labels])
        return [_label(each) for each in kept]

    @router.get("/changes")
    async def get_changes(
        since: Annotated[int, Query(ge=0, le=2**53, description="`seq` of the last change known.")] = 0,
        wait: Annotated[float, Query(ge=0, le=20, description="Seconds to wait for a change.")] = 0,
    ) -> ChangesMessage:
        """What has changed since; with `wait` the answer comes when something changes."""
        end = anyio.current_time() + wait
        while True:
            seq, images, objects, deleted = await anyio.to_thread.run_sync(
                project.images.changed_since, since
            )
            left = end - anyio.current_time()
            if images or objects or seq > since or left <= 0 or services.listeners.closed:
                return ChangesMessage(seq=seq, images=images, objects=objects, deleted=deleted)
            await services.listeners.wait(min(left, 1.0))  # a change between look and wait: a second late

    @router.get(
        "/export", response_class=FileResponse, responses={200: {"content": {"application/octet-stream": {}}}}
    )
    async def get_export(query: Annotated[ExportQuery, Query()]) -> FileResponse:
        """Download all annotations: one file, or a zip of several. A format takes its own options only."""
        chosen = query.model_dump(include=query.model_fields_set)
        made_by = make_format(chosen.pop("format"), **chosen)
        return await _slowly(services, lambda: _export(services, made_by))

    @router.post(
        "/import",
        responses=CHANGING,
        openapi_extra={
            "requestBody": {
                "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
            }
        },
    )
    async def post_import(
        request: Request,
        format: Annotated[str, Query(description="A name of `formats`.")],
        name: Annotated[
            str, Query(max_length=255, description="The file's name, where the format goes by it.")
        ] = "",
        key: Annotated[
            str | None, Query(min_length=1, max_length=100, description="As with any change.")
        ] = None,
    ) -> ImportedMessage:
        """Add annotations to the project's images: the body is a file of the format, or a zip of several."""
        reader = FORMATS[format]()
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        try:
            path = folder / _safe_name(name, reader.suffixes)
            async with await anyio.open_file(path, "wb") as file:
                async for chunk in request.stream():
                    await file.write(chunk)
            found = await _slowly(services, lambda: reader.read(path, project.image_sizes()))
            added = await _slowly(services, lambda: project.add_annotations(found, key))
        except AnnotationError as error:
            raise AnnotationError(without_temporary(str(error))) from error
        finally:
            await anyio.to_thread.run_sync(lambda: shutil.rmtree(folder, ignore_errors=True))
        skipped = [without_temporary(each) for each in found.skipped[:1000]]
        return ImportedMessage(objects=added.objects, already_there=added.there, skipped=skipped)

    return router


async def _slowly(services: Services, work: Callable[[], Any]) -> Any:
    return await anyio.to_thread.run_sync(work, limiter=services.slow)


def _label(label: Any) -> LabelMessage:
    return LabelMessage(id=label.id, name=label.name, color=label.color, key=label.key)


def _models_here() -> list[str]:
    found = []
    for name in list_models():
        try:
            find_folder(name)
            found.append(name)
        except WeightsError:
            pass
    return found


def _export(services: Services, made_by: Format) -> FileResponse:
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    try:
        files = made_by.export(services.project.annotations(), folder / "export", None)
        path = (
            files[0]
            if len(files) == 1
            else Path(shutil.make_archive(str(folder / "all"), "zip", folder / "export"))
        )
        stem = "-".join([services.project.name, *_kind(made_by)])
        return FileResponse(
            path,
            media_type="application/octet-stream",
            headers={
                "content-disposition": f"attachment; filename*=UTF-8''{quote(stem + path.suffix, safe='')}"
            },
            background=BackgroundTask(shutil.rmtree, folder, ignore_errors=True),
        )
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _kind(made_by: Format) -> list[str]:
    """What tells one download from another: the format and what it was asked to do otherwise."""
    if made_by.name == "zip":
        return []
    asked = [each.name for each in fields(FORMATS[made_by.name]) if getattr(made_by, each.name) is True]
    return [made_by.name, *(_OPTION_WORDS.get(each, each) for each in asked)]


def _safe_name(name: str, suffixes: tuple[str, ...]) -> str:
    """A file name of the upload's, without any folder; formats go by its end, and some by all of it."""
    plain = PurePosixPath(name.replace("\\", "/")).name
    usable = plain.isprintable() and not plain.startswith(".") and not set(plain) & set('<>:"|?*')
    if not usable or not plain or len(plain.encode()) > 200:
        return f"upload{suffixes[0] if suffixes else ''}"
    return plain
