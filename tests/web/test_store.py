"""The project's file: what is kept, through what, and who may write."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from servers import HW, write_images

from emclick.annotations.model import AnnotatedImage, AnnotatedObject, AnnotationSet, Rle
from emclick.clicks import Click
from emclick.errors import HistoryError
from emclick.web.errors import (
    NotFoundError,
    ProjectBusyError,
    ProjectError,
    RequestError,
    StaleError,
    StorageError,
)
from emclick.web.messages import LabelIn
from emclick.web.records import Guard, NewItem
from emclick.web.store import PROJECT_NAME, Project
from helpers import blob, picture

MASK = Rle.encode(blob(*HW))
NO_GUARD = Guard()


def item(n: int, kind: str = "click") -> NewItem:
    mask = np.zeros(HW, bool)
    mask[: n + 1, :5] = True
    return NewItem(kind, {"x": n, "y": 1, "positive": True}, Rle.encode(mask), (Click(n, 1),), 0.5)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_images(tmp_path / "photos")


@pytest.fixture
def project(folder: Path):
    with Project.open(folder, exclusive=True) as opened:
        opened.read_sizes()
        yield opened


def an_object(project: Project, guard: Guard = NO_GUARD, **more) -> str:
    image = project.images.all()[0]
    wanted = (more.get("label", ""), more.get("color"), more.get("initial"))
    return project.images.make_objects(image.id, [wanted], guard)[0]


def test_what_was_stored_is_there_again(folder: Path) -> None:
    with Project.open(folder, exclusive=True) as project:
        project.read_sizes()
        one = an_object(project, label="dog", color="#102030", initial=MASK)
        project.set_settings({"theme": "dark"})
        for n in range(4):
            project.objects.add_item(one, item(n), NO_GUARD, {})
        project.objects.move(one, -1, NO_GUARD, {})
        before = (
            project.objects.get(one),
            project.objects.items(one, 4),
            project.labels(),
            project.images.all(),
        )
    with Project.open(folder, exclusive=True) as project:
        after = (
            project.objects.get(one),
            project.objects.items(one, 4),
            project.labels(),
            project.images.all(),
        )
        assert after == before
        assert project.settings() == {"theme": "dark"}
        state = project.objects.get(one)
        assert (state.position, state.top, state.label, state.color) == (3, 4, "dog", "#102030")
        assert project.objects.move(one, +1, NO_GUARD, {}).rle == item(3).rle


def test_undo_goes_back_to_the_initial_mask_and_no_further(project: Project) -> None:
    one = an_object(project, initial=MASK)
    project.objects.add_item(one, item(0), NO_GUARD, {})
    assert project.objects.move(one, -1, NO_GUARD, {}).rle == MASK
    with pytest.raises(HistoryError, match="nothing to undo"):
        project.objects.move(one, -1, NO_GUARD, {})
    assert project.objects.move(one, +1, NO_GUARD, {}).rle == item(0).rle
    with pytest.raises(HistoryError, match="nothing to redo"):
        project.objects.move(one, +1, NO_GUARD, {})


def test_a_change_after_undo_drops_what_was_undone(project: Project) -> None:
    one = an_object(project)
    for n in range(3):
        project.objects.add_item(one, item(n), NO_GUARD, {})
    project.objects.move(one, -1, NO_GUARD, {})
    project.objects.move(one, -1, NO_GUARD, {})
    state = project.objects.add_item(one, item(9), NO_GUARD, {})
    assert (state.position, state.top) == (2, 2)
    assert [each.payload["x"] for each in project.objects.items(one, 9)] == [0, 9]


def test_item_ids_are_never_used_twice(project: Project) -> None:
    one = an_object(project)
    first = project.objects.add_item(one, item(0), NO_GUARD, {}).item
    project.objects.move(one, -1, NO_GUARD, {})
    second = project.objects.add_item(one, item(1), NO_GUARD, {}).item
    assert first is not None
    assert second is not None
    assert second[0] > first[0]


def test_a_client_that_is_behind_is_refused(project: Project) -> None:
    one = an_object(project)
    seen = project.objects.get(one).seq
    now = project.objects.add_item(one, item(0), Guard(seq=seen), {}).seq
    with pytest.raises(StaleError) as caught:
        project.objects.add_item(one, item(1), Guard(seq=seen), {})
    assert caught.value.state.seq == now
    assert project.objects.get(one).top == 1


def test_the_images_history_makes_deletes_and_sets(project: Project) -> None:
    image = project.images.all()[0].id
    one, two = an_object(project, label="a"), an_object(project)
    project.images.set_fields(one, {"label": "b", "color": "#000000", "visible": False}, NO_GUARD)
    project.images.delete_object(two, NO_GUARD)
    with pytest.raises(NotFoundError):
        project.objects.get(two)

    def labels() -> list[str]:
        return [each.label for each in project.objects.of_image(image)]

    seen = [labels()]
    for _ in range(4):
        project.images.move(image, -1, NO_GUARD)
        seen.append(labels())
    assert seen == [["b"], ["b", ""], ["a", ""], ["a"], []]
    assert not project.images.get(image).position
    for expected in (["a"], ["a", ""], ["b", ""], ["b"]):
        project.images.move(image, +1, NO_GUARD)
        assert labels() == expected
    assert not project.objects.get(one).visible  # how one looks at it is no step
    with pytest.raises(HistoryError):
        project.images.move(image, +1, NO_GUARD)


def test_an_object_that_comes_back_has_its_history(project: Project) -> None:
    image = project.images.all()[0].id
    one = an_object(project)
    project.objects.add_item(one, item(0), NO_GUARD, {})
    project.images.delete_object(one, NO_GUARD)
    project.images.move(image, -1, NO_GUARD)
    assert project.objects.get(one).top == 1
    project.images.move(image, -1, NO_GUARD)  # as if it had never been made
    an_object(project)  # and now it cannot be any more
    assert not project.database.read("SELECT 1 FROM item WHERE object = ?", one)


def test_keys_apply_once(project: Project) -> None:
    image = project.images.all()[0].id
    guard = Guard(key="k1")
    assert an_object(project, guard) == an_object(project, guard)
    one = project.objects.of_image(image)[0].id
    for _ in range(2):
        project.images.set_fields(one, {"label": "x"}, Guard(key="k2"))
        project.images.delete_object(one, Guard(key="k3"))
    assert project.images.get(image).top == 3
    for _ in range(2):
        project.images.move(image, -1, Guard(key="k4"))
    assert project.images.get(image).position == 2


def test_labels_are_renamed_on_objects_and_may_swap(project: Project) -> None:
    one, two = an_object(project, label="a"), an_object(project, label="b")
    a, b = project.labels()
    project.set_labels(
        [(a.id, "b", "#111111", "1"), (b.id, "a", "#222222", None), (None, "c", "#333333", None)]
    )
    assert [project.objects.get(each).label for each in (one, two)] == ["b", "a"]
    assert [each.name for each in project.labels()] == ["b", "a", "c"]
    with pytest.raises(NotFoundError):
        project.set_labels([(99, "z", "#111111", None)])
    with pytest.raises(RequestError):
        project.set_labels([(None, "z", "#111111", None), (None, "z", "#222222", None)])
    assert len(project.labels()) == 3


def test_undo_brings_back_a_renamed_label_by_its_new_name(project: Project) -> None:
    one = an_object(project, label="dog")
    image = project.objects.get(one).image
    project.images.set_fields(one, {"label": "cat", "color": "#112233"}, NO_GUARD)
    project.images.set_fields(one, {"color": "#445566"}, NO_GUARD)
    dog, cat = project.labels()
    project.set_labels([(dog.id, "cat", "#111111", None), (cat.id, "dog", "#222222", None)])
    assert project.objects.get(one).label == "dog"
    project.images.move(image, -1, NO_GUARD)
    project.images.move(image, -1, NO_GUARD)
    assert project.objects.get(one).label == "cat"
    project.set_labels([(dog.id, "beast", "#111111", None), (cat.id, "dog", "#222222", None)])
    project.images.move(image, +1, NO_GUARD)
    project.images.move(image, -1, NO_GUARD)
    assert (project.objects.get(one).label, project.objects.get(one).color) == ("beast", None)


def test_labels_come_only_with_an_object(project: Project) -> None:
    with pytest.raises(NotFoundError):
        project.images.set_fields("nothing", {"label": "x"}, NO_GUARD)
    with pytest.raises(NotFoundError):
        project.images.make_objects("nothing", [("x", None, None)], NO_GUARD)
    elsewhere = AnnotationSet((AnnotatedImage("nowhere.png", HW, (AnnotatedObject(MASK, "x"),)),), ("x", "y"))
    assert project.add_annotations(elsewhere) == (0, 0)
    assert project.labels() == []
    an_object(project, label="x")
    assert [each.name for each in project.labels()] == ["x"]


def test_changes_are_numbered(project: Project) -> None:
    one = an_object(project)
    seq, images, objects, deleted = project.images.changed_since(0)
    assert one in objects
    assert len(images) == 3
    assert deleted == []
    assert project.images.changed_since(seq) == (seq, [], [], [])
    state = project.objects.add_item(one, item(0), NO_GUARD, {})
    assert project.images.changed_since(seq) == (state.seq, [state.image], [one], [])
    project.images.delete_object(one, NO_GUARD)
    assert project.images.changed_since(state.seq)[1:] == ([state.image], [], [one])


def test_a_new_file_and_a_gone_one_are_seen_at_the_next_opening(folder: Path) -> None:
    with Project.open(folder, exclusive=True) as project:
        project.read_sizes()
        kept = {each.name: each.id for each in project.images.all()}
        an_object(project)
    (folder / "image0.png").rename(folder / "renamed.png")
    cv2.imwrite(str(folder / "image1.png"), picture(80, 20))
    with Project.open(folder, exclusive=True) as project:
        project.read_sizes()
        now = {each.name: each for each in project.images.all()}
        assert set(now) == {"image1.png", "image2.png", "renamed.png"}
        assert now["image2.png"].id == kept["image2.png"]
        assert now["image1.png"].image_hw == (80, 20)
        assert [each.name for each in project.images.with_objects() if each.objects] == ["image0.png"]
    (folder / "renamed.png").rename(folder / "image0.png")
    with Project.open(folder, exclusive=True) as project:
        assert {each.name: each.objects for each in project.images.all()}["image0.png"] == 1


def test_a_file_replaced_by_one_of_another_size_is_a_problem_until_it_is_back(folder: Path) -> None:
    with Project.open(folder, exclusive=True) as project:
        project.read_sizes()
        an_object(project, initial=MASK)
    path = folder / "image0.png"
    old = path.read_bytes()
    cv2.imwrite(str(path), picture(80, 20))
    with Project.open(folder, exclusive=True) as project:
        image = project.images.all()[0]
        assert image.image_hw == HW
        assert image.problem is not None
        assert "20x80" in image.problem
        assert f"{HW[1]}x{HW[0]}" in image.problem
        assert image.name not in project.image_sizes()
        assert len(project.annotations().images[0].objects) == 1
    path.write_bytes(old)
    with Project.open(folder, exclusive=True) as project:
        assert project.images.all()[0].problem is None
        assert project.image_sizes()["image0.png"] == HW


def test_one_process_writes_others_read(folder: Path, project: Project) -> None:
    an_object(project, initial=MASK)
    with pytest.raises(ProjectBusyError, match="another process"):
        Project.open(folder, exclusive=True)
    with Project.open(folder) as reader:
        assert sum(len(each.objects) for each in reader.annotations().images) == 1
        with pytest.raises(ProjectBusyError):
            reader.set_settings({})
    code = f"from emclick.web.store import Project\nProject.open({str(folder)!r}, exclusive=True)"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=_environment())
    assert other.returncode == 1
    assert "ProjectBusyError" in other.stderr
    project.close()
    Project.open(folder, exclusive=True).close()


def _environment() -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}


def test_another_place_for_the_project(folder: Path, tmp_path: Path) -> None:
    with Project.open(folder, tmp_path / "work.db", exclusive=True) as project:
        an_object(project)
    assert not (folder / PROJECT_NAME).exists()
    with Project.open(folder, tmp_path / "work.db") as project:
        assert sum(each.objects for each in project.images.all()) == 1


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda path: path.write_bytes(b"no database at all" * 300), "no SQLite database"),
        (lambda path: sqlite3.connect(path).executescript("PRAGMA user_version=99"), "newer emclick"),
        (lambda path: sqlite3.connect(path).executescript("PRAGMA application_id=5"), "no emclick project"),
        (lambda path: (path.unlink(), path.mkdir()), "folder"),
    ],
)
def test_what_is_no_project_is_told_and_left_alone(spoil, says: str, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "work.db"
    Project.open(folder, path, exclusive=True).close()
    spoil(path)
    content = path.read_bytes() if path.is_file() else b""
    with pytest.raises(ProjectError, match=says):
        Project.open(folder, path, exclusive=True)
    assert not path.is_file() or path.read_bytes() == content


def test_a_project_that_must_exist(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="emclick serve"):
        Project.open(folder, create=False)
    with pytest.raises(ProjectError, match="no folder"):
        Project.open(folder, tmp_path / "nowhere" / "work.db")
    assert not (folder / PROJECT_NAME).exists()


@pytest.mark.parametrize(
    ("pragma", "undo", "says"),
    [
        ("max_page_count=1", "max_page_count=1073741823", "disk is full"),
        ("query_only=1", "query_only=0", "read-only"),
    ],
)
def test_a_change_that_cannot_be_stored_changes_nothing(
    project: Project, pragma: str, undo: str, says: str
) -> None:
    one = an_object(project)
    state = project.objects.add_item(one, item(0), NO_GUARD, {})
    assert project.database._writer is not None
    project.database._writer.execute(f"PRAGMA {pragma}")
    large = NewItem("click", {"pad": "x" * 100_000}, MASK, (), 0.5)
    with pytest.raises(StorageError, match=says):
        project.objects.add_item(one, large, NO_GUARD, {})
    assert project.objects.get(one) == state
    project.database._writer.execute(f"PRAGMA {undo}")
    assert project.objects.add_item(one, large, NO_GUARD, {}).position == 2


def test_a_copy_cut_off_anywhere_opens_to_a_past_state(
    folder: Path, project: Project, tmp_path: Path
) -> None:
    """What a power cut leaves: all of the file, and the log up to some byte."""
    one = an_object(project)
    for n in range(20):
        project.objects.add_item(one, item(n % 30), NO_GUARD, {})
    log = Path(f"{project.path}-wal").read_bytes()
    random = np.random.default_rng(0)
    tops = []
    for number, length in enumerate(sorted(random.integers(0, len(log) + 1, 12))):
        copy = tmp_path / f"copy{number}.db"
        shutil.copy(project.path, copy)
        Path(f"{copy}-wal").write_bytes(log[:length])
        with Project.open(folder, copy, exclusive=True) as cut:
            assert cut.database.read("PRAGMA integrity_check")[0][0] == "ok"
            found = cut.database.read("SELECT top, position FROM object WHERE id = ?", one)
            tops.append(found[0]["top"] if found else 0)
            items = cut.database.read("SELECT count(*) AS n FROM item")[0]["n"]
            assert items == tops[-1]
    assert tops == sorted(tops)
    assert tops[-1] > 10


def test_annotations_go_out_and_come_in(project: Project, tmp_path: Path) -> None:
    names = [each.name for each in project.images.all()]
    given = AnnotationSet(
        (
            AnnotatedImage(
                names[0], HW, (AnnotatedObject(MASK, "dog", "#112233"), AnnotatedObject(MASK)), "done"
            ),
            AnnotatedImage(names[1], (9, 9), (AnnotatedObject(Rle.encode(np.ones((9, 9), bool))),)),
            AnnotatedImage("nowhere.png", HW, (AnnotatedObject(MASK),)),
        ),
        ("cat", "dog"),
    )
    assert project.image_sizes() == dict.fromkeys(names, HW)
    assert project.add_annotations(given) == (2, 0)
    assert project.add_annotations(given) == (0, 2)
    out = project.annotations()
    assert [each.name for each in out.images] == names
    assert out.images[0] == given.images[0]
    assert out.labels == ("cat", "dog")
    state = project.objects.of_image(project.images.all()[0].id)[0]
    assert (state.position, state.initial, state.finished) == (0, MASK, True)
    project.images.move(state.image, -1, NO_GUARD)
    assert not project.annotations().images[0].objects


def test_what_is_imported_can_be_sent_back(project: Project) -> None:
    """A label that the page may not send would refuse every later change of the list."""
    name = project.images.all()[0].name
    given = AnnotatedObject(MASK, "a\tlabel\n" + 300 * "x"), AnnotatedObject(MASK, "half \ud800")
    project.add_annotations(AnnotationSet((AnnotatedImage(name, HW, given),), ("tab\there", given[0].label)))
    names = [each.name for each in project.labels()]
    assert names == ["tab here", "a label " + 192 * "x", "half ?"]
    assert [each.label for each in project.objects.of_image(project.images.all()[0].id)] == names[1:]
    assert all(LabelIn(name=each, color="#000000").name == each for each in names)


def test_the_status_comes_in_without_objects_and_never_goes_back(project: Project) -> None:
    images = [each.name for each in project.images.all()]
    given = ("done", "work", "todo")
    told = AnnotationSet(tuple(AnnotatedImage(name, HW, (), each) for name, each in zip(images, given)))
    assert project.add_annotations(told, "k") == (0, 0)
    assert [each.status for each in project.images.all()] == list(given)
    project.images.set_status(project.images.all()[0].id, "work", NO_GUARD)
    project.images.set_status(project.images.all()[2].id, "done", NO_GUARD)
    project.add_annotations(told, "k")  # sent again: nothing happens again
    project.add_annotations(AnnotationSet((AnnotatedImage(images[2], HW, (), "work"),)))
    assert [each.status for each in project.images.all()] == ["work", "work", "done"]


def test_old_keys_are_dropped(folder: Path, project: Project) -> None:
    an_object(project, Guard(key="old"))
    with project.database.write() as tx:
        tx.run("UPDATE request SET at = datetime('now', '-30 days')")
    an_object(project, Guard(key="new"))
    project.close()
    with Project.open(folder, exclusive=True) as again:
        assert [row["key"] for row in again.database.read("SELECT key FROM request")] == ["new"]
