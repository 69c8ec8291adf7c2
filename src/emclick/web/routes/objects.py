"""Routes of objects: clicks and everything else that changes a mask."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Path, Query
from fastapi.responses import JSONResponse, Response

from emclick.web.actions import Changed
from emclick.web.messages import (
    MAX_CLICKS,
    BatchRequest,
    ChangedMessage,
    CleanRequest,
    ClickMessage,
    ClickRequest,
    Guarded,
    ImageMessage,
    MaskRequest,
    ObjectMessage,
    ObjectPatch,
    PreviewMessage,
    as_click,
    changed_json,
    image_json,
    object_json,
)
from emclick.web.objects import FIELDS
from emclick.web.records import Guard
from emclick.web.services import CHANGING, FOUND, RESPONSES, Services, preview_response

ObjectPath = Annotated[str, Path(max_length=64, description="From the object's making.")]
Change = Annotated[Guarded | None, Body()]
KeyQuery = Annotated[str | None, Query(min_length=1, max_length=100, description="As in any change's body.")]
SeqQuery = Annotated[int | None, Query(ge=0, le=2**53, description="As in any change's body.")]


def object_routes(services: Services) -> APIRouter:
    """`/api/objects` and what is below."""
    router = APIRouter(prefix="/api/objects", tags=["objects"], responses=RESPONSES)
    project, actions = services.project, services.actions

    def answer(changed: Changed) -> JSONResponse:
        return JSONResponse(changed_json(changed))

    @router.get("/{object_id}", response_model=ObjectMessage, responses=FOUND)
    def get_object(object_id: ObjectPath) -> JSONResponse:
        """An object: its clicks, its mask."""
        return JSONResponse(object_json(project.objects.get(object_id)))

    @router.patch("/{object_id}", response_model=ObjectMessage, responses=CHANGING)
    def patch_object(object_id: ObjectPath, change: ObjectPatch) -> JSONResponse:
        """Set fields. `color` may be null; any other that is null or missing stays."""
        sent = change.model_dump(include=change.model_fields_set & FIELDS.keys())
        fields = {name: value for name, value in sent.items() if value is not None or name == "color"}
        guard = change.guard()
        if change.threshold is not None:
            # with fields too, both happen or the second is refused as stale
            state = actions.set_threshold(object_id, change.threshold, guard).state
            guard = Guard(guard.key and f"{guard.key}/fields", None if guard.seq is None else state.seq)
        if fields:
            project.images.set_fields(object_id, fields, guard)
        return JSONResponse(object_json(project.objects.get(object_id)))

    @router.delete("/{object_id}", response_model=ImageMessage, responses=CHANGING)
    def delete_object(object_id: ObjectPath, key: KeyQuery = None, seq: SeqQuery = None) -> JSONResponse:
        """Take an object away; the image's undo brings it back. Answers with the image."""
        image_id = project.images.delete_object(object_id, Guard(key, seq))
        services.engine.forget(object_id)
        return JSONResponse(image_json(project.images.get(image_id), project.objects.of_image(image_id)))

    @router.post("/{object_id}/clicks", response_model=ChangedMessage, responses=CHANGING)
    def add_click(object_id: ObjectPath, click: ClickRequest) -> JSONResponse:
        """Add a click. It is stored before this answers."""
        return answer(actions.click(object_id, as_click(click), click.guard()))

    @router.post("/{object_id}/clicks/batch", response_model=ChangedMessage, responses=CHANGING)
    def add_clicks(object_id: ObjectPath, batch: BatchRequest) -> JSONResponse:
        """Add several clicks as one step of the history."""
        return answer(actions.click_many(object_id, [as_click(each) for each in batch.clicks], batch.guard()))

    @router.delete("/{object_id}/clicks/{n}", response_model=ChangedMessage, responses=CHANGING)
    def remove_click(
        object_id: ObjectPath, n: Annotated[int, Path(ge=0, le=10 * MAX_CLICKS, description="From 0.")],
        key: KeyQuery = None, seq: SeqQuery = None,
    ) -> JSONResponse:  # fmt: skip
        """Take click `n` out, as if it had never been made."""
        return answer(actions.remove(object_id, n, Guard(key, seq)))

    @router.post("/{object_id}/undo", response_model=ChangedMessage, responses=CHANGING)
    def undo(object_id: ObjectPath, change: Change = None) -> JSONResponse:
        """Go back one step of the object's history."""
        return answer(actions.move(object_id, -1, (change or Guarded()).guard()))

    @router.post("/{object_id}/redo", response_model=ChangedMessage, responses=CHANGING)
    def redo(object_id: ObjectPath, change: Change = None) -> JSONResponse:
        """Go forward one step of the object's history."""
        return answer(actions.move(object_id, +1, (change or Guarded()).guard()))

    @router.post("/{object_id}/reset", response_model=ChangedMessage, responses=CHANGING)
    def reset(object_id: ObjectPath, change: Change = None) -> JSONResponse:
        """Take all clicks away, back to the mask that the object started from; can be undone."""
        return answer(actions.reset(object_id, (change or Guarded()).guard()))

    @router.put("/{object_id}/mask", response_model=ChangedMessage, responses=CHANGING)
    def put_mask(object_id: ObjectPath, mask: MaskRequest) -> JSONResponse:
        """Take a mask as it is. The clicks stay, and the next one corrects it."""
        return answer(actions.set_mask(object_id, mask.rle.model_dump(), mask.kind, mask.guard()))

    @router.post("/{object_id}/clean", response_model=ChangedMessage, responses=CHANGING)
    def clean(object_id: ObjectPath, change: CleanRequest) -> JSONResponse:
        """Keep the largest part, fill holes, drop small parts, or keep off other objects, finished or locked."""
        return answer(actions.clean(object_id, change.op, change.area, change.guard()))

    @router.post(
        "/{object_id}/preview", response_model=PreviewMessage,
        responses={**CHANGING, 204: {"description": "The model is busy; ask again later."}},
    )  # fmt: skip
    def preview(object_id: ObjectPath, click: ClickMessage) -> Response:
        """The mask that a click would give. Nothing is stored."""
        return preview_response(actions.preview(object_id, as_click(click)))

    return router
