"""onnxruntime: the default. No PyTorch; the graphs are those that `emclick export` wrote."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from typing import Any

import onnxruntime

from emclick.card import Card, read_card
from emclick.cpus import usable_cpus
from emclick.errors import OptionError, WeightsError
from emclick.graphs import read_graphs
from emclick.runtimes.base import PartsRuntime

PRECISIONS = ("fp32", "int8")
MANY_CLICKS = 128
"""With more than so many, memory goes back to the system after each run: it grows with them, to 75 MB for 1,000."""


@cache
def _share_memory() -> None:
    """One arena for the graphs of this process, instead of one each.

    It grows by powers of two. One that grew by what is asked for would add a region, which is never given back, for
    every run that needs a little more than all before it.
    """
    arena = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    by_powers_of_two = onnxruntime.OrtArenaCfg({"arena_extend_strategy": 0})
    onnxruntime.create_and_register_allocator(arena, by_powers_of_two)


@cache
def _giving_back() -> Any:
    """Options of a run after which the arena keeps only what is in use."""
    options = onnxruntime.RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    return options


def _options(threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Each graph has its own threads. Those of one must not spin on while the next graph runs: a first click
    # took twice as long.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    # Smaller shares of the work: a thread that loses its core for a while, to a browser say, is not waited for
    # as long. Beside another busy process a correction's 90th percentile is 38 ms instead of 60, alone as before.
    options.add_session_config_entry("session.dynamic_block_base", "4")
    options.add_session_config_entry("session.use_env_allocators", "1")
    return options


class OnnxRuntime(PartsRuntime):
    """Runs exported graphs in onnxruntime on the CPU.

    Args:
        graphs: name -> serialised ONNX, see `emclick.graphs.read_graphs`.
        threads: CPU threads; None takes the CPUs that this process may use.

    Raises:
        WeightsError: onnxruntime does not take a graph.
    """

    name = "onnx"
    precision = "fp32"

    def __init__(self, graphs: dict[str, bytes], threads: int | None = None) -> None:
        self.threads = threads or usable_cpus()
        _share_memory()
        try:
            self.sessions = {
                name: onnxruntime.InferenceSession(
                    data, _options(self.threads), providers=["CPUExecutionProvider"]
                )
                for name, data in graphs.items()
            }
            self.input_names = {
                name: [each.name for each in session.get_inputs()] for name, session in self.sessions.items()
            }
        except Exception as error:  # onnxruntime raises its own types
            raise WeightsError(f"onnxruntime cannot use the graphs: {str(error).splitlines()[0]}") from error

    @classmethod
    def from_folder(
        cls,
        folder: str | os.PathLike[str],
        *,
        device: str = "cpu",
        threads: int | None = None,
        precision: str = "fp32",
    ) -> tuple[OnnxRuntime, Card]:
        """Load a model folder that holds graphs. Raises as `read_graphs`."""
        if precision not in PRECISIONS or device != "cpu":
            raise OptionError(
                f"the onnx runtime runs in {' or '.join(PRECISIONS)} on the CPU, not in {precision} on {device}"
            )
        card = read_card(folder)
        runtime = cls(read_graphs(folder, card, precision), threads)
        runtime.precision = precision
        return runtime, card

    def run(self, part: str, *arrays: Any, brief: bool = False) -> Sequence[Any]:
        feed = dict(zip(self.input_names[part], arrays, strict=True))
        many = part == "correction" and feed["points"].shape[1] > MANY_CLICKS
        return self.sessions[part].run(None, feed, _giving_back() if many else None)
