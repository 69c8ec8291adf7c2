"""The mask correction network: every input counts, every ablation builds, the parts are METHOD's."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from contracts.backbone_contract import enliven
from emclick.networks.blocks import XConv
from emclick.networks.click_maps import ClickMaps
from emclick.networks.correction import (
    ClickInput,
    CorrectionNetwork,
    TemplateAttention,
    TemplateCorrelation,
)
from emclick.spec import CorrectionSpec

SMALL = CorrectionSpec(width=16, templates=8)
CHANNELS = 10


def clicks(second_positive: bool = False, at: tuple[float, float] = (30.0, 20.0)) -> ClickInput:
    maps = ClickMaps(1, (40, 48))
    yes = torch.ones(1, dtype=torch.bool)
    maps.add(torch.tensor([[10.0, 12.0]]), yes, yes)
    maps.add(torch.tensor([at]), yes & second_positive, yes)
    return maps.input()


def inputs() -> tuple[Tensor, Tensor, ClickInput, Tensor]:
    random = torch.Generator().manual_seed(1)
    image = torch.rand(1, 3, 40, 48, generator=random)
    features = torch.rand(1, CHANNELS, 10, 12, generator=random)
    return image, features, clicks(), torch.randn(1, 1, 10, 12, generator=random)


def network(spec: CorrectionSpec = SMALL) -> CorrectionNetwork:
    torch.manual_seed(0)
    net = CorrectionNetwork(CHANNELS, spec)
    enliven(net)
    return net.eval()


def size(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@torch.no_grad()
def test_every_input_changes_the_answer() -> None:
    net = network()
    image, features, given, previous = inputs()
    logits = net(image, features, given, previous)
    assert logits.shape == (1, 1, 10, 12)
    others = {
        "image": net(image.flip(3), features, given, previous),
        "features": net(image, features.flip(3), given, previous),
        "polarity": net(image, features, clicks(second_positive=True), previous),
        "place": net(image, features, clicks(at=(20.0, 30.0)), previous),
        "previous": net(image, features, given, -previous),
    }
    for name, other in others.items():
        assert (logits - other).abs().max() > 1e-5, name
    assert torch.equal(logits, net(image, features, given, previous))


@torch.no_grad()
def test_points_and_distances_act_through_the_templates_alone() -> None:
    net = network()
    image, features, given, previous = inputs()
    for changed in (
        replace(given, points=given.points.flip(1)),
        replace(given, distances=given.distances.flip(3)),
    ):
        assert torch.equal(
            net.fuse(image, features, given.disks, previous),
            net.fuse(image, features, changed.disks, previous),
        )
        assert (
            net(image, features, given, previous) - net(image, features, changed, previous)
        ).abs().max() > 1e-6


ABLATIONS = {
    "attention": lambda full: size(full.attention),
    "correlation": lambda full: size(full.correlation) + (size(full.merge) - size(XConv(16, 16))),
    "selection": lambda full: 0,
    "attention_negatives": lambda full: 0,
    "correlation_negatives": lambda full: size(full.correlation.fuse) - size(XConv(8, 16)),
}


@pytest.mark.parametrize("flag", sorted(ABLATIONS))
def test_each_part_can_be_switched_off(flag: str) -> None:
    full, without = network(), network(replace(SMALL, **{flag: False}))
    assert size(full) - size(without) == ABLATIONS[flag](full)
    shared = {k: v for k, v in full.state_dict().items() if k in without.state_dict()}
    fitting = {k: v for k, v in shared.items() if v.shape == without.state_dict()[k].shape}
    without.load_state_dict(fitting, strict=False)
    image, features, given, previous = inputs()
    before, after = full(image, features, given, previous), without(image, features, given, previous)
    assert after.shape == before.shape
    assert (before - after).abs().max() > 1e-6
    after.square().sum().backward()
    assert all(p.grad is not None for p in without.parameters())


@torch.no_grad()
def test_negative_templates_are_not_read_where_switched_off() -> None:
    image, features, given, previous = inputs()
    net = network(replace(SMALL, attention_negatives=False, correlation_negatives=False))
    fused = net.fuse(image, features, given.disks, previous)
    positive, negative = net.choose(fused, given)
    other = (negative + 1) % 120
    assert torch.equal(net.decode(fused, (positive, negative)), net.decode(fused, (positive, other)))
    full = network()
    fused = full.fuse(image, features, given.disks, previous)
    assert not torch.equal(full.decode(fused, (positive, negative)), full.decode(fused, (positive, other)))


@torch.no_grad()
def test_the_order_of_templates_matters_to_correlation_and_not_to_attention() -> None:
    torch.manual_seed(0)
    features = torch.rand(1, 16, 10, 12)
    positive, negative = torch.randperm(120)[None, :8], torch.randperm(120)[None, :8]
    correlation = TemplateCorrelation(16, 8, negatives=True).eval()
    ordered = correlation(features, (positive, negative))
    assert (ordered - correlation(features, (positive.flip(1), negative))).abs().max() > 1e-5
    assert (ordered - correlation(features, (negative, positive))).abs().max() > 1e-5
    attention = TemplateAttention(16, 4).eval()
    templates = torch.rand(1, 16, 16)
    torch.testing.assert_close(attention(features, templates), attention(features, templates.flip(1)))


@torch.no_grad()
def test_correlation_takes_queries_as_kernels_over_keys_without_scaling() -> None:
    torch.manual_seed(0)
    module = TemplateCorrelation(16, 8, negatives=True).eval()
    features = torch.rand(1, 16, 10, 12)
    positive, negative = torch.randperm(120)[None, :8], torch.randperm(120)[None, :8]
    query, key = module.query(features), module.key(features)
    maps = []
    for indices in (positive, negative):
        kernels = torch.stack([query[0, :, i // 12, i % 12] for i in indices[0].tolist()])
        maps.append(module.refine(F.conv2d(key, kernels[:, :, None, None])))
    expected = module.fuse(torch.cat(maps, 1))
    torch.testing.assert_close(module(features, (positive, negative)), expected)


@torch.no_grad()
def test_attention_is_scaled_multi_head_with_a_residual() -> None:
    torch.manual_seed(0)
    module = TemplateAttention(16, 4).eval()
    features, templates = torch.rand(1, 16, 3, 5), torch.rand(1, 6, 16)
    inner = module.attention
    weight, bias = inner.in_proj_weight.chunk(3), inner.in_proj_bias.chunk(3)
    query, key, value = (
        F.linear(x, w, b).unflatten(2, (4, 4)).transpose(1, 2)
        for x, w, b in zip((features.flatten(2).transpose(1, 2), templates, templates), weight, bias)
    )
    mixed = torch.softmax(query @ key.transpose(2, 3) / 4**0.5, -1) @ value
    update = inner.out_proj(mixed.transpose(1, 2).flatten(2))
    expected = features + update.transpose(1, 2).unflatten(2, (3, 5))
    torch.testing.assert_close(module(features, templates), expected)


@torch.no_grad()
def test_xconv_is_depthwise_norm_depthwise_pointwise_norm_relu() -> None:
    torch.manual_seed(0)
    module = XConv(6, 9).eval()
    for norm in (module.norm1, module.norm2):
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
        norm.weight.normal_()
        norm.bias.normal_()
    x = torch.randn(2, 6, 7, 8)

    def normed(y: Tensor, norm: torch.nn.BatchNorm2d) -> Tensor:
        return F.batch_norm(y, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=1e-5)

    y = normed(
        F.conv2d(x, module.depthwise1.weight, module.depthwise1.bias, padding=1, groups=6), module.norm1
    )
    y = F.conv2d(y, module.depthwise2.weight, module.depthwise2.bias, padding=1, groups=6)
    y = normed(F.conv2d(y, module.pointwise.weight, module.pointwise.bias), module.norm2)
    torch.testing.assert_close(module(x), F.relu(y))
    assert module(x).min() == 0
