"""The engine and the actions: whatever is kept, dropped or rebuilt, the mask is that of one plain session."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from servers import HW, ZoomModel, write_images

import emclick
from emclick.annotations.model import Rle
from emclick.clicks import Click
from emclick.errors import ClickError, HistoryError
from emclick.images import read_image
from emclick.methods.emc import READY_AFTER_S
from emclick.session import Session
from emclick.web.actions import Actions
from emclick.web.cleaning import CLEANERS, changed_box
from emclick.web.engine import Engine
from emclick.web.errors import ImageChangedError, RequestError, StorageError
from emclick.web.gate import Gate
from emclick.web.records import Guard, ObjectState
from emclick.web.store import Project
from helpers import FakeModel, FakeRuntime, blob, picture

NONE = Guard()
POINTS = (
    (20, 12, True),
    (25, 16, True),
    (40.5, 30.25, False),
    (12, 14, True),
    (30, 20, True),
    (50, 3, False),
)
MODELS = {"plain": FakeModel, "zoom": ZoomModel}


class Bench:
    """A project of three images, an engine over a fake model, and a plain session to compare with."""

    def __init__(self, folder: Path, model: Any = None, **limits: int) -> None:
        self.project = Project.open(write_images(folder), exclusive=True)
        self.project.read_sizes()
        self.model = model or FakeModel()
        self.limits = limits
        self.start()

    def start(self) -> None:
        self.engine = Engine(self.model, **self.limits)
        self.actions = Actions(self.project, self.engine)

    def new(self, image: int = 0, initial: np.ndarray | None = None) -> str:
        mask = None if initial is None else Rle.encode(initial)
        return self.project.images.make_objects(
            self.project.images.all()[image].id, [("", None, mask)], NONE
        )[0]

    def session(self, image: int = 0, **options: Any) -> Session:
        path = self.project.image_path(self.project.images.all()[image])
        return Session(type(self.model)(), read_image(path), **options)

    def close(self) -> None:
        self.engine.close()
        self.project.close()


@pytest.fixture(params=MODELS)
def bench(tmp_path: Path, request: pytest.FixtureRequest):
    made = Bench(tmp_path / "photos", MODELS[request.param]())
    yield made
    made.close()


def same(state: ObjectState, session: Session) -> None:
    assert np.array_equal(state.rle.decode(), session.mask)
    assert state.clicks == session.clicks


def test_clicks_are_those_of_a_session(bench: Bench) -> None:
    one, session = bench.new(), bench.session()
    before = np.zeros(HW, bool)
    for x, y, positive in POINTS:
        changed = bench.actions.click(one, Click(x, y, positive), NONE)
        session.click(x, y, positive)
        same(changed.state, session)
        rows, columns = np.nonzero(session.mask != before)
        x0, y0, w, h = changed.box
        if rows.size:
            assert (x0, y0, x0 + w - 1, y0 + h - 1) == (columns.min(), rows.min(), columns.max(), rows.max())
        else:
            assert changed.box == (0, 0, 0, 0)
        before = session.mask
    bench.actions.remove(one, 2, NONE)
    session.remove(2)
    same(bench.project.objects.get(one), session)
    bench.actions.click_many(one, [Click(1, 1), Click(2, 30, False)], NONE)
    session.click_many([Click(1, 1), Click(2, 30, False)])
    same(bench.project.objects.get(one), session)


def test_the_zooming_model_does_zoom() -> None:
    """Else it would be the plain one under another name."""
    masks = []
    for model in (ZoomModel(), ZoomModel(zoom_in=False)):
        session = Session(model, picture(*HW))
        for x, y, positive in POINTS[:2]:
            session.click(x, y, positive)
        masks.append(session.mask)
    assert not np.array_equal(*masks)


def test_an_initial_mask_is_corrected(bench: Bench) -> None:
    one, session = bench.new(initial=blob(*HW)), bench.session(initial_mask=blob(*HW))
    same(bench.project.objects.get(one), session)
    bench.actions.click(one, Click(5, 5, False), NONE)
    session.click(5, 5, False)
    same(bench.project.objects.get(one), session)
    bench.actions.reset(one, NONE)
    assert np.array_equal(bench.project.objects.get(one).rle.decode(), blob(*HW))


def settled(runtime: FakeRuntime) -> int:
    """How many calls there were once zoom-in has prepared what comes after the last click."""
    calls = -1
    while calls != len(runtime.calls):
        calls = len(runtime.calls)
        time.sleep(5 * READY_AFTER_S)
    return calls


def test_undo_and_redo_run_no_network(bench: Bench) -> None:
    one = bench.new()
    states = [bench.project.objects.get(one)]
    for x, y, positive in POINTS:
        states.append(bench.actions.click(one, Click(x, y, positive), NONE).state)
    calls = settled(bench.model.runtime)
    for expected in reversed(states[:-1]):
        assert bench.actions.move(one, -1, NONE).state.rle == expected.rle
    for expected in states[1:]:
        assert bench.actions.move(one, +1, NONE).state.rle == expected.rle
    assert len(bench.model.runtime.calls) == calls


@pytest.mark.parametrize("threshold", [0.05, 0.3, 0.7, 0.95])
def test_a_threshold_gives_what_a_session_with_it_gives(bench: Bench, threshold: float) -> None:
    one, session = bench.new(), bench.session(threshold=threshold)
    for x, y, positive in POINTS[:5]:
        bench.actions.click(one, Click(x, y, positive), NONE)
        session.click(x, y, positive)
    before = bench.project.objects.get(one)
    same(bench.actions.set_threshold(one, threshold, NONE).state, session)
    bench.actions.click(one, Click(30, 20), NONE)
    session.click(30, 20)
    same(bench.project.objects.get(one), session)
    bench.actions.move(one, -1, NONE)
    after = bench.actions.move(one, -1, NONE).state
    assert (after.rle, after.threshold) == (before.rle, 0.5)


def test_thresholds_in_a_row_are_one_step(bench: Bench) -> None:
    one = bench.new()
    bench.actions.click(one, Click(20, 12), NONE)
    for threshold in (0.2, 0.3, 0.4):
        top = bench.actions.set_threshold(one, threshold, NONE).state.top
    assert top == 2
    assert bench.actions.move(one, -1, NONE).state.threshold == 0.5


def test_a_brushed_mask_is_as_given_whatever_the_threshold(bench: Bench) -> None:
    one, session = bench.new(), bench.session(threshold=0.9)
    bench.actions.click(one, Click(20, 12), NONE)
    session.click(20, 12)
    bench.actions.set_mask(one, Rle.encode(blob(*HW)).to_json(), "brush", NONE)
    session.set_mask(blob(*HW))
    same(bench.actions.set_threshold(one, 0.9, NONE).state, session)
    bench.actions.click(one, Click(3, 3, False), NONE)
    session.click(3, 3, False)
    same(bench.project.objects.get(one), session)


def test_a_refused_click_leaves_everything_as_it_was(bench: Bench) -> None:
    one = bench.new()
    with pytest.raises(ClickError, match="first click"):
        bench.actions.click(one, Click(3, 3, False), NONE)
    with pytest.raises(RequestError, match="outside"):
        bench.actions.click(one, Click(HW[1], 3), NONE)
    with pytest.raises(HistoryError):
        bench.actions.remove(one, 0, NONE)
    assert bench.project.objects.get(one).top == 0
    session = bench.session()
    session.click(20, 12)
    same(bench.actions.click(one, Click(20, 12), NONE).state, session)


def test_a_step_that_could_not_be_stored_is_taken_back(bench: Bench) -> None:
    one, session = bench.new(), bench.session()
    bench.actions.click(one, Click(20, 12), NONE)
    session.click(20, 12)
    assert bench.project.database._writer is not None
    bench.project.database._writer.execute("PRAGMA query_only=1")
    with pytest.raises(OSError, match="not saved"):
        bench.actions.click(one, Click(50, 30), NONE)
    bench.project.database._writer.execute("PRAGMA query_only=0")
    same(bench.project.objects.get(one), session)
    session.click(8, 25)
    same(bench.actions.click(one, Click(8, 25), NONE).state, session)


def test_a_preview_stores_nothing(bench: Bench) -> None:
    one, session = bench.new(), bench.session()
    assert bench.actions.preview(one, Click(20, 12)) is None  # the image is not at hand
    bench.actions.click(one, Click(20, 12), NONE)
    found = bench.actions.preview(one, Click(8, 25))
    assert found is not None
    session.click(20, 12)
    session.click(8, 25)
    assert np.array_equal(found[0].decode(), session.mask)
    session.undo()
    same(bench.project.objects.get(one), session)
    session.click(50, 30, False)
    same(bench.actions.click(one, Click(50, 30, False), NONE).state, session)


def test_a_preview_of_a_new_object_keeps_nothing(bench: Bench) -> None:
    image, session = bench.project.images.all()[0], bench.session()
    assert bench.actions.preview_new(image.id, Click(20, 12)) is None  # the image is not at hand
    state, _ = bench.actions.make(image.id, "", None, None, [Click(20, 12)], NONE)
    kept = list(bench.engine._sessions)
    found = bench.actions.preview_new(image.id, Click(8, 25))
    assert found is not None
    session.click(8, 25)
    assert np.array_equal(found[0].decode(), session.mask)
    assert list(bench.engine._sessions) == kept == [state.id]
    assert len(bench.project.objects.of_image(image.id)) == 1


def test_an_object_made_with_a_click_goes_on_without_being_rebuilt(bench: Bench) -> None:
    image, session = bench.project.images.all()[0], bench.session()
    state, _ = bench.actions.make(image.id, "", None, None, [Click(20, 12)], NONE)
    session.click(20, 12)
    same(state, session)
    live = bench.engine._sessions[state.id]
    session.click(8, 25)
    same(bench.actions.click(state.id, Click(8, 25), NONE).state, session)
    assert bench.engine._sessions[state.id] is live
    assert len(live.session.clicks) == 2


def test_an_object_that_could_not_be_stored_leaves_no_session(bench: Bench) -> None:
    image = bench.project.images.all()[0]
    assert bench.project.database._writer is not None
    bench.project.database._writer.execute("PRAGMA query_only=1")
    with pytest.raises(StorageError):
        bench.actions.make(image.id, "", None, None, [Click(20, 12)], NONE)
    bench.project.database._writer.execute("PRAGMA query_only=0")
    assert not bench.engine._sessions
    assert bench.project.objects.of_image(image.id) == []


def test_a_preview_does_not_wait(bench: Bench) -> None:
    one = bench.new()
    bench.actions.click(one, Click(20, 12), NONE)
    with bench.engine.gate.held():
        began = time.perf_counter()
        assert bench.actions.preview(one, Click(8, 25)) is None
        assert time.perf_counter() - began < 2.5


STEPS = st.one_of(
    st.tuples(st.just("click"), st.integers(0, HW[1] - 1), st.integers(0, HW[0] - 1), st.booleans()),
    st.tuples(st.just("remove"), st.integers(0, 3)),
    st.tuples(st.sampled_from(["undo", "redo", "reset", "forget", "restart", "brush", "preview"])),
    st.tuples(st.just("threshold"), st.sampled_from([0.2, 0.5, 0.8])),
)


@pytest.mark.parametrize("kind", MODELS)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, max_size=14))
def test_any_story_ends_where_a_fresh_session_would(kind: str, steps: list, tmp_path_factory) -> None:
    """The stored events, clicked into a new session with the object's threshold, give the stored mask."""
    bench = Bench(tmp_path_factory.mktemp("story") / "photos", MODELS[kind](), sessions=2)
    try:
        one = bench.new()
        for name, *arguments in steps:
            try:
                _do(bench, one, name, arguments)
            except (ClickError, HistoryError):
                continue
        state = bench.project.objects.get(one)
        session = bench.session(threshold=state.threshold)
        for item in bench.project.objects.items(one, state.position):
            if item.kind == "click":
                session.click(**item.payload)
            elif item.kind == "remove":
                session.remove(item.payload["n"])
            elif item.kind == "reset":
                session.reset()
            elif item.kind == "mask":
                session.set_mask(item.rle.decode())
        same(state, session)
    finally:
        bench.close()


