"""WebDataset tar shards: `KEY.webp` or `KEY.jpg` image, `KEY.png` object ids, `KEY.json` description.

- The id map holds 0 for background, 1..N for objects and 255 for pixels to ignore; it is a PNG with one
  channel, grey (8 or 16 bit) or palette. The image is never a PNG: that name belongs to the ids.
- The JSON object has `source` (name of the collection) and `objects`, each with `id` and optionally `cls`
  and `boxes`. `boxes` > 1 marks touching animals merged into one region: it is not offered as an object
  and counts as background for the others. `whole: "ids>0"` says that all ids together are one object, which
  is added under the id "whole" on a layer of its own.

Shards are read in place, by offset; nothing is unpacked. Files are opened for each read, so that a
source may be pickled, forked and used from several threads.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from emclick.data.objects import WHOLE_ID
from emclick.data.sample import Sample, SampleObject
from emclick.errors import DatasetError

IGNORE = 255
_IMAGE_SUFFIXES = ("webp", "jpg", "jpeg")
_ID_MODES = frozenset({"1", "L", "P", "I", "I;16"})


@dataclass(frozen=True)
class _Span:
    """Where the bytes of one file lie: shard number, offset, length."""

    shard: int
    offset: int
    size: int


@dataclass(frozen=True)
class _Entry:
    key: str
    image: _Span
    ids: _Span
    meta: dict[str, Any]


class Shards:
    """The samples of a list of tar shards, in the order of the shards and within them.

    Attributes:
        name: "shards".
        groups: the collection each sample came from (`source` in its JSON), parallel to `keys`.
    """

    name = "shards"

    def __init__(self, paths: Sequence[Path]) -> None:
        """Index `paths`; reads headers and JSON, no image.

        Raises:
            DatasetError: a shard is unreadable, or a sample lacks a file or repeats a key.
        """
        self._paths = tuple(paths)
        self._entries = [entry for number, path in enumerate(self._paths) for entry in _index(number, path)]
        self.keys: Sequence[str] = tuple(entry.key for entry in self._entries)
        self.groups: Sequence[str] = tuple(str(entry.meta.get("source", "")) for entry in self._entries)
        seen: set[str] = set()
        for key in self.keys:
            if key in seen:
                raise DatasetError(f"shards: key {key!r} occurs twice; keys must be unique over all shards")
            seen.add(key)

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: int) -> Sample:
        """Read sample `index`; ids are of the PNG's own type, layer 1 (if any) is the uint8 union.

        Raises:
            DatasetError: the image or id map does not decode, or their sizes differ; names shard and key.
        """
        entry = self._entries[index]
        where = f"{self._paths[entry.image.shard].name}: {entry.key}"
        image = _decode_image(self._read(entry.image, where), where)
        ids = _decode_ids(self._read(entry.ids, where), where)
        if image.shape[:2] != ids.shape:
            raise DatasetError(f"{where}: image {image.shape[:2]} and ids {ids.shape} differ in size")
        ignore = ids == IGNORE
        objects = [
            SampleObject(id=str(obj["id"]), value=int(obj["id"]), label=str(obj.get("cls", "")))
            for obj in entry.meta["objects"]
            if obj.get("boxes", 0) <= 1
        ]
        layers = [ids]
        if "whole" in entry.meta:
            layers.append(((ids > 0) & ~ignore).astype(np.uint8))
            objects.append(SampleObject(id=WHOLE_ID, value=1, layer=1))
        return Sample(
            key=entry.key,
            image=image,
            layers=tuple(layers),
            objects=tuple(objects),
            ignore=ignore if ignore.any() else None,
            source=self.groups[index],
        )

    def _read(self, span: _Span, where: str) -> bytes:
        path = self._paths[span.shard]
        try:
            with path.open("rb") as file:
                file.seek(span.offset)
                data = file.read(span.size)
        except OSError as error:
            raise DatasetError(f"{where}: cannot read {path}: {error.strerror or error}") from error
        if len(data) != span.size:
            raise DatasetError(f"{where}: {path} ends before its index says; copy the shard again")
        return data


def open_shards(root: str | os.PathLike[str], pattern: str = "*.tar") -> Shards:
    """Open the shards in folder `root` whose names match `pattern`, sorted by name.

    Raises:
        DatasetError: no shard matches, or one is not as the module describes.
    """
    paths = sorted(Path(root).glob(pattern))
    if not paths:
        raise DatasetError(f"shards: no file {pattern} in {root}; give the folder that holds the tar shards")
    return Shards(paths)


def _index(number: int, path: Path) -> Iterator[_Entry]:
    """Group the members of a shard into samples by their name up to the first dot of the last part."""
    spans: dict[str, dict[str, _Span]] = {}
    try:
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                if not member.isfile():
                    continue
                folder, slash, name = member.name.rpartition("/")
                stem, _, suffix = name.partition(".")
                span = _Span(number, member.offset_data, member.size)
                spans.setdefault(folder + slash + stem, {})[suffix.lower()] = span
            metas = {key: _read_meta(file, parts.get("json"), path, key) for key, parts in spans.items()}
    except (OSError, tarfile.TarError) as error:
        if isinstance(error, DatasetError):
            raise
        raise DatasetError(f"shards: {path} is not a readable tar file: {error}") from error
    for key, parts in spans.items():
        image = next((parts[suffix] for suffix in _IMAGE_SUFFIXES if suffix in parts), None)
        if image is None or "png" not in parts:
            missing = "an image (webp or jpg)" if image is None else "its ids (png)"
            raise DatasetError(f"{path.name}: {key} lacks {missing}; it has {sorted(parts)}")
        yield _Entry(key, image, parts["png"], metas[key])


def _read_meta(file: io.BufferedReader, span: _Span | None, path: Path, key: str) -> dict[str, Any]:
    if span is None:
        raise DatasetError(f"{path.name}: {key} lacks its description (json)")
    file.seek(span.offset)
    try:
        meta = json.loads(file.read(span.size))
        numbers = [int(obj["id"]) for obj in meta["objects"]]
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path.name}: {key}.json does not list objects with ids: {error!r}") from error
    if any(number in (0, IGNORE) for number in numbers):
        raise DatasetError(f"{path.name}: {key}.json uses id 0 or {IGNORE}, which are background and ignore")
    if meta.get("whole", "ids>0") != "ids>0":
        raise DatasetError(f'{path.name}: {key}.json: whole is {meta["whole"]!r}; only "ids>0" is known')
    return meta


def _decode_image(data: bytes, where: str) -> NDArray[np.uint8]:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise DatasetError(f"{where}: the image does not decode; the shard is damaged")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def _decode_ids(data: bytes, where: str) -> NDArray[np.integer]:
    try:
        with Image.open(io.BytesIO(data)) as file:  # OpenCV would turn palette indices into colours
            if file.mode not in _ID_MODES:
                raise DatasetError(f"{where}: ids must be a grey or palette PNG, not {file.mode}")
            return np.array(file.convert("L") if file.mode == "1" else file)
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError) as error:
        if isinstance(error, DatasetError):
            raise
        raise DatasetError(f"{where}: the ids (png) do not decode: {error}") from error
