"""The table of runtimes: name -> class. Each opens a model folder and makes the calls of `Runtime`."""

from emclick.registry import Registry

RUNTIMES = Registry(
    "runtime",
    "emclick.runtimes",
    {
        "onnx": "emclick.runtimes.onnx:OnnxRuntime",
        "openvino": "emclick.runtimes.openvino:OpenvinoRuntime",
        "torch": "emclick.runtimes.torch:TorchRuntime",
    },
)

NEEDS = {"onnx": "onnxruntime", "openvino": "openvino", "torch": "torch"}
"""The module that each built-in runtime stands on; named like the extra that brings it, if it is one."""
