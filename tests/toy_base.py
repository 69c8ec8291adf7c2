"""A base network in little, for tests of what takes any: MobileNetV2 with one block of each kind; see `registered`."""

from __future__ import annotations

import pytest

from emclick.networks.backbones import BASES, mobilenet_v2
from emclick.networks.base_network import BaseNetwork

NAME = "toy_base"
# without expansion; stride 2; shortcut; dilation. As there, 1/4 and 1/8 end with blocks 2 and 5.
BLOCKS = ((16, 1, 1), (24, 2, 1), (24, 1, 1), (32, 2, 1), (32, 1, 1), (32, 1, 2), (64, 2, 1))


def toy_base(click_maps: int = 1) -> BaseNetwork:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(mobilenet_v2, "BLOCKS", BLOCKS)
        return mobilenet_v2.mobilenet_v2(click_maps)


def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The toy in the table of base networks, of this process."""
    monkeypatch.setitem(BASES._builtin, NAME, "toy_base:toy_base")
