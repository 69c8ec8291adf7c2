"""The table of runtimes: name -> class. Each opens a model folder and makes the two calls of `Runtime`."""

from emclick.registry import Registry

RUNTIMES = Registry("runtime", "emclick.runtimes", {"torch": "emclick.runtimes.torch:TorchRuntime"})
