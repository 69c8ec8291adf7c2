"""The CDNet loop: its square frame and part, the two disks, pixel diffusion, what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from contracts.method_contract import CLICKS, MethodContract, same
from emclick.clicks import Click
from emclick.errors import FrameError, MaskError, OptionError
from emclick.geometry import Box, View
from emclick.methods import METHODS
from emclick.methods.base import Options
from emclick.methods.cdnet import CdnetMethod, click_disks
from emclick.methods.deeplab_spec import DeepLabSpec
from emclick.networks.cdnet import CdnetNetwork, FeatureDiffusion, likeness, pixel_diffusion
from emclick.networks.checkpoint import build_network
from emclick.runtimes.network import NetworkRuntime
from helpers import blob, picture

SPEC = DeepLabSpec("resnet34", 8)


@pytest.fixture(scope="module")
def network() -> CdnetNetwork:
    torch.manual_seed(0)
    return build_network("cdnet", SPEC).eval()


@pytest.fixture(scope="module")
def runtime(network: CdnetNetwork) -> NetworkRuntime:
    """Made ready once; it keeps nothing between calls."""
    return NetworkRuntime(network)


class TestContract(MethodContract):
    @pytest.fixture
    def make_method(self, runtime):
        def make(**options: Any) -> CdnetMethod:
            return CdnetMethod.over(runtime, SPEC, Options(32, **options))

        return make

    @pytest.fixture(params=[{}, {"zoom_in": True, "flip": True}], ids=["plain", "both"])
    def method(self, make_method, request):
        return make_method(**request.param)

    def test_every_click_matters_and_so_does_their_order(self, make_method):
        """Their order decides nothing but which parts are looked at, which is all that a state hands on."""
        method = make_method()
        states = self.run(method)
        assert len(set(self.answers(method, states))) == len(states)
        swapped = self.run(method, (CLICKS[0], CLICKS[2], CLICKS[1]))[-1]
        assert self.answers(method, [swapped]) == self.answers(method, [states[3]])


@pytest.fixture
def method(network):
    return CdnetMethod.over(NetworkRuntime(network), SPEC, Options(32))


def test_the_table_has_it():
    assert METHODS["cdnet"] is CdnetMethod


def test_what_it_cannot_do_is_refused(network, method):
    runtime = NetworkRuntime(network)
    with pytest.raises(OptionError, match="progressive merge"):
        CdnetMethod.over(runtime, SPEC, Options(32, progressive_merge=True))
    with pytest.raises(FrameError, match="at most 768"):
        CdnetMethod.over(runtime, SPEC, Options(1024))
    opened = method.open(picture())
    with pytest.raises(MaskError, match="takes no mask"):
        method.start(opened, blob())


def test_the_frame_is_a_square_and_the_part_follows_the_mask(network):
    method = CdnetMethod.over(NetworkRuntime(network), SPEC, Options(32, zoom_in=True))
    state = method.start(method.open(picture()))
    for number, click in enumerate((Click(20, 12), Click(26, 20))):
        extent = state.extent
        state, prediction = method.step(state, click)
        assert prediction.view.frame_hw == (32, 32)
        assert (state.part is None) == (number == 0 or extent is None)
        assert prediction.view.box == state.part
    assert state.logits.shape == (8, 8)


def test_disks_by_hand():
    view = View((40, 80), (40, 40), box=Box(0, 40, 40, 80))
    clicks = (Click(50, 10), Click(39, 20, False), Click(-0.5, -0.5))
    disks = click_disks(clicks, view, 5)
    rows, columns = np.mgrid[:40, :40]
    assert same(disks[0] > 0, (rows - 10) ** 2 + (columns - 10) ** 2 <= 25)  # the last is off, up and left
    assert same(disks[1] > 0, (rows - 20) ** 2 + (columns + 1) ** 2 <= 25)
    assert same(click_disks(clicks, view.mirror(), 5)[1], disks[1][:, ::-1])


def test_neighbours_of_like_colour_weigh_more_and_all_weights_add_up_to_one():
    frame = torch.zeros(1, 3, 24, 24)
    assert torch.allclose(likeness(frame), torch.full((32, 24, 24), 1 / 32))
    frame[..., 12:] = 1
    weights = likeness(frame)
    assert torch.allclose(weights.sum(0), torch.ones(24, 24), atol=1e-5)
    # of the first eight, at distance 1 and row by row, number 4 is on the right, number 3 on the left
    assert float(weights[3, 12, 11]) > 100 * float(weights[4, 12, 11])
    assert float(weights[4, 12, 12]) > 100 * float(weights[3, 12, 12])


def test_clicks_spread_over_their_colour_and_not_beyond():
    frame = torch.zeros(1, 3, 32, 32)
    frame[..., 16:] = 1
    disks = torch.zeros(2, 32, 32)
    disks[0, 14:18, 10:14] = 1
    probability = pixel_diffusion(torch.full((8, 8), -0.1), disks, likeness(frame))
    assert float(probability[16, 12]) > 0.6
    assert float(probability[16, 4]) > 0.5  # not clicked, of the same colour
    assert float(probability[:, 20:].max()) < 0.5
    # without clicks, sure values average to themselves: tanh(1.5) twice, once as what is spread
    alone = pixel_diffusion(torch.full((8, 8), 3.0), torch.zeros(2, 32, 32), likeness(frame))
    assert torch.allclose(alone, torch.full((32, 32), 2 * np.tanh(1.5)).sigmoid(), atol=1e-5)


def test_features_spread_from_clicked_places_of_either_polarity():
    torch.manual_seed(0)
    module = FeatureDiffusion(8).eval()
    x = torch.rand(1, 8, 5, 6)
    clicked = torch.zeros(1, 2, 5, 6)
    plain, gate = module(x, clicked)
    assert gate.shape == (1, 1, 5, 6)
    for polarity in (0, 1):
        some = clicked.clone()
        some[0, polarity, 2, 3] = 1
        assert not torch.allclose(module(x, some)[0], plain)
