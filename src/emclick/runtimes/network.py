"""PyTorch, for methods that call their network as a whole."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from emclick.errors import OptionError
from emclick.runtimes.base import Runtime

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def check_precision(precision: str) -> None:
    """Refuse what PyTorch is not asked for here; raises `OptionError`."""
    if precision not in PRECISIONS:
        raise OptionError(
            f"the torch runtime has no precision {precision!r}; choose from {', '.join(PRECISIONS)}"
        )


def no_device(device: str, error: Exception) -> OptionError:
    """What to say of a device that PyTorch cannot use."""
    return OptionError(f"device {device!r} cannot be used: {str(error).splitlines()[0]}")


class NetworkRuntime(Runtime):
    """Holds a method's network, in eval mode, and calls it; `lock` is held around each call by the method.

    Args:
        network: copied; if it has a method `for_inference`, that may change the copy into a faster equal.
        device: where it runs ("cpu", "cuda", "cuda:1").
        threads: CPU threads for PyTorch, a setting of the whole process; None leaves it as it is.
        precision: "fp32", or "bf16" or "fp16" by autocast.

    Attributes:
        network: the copy, on the device. Nobody changes its weights.

    Raises:
        OptionError: the device is not there, or the precision unknown.
    """

    name = "torch"

    def __init__(
        self, network: nn.Module, device: str = "cpu", threads: int | None = None, precision: str = "fp32"
    ) -> None:
        check_precision(precision)
        if threads is not None:
            torch.set_num_threads(threads)
        self.threads = torch.get_num_threads()
        self.precision = precision
        try:
            self.device = torch.device(device)
            copied: Any = copy.deepcopy(network).eval().requires_grad_(False)
            copied = copied.for_inference() if hasattr(copied, "for_inference") else copied
            self.network: Any = copied.to(self.device)
        except (RuntimeError, AssertionError) as error:  # as torch says that there is no CUDA
            raise no_device(device, error) from error

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """The precision, as a context."""
        dtype = PRECISIONS[self.precision]
        return torch.autocast(self.device.type, dtype) if dtype else contextlib.nullcontext()

    def call(self, function: Callable[..., Any], *arrays: Any) -> tuple[Any, ...]:
        """`function(*arrays)` without gradients, in the precision chosen.

        Args:
            function: of the network: `runtime.network`, or one of its methods.
            arrays: numpy arrays are brought to the device, tensors and the rest pass as they are.

        Returns:
            Its outputs; tensors stay on the device.
        """
        with torch.inference_mode(), self.autocast():
            outputs = function(*(self.to_tensor(array) for array in arrays))
        return outputs if isinstance(outputs, tuple) else (outputs,)

    def to_tensor(self, array: Any) -> Any:
        """A numpy array on the device; anything else as it is."""
        if isinstance(array, Tensor) or not hasattr(array, "__array__"):
            return array
        return torch.from_numpy(array).to(self.device)
