"""The batched click maps against their definition and against the numpy twin that sessions use."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from emclick import clicks as numpy_maps
from emclick.networks.click_maps import ClickMaps
from helpers import cells

FRAME = (24, 36)


def random_clicks(seed: int, batch: int = 3, count: int = 5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    points = random.uniform(0, 1, (batch, count, 2)) * FRAME
    positive = random.random((batch, count)) < 0.5
    exists = random.random((batch, count)) < 0.7
    exists[:, 0] = positive[:, 0] = True
    return points.astype(np.float32), positive, exists


def built(points: np.ndarray, positive: np.ndarray, exists: np.ndarray) -> ClickMaps:
    maps = ClickMaps(len(points), FRAME)
    for number in range(points.shape[1]):
        maps.add(*(torch.from_numpy(a[:, number].copy()) for a in (points, positive, exists)))
    return maps


@pytest.mark.parametrize("seed", range(4))
def test_disks_by_definition(seed: int) -> None:
    points, positive, exists = random_clicks(seed)
    disks = built(points, positive, exists).input().disks.numpy()
    assert disks.dtype == np.float32
    for batch in range(len(points)):
        for channel, polarity in enumerate((True, False)):
            chosen = points[batch][exists[batch] & (positive[batch] == polarity)]
            for row in range(FRAME[0]):
                for column in range(FRAME[1]):
                    inside = any((row - r) ** 2 + (column - c) ** 2 <= 25 for r, c in chosen)
                    assert disks[batch, channel, row, column] == inside


@pytest.mark.parametrize("seed", range(4))
def test_the_numpy_twin_says_the_same(seed: int) -> None:
    points, positive, exists = random_clicks(seed)
    found = built(points, positive, exists).input()
    for batch in range(len(points)):
        there = exists[batch]
        twin = numpy_maps.ClickMaps.of(points[batch][there], positive[batch][there], FRAME)
        np.testing.assert_array_equal(cells(found.disks[batch].numpy()), twin.disks())
        np.testing.assert_allclose(found.distances[batch].numpy(), twin.distances(), atol=1e-6)


def test_distances_by_definition() -> None:
    points = np.array([[[3.0, 5.0], [20.0, 30.5]]], np.float32)
    maps = built(points, np.array([[True, True]]), np.array([[True, True]]))
    found = maps.input().distances[0]
    diagonal = math.hypot(*FRAME)
    full = np.array(
        [[min(math.hypot(r - 3, c - 5), math.hypot(r - 20, c - 30.5)) for c in range(36)] for r in range(24)]
    )
    expected = np.empty((6, 9))
    for row in range(6):
        for column in range(9):
            y, x = row * 23 / 5, column * 35 / 8  # aligned corners
            top, left = min(int(y), 22), min(int(x), 34)
            down, across = y - top, x - left
            upper = full[top, left] * (1 - across) + full[top, left + 1] * across
            lower = full[top + 1, left] * (1 - across) + full[top + 1, left + 1] * across
            expected[row, column] = (upper * (1 - down) + lower * down) / diagonal
    np.testing.assert_allclose(found[0].numpy(), expected, atol=1e-5)
    np.testing.assert_allclose(found[1].numpy(), 1 / diagonal, atol=1e-7)  # no negative click: a constant


def test_the_base_network_sees_the_first_click_alone() -> None:
    points, positive, exists = random_clicks(7)
    maps = built(points, positive, exists)
    alone = built(points[:, :1], positive[:, :1], exists[:, :1])
    assert torch.equal(maps.first_click_map(), alone.input().disks[:, :1])


def test_padding_leaves_the_maps_alone_and_is_marked() -> None:
    points, positive, exists = random_clicks(8)
    before, after = built(points, positive, exists), built(points, positive, exists)
    none = torch.zeros(3, dtype=torch.bool)
    after.add(torch.full((3, 2), 2.0), ~none, none)
    assert torch.equal(before.input().disks, after.input().disks)
    assert torch.equal(before.input().distances, after.input().distances)
    assert not after.input().exists[:, -1].any()
    assert after.input().points.shape[1] == 6
