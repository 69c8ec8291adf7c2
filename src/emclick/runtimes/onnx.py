"""onnxruntime: the default. No PyTorch; the graphs are those that `emclick export` wrote."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import onnxruntime

from emclick.card import Card, read_card
from emclick.cpus import usable_cpus
from emclick.errors import OptionError, WeightsError
from emclick.graphs import GRAPHS, read_graphs
from emclick.runtimes.base import PartsRuntime


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
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Each graph has its own threads. Those of one must not spin on while the next graph runs: a first click
        # took twice as long.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        try:
            self.sessions = {
                name: onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
                for name, data in graphs.items()
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
        if precision != "fp32" or device != "cpu":
            raise OptionError(f"the onnx runtime runs in fp32 on the CPU, not in {precision} on {device}")
        card = read_card(folder)
        return cls(read_graphs(folder, card), threads), card

    def run(self, part: str, *arrays: Any) -> Sequence[Any]:
        return self.sessions[part].run(None, dict(zip(GRAPHS[part].input_names, arrays, strict=True)))
