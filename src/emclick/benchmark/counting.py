"""Multiply-adds of clicks, counted by PyTorch while a method answers them: for any method over `NetworkRuntime`."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.backends import mha
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from emclick.background import THREAD_NAME
from emclick.benchmark.picture import frame_clicks, photograph
from emclick.card import Card
from emclick.methods import METHODS
from emclick.methods.base import Options
from emclick.runtimes.network import NetworkRuntime


@dataclass
class _Count:
    flops: int = 0

    @property
    def macs(self) -> int:
        return self.flops // 2


class _CountingRuntime(NetworkRuntime):
    """Also counts what methods call from threads of their own, which the counter of another thread does not see."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__(network)
        self.counted_thread = threading.get_ident()
        self.elsewhere = _Count()

    def call(self, function: Callable[..., Any], *arrays: Any) -> tuple[Any, ...]:
        if threading.get_ident() == self.counted_thread:
            return super().call(function, *arrays)
        with FlopCounterMode(display=False) as counter:
            outputs = super().call(function, *arrays)
        self.elsewhere.flops += counter.get_total_flops()
        return outputs


@contextlib.contextmanager
def _counted(runtime: _CountingRuntime) -> Iterator[_Count]:
    """Counts what is run inside, on this thread and through the runtime on any other."""
    result, before = _Count(), runtime.elsewhere.flops
    fast = mha.get_fastpath_enabled()
    mha.set_fastpath_enabled(False)
    try:
        # attention as matrix products: PyTorch counts none for its fused CPU kernels
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            yield result
            for thread in threading.enumerate():  # what gets ready for the next click belongs to this one
                if thread.name == THREAD_NAME:
                    thread.join()
    finally:
        mha.set_fastpath_enabled(fast)
    result.flops = counter.get_total_flops() + runtime.elsewhere.flops - before


def count_clicks(card: Card, network: nn.Module, side: int) -> tuple[int, int]:
    """Multiply-adds of a first click, the image's share included, and of a second one, with the network's weights.

    The clicks are real ones, on `photograph(side, side)` at the card's frame. A multiply-add is two FLOPs; matrix
    products, convolutions and their gradients count, as in PyTorch's counter.

    Args:
        card: of a model whose method runs on `NetworkRuntime`.
        network: its network; it is copied.
        side: height and width of the photograph, px.
    """
    runtime = _CountingRuntime(network)
    method = METHODS[card.method].over(runtime, card.spec, Options(card.short_side, zoom_in=card.zoom_in))
    first_click, second_click, _ = frame_clicks(side)
    with _counted(runtime) as first:
        state = method.start(method.open(photograph(side, side)))
        state, _ = method.step(state, first_click)
    with _counted(runtime) as later:
        method.step(state, second_click)
    return first.macs, later.macs


def count_parameters(network: nn.Module) -> int:
    """Numbers that training sets."""
    return sum(each.numel() for each in network.parameters())
