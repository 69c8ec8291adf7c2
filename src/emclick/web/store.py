"""A project: the folder of images, and the file in which everything done to them is kept.

project = Project.open("photos")
project.annotations()
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from emclick.annotations.model import STATUSES, AnnotatedImage, AnnotatedObject, AnnotationSet
from emclick.errors import EmclickError, ImageReadError
from emclick.web.database import Database
from emclick.web.errors import NotFoundError, ProjectError, RequestError, StorageError
from emclick.web.images import Images, Measured
from emclick.web.labels import clean_label, rename_labels
from emclick.web.library import find_images, read_size
from emclick.web.objects import Objects
from emclick.web.records import Guard, ImageState, Label

PROJECT_NAME = ".emclick.sqlite3"
"""The project's file in its folder, where no other is named."""

KEEP_KEYS_DAYS = 7
_THREADS, _BATCH, _STORE_EVERY_S = 4, 256, 0.3  # reading sizes: so many in one go, stored so often


class Added(NamedTuple):
    """What came of annotations.

    Attributes:
        objects: how many were added.
        there: how many were left out, being there already.
    """

    objects: int
    there: int


class Project:
    """An open project. Make one with `open`; use it in a `with` block or `close` it.

    Attributes:
        folder: of the images.
        path: of the project's file.
        images, objects: what is in it.
    """

    def __init__(self, folder: Path, database: Database) -> None:
        self.folder = folder
        self.path = database.path
        self.database = database
        self.images = Images(database)
        self.objects = Objects(database)

    @classmethod
    def open(
        cls,
        folder: str | os.PathLike[str],
        project_file: str | os.PathLike[str] | None = None,
        *,
        exclusive: bool = False,
        create: bool = True,
    ) -> Project:
        """Open the project of a folder, and take in what has changed in the folder.

        Args:
            folder: of the images.
            project_file: the project's file; None for `.emclick.sqlite3` in the folder.
            exclusive: refuse to open if another process writes to it. Otherwise such a project can be read, as it
                was when its server last looked at the folder, and changing it raises.
            create: make the project if there is none.

        Raises:
            ProjectError: no such folder, or a project file that cannot be used.
            ProjectBusyError: another process writes to it.
        """
        try:
            place = Path(folder).resolve()
            path = Path(project_file).resolve() if project_file is not None else place / PROJECT_NAME
        except (OSError, ValueError) as error:
            raise ProjectError(f"{folder!r:.200} cannot be used as a folder: {error}") from error
        if not place.is_dir():
            raise ProjectError(f"there is no folder {place}")
        if path.is_dir():
            raise ProjectError(f"{path} is a folder: --project names a file")
        database = Database(path, create=create, exclusive=exclusive)
        try:
            project = cls(place, database)
            if exclusive or project._may_write():
                project.images.take_in(find_images(place), project._measured)
                project._drop_old_keys()
        except BaseException:
            database.close()
            raise
        return project

    def close(self) -> None:
        """Let go of the project. May be called twice."""
        self.database.close()

    def __enter__(self) -> Project:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def name(self) -> str:
        """Of the folder."""
        return self.folder.name or str(self.folder)

    def image_path(self, image: ImageState) -> Path:
        """Where an image's file is."""
        return self.folder.joinpath(*image.name.split("/"))

    # --- sizes ---------------------------------------------------------------------------------------------

    def read_sizes(self, budget_s: float | None = None) -> bool:
        """Read the sizes of images that are not known yet, in the folder's order.

        Args:
            budget_s: stop after about so many seconds; None to read all.

        Returns:
            Whether all are known now.
        """
        now = time.monotonic
        end, stored = None if budget_s is None else now() + budget_s, now()
        pending, found = iter(self.images.unread()), []
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="emclick-sizes") as pool:
            while batch := list(itertools.islice(pending, _BATCH)):
                parts = (
                    batch[start::_THREADS] for start in range(_THREADS)
                )  # more than one at a time is cheaper
                found += itertools.chain.from_iterable(pool.map(self._all_measured, parts))
                if now() > stored + _STORE_EVERY_S:
                    self.images.set_sizes(found)
                    found, stored = [], now()
                if end is not None and now() > end:
                    break
        if found:
            self.images.set_sizes(found)
        return not batch

    def measured(self, image_id: str) -> ImageState:
        """An image with its size, read now if need be.

        Raises:
            NotFoundError: there is no such image.
        """
        state = self.images.get(image_id)
        if state.width or state.problem is not None or not state.present:
            return state
        self.images.set_sizes([self._measured((state.id, state.name))])
        return self.images.get(image_id)

    def image_sizes(self) -> dict[str, tuple[int, int]]:
        """Name -> (H, W) of every image that can be read, in the folder's order."""
        self.read_sizes()
        return {each.name: each.image_hw for each in self.images.all() if each.width and each.problem is None}

    def note_unreadable(self, image_id: str, error: ImageReadError) -> str:
        """Have the lists say that an image whose pixels could not be read cannot be used, unless reading it again may
        help.

        Returns:
            Why it could not be read, without where the folder is.
        """
        problem = self._told(error)
        if _is_lasting(error):
            with contextlib.suppress(
                ProjectError, StorageError
            ):  # who asked for the pixels is told in any case
                self.images.set_problem(image_id, problem)
        return problem

    def _told(self, error: BaseException) -> str:
        return str(error).replace(str(self.folder) + os.sep, "")

    def _all_measured(self, images: Sequence[tuple[str, str]]) -> list[Measured]:
        return [self._measured(each) for each in images]

    def _measured(self, image: tuple[str, str]) -> Measured:
        try:
            return image[0], read_size(self.folder.joinpath(*image[1].split("/"))), None
        except (EmclickError, MemoryError) as error:
            return image[0], None, self._told(error)

    def identity(self) -> str:
        """A random name of the project's file: pages tell by it which project their changes are for."""
        rows = self.database.read("SELECT value FROM meta WHERE name = 'id'")
        if not rows:
            with self.database.write() as tx:
                tx.run("INSERT OR IGNORE INTO meta VALUES ('id', ?)", secrets.token_hex(8))
            rows = self.database.read("SELECT value FROM meta WHERE name = 'id'")
        return str(rows[0]["value"])

    # --- labels and settings -------------------------------------------------------------------------------

    def labels(self) -> list[Label]:
        """In the user's order."""
        rows = self.database.read("SELECT * FROM label ORDER BY place, id")
        return [Label(row["id"], row["name"], row["color"], row["key"]) for row in rows]

    def set_labels(self, wanted: Sequence[tuple[int | None, str, str, str | None]]) -> list[Label]:
        """Replace the labels by (id or None, name, colour, key). One whose id is known is renamed, on objects too.

        Raises:
            NotFoundError: an id that is not there.
            RequestError: a name or an id that comes twice.
        """
        names, ids = [each[1] for each in wanted], [each[0] for each in wanted if each[0] is not None]
        if len(set(names)) < len(names) or len(set(ids)) < len(ids):
            raise RequestError(422, "label_twice", "every label must have a name and an id of its own")
        with self.database.write() as tx:
            _ = tx.seq  # other tabs look again
            old = {row["id"]: row["name"] for row in tx.all("SELECT id, name FROM label")}
            unknown = set(ids) - set(old)
            if unknown:
                raise NotFoundError(f"there is no label {min(unknown)}")
            renamed = {
                old[number]: name for number, name, *_ in wanted if number is not None and old[number] != name
            }
            tx.run("DELETE FROM label")
            for place, (number, name, color, key) in enumerate(wanted):
                tx.run(
                    "INSERT INTO label (id, name, color, key, place) VALUES (?, ?, ?, ?, ?)",
                    number, name, color, key, place,
                )  # fmt: skip
            rename_labels(tx, renamed)
        return self.labels()

    def settings(self) -> dict[str, Any]:
        """What the page keeps in the project."""
        rows = self.database.read("SELECT value FROM meta WHERE name = 'settings'")
        return json.loads(rows[0]["value"]) if rows else {}

    def set_settings(self, settings: Mapping[str, Any]) -> None:
        """Keep a JSON object for the page."""
        with self.database.write() as tx:
            tx.run("INSERT OR REPLACE INTO meta VALUES ('settings', ?)", json.dumps(settings))

    # --- the neutral model ---------------------------------------------------------------------------------

    def annotated_images(self) -> Iterator[AnnotatedImage]:
        """Every image that can be read or has objects, in the folder's order, one at a time."""
        if self._may_write():
            self.read_sizes()
        for image in self.images.with_objects():
            if not image.width or (image.problem is not None and not image.objects):
                continue
            found = tuple(
                AnnotatedObject(each.rle, each.label, each.color) for each in self.objects.of_image(image.id)
            )
            yield AnnotatedImage(image.name, image.image_hw, found, image.status)

    def annotations(self) -> AnnotationSet:
        """Everything in the project, as the formats take it. Images whose file is gone are in if they have objects."""
        images = tuple(self.annotated_images())
        used = {each.label for image in images for each in image.objects} - {""}
        names = [each.name for each in self.labels()]
        return AnnotationSet(images, (*names, *sorted(used - set(names))))

    def add_annotations(self, annotations: AnnotationSet, key: str | None = None) -> Added:
        """Add objects to the images of the same names; each image's are one step of its history, and finished: to be
        looked through, and kept out of by their neighbours. An image's status is taken where it is further on.
        Labels come with the objects, held to `clean_label`. An object whose mask and label an object of that image
        has already is left out: a file that comes in twice is in once.

        Args:
            annotations: to be added.
            key: made by the client; what was added with it before, all or in part, is not added again.

        Returns:
            How many were added, and how many were there. Images that the project does not have, or has in another
            size, are left out.
        """
        known = {each.name: each for each in self.images.with_objects()}
        declared = [clean_label(each) for each in annotations.labels]
        added = there = 0
        for image in annotations.images:
            if image.name not in known:
                continue
            state = self.measured(known[image.name].id)
            if state.image_hw != tuple(image.image_hw):
                continue
            wanted = [(clean_label(each.label), each.color, each.mask) for each in image.objects]
            new = wanted
            if self.objects.answered(state.id, key) is None:  # else what was made then is the answer
                known_here = {(each.label, each.rle) for each in self.objects.of_image(state.id)}
                new = [each for each in wanted if (each[0], each[2]) not in known_here]
            if new:
                made = self.images.make_objects(state.id, new, Guard(key), finished=True, labels=declared)
                added += len(made)
                new = made
            there += len(wanted) - len(new)
            if STATUSES.index(image.status) > STATUSES.index(state.status):
                self.images.set_status(state.id, image.status, Guard(key and f"{key}/status"))
        return Added(added, there)

    # --- the rest ------------------------------------------------------------------------------------------

    def _may_write(self) -> bool:
        try:
            self.database.take_lock()
        except ProjectError:
            return False
        return True

    def _drop_old_keys(self) -> None:
        if self.database.read(
            "SELECT 1 FROM request WHERE at < datetime('now', ?)", f"-{KEEP_KEYS_DAYS} days"
        ):
            with self.database.write() as tx:
                tx.run("DELETE FROM request WHERE at < datetime('now', ?)", f"-{KEEP_KEYS_DAYS} days")


def _is_lasting(error: ImageReadError) -> bool:
    """Whether the file is to blame, not the memory or the disk of the moment."""
    cause = error.__cause__
    return not isinstance(cause, MemoryError) and getattr(cause, "errno", None) is None
