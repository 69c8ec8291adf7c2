"""The losses against their formulas, pixel by pixel."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from emclick.training.losses import EDGE_PX, binary_cross_entropy, normalized_focal_loss, pixel_weights


def scene(seed: int = 0, size: int = 5) -> tuple[Tensor, Tensor]:
    """Logits already at the target's size, and a target with ignored pixels."""
    random = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, 1, size, size + 1, generator=random) * 2
    return logits, torch.randint(-1, 2, (3, size, size + 1), generator=random).to(torch.int8)


def slow_focal(logits: Tensor, target: Tensor) -> float:
    images = []
    for image, labels in zip(logits[:, 0].tolist(), target.tolist()):
        pairs = [(x, y) for xs, ys in zip(image, labels) for x, y in zip(xs, ys) if y != -1]
        right = [1 - abs(y - 1 / (1 + math.exp(-x))) for x, y in pairs]
        betas = [(1 - p) ** 2 for p in right]
        scale = len(pairs) / sum(betas)
        images.append(sum(-0.5 * b * scale * math.log(p) for b, p in zip(betas, right)) / len(pairs))
    return sum(images) / len(images)


def slow_entropy(logits: Tensor, target: Tensor) -> float:
    images = []
    for image, labels in zip(logits[:, 0].tolist(), target.tolist()):
        pairs = [
            (1 / (1 + math.exp(-x)), y) for xs, ys in zip(image, labels) for x, y in zip(xs, ys) if y != -1
        ]
        images.append(sum(-math.log(p if y else 1 - p) for p, y in pairs) / len(pairs))
    return sum(images) / len(images)


LOSSES = {"focal": (normalized_focal_loss, slow_focal), "entropy": (binary_cross_entropy, slow_entropy)}


@pytest.mark.parametrize("name", sorted(LOSSES))
@pytest.mark.parametrize("seed", range(3))
def test_the_loss_is_its_formula(name: str, seed: int) -> None:
    fast, slow = LOSSES[name]
    logits, target = scene(seed)
    assert fast(logits, target).item() == pytest.approx(slow(logits, target), rel=1e-4)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_logits_are_brought_to_the_target_with_aligned_corners(name: str) -> None:
    loss = LOSSES[name][0]
    logits, _ = scene()
    target = torch.randint(-1, 2, (3, 20, 24)).to(torch.int8)
    full = F.interpolate(logits, size=(20, 24), mode="bilinear", align_corners=True)
    torch.testing.assert_close(loss(logits, target), loss(full, target))


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_ignored_pixels_contribute_nothing(name: str) -> None:
    loss = LOSSES[name][0]
    logits, target = scene()
    logits.requires_grad_()
    loss(logits, target).backward()
    assert logits.grad is not None
    assert (logits.grad[:, 0][target == -1] == 0).all()
    assert (logits.grad[:, 0][target != -1] != 0).all()
    changed = torch.where((target == -1)[:, None], 50.0, logits.detach())
    torch.testing.assert_close(loss(changed, target), loss(logits.detach(), target))


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_the_gradient_points_away_from_the_truth(name: str) -> None:
    loss = LOSSES[name][0]
    logits, target = scene()
    logits.requires_grad_()
    loss(logits, target).backward()
    assert logits.grad is not None
    assert (logits.grad[:, 0][target == 1] < 0).all()
    assert (logits.grad[:, 0][target == 0] > 0).all()


def test_the_entropy_has_the_gradient_of_its_values() -> None:
    """The focal loss does not: its scale is taken as a constant, by definition."""
    logits, target = scene(size=3)
    exact = logits.double().requires_grad_()

    def in_double(x: Tensor) -> Tensor:
        pixel = F.binary_cross_entropy_with_logits(x[:, 0], (target == 1).double(), reduction="none")
        valid = (target >= 0).double()
        return ((pixel * valid).sum((1, 2)) / valid.sum((1, 2))).mean()

    assert torch.autograd.gradcheck(in_double, exact)
    wanted = torch.autograd.grad(in_double(exact), exact)[0].float()
    own = logits.clone().requires_grad_()
    torch.testing.assert_close(torch.autograd.grad(binary_cross_entropy(own, target), own)[0], wanted)


def test_the_focal_gradient_takes_the_scale_as_constant() -> None:
    logits, target = scene(size=3)
    exact = logits.double().requires_grad_()
    valid = (target >= 0).double()
    right = 1 - ((target == 1).double() - torch.sigmoid(exact[:, 0])).abs()
    beta = (1 - right) ** 2 * valid
    scale = (valid.sum((1, 2)) / beta.sum((1, 2))).detach()
    loss = ((-0.5 * beta * scale[:, None, None] * right.log()).sum((1, 2)) / valid.sum((1, 2))).mean()
    wanted = torch.autograd.grad(loss, exact)[0].float()
    own = logits.clone().requires_grad_()
    found = torch.autograd.grad(normalized_focal_loss(own, target), own)[0]
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_nothing_valid_and_all_right_are_finite(name: str) -> None:
    loss = LOSSES[name][0]
    assert loss(torch.randn(1, 1, 4, 4), torch.full((1, 4, 4), -1, dtype=torch.int8)) == 0
    sure = loss(torch.full((1, 1, 4, 4), 90.0), torch.ones(1, 4, 4, dtype=torch.int8))
    assert sure.isfinite()
    assert sure < 1e-3


def test_weights_change_the_mean_of_each_image_and_nothing_else() -> None:
    logits, target = scene()
    plain = normalized_focal_loss(logits, target)
    same = normalized_focal_loss(logits, target, weight=torch.full(target.shape, 3.0))
    torch.testing.assert_close(same, plain)

    one = torch.zeros(target.shape)
    one[0, 0, :2] = torch.tensor([1.0, 3.0])
    target[0, 0, :2] = torch.tensor([1, 0], dtype=torch.int8)
    p = torch.sigmoid(torch.stack([logits[0, 0, 0, 0], -logits[0, 0, 0, 1]]))  # of what is true
    signed = torch.where(target == 1, logits[:, 0], -logits[:, 0])
    betas = torch.sigmoid(-signed) ** 2 * (target >= 0)
    scale = (target[0] >= 0).sum() / betas[0].sum()
    pixels = -0.5 * (1 - p) ** 2 * scale * torch.log(p)
    expected = (pixels[0] + 3 * pixels[1]) / 4 / len(target)  # the other images weigh nothing at all
    torch.testing.assert_close(normalized_focal_loss(logits, target, weight=one), expected)


def test_pixels_at_the_edge_and_right_ones_weigh_more() -> None:
    random = torch.Generator().manual_seed(0)
    target = torch.randint(-1, 2, (2, 24, 25), generator=random).to(torch.int8)
    target[0, :, :12], target[0, :, 12:] = 0, 1  # an edge between columns 11 and 12
    before = torch.rand(target.shape, generator=random)
    assert pixel_weights(target, before, 0, 0) is None

    edge = pixel_weights(target, before, 0.5, 0)
    assert edge is not None
    columns = torch.arange(25)
    at_edge = (columns > 11 - EDGE_PX) & (columns < 12 + EDGE_PX)
    torch.testing.assert_close(edge[0], (1 + 0.5 * at_edge).expand(24, 25))

    kept = pixel_weights(target, before, 0, 2.0)
    right = (target == 1) & (before > 0.5) | (target == 0) & (before <= 0.5)
    torch.testing.assert_close(kept, 1.0 + 2.0 * right)

    both = pixel_weights(target, before, 0.5, 2.0)
    assert both is not None
    assert kept is not None
    torch.testing.assert_close(both, edge + kept - 1)
