"""Template selection against a slow version written from METHOD, pixel by pixel."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from emclick.networks.templates import click_features, gather_pixels, select_templates


def slow_selection(features, points, positive, exists, distances, count):
    """One frame: (C, h, w), (N, 2), (N,), (N,), (2, h, w) -> indices of both polarities, best first."""
    _, height, width = features.shape
    norms = np.sqrt((features**2).sum(0))
    scores = {True: [], False: []}
    for row in range(height):
        for column in range(width):
            best = {True: 0.0, False: 0.0}  # a missing click contributes 0
            for point, polarity, there in zip(points, positive, exists):
                if not there:
                    continue
                at = [min(max(round(v / 4), 0), side - 1) for v, side in zip(point, (height, width))]
                dot = float((features[:, row, column] * features[:, at[0], at[1]]).sum())
                similarity = dot / max(norms[row, column], 1e-12) / max(norms[at[0], at[1]], 1e-12)
                best[bool(polarity)] = max(best[bool(polarity)], similarity)
            index = row * width + column
            for polarity, channel in ((True, 0), (False, 1)):
                score = (best[polarity] + 1 - best[not polarity]) * (1 - distances[channel, row, column])
                scores[polarity].append((-score, index))
    return [[index for _, index in sorted(scores[polarity])[:count]] for polarity in (True, False)]


def scene(seed, batch=2, clicks=4, height=6, width=9):
    random = np.random.default_rng(seed)
    features = random.random((batch, 5, height, width))
    points = np.stack(
        [
            random.uniform(-3, 4 * height + 3, (batch, clicks)),
            random.uniform(-3, 4 * width + 3, (batch, clicks)),
        ],
        -1,
    )
    positive = random.random((batch, clicks)) < 0.5
    exists = random.random((batch, clicks)) < 0.8
    exists[:, 0] = positive[:, 0] = True
    return features, points, positive, exists, random.random((batch, 2, height, width))


def tensors(*arrays):
    return [torch.from_numpy(a).float() if a.dtype == np.float64 else torch.from_numpy(a) for a in arrays]


@pytest.mark.parametrize("seed", range(6))
def test_selection_is_the_slow_one(seed: int) -> None:
    arrays = scene(seed)
    ours = select_templates(*tensors(*arrays), count=7)
    for number in range(len(arrays[0])):
        expected = slow_selection(*(a[number].astype(np.float32).astype(float) for a in arrays), count=7)
        for polarity, theirs in enumerate(expected):
            assert ours[polarity][number].tolist() == theirs


def test_polarities_matter_and_padding_does_not() -> None:
    features, points, positive, exists, distances = scene(0)
    exists[:] = True
    ours = select_templates(*tensors(features, points, positive, exists, distances), count=7)
    swapped = select_templates(
        *tensors(features, points, ~positive, exists, distances[:, ::-1].copy()), count=7
    )
    assert torch.equal(ours[0], swapped[1])
    assert torch.equal(ours[1], swapped[0])
    assert not torch.equal(ours[0], ours[1])
    padded = [np.concatenate([a, a[:, :2]], 1) for a in (points, positive, exists)]
    padded[2][:, -2:] = False
    again = select_templates(*tensors(features, *padded, distances), count=7)
    for left, right in zip(ours, again):
        assert torch.equal(left, right)


def test_without_similarity_the_nearest_pixels_win_in_order() -> None:
    features, points, positive, exists, distances = tensors(*scene(1))
    ours = select_templates(features, points, positive, exists, distances, 5, use_similarity=False)
    for channel, indices in enumerate(ours):
        expected = distances[:, channel].flatten(1).argsort(dim=1)[:, :5]
        assert torch.equal(indices, expected)


def test_click_features_round_half_to_even_and_clamp() -> None:
    height, width = 5, 7
    grid = torch.arange(height * width, dtype=torch.float32).reshape(1, 1, height, width)
    # frame pixel / 4: 0.5 -> 0, 1.5 -> 2, 2.5 -> 2, 3.5 -> 4; far out -> the border
    points = [(2.0, 0.0), (6.0, 10.0), (10.0, 14.0), (14.0, 6.0), (-9.0, 99.0), (99.0, -9.0), (5.9, 1.9)]
    expected = [(0, 0), (2, 2), (2, 4), (4, 2), (0, 6), (4, 0), (1, 0)]
    found = click_features(grid, torch.tensor([points]))[0, :, 0].tolist()
    assert found == [row * width + column for row, column in expected]


def test_gather_pixels_reads_rows_first() -> None:
    features = torch.randn(2, 3, 4, 5)
    indices = torch.tensor([[0, 7, 19], [5, 4, 4]])
    found = gather_pixels(features, indices)
    for batch in range(2):
        for place, index in enumerate(indices[batch].tolist()):
            row, column = divmod(index, 5)
            assert torch.equal(found[batch, place], features[batch, :, row, column])


def test_no_gradient_and_all_pixels_at_most() -> None:
    features, points, positive, exists, distances = tensors(*scene(2))
    features.requires_grad_()
    indices = select_templates(features, points, positive, exists, distances, 54)
    for each in indices:
        assert not each.requires_grad
        assert sorted(each[0].tolist()) == list(range(54))
    assert math.prod(features.shape[2:]) == 54
