"""What goes over the wire, typed. The OpenAPI page is made from this."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, StrictInt

from emclick.clicks import Click
from emclick.web.actions import Changed
from emclick.web.labels import MAX_LABEL, is_control
from emclick.web.records import Guard, ImageState, ObjectState

Status = Literal["todo", "work", "done"]
MAX_CLICKS = 1000


def _plain(text: str) -> str:
    if any(map(is_control, text)):
        raise ValueError("must not hold control characters")
    return text


Seq = Annotated[
    int, Field(strict=True, ge=0, le=2**53, description="Number of the last change that the client saw.")
]
Key = Annotated[
    str,
    Field(
        min_length=1, max_length=100,
        description="Made by the client, unique: a change sent twice with one key is made once, answered twice.",
    ),
]  # fmt: skip
Color = Annotated[str, Field(pattern=r"^#[0-9a-fA-F]{6}$", max_length=7, description="#rrggbb")]
Name = Annotated[str, Field(max_length=MAX_LABEL), AfterValidator(_plain)]
Coordinate = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=-1, le=2**31)]
Box = Annotated[
    list[int],
    Field(min_length=4, max_length=4, description="[x, y, w, h] in image pixels; all 0 for nothing."),
]
ImageId = Annotated[str, Field(description="Opaque; from the list of images.")]
ObjectId = Annotated[str, Field(description="Opaque; from the object's making.")]
Threshold = Annotated[float, Field(strict=True, allow_inf_nan=False, gt=1e-6, lt=1 - 1e-6)]


class Message(BaseModel):
    """Unknown fields are refused: a misspelt one must not be dropped in silence."""

    model_config = ConfigDict(extra="forbid")


class Guarded(Message):
    """What may be sent along with any change, so that it happens once, and to what the client saw."""

    key: Key | None = None
    seq: Seq | None = None

    def guard(self) -> Guard:
        """Both as the storage takes them."""
        return Guard(self.key, self.seq)


class RleMessage(Message):
    """A mask in COCO's run length encoding, as pycocotools reads it."""

    size: Annotated[list[StrictInt], Field(min_length=2, max_length=2, description="[height, width]")]
    counts: Annotated[
        str, Field(max_length=64 << 20, description="Compressed run lengths, down the columns.")
    ]


class ClickMessage(Message):
    """A point in image pixels, origin at the centre of the top-left pixel: x from -0.5 to below width - 0.5."""

    x: Coordinate
    y: Coordinate
    positive: Annotated[StrictBool, Field(description="On the object (true) or beside it.")] = True


class ClickRequest(ClickMessage, Guarded):
    """A click that is stored."""


class BatchRequest(Guarded):
    """Clicks that are one step of the history."""

    clicks: Annotated[list[ClickMessage], Field(min_length=1, max_length=MAX_CLICKS)]


class MaskRequest(Guarded):
    """A mask to be taken as it is."""

    rle: RleMessage
    kind: Literal["brush", "load", "polygon"] = "brush"


class CleanRequest(Guarded):
    """`largest`: keep the largest part. `fill`: fill holes (up to `area`). `min_area`: drop parts below `area`.
    `avoid`: take away what other objects cover that are finished or locked."""

    op: Literal["largest", "fill", "min_area", "avoid"]
    area: Annotated[int, Field(strict=True, ge=0, le=2**31, description="Pixels; 0 for no limit.")] = 0


class ObjectCreate(Guarded):
    """A new object. With `rle` that mask is its start, to be corrected by clicks. With `clicks` these are made on it,
    as one step of its history; if they are refused, there is no object."""

    label: Name = ""
    color: Color | None = None
    rle: RleMessage | None = None
    clicks: Annotated[list[ClickMessage], Field(max_length=MAX_CLICKS)] = []


class ObjectPatch(Guarded):
    """What is to change. `threshold` is a step of the object's history, the rest of the image's."""

    label: Name | None = None
    color: Color | None = None
    visible: StrictBool | None = None
    locked: StrictBool | None = None
    finished: StrictBool | None = None
    order: Annotated[float, Field(strict=True, allow_inf_nan=False, ge=-1e16, le=1e16)] | None = None
    threshold: Threshold | None = None


class ImagePatch(Guarded):
    """How far the work on an image is."""

    status: Status


class LabelIn(Message):
    """A label to be kept; with the `id` of one that is there it is renamed, on its objects too."""

    id: Annotated[int, Field(strict=True, ge=0, le=2**53)] | None = None
    name: Annotated[Name, Field(min_length=1)]
    color: Color
    key: Annotated[Name, Field(max_length=20, description="On the keyboard.")] | None = None


class LabelMessage(BaseModel):
    """A label."""

    id: int
    name: str
    color: str
    key: str | None


class ClickOut(BaseModel):
    """A click as it was made."""

    x: float
    y: float
    positive: bool


class ImageEntry(BaseModel):
    """An image in the list."""

    id: ImageId
    name: Annotated[str, Field(description='Below the folder, parts separated by "/".')]
    width: Annotated[int, Field(description="As displayed; 0 while it is not known.")]
    height: Annotated[int, Field(description="As displayed; 0 while it is not known.")]
    status: Status
    objects: Annotated[int, Field(description="How many.")]
    version: Annotated[
        str, Field(description="Changes with the file: `pixels?v=VERSION` may be kept for ever.")
    ]
    problem: Annotated[str | None, Field(description="Why the image cannot be used.")]