def _do(bench: Bench, one: str, name: str, arguments: list) -> None:
    actions = bench.actions
    table = {
        "click": lambda x, y, positive: actions.click(one, Click(x, y, positive), NONE),
        "remove": lambda n: actions.remove(one, n, NONE),
        "undo": lambda: actions.move(one, -1, NONE),
        "redo": lambda: actions.move(one, +1, NONE),
        "reset": lambda: actions.reset(one, NONE),
        "forget": lambda: bench.engine.forget(one),
        "restart": bench.start,
        "brush": lambda: actions.set_mask(one, Rle.encode(blob(*HW)).to_json(), "brush", NONE),
        "preview": lambda: actions.preview(one, Click(4, 4)),
        "threshold": lambda value: actions.set_threshold(one, value, NONE),
    }
    table[name](*arguments)


def test_sessions_and_pictures_are_bounded(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "photos", sessions=3, pictures=2)
    objects = [(image, bench.new(image)) for image in (0, 1, 2) for _ in range(3)]
    for x, y, positive in POINTS[:2]:
        for _, each in objects:
            bench.actions.click(each, Click(x, y, positive), NONE)
            assert len(bench.engine._sessions) <= 3
            assert len(bench.engine._pictures) <= 2
    for image, each in objects:
        session = bench.session(image)
        for x, y, positive in POINTS[:2]:
            session.click(x, y, positive)
        same(bench.project.objects.get(each), session)
    bench.close()


