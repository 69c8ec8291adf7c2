"""The split network computes what the plain one does, whatever the base network and the ablation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from emclick import clicks
from emclick.near import AROUND, FUSED, scaled, within
from emclick.networks.backbones import BASES
from emclick.networks.blocks import upsample_to
from emclick.networks.click_maps import ClickMaps
from emclick.networks.model import EmcNetwork
from emclick.networks.split import split, upsampled_cells, upsampling
from emclick.networks.templates import select_templates
from emclick.spec import CorrectionSpec, ModelSpec

ABLATIONS = [
    {},
    {"attention": False},
    {"correlation": False},
    {"selection": False},
    {"attention_negatives": False},
    {"correlation_negatives": False},
    {"attention": False, "correlation": False},
]


def lively(spec: ModelSpec) -> EmcNetwork:
    """Seeded, with BatchNorm statistics, biases and click scale away from their starting values."""
    torch.manual_seed(3)
    network = EmcNetwork(spec)
    for name, value in network.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(value, 0, 0.2)
        if name.endswith("scale"):
            torch.nn.init.constant_(value, -0.7)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
    return network.eval()


def test_templates_are_ranked_in_float32_in_any_precision() -> None:
    """bf16 has 117 values where float32 has thousands, and the rank is the channel of the correlation."""
    network = lively(ModelSpec("mobilenet_v2", CorrectionSpec()))
    part = split(network).correction
    features = torch.rand(1, 64, 40, 52)
    points, sides = torch.tensor([[[20.0, 30.0], [100.0, 60.0]]]), torch.tensor([1.0, 0.0])
    distances = torch.rand(1, 2, 40, 52)
    pixels, inverse_norms = features.permute(0, 2, 3, 1).reshape(-1, 64), 1 / features.norm(dim=1)
    given = pixels, inverse_norms, (40, 52), points, sides, distances
    wanted = part.choose(*given)
    exists = torch.ones(1, 2, dtype=torch.bool)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(part.choose(*given), wanted)
        positive, negative = select_templates(features, points, sides[None] > 0, exists, distances, 64)
    assert torch.equal(torch.cat([positive, negative]), wanted)


@torch.inference_mode()
def differences(network: EmcNetwork, frame_hw: tuple[int, int]) -> list[float]:
    """Largest relative difference of the coarse logits and of each of three corrections."""
    parts = split(network)
    image = torch.rand(1, 3, *frame_hw)
    maps, found = ClickMaps(1, frame_hw), []
    opened, image_sums, rows, columns, *_ = parts.image(image)
    previous = feature_sums = features = None

    def add(ours: torch.Tensor, plain: torch.Tensor) -> None:
        found.append(float((ours - plain).abs().max() / plain.abs().max()))

    for row, column, positive in ((0.4, 0.5, True), (0.05, 0.97, False), (0.99, 0.01, True)):
        point = torch.tensor([[row * frame_hw[0], column * frame_hw[1]]])
        maps.add(point, torch.tensor([positive]), torch.tensor([True]))
        if previous is None:
            base = network.first(image, maps.first_click_map())
            coarse, feature_sums = parts.first(*parts.around(opened, maps.first_click_map()))
            add(coarse, base.coarse_logits)
            features, previous = base.features, base.coarse_logits
        clicks = maps.input()
        plain = network.correct(image, features, clicks, previous)
        disks = F.pixel_unshuffle(clicks.disks, 4).permute(0, 2, 3, 1)
        fused = parts.fuse(disks, parts.mask(image_sums, rows, columns, previous), feature_sums)
        ours = parts.correction(*fused, clicks.distances, clicks.points, clicks.positive[0].float())
        add(ours, plain)
        previous = plain
    return found


@pytest.mark.parametrize("base", sorted(BASES))
def test_every_base_network(base: str) -> None:
    assert max(differences(lively(ModelSpec(base, CorrectionSpec(16, 12, 2))), (72, 100))) < 1e-4


@pytest.mark.parametrize("ablation", ABLATIONS, ids=lambda each: "+".join(each) or "none")
def test_every_ablation(ablation: dict[str, bool]) -> None:
    spec = ModelSpec("mobilenet_v2", CorrectionSpec(16, 12, 2, **ablation))
    assert max(differences(lively(spec), (64, 44))) < 1e-4


def test_the_plain_network_is_left_as_it_was() -> None:
    network = lively(ModelSpec("mobilenet_v2", CorrectionSpec(16, 12, 2)))
    before = {key: value.clone() for key, value in network.state_dict().items()}
    parts = split(network)
    assert not any(each.requires_grad for part in parts for each in part.parameters())
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert all(each.requires_grad for each in network.corrector.parameters())


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (13, 8)])
def test_cells_of_the_upsampled_logits(size: tuple[int, int]) -> None:
    logits = torch.randn(1, 1, *size)
    expected = F.pixel_unshuffle(upsample_to(logits, (4 * size[0], 4 * size[1])), 4)
    rows, columns = (upsampling(side, logits) for side in size)
    found = upsampled_cells(logits, rows, columns.transpose(1, 2))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "place", [(0, 0), (0, 239), (191, 100.5), (95.5, 118.2), (60, 71), (131, 172), (191.4, 239.4)]
)
@torch.inference_mode()
def test_a_click_changes_the_fused_feature_near_it_alone(place: tuple[float, float]) -> None:
    """And what is made of the cells near it is what is made of all. In float64, so that nothing small is missed."""
    frame_hw, grid_hw = (192, 240), (48, 60)
    parts = split(lively(ModelSpec("mobilenet_v2", CorrectionSpec(16, 12, 2))))
    mask_sums, feature_sums = torch.randn(2, 1, *grid_hw, 16, dtype=torch.float64)
    fuse = parts.fuse.double()
    before = clicks.ClickMaps(frame_hw).add(np.array([80, 90], np.float32), True)
    after = before.add(np.array(place, np.float32), False)

    def whole(maps: clicks.ClickMaps) -> torch.Tensor:
        disks = torch.from_numpy(maps.disks()).double()[None]
        return all_of(fuse(disks, mask_sums, feature_sums))

    def all_of(outputs: Sequence[torch.Tensor]) -> torch.Tensor:
        """(1, h, w, C)."""
        return torch.cat([each.reshape(*each.shape[:3], -1) for each in outputs], 3)

    reach = after.patches[-1].rows, after.patches[-1].columns
    some, (down, across) = zip(*(FUSED.window(each, size) for each, size in zip(reach, grid_hw)))
    changed = (whole(before) - whole(after)).abs().amax(3)[0]
    assert changed[down, across].amax(1).min() > 0  # up to the last row that may be
    changed[down, across] = 0
    assert changed.max() == 0

    disks = torch.from_numpy(clicks.disk_cells(after.patches, grid_hw, some)).double()[None]
    found = all_of(fuse(disks, mask_sums[:, *some], feature_sums[:, *some]))
    inside = [within(*each) for each in zip((down, across), some)]
    wanted = whole(after)[:, down, across]
    torch.testing.assert_close(found[:, inside[0], inside[1]], wanted, atol=1e-12, rtol=0)


@pytest.mark.parametrize("base", sorted(BASES))
@torch.inference_mode()
def test_first_layers_feel_a_click_near_it_alone(base: str) -> None:
    """Folded too; the contract holds the plain ones, at more places."""
    frame_hw, grid_hw = (192, 252), (48, 63)
    parts = split(lively(ModelSpec(base, CorrectionSpec(16, 12, 2))))
    image_part, around = parts.image.double(), parts.around.double()
    (
        opened,
        *_,
    ) = image_part(torch.rand(1, 3, *frame_hw, dtype=torch.float64))
    point = np.array([[80, 246]], np.float32)
    disk = torch.from_numpy(clicks.disk_maps(point, np.array([True]), frame_hw)[:1]).double()[None]
    patch = clicks.ClickMaps.of(point, np.array([True]), frame_hw).patches[0]
    windows = [AROUND.window(each, size) for each, size in zip((patch.rows, patch.columns), grid_hw)]

    def of(number: int, map_hw: Sequence[int]) -> list[slice]:
        return [scaled(each[number], size, own) for each, size, own in zip(windows, grid_hw, map_hw)]

    whole, without = around(opened, disk), around(opened, torch.zeros_like(disk))
    some = around(opened[:, *of(0, opened.shape[1:3])], disk[:, :, *of(0, frame_hw)])
    for with_click, plain, found in zip(whole, without, some):
        map_hw = with_click.shape[1:3]
        used, changed = of(0, map_hw), of(1, map_hw)
        difference = (with_click - plain).abs().amax(3)[0]
        if difference.max() > 0:  # not SegFormer's map before the click
            assert difference[*changed].max() > 0
        difference[*changed] = 0
        assert difference.max() == 0
        inside = [within(*each) for each in zip(changed, used)]
        torch.testing.assert_close(found[:, *inside], with_click[:, *changed], atol=1e-9, rtol=0)
