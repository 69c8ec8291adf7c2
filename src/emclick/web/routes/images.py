"""Routes of images: the list, one image with its objects, its pixels, its history."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Body, Path, Query, Request
from fastapi.responses import JSONResponse, Response

from emclick.errors import ImageReadError
from emclick.web.errors import RequestError
from emclick.web.messages import (
    ClickMessage,
    ErrorMessage,
    Guarded,
    ImageEntry,
    ImageMessage,
    ImagePatch,
    MadeMessage,
    ObjectCreate,
    ObjectsMessage,
    OpenedMessage,
    PreviewMessage,
    Status,
    as_click,
    entry_json,
    image_json,
    object_json,
)
from emclick.web.pictures import Pixels, displayable, read_masks, thumbnail
from emclick.web.records import Guard
from emclick.web.services import CHANGING, FOUND, RESPONSES, KnownHeader, Services, is_known, preview_response

ImagePath = Annotated[str, Path(max_length=64, description="From the list of images.")]
Version = Annotated[
    str, Query(max_length=64, description="The image's `version`: then it may be kept for ever.")
]
Change = Annotated[Guarded | None, Body()]
Encode = Callable[..., tuple[bytes, str]]

SHOWN: dict[int | str, dict[str, Any]] = {
    **FOUND,
    304: {"description": "As it was."},
    409: {"model": ErrorMessage, "description": "The file is gone, or no longer fits its objects."},
}


def image_routes(services: Services) -> APIRouter:
    """`/api/images` and what is below."""
    router = APIRouter(prefix="/api/images", tags=["images"], responses=RESPONSES)
    project, actions, engine = services.project, services.actions, services.engine

    def shown(image_id: str) -> JSONResponse:
        state = project.measured(image_id)
        return JSONResponse(image_json(state, project.objects.of_image(image_id)))

    @router.get("", response_model=list[ImageEntry])
    def list_images(
        status: Annotated[Status | None, Query(description="Only images of this status.")] = None,
    ) -> JSONResponse:
        """The images of the folder, in its order."""
        return JSONResponse([entry_json(each) for each in project.images.all(status)])

    @router.get("/{image_id}", response_model=ImageMessage, responses=FOUND)
    def get_image(image_id: ImagePath) -> JSONResponse:
        """An image with its objects."""
        return shown(image_id)

    @router.patch("/{image_id}", response_model=ImageMessage, responses=CHANGING)
    def patch_image(image_id: ImagePath, change: ImagePatch) -> JSONResponse:
        """Say how far the work on an image is."""
        project.images.set_status(image_id, change.status, change.guard())
        return shown(image_id)

    @router.post("/{image_id}/open", status_code=202, responses=CHANGING)
    def open_image(image_id: ImagePath) -> OpenedMessage:
        """Get the model ready for this image, and then for the next one, in the background. Answers at once."""
        wanted = [actions.picture(project.images.get(image_id))]
        following = project.images.after(image_id)
        if following is not None and following.problem is None:
            following = project.measured(following.id)
            if following.width:
                wanted.append(actions.picture(following))
        engine.prepare(wanted)
        return OpenedMessage(opening=True)

    @router.get(
        "/{image_id}/pixels", response_class=Response,
        responses={**SHOWN, 200: {"content": {"image/*": {}}}},
    )  # fmt: skip
    async def get_pixels(
        image_id: ImagePath,
        v: Version = "",
        if_none_match: KnownHeader = None,
    ) -> Response:
        """The picture as a browser can show it: upright, 8 bits."""
        return await _picture(services, services.sending, image_id, v, if_none_match, displayable)

    @router.get(
        "/{image_id}/thumbnail", response_class=Response,
        responses={**SHOWN, 200: {"content": {"image/jpeg": {}}}},
    )  # fmt: skip
    async def get_thumbnail(
        image_id: ImagePath,
        v: Version = "",
        if_none_match: KnownHeader = None,
    ) -> Response:
        """A small JPEG, longer side 160 pixels."""
        return await _picture(services, services.slow, image_id, v, if_none_match, _small)

    @router.post("/{image_id}/objects", response_model=MadeMessage, responses=CHANGING)
    def make_object(image_id: ImagePath, new: Annotated[ObjectCreate | None, Body()] = None) -> JSONResponse:
        """Make an object. With `rle` that mask is where it starts, and clicks correct it. With `clicks` it is answered
        as it is after them: one request from the first click to its mask."""
        new = new or ObjectCreate()
        rle = None if new.rle is None else new.rle.model_dump()
        clicks = [as_click(each) for each in new.clicks]
        state, ms = actions.make(image_id, new.label, new.color, rle, clicks, new.guard())
        return JSONResponse({**object_json(state), "ms": ms})

    @router.post(
        "/{image_id}/preview", response_model=PreviewMessage,
        responses={**CHANGING, 204: {"description": "The model is busy; ask again later."}},
    )  # fmt: skip
    def preview(image_id: ImagePath, click: ClickMessage) -> Response:
        """The mask of an object that would begin with this click. Nothing is stored."""
        return preview_response(actions.preview_new(image_id, as_click(click)))

    @router.post(
        "/{image_id}/masks", response_model=ObjectsMessage, responses=CHANGING,
        openapi_extra={"requestBody": {"content": {
            "image/png": {"schema": {"type": "string", "format": "binary"}},
            "multipart/form-data": {"schema": {"type": "object", "properties": {
                "file": {"type": "string", "format": "binary"}}}},
        }}},
    )  # fmt: skip
    async def load_masks(
        request: Request, image_id: ImagePath,
        key: Annotated[str | None, Query(min_length=1, max_length=100, description="As with any change.")] = None,
    ) -> JSONResponse:  # fmt: skip
        """Make objects of a mask file of the image's size, to be corrected: one for each value of a palette or
        16-bit PNG, else one of all that is not black."""
        body = await request.body()
        data = _first_file(body, request.headers.get("content-type", ""))

        def load() -> list[str]:
            made = actions.made_before(image_id, Guard(key))
            if made:
                return made
            image = actions.picture(project.images.get(image_id))
            masks = read_masks(data, image.image_hw)
            if not masks:
                return []
            return project.images.make_objects(image_id, [("", None, each) for each in masks], Guard(key))

        made = await anyio.to_thread.run_sync(load, limiter=services.slow)
        return JSONResponse({"objects": [object_json(project.objects.get(each)) for each in made]})

    def moved(image_id: str, by: int, change: Guarded | None) -> JSONResponse:
        project.images.move(image_id, by, (change or Guarded()).guard())
        return shown(image_id)

    @router.post("/{image_id}/undo", response_model=ImageMessage, responses=CHANGING)
    def undo(image_id: ImagePath, change: Change = None) -> JSONResponse:
        """Take back the last change to the image's objects: one made, deleted or relabelled."""
        return moved(image_id, -1, change)

    @router.post("/{image_id}/redo", response_model=ImageMessage, responses=CHANGING)
    def redo(image_id: ImagePath, change: Change = None) -> JSONResponse:
        """Do again what was taken back."""
        return moved(image_id, +1, change)

    return router


