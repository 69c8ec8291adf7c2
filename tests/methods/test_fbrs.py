"""The f-BRS-B loop: what the network is shown, what the search minds, what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from contracts.method_contract import CLICKS, MethodContract, same
from emclick.clicks import Click
from emclick.errors import CheckpointError, MaskError, OptionError
from emclick.methods import METHODS
from emclick.methods.base import Options
from emclick.methods.deeplab_spec import FbrsSpec
from emclick.methods.fbrs import CLICKS_SHOWN, FbrsMethod, click_squares
from emclick.methods.roi import RoiRule
from emclick.networks.checkpoint import build_network
from emclick.networks.fbrs import LEVEL, FbrsNetwork, distance_maps
from emclick.runtimes.network import NetworkRuntime
from emclick.training.start import initialise
from helpers import blob, picture

SPEC = FbrsSpec("resnet34", 8)
HRNET = FbrsSpec("hrnet18s")


@pytest.fixture(scope="module")
def network() -> FbrsNetwork:
    """On a ResNet."""
    return lively(SPEC)


def lively(spec: FbrsSpec) -> FbrsNetwork:
    """Random, with norms that let something through: to be searched, its logits must not be all alike."""
    torch.manual_seed(0)
    network = build_network("fbrs", spec)
    initialise(network)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the mean of what follows
    images = torch.from_numpy(np.stack([picture(seed=seed) for seed in range(4)])).permute(0, 3, 1, 2) / 255
    points = torch.rand(4, 2, 2) * 40
    with torch.no_grad():
        network.train()(images, distance_maps(points, points[..., 0] > 20, points[..., 0] > 0, (40, 56)))
    return network.eval()


@pytest.fixture(scope="module")
def runtime(network: FbrsNetwork) -> NetworkRuntime:
    """Made ready once; it keeps nothing between calls."""
    return NetworkRuntime(network)


class TestContract(MethodContract):
    @pytest.fixture
    def make_method(self, runtime):
        def make(**options: Any) -> FbrsMethod:
            method = FbrsMethod.over(runtime, SPEC, Options(32, **options))
            method.rule = RoiRule(least_px=8)  # the pictures here are smaller than the published 200 px
            return method

        return make

    @pytest.fixture(params=[{}, {"zoom_in": True, "flip": True}], ids=["plain", "both"])
    def method(self, make_method, request):
        return make_method(**request.param)


@pytest.fixture
def make_method(network):
    return TestContract.make_method.__wrapped__(TestContract(), NetworkRuntime(network))  # type: ignore[attr-defined]


def test_the_table_has_it():
    assert METHODS["fbrs"] is FbrsMethod


def test_what_it_cannot_do_is_refused(make_method):
    with pytest.raises(OptionError, match="progressive merge"):
        make_method(progressive_merge=True)
    method = make_method()
    opened = method.open(picture())
    with pytest.raises(MaskError, match="takes no mask"):
        method.start(opened, blob())
    with pytest.raises(MaskError, match="takes no mask"):
        method.set_mask(method.start(opened), blob())


def test_specifications_are_checked():
    assert FbrsSpec.from_dict(SPEC.to_dict()) == SPEC
    assert FbrsSpec.from_dict({"base": "hrnet18"}) == FbrsSpec("hrnet18") != FbrsSpec("hrnet32")
    assert FbrsSpec("resnet50").to_dict() == {
        "base": "resnet50",
        "width": 128,
    }  # as folders have it from the start
    wrong = [
        {}, {"width": 8}, {"base": "resnet50"}, {"base": "resnet50", "width": 7}, {"base": "hrnet18", "width": 8},
        {"base": "hrnet48"}, {"base": ["hrnet18"]}, ["base"],
    ]  # fmt: skip
    for each in wrong:
        with pytest.raises(CheckpointError):
            FbrsSpec.from_dict(each)  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match=r"unknown base 'segformer_b0'; choose from .*hrnet32"):
        FbrsSpec.from_dict({"base": "segformer_b0"})


def test_distance_maps_by_hand():
    points = torch.tensor([[[3.0, 4.0], [0.0, 0.0], [9.0, 9.0]]])
    positive, exists = torch.tensor([[True, True, False]]), torch.tensor([[True, False, True]])
    maps = distance_maps(points, positive, exists, (12, 16))
    assert maps.shape == (1, 2, 12, 16)
    assert float(maps[0, 0, 3, 4]) == 0
    assert float(maps[0, 0, 0, 0]) == pytest.approx(np.tanh(2 * 5 / 260), rel=1e-5)  # (0, 0) is not shown
    assert float(maps[0, 1, 9, 13]) == pytest.approx(np.tanh(2 * 4 / 260), rel=1e-5)
    assert bool((distance_maps(points, positive, ~exists & ~positive, (12, 16)) == 1).all())


def test_squares_lie_round_the_clicks_and_are_cut_as_published():
    points = np.array([[5.5, 3.0], [8.0, 11.4], [0.0, 6.0], [-4.0, 6.0], [11.0, 2.0]])
    squares = click_squares(points, np.array([True, False, True, False, True]), (12, 16))
    expected = np.zeros((2, 12, 16), np.float32)
    expected[0, 5:8, 2:5] = 1  # half to even
    expected[1, 7:10, 10:13] = 1
    expected[1, 7:10, 5:8] = 1  # -5 to -2, counted from the far side
    expected[0, 10:12, 1:4] = 1
    assert same(squares, expected)


@pytest.mark.parametrize("flip", [False, True])
def test_the_search_meets_clicks_that_the_network_misses(network, flip):
    torch.manual_seed(1)
    features = torch.rand(1 + flip, network.refined_channels, 10, 14)
    start = np.zeros(2 * network.refined_channels)
    before = torch.nn.functional.interpolate(
        network.logits(features).detach(), (40, 56), mode="bilinear", align_corners=True
    ).sigmoid()
    # ask for the opposite of what is there, at two places
    wanted = [(before[0, 0, row, column] < LEVEL, row, column) for row, column in ((12, 20), (28, 40))]
    points = np.array([(row, column) for _, row, column in wanted], float)
    mirrored = np.stack([points[:, 0], 55 - points[:, 1]], 1)
    asked = np.array([bool(positive) for positive, _, _ in wanted])
    views = [points, mirrored] if flip else [points]
    squares = np.stack([click_squares(each, asked, (40, 56)) for each in views], 1)[:, :, None]
    logits, found = network.refine(features, (40, 56), torch.from_numpy(squares), start, True)
    after = torch.nn.functional.interpolate(logits, (40, 56), mode="bilinear", align_corners=True).sigmoid()
    assert not np.array_equal(found, start)

    def miss(probability: torch.Tensor) -> float:
        positive, negative = torch.from_numpy(squares)
        return float(((1 - probability) * positive).square().sum() + (probability * negative).square().sum())

    assert miss(after) < 0.9 * miss(before)
    kept, same_start = network.refine(features, (40, 56), torch.from_numpy(squares), start, False)
    assert torch.allclose(kept, network.logits(features))
    assert same_start is start


def test_on_hrnet_the_search_refines_what_ocr_reads():
    """The scale and the bias reach both the auxiliary mask and the pixels, and undo equals replay."""
    network = lively(HRNET)
    assert network.refined_channels == 18 * (1 + 2 + 4 + 8)
    frames, distances = torch.rand(1, 3, 41, 58), torch.rand(1, 2, 41, 58)
    features = network.features(frames, distances)
    assert features.shape == (1, 270, 11, 15)
    plain, other = network.decode(features), network.decode(features * 1.3 - 0.2)
    assert plain.auxiliary_logits is not None
    assert other.auxiliary_logits is not None
    assert float((plain.auxiliary_logits - other.auxiliary_logits).detach().abs().max()) > 1e-3
    assert torch.equal(network(frames * 0 + 0.5, distances).coarse_logits, network.logits(
        network.features(network.normalize(frames * 0 + 0.5), distances)
    ))  # fmt: skip
    method = FbrsMethod.over(NetworkRuntime(network), HRNET, Options(32, flip=True, zoom_in=True))
    method.rule = RoiRule(least_px=8)
    states = TestContract.run(method, CLICKS[:3])
    assert states[-1].found.shape == (2 * 270,)
    assert states[-1].logits.std() > 0
    again = TestContract.run(method, CLICKS[:3])[-1]
    assert same(again.logits, states[-1].logits)


def test_beyond_eight_clicks_the_network_is_not_run_again(make_method):
    method = make_method()
    looks = []
    original = method.runtime.network.look

    def look(*arguments):
        looks.append(arguments[3].shape[1])
        return original(*arguments)

    method.runtime.network.look = look
    clicks = [Click(4 + 5 * number, 20, number % 3 < 2) for number in range(10)]
    states = TestContract.run(method, clicks)
    assert looks == list(range(1, CLICKS_SHOWN + 1))
    assert len({state.logits.tobytes() for state in states[1:]}) == 10  # the search goes on


def test_a_large_image_is_shown_smaller(make_method):
    method = make_method()
    state = method.step(method.start(method.open(picture(40, 2048))), Click(3, 3))[0]
    assert method.predict(state).view.frame_hw == (20, 1024)
    assert state.logits.shape == (5, 256)


def test_errors_leave_no_trace(make_method):
    method = make_method()
    state = TestContract.run(method, CLICKS[:2])[-1]
    refine = method.runtime.network.refine

    def fail(*arguments):
        raise RuntimeError("the search failed")

    method.runtime.network.refine = fail
    with pytest.raises(RuntimeError):
        method.step(state, CLICKS[2])
    method.runtime.network.refine = refine
    fresh = TestContract.run(make_method(), CLICKS[:3])[-1]
    assert same(method.step(state, CLICKS[2])[0].logits, fresh.logits)