def test_what_hangs_on_the_image_alone_is_done_once(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "photos")
    bench.engine.prepare([bench.actions.picture(bench.project.images.all()[0])])
    for _ in range(200):
        if "open" in bench.model.runtime.names():
            break
        time.sleep(0.01)
    for _ in range(4):
        bench.actions.click(bench.new(), Click(20, 12), NONE)
    assert bench.model.runtime.names().count("open") == 1
    bench.close()


def test_an_image_file_of_another_size_is_refused_and_its_objects_kept(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "photos")
    one = bench.new()
    state = bench.actions.click(one, Click(20, 12), NONE).state
    bench.close()
    path = tmp_path / "photos" / "image0.png"
    write_images(tmp_path / "other", 1, (44, 60))
    path.write_bytes((tmp_path / "other" / "image0.png").read_bytes())
    bench.project = Project.open(tmp_path / "photos", exclusive=True)
    bench.project.read_sizes()
    bench.start()
    with pytest.raises(ImageChangedError, match="60x44"):
        bench.actions.click(one, Click(20, 12), NONE)
    assert bench.project.objects.get(one).rle == state.rle
    bench.close()


def test_the_shipped_model_agrees_with_a_plain_session(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    photo = Path(emclick.__file__).parent / "assets" / "coffee.jpg"
    (folder / "coffee.jpg").write_bytes(photo.read_bytes())
    model = emclick.load(threads=1)
    session = Session(model, photo)
    with Project.open(folder, exclusive=True) as project:
        project.read_sizes()
        image = project.images.all()[0]
        one, two = project.images.make_objects(image.id, [("", None, None)] * 2, NONE)
        actions = Actions(project, Engine(model))
        for x, y, positive in ((180, 120, True), (60, 200, False)):
            actions.click(two, Click(x + 5, y, True), NONE)
            state = actions.click(one, Click(x, y, positive), NONE).state
            session.click(x, y, positive)
            same(state, session)
        rebuilt = Actions(project, Engine(model))
        rebuilt.move(one, -1, NONE)
        session.undo()
        session.click(100, 60)
        same(rebuilt.click(one, Click(100, 60), NONE).state, session)


# --- the gate -------------------------------------------------------------------------------------------


def test_the_gate_is_fair_and_clicks_go_first() -> None:
    gate, order, ready = Gate(), [], []

    def enter(name: str, background: bool) -> None:
        ready.append(name)
        with gate.held(background=background):
            order.append(name)

    threads = []
    with gate.held():
        assert gate.taken
        for name, background in (("b1", True), ("c1", False), ("b2", True), ("c2", False), ("c3", False)):
            threads.append(threading.Thread(target=enter, args=(name, background)))
            threads[-1].start()
            while len(gate._clicks) + len(gate._behind) < len(threads):
                time.sleep(0.001)
        with gate.held_now() as mine:
            assert not mine
    for thread in threads:
        thread.join()
    assert order == ["c1", "c2", "c3", "b1", "b2"]
    with gate.held_now() as mine:
        assert mine
    assert not gate.taken


def test_the_gate_opens_again_after_an_error() -> None:
    gate = Gate()
    with pytest.raises(ValueError, match="x"), gate.held():
        raise ValueError("x")
    assert not gate.taken


def test_eight_at_once_are_all_served(tmp_path: Path) -> None:
    class Slow(FakeRuntime):
        def correct(self, image: Any, features: Any, inputs: Any) -> Any:
            time.sleep(0.002)
            return super().correct(image, features, inputs)

    bench = Bench(tmp_path / "photos", FakeModel(Slow()))
    objects = [bench.new(number % 3) for number in range(8)]
    waits: dict[str, list[float]] = {each: [] for each in objects}

    def work(one: str) -> None:
        for n in range(12):
            waits[one].append(bench.actions.click(one, Click(n, 2 * n, True), NONE).ms)

    threads = [threading.Thread(target=work, args=(each,)) for each in objects]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    means = [float(np.mean(each)) for each in waits.values()]
    assert all(bench.project.objects.get(each).top == 12 for each in objects)
    assert max(means) < 4 * min(means) + 20, "someone is starved"
    bench.close()


# --- masks ----------------------------------------------------------------------------------------------


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([(1, 1), (1, 9), (7, 1), (12, 17)]),
    st.sampled_from([0.02, 0.3, 0.9]),
)
def test_the_changed_box_is_that_of_the_pixels(seed: int, hw: tuple[int, int], share: float) -> None:
    random = np.random.default_rng(seed)
    one = random.random(hw) < share
    other = one ^ (random.random(hw) < 0.1)
    rows, columns = np.nonzero(one != other)
    expected = (0, 0, 0, 0)
    if rows.size:
        expected = (columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1)
    assert changed_box(Rle.encode(one), Rle.encode(other)) == expected