def _small(path: object, pixels: Pixels | None) -> tuple[bytes, str]:
    return thumbnail(path, pixels), "image/jpeg"  # type: ignore[arg-type]


async def _picture(
    services: Services, limiter: anyio.CapacityLimiter, image_id: str, version: str, known: str | None, encode: Encode
) -> Response:  # fmt: skip
    image = await anyio.to_thread.run_sync(services.project.measured, image_id)
    picture = await anyio.to_thread.run_sync(services.actions.picture, image)
    tag = f'"{image.id}-{picture.version}"'
    keep = "private, max-age=31536000, immutable" if version == picture.version else "private, no-cache"
    headers = {"etag": tag, "cache-control": keep}
    if is_known(tag, known):
        return Response(status_code=304, headers=headers)
    work = functools.partial(encode, picture.path, services.engine.pixels(picture))
    try:
        data, media_type = await anyio.to_thread.run_sync(work, limiter=limiter)
    except ImageReadError as error:
        told = await anyio.to_thread.run_sync(services.project.note_unreadable, image_id, error)
        raise ImageReadError(told) from error
    return Response(data, media_type=media_type, headers=headers)


def _first_file(body: bytes, content_type: str) -> bytes:
    """The body, or what its first part holds if it is a form."""
    kind, _, parameters = content_type.partition(";")
    if kind.strip().lower() != "multipart/form-data":
        return body
    _, _, boundary = parameters.partition("boundary=")
    mark = b"--" + boundary.split(";")[0].strip().strip('"').encode("latin-1", "replace")
    start = body.find(mark)
    head_end = body.find(b"\r\n\r\n", start)
    end = body.find(b"\r\n" + mark, head_end)
    if len(mark) < 3 or min(start, head_end, end) < 0:
        raise RequestError(422, "form", "the form holds no file: send the mask file itself as the body")
    return body[head_end + 4 : end]
