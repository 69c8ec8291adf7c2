"""What every runtime must do: agree with PyTorch in float32, stage by stage, and keep nothing between calls."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
import torch

from emclick.clicks import ClickMaps, disk_maps
from emclick.networks.export import TOLERANCE, check_runtime
from emclick.networks.model import EmcNetwork
from emclick.runtimes.base import CorrectionInput, PartsRuntime, Runtime

SIZES = [(64, 100), (92, 68)]  # for all tests: some runtimes take a second to prepare for a size


def inputs_of(
    frame_hw: tuple[int, int], batch: int = 1, clicks: int = 3
) -> tuple[np.ndarray, np.ndarray, CorrectionInput]:
    """Frames, first click maps and a correction's input, seeded."""
    random = np.random.default_rng(sum(frame_hw) + batch)
    grid = (frame_hw[0] // 4, frame_hw[1] // 4)
    frames = random.random((batch, 3, *frame_hw)).astype(np.float32)
    points = (random.random((batch, clicks, 2)) * frame_hw).astype(np.float32)
    positive = np.resize([True, False, True, True, False], clicks)
    first = np.stack([disk_maps(each[:1], positive[:1], frame_hw)[:1] for each in points])
    maps = [ClickMaps.of(each, positive, frame_hw) for each in points]
    return frames, first, CorrectionInput(
        maps, points, positive, (4 * random.standard_normal((batch, 1, *grid))).astype(np.float32),
    )  # fmt: skip


class RuntimeContract:
    """Subclass it and give the fixtures `runtime`, `network` (the plain one) and `short_side`.

    Of any scope: no test changes what it is given.
    """

    tolerance: ClassVar[float] = TOLERANCE

    def test_each_stage_agrees_with_the_network_on_photographs(
        self, runtime: Runtime, network: EmcNetwork, short_side: int
    ) -> None:
        check = check_runtime(runtime, network, short_side, self.tolerance)
        assert check.clicks + len(check.ties) == 8
        assert check.clicks >= 7
        assert check.error <= self.tolerance

    def test_the_check_notices_another_network(
        self, runtime: Runtime, network: EmcNetwork, short_side: int
    ) -> None:
        other = EmcNetwork(network.spec)
        other.load_state_dict(network.state_dict())
        with torch.no_grad():
            other.corrector.predict.bias += 10 * self.tolerance
        small = min(short_side, 96)
        assert check_runtime(runtime, other.eval(), small, self.tolerance).error > self.tolerance

    @pytest.mark.parametrize("frame_hw", SIZES)
    def test_any_size_and_any_number_of_clicks(self, runtime: Runtime, frame_hw: tuple[int, int]) -> None:
        grid = (frame_hw[0] // 4, frame_hw[1] // 4)
        for clicks in (1, 5):
            frames, first, inputs = inputs_of(frame_hw, clicks=clicks)
            image = runtime.open(frames)
            features, coarse = runtime.first(image, first)
            logits = runtime.correct(image, features, inputs)
            for array in (coarse, logits):
                assert array.shape == (1, 1, *grid)
                assert array.dtype == np.float32
                assert np.isfinite(array).all()

    def test_many_clicks_are_no_others_for_being_padded(
        self, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        frames, first, inputs = inputs_of(SIZES[0], clicks=20)
        image = runtime.open(frames)
        features, _ = runtime.first(image, first)
        padded = np.array(runtime.correct(image, features, inputs))
        monkeypatch.setattr("emclick.runtimes.base.padded_count", lambda clicks: clicks)
        np.testing.assert_allclose(runtime.correct(image, features, inputs), padded, atol=self.tolerance)

    def test_two_frames_are_two_times_one(self, runtime: Runtime) -> None:
        frames, first, inputs = inputs_of(SIZES[0], batch=2)
        image = runtime.open(frames)
        features, coarse = runtime.first(image, first)
        logits = runtime.correct(image, features, inputs)
        for i in range(2):
            alone = runtime.open(frames[i : i + 1])
            own, own_coarse = runtime.first(alone, first[i : i + 1])
            one = CorrectionInput(
                *(getattr(inputs, name)[i : i + 1] for name in ("maps", "points")), inputs.positive,
                inputs.previous_logits[i : i + 1],
            )  # fmt: skip
            np.testing.assert_allclose(coarse[i], own_coarse[0], atol=self.tolerance)
            np.testing.assert_allclose(logits[i], runtime.correct(alone, own, one)[0], atol=self.tolerance)

    def test_calls_leave_no_trace(self, runtime: Runtime) -> None:
        """Handles of two images and sizes are used in turn; the same call gives the same bits."""
        one, other = (inputs_of(frame_hw) for frame_hw in SIZES)
        opened = [runtime.open(frames) for frames, _, _ in (one, other)]
        firsts = [runtime.first(image, first) for image, (_, first, _) in zip(opened, (one, other))]
        before = [np.array(coarse) for _, coarse in firsts]
        logits = [
            [np.array(runtime.correct(opened[i], firsts[i][0], (one, other)[i][2])) for i in (0, 1)]
            for _ in range(2)
        ]
        for i in (0, 1):
            assert np.array_equal(logits[0][i], logits[1][i])
            assert np.array_equal(firsts[i][1], before[i])

    def test_corrections_of_other_clicks_leave_no_trace(self, runtime: Runtime) -> None:
        """Of fewer clicks, of one more, of others at the same places: as in undo, redo and another object."""
        frames, first, inputs = inputs_of(SIZES[0])
        image = runtime.open(frames)
        features, _ = runtime.first(image, first)
        before = np.array(runtime.correct(image, features, inputs))
        [points], positive = inputs.points, inputs.positive
        [maps] = inputs.maps
        for found in (
            ClickMaps.of(points[:1], positive[:1], SIZES[0]), maps.add(points[0] / 2, True),
            ClickMaps.of(points, ~positive, SIZES[0]),
        ):  # fmt: skip
            other = replace(inputs, maps=[found])
            assert not np.array_equal(before, runtime.correct(image, features, other))
            assert np.array_equal(before, runtime.correct(image, features, inputs))
        again = replace(inputs, maps=[ClickMaps.of(points, positive, SIZES[0])])
        assert np.array_equal(before, runtime.correct(image, features, again))

    def test_what_was_made_before_a_click_changes_nothing(self, runtime: Runtime) -> None:
        """Wherever the click is; and it serves any number of clicks."""
        frame_hw = (152, 164)  # large enough for cells that no click changes
        frames, first, inputs = inputs_of(frame_hw, batch=2)
        image = runtime.open(frames)
        features, _ = runtime.first(image, first)
        fused = runtime.fuse(image, features, inputs.maps, inputs.previous_logits)
        height, width = frame_hw
        places = [(0.0, 0.0), (0.5, width - 1), (height - 1, 0), (height - 0.6, width - 0.6), (77.3, 50.8)]
        for row, column in [*places, *inputs.points[0], places[0]]:
            points = np.concatenate([inputs.points, np.full((2, 1, 2), (row, column), np.float32)], axis=1)
            maps = [each.add(points[0, -1], True) for each in inputs.maps]
            clicked = replace(inputs, maps=maps, points=points, positive=np.append(inputs.positive, True))
            plain = np.array(runtime.correct(image, features, clicked))
            assert np.array_equal(plain, runtime.correct(image, features, clicked, fused))

    def test_a_correction_that_fails_leaves_no_trace(
        self, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        frames, first, inputs = inputs_of(SIZES[0])
        image = runtime.open(frames)
        features, _ = runtime.first(image, first)
        before = np.array(runtime.correct(image, features, inputs))
        fused = None
        if isinstance(runtime, PartsRuntime):
            earlier = ClickMaps.of(inputs.points[0, :-1], inputs.positive[:-1], SIZES[0])
            fused = runtime.fuse(image, features, [earlier], inputs.previous_logits)
            inputs = replace(inputs, maps=[earlier.add(inputs.points[0, -1], bool(inputs.positive[-1]))])
            run = type(runtime).run

            def failing(self: PartsRuntime, part: str, *arrays: object, **options: bool) -> object:
                return 1 / 0 if part == "correction" else run(self, part, *arrays, **options)

            with monkeypatch.context() as patched:
                patched.setattr(type(runtime), "run", failing)
                with pytest.raises(ZeroDivisionError):
                    runtime.correct(image, features, inputs, fused)
        assert np.array_equal(before, runtime.correct(image, features, inputs, fused))

    def test_inputs_are_not_written_to(self, runtime: Runtime) -> None:
        frames, first, inputs = inputs_of(SIZES[0])
        patches = [patch.pixels for maps in inputs.maps for patch in maps.patches]
        arrays = [frames, first, *patches, inputs.points, inputs.previous_logits]
        before = [each.copy() for each in arrays]
        image = runtime.open(frames)
        features, _ = runtime.first(image, first)
        runtime.correct(image, features, inputs)
        for array, kept in zip(arrays, before):
            assert np.array_equal(array, kept)