def test_cleaning() -> None:
    mask = np.zeros((30, 40), bool)
    mask[2:12, 2:20] = True
    mask[4:6, 4:6] = mask[8, 10] = False  # holes of 4 and 1 pixels
    mask[20:23, 30:34] = True
    mask[29, 39] = True
    largest = CLEANERS["largest"](mask, 0)
    assert largest.sum() == 175
    assert not largest[20:, 30:].any()
    assert CLEANERS["fill"](mask, 0).sum() == 180 + 12 + 1
    assert CLEANERS["fill"](mask, 1).sum() == 176 + 12 + 1
    assert CLEANERS["min_area"](mask, 12).sum() == 175 + 12
    assert CLEANERS["min_area"](mask, 13).sum() == 175
    frame = np.ones((5, 5), bool)
    frame[1:4, 1:4] = False
    frame[0, 0] = False
    assert CLEANERS["fill"](frame, 0).sum() == 24  # the corner is open to the outside
    for clean in CLEANERS.values():
        for each in (np.zeros((4, 4), bool), np.ones((4, 4), bool)):
            assert np.array_equal(clean(each, 1), each)


def test_finished_neighbours_are_avoided(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "photos")
    half = np.zeros(HW, bool)
    half[:, :28] = True
    one, two = bench.new(initial=half), bench.new(initial=np.ones(HW, bool))
    assert bench.actions.clean(two, "avoid", 0, NONE).box == (0, 0, 0, 0)
    bench.project.images.set_fields(one, {"finished": True}, NONE)
    changed = bench.actions.clean(two, "avoid", 0, NONE)
    assert np.array_equal(changed.state.rle.decode(), ~half)
    assert changed.box == (0, 0, 28, 40)
    bench.close()


def test_pictures_in_memory_are_those_of_the_file(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "photos")
    shown = bench.actions.picture(bench.project.images.all()[1])
    assert bench.engine.pixels(shown) is None
    bench.actions.click(bench.new(1), Click(20, 12), NONE)
    pixels = bench.engine.pixels(shown)
    assert pixels is not None
    assert np.array_equal(pixels, picture(*HW, seed=1))
    bench.close()