class ObjectMessage(BaseModel):
    """An object."""

    id: ObjectId
    image: ImageId
    label: str
    color: str | None
    visible: bool
    locked: bool
    finished: bool
    order: float
    seq: int
    clicks: list[ClickOut]
    rle: RleMessage
    box: Box
    threshold: float
    can_undo: bool
    can_redo: bool


class MadeMessage(ObjectMessage):
    """An object that was just made. `ms` is the server's time."""

    ms: float


class ImageMessage(BaseModel):
    """An image with its objects, first drawn first."""

    id: ImageId
    name: str
    width: int
    height: int
    status: Status
    version: str
    problem: str | None
    seq: int
    can_undo: bool
    can_redo: bool
    objects: list[ObjectMessage]


class ObjectsMessage(BaseModel):
    """Objects that were made."""

    objects: list[ObjectMessage]


class ChangedMessage(BaseModel):
    """An object after a change. `box` is what changed on the picture, `ms` the server's time."""

    seq: int
    rle: RleMessage
    box: Box
    ms: float
    clicks: list[ClickOut]
    threshold: float
    can_undo: bool
    can_redo: bool


class PreviewMessage(BaseModel):
    """The mask that a click would give."""

    rle: RleMessage
    ms: float


class FormatMessage(BaseModel):
    """A format that annotations go out and come in by."""

    name: str
    lossy: Annotated[bool, Field(description="Its polygons lose pixels.")]


class CountsMessage(BaseModel):
    """Images per status."""

    todo: int
    work: int
    done: int


class ProjectMessage(BaseModel):
    """The project."""

    id: Annotated[str, Field(description="The same as long as it is the same project's file.")]
    name: str
    model: str
    models: Annotated[list[str], Field(description="Those whose weights are here.")]
    labels: list[LabelMessage]
    counts: CountsMessage
    settings: Annotated[dict[str, Any], Field(description="What the page keeps.")]
    formats: list[FormatMessage]
    version: str
    seq: Annotated[int, Field(description="Number of the last change: where to listen to `changes` from.")]


class ChangesMessage(BaseModel):
    """What changed after a number: ids of images, of objects, and of objects that are deleted now."""

    seq: int
    images: list[ImageId]
    objects: list[ObjectId]
    deleted: list[ObjectId]


class OpenedMessage(BaseModel):
    """The image is being prepared."""

    opening: bool


class ImportedMessage(BaseModel):
    """What came of a file of annotations."""

    objects: Annotated[int, Field(description="How many were added.")]
    already_there: Annotated[
        int, Field(description="How many were not: an object with the same mask and label is there.")
    ]
    skipped: Annotated[
        list[str], Field(description="Names of images that were not taken, each with the reason.")
    ]


class HealthMessage(BaseModel):
    """The server is there."""

    status: str
    version: str


class ErrorDetail(BaseModel):
    """`code` is for programs, `message` one plain sentence for people."""

    code: str
    message: str
    object: Annotated[ObjectMessage | None, Field(description="With `stale`: the object as it is now.")] = (
        None
    )


class ErrorMessage(BaseModel):
    """What every error looks like."""

    error: ErrorDetail


# --- to and from the storage's values -----------------------------------------------------------------


def as_click(message: ClickMessage) -> Click:
    """The click that a message asks for."""
    return Click(message.x, message.y, message.positive)


def _clicks(state: ObjectState) -> list[dict[str, Any]]:
    return [{"x": each.x, "y": each.y, "positive": each.positive} for each in state.clicks]


def object_json(state: ObjectState) -> dict[str, Any]:
    """An `ObjectMessage`."""
    return {
        "id": state.id, "image": state.image, "label": state.label, "color": state.color,
        "visible": state.visible, "locked": state.locked, "finished": state.finished, "order": state.order,
        "seq": state.seq, "clicks": _clicks(state), "rle": state.rle.to_json(), "box": list(state.rle.box),
        "threshold": state.threshold, "can_undo": state.position > 0, "can_redo": state.position < state.top,
    }  # fmt: skip


def changed_json(changed: Changed) -> dict[str, Any]:
    """A `ChangedMessage`."""
    state = changed.state
    return {
        "seq": state.seq, "rle": state.rle.to_json(), "box": list(changed.box), "ms": changed.ms,
        "clicks": _clicks(state), "threshold": state.threshold, "can_undo": state.position > 0,
        "can_redo": state.position < state.top,
    }  # fmt: skip


def entry_json(state: ImageState) -> dict[str, Any]:
    """An `ImageEntry`."""
    return {
        "id": state.id, "name": state.name, "width": state.width, "height": state.height, "status": state.status,
        "objects": state.objects, "version": state.version, "problem": state.problem,
    }  # fmt: skip


def image_json(state: ImageState, objects: list[ObjectState]) -> dict[str, Any]:
    """An `ImageMessage`."""
    return {
        **entry_json(state), "seq": state.seq, "can_undo": state.position > 0, "can_redo": state.position < state.top,
        "objects": [object_json(each) for each in objects],
    }  # fmt: skip
