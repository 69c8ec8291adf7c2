"""The model zoo: one table of names, and `load`, which gives a model ready for sessions."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emclick.card import CARD_NAME, Card, read_card
from emclick.errors import MissingExtraError, OptionError, UnknownNameError, WeightsError
from emclick.graphs import has_graphs
from emclick.methods import METHODS
from emclick.methods.base import Method, Options
from emclick.runtimes import NEEDS, RUNTIMES
from emclick.runtimes.base import Runtime

SHIPPED = Path(__file__).parent / "weights"
DEFAULT_MODEL = "emc-mobilenetv2"
RELEASE = "https://github.com/feiaxyt/EMC-Click"
FBRS_RELEASE = "https://github.com/SamsungLabs/fbrs_interactive_segmentation"
RITM_RELEASE = "https://github.com/SamsungLabs/ritm_interactive_segmentation"
FOCALCLICK_RELEASE = "https://github.com/XavierCHEN34/ClickSEG"


@dataclass(frozen=True)
class ZooEntry:
    """A model by name: what it is, and where its weights come from ("" where they ship with the package)."""

    about: str
    obtain: str = ""


def _published(
    base: str, method: str = "the paper's model", release: str = RELEASE, name: str = ""
) -> ZooEntry:
    told = f" --as {name}" if name else ""
    return ZooEntry(
        f"{method} on {base}",
        f"download the authors' checkpoint from {release}, then `emclick convert FILE.pth{told} -o DIR` and use DIR "
        "as the model",
    )


ZOO = {
    "emc-mobilenetv2": ZooEntry("the default: MobileNetV2 for CPUs, ships with the package"),
    "emc-hrnet18s": _published("HRNet-W18-small-v2"),
    "emc-hrnet18": _published("HRNet-W18"),
    "emc-hrnet32": _published("HRNet-W32"),
    "emc-segformer-b0": _published("SegFormer-B0"),
    "emc-segformer-b3": _published("SegFormer-B3"),
    "ritm-hrnet18s": _published("HRNet-W18-small-v2", "RITM", RITM_RELEASE),
    "ritm-hrnet18": _published("HRNet-W18", "RITM", RITM_RELEASE),
    "ritm-hrnet32": _published("HRNet-W32", "RITM", RITM_RELEASE),
    "focalclick-hrnet18s": _published("HRNet-W18-small-v2", "FocalClick", FOCALCLICK_RELEASE),
    "focalclick-hrnet32": _published("HRNet-W32", "FocalClick", FOCALCLICK_RELEASE),
    "focalclick-segformer-b0": _published("SegFormer-B0", "FocalClick", FOCALCLICK_RELEASE),
    "focalclick-segformer-b3": _published("SegFormer-B3", "FocalClick", FOCALCLICK_RELEASE),
    "focalclick-hrnet18s-s1": _published(
        "HRNet-W18-small-v2", "FocalClick, pipeline S1,", FOCALCLICK_RELEASE, "focalclick-hrnet18s-s1"
    ),
    "focalclick-segformer-b0-s1": _published(
        "SegFormer-B0", "FocalClick, pipeline S1,", FOCALCLICK_RELEASE, "focalclick-segformer-b0-s1"
    ),
    "fbrs-resnet50": _published("ResNet-50", "f-BRS-B", FBRS_RELEASE),
    "fbrs-resnet34": _published("ResNet-34", "f-BRS-B", FBRS_RELEASE),
    "fbrs-hrnet18": _published("HRNet-W18", "f-BRS-B", FBRS_RELEASE),
    "fbrs-hrnet32": _published("HRNet-W32", "f-BRS-B", FBRS_RELEASE),
    "cdnet-resnet34": _published("ResNet-34", "CDNet", FOCALCLICK_RELEASE),
}


@dataclass(frozen=True)
class Model:
    """A loaded model: its card and the runtime that runs it.

    Attributes:
        card: what the model is.
        runtime: runs its networks.
    """

    card: Card
    runtime: Runtime

    @property
    def name(self) -> str:
        return self.card.name

    @property
    def sha256(self) -> str:
        """Of the weights file, hexadecimal; empty for a network that is not on disk."""
        return self.card.sha256

    @property
    def short_side(self) -> int:
        """Frame side the model is meant for, in pixels."""
        return self.card.short_side

    @property
    def zoom_in(self) -> bool:
        """Whether sessions look at the object once there is a mask, unless told otherwise."""
        return self.card.zoom_in

    def method(self, options: Options) -> Method[Any, Any]:
        """The interaction loop over this model."""
        return METHODS[self.card.method].over(self.runtime, self.card.spec, options)


def list_models() -> list[str]:
    """Names that `load` knows, the default first."""
    return list(ZOO)


def find_folder(name: str | os.PathLike[str]) -> Path:
    """The model folder behind a zoo name or a path.

    Raises:
        UnknownNameError: neither a name of the zoo nor a model folder.
        WeightsError: a zoo model whose weights do not ship; says how to get them.
    """
    path = Path(name)
    entry = ZOO.get(os.fspath(name))
    if entry is None:
        if (path / CARD_NAME).is_file():
            return path
        hint = f"or give a folder with {CARD_NAME}, made by convert or train"
        raise UnknownNameError("model", os.fspath(name), list_models(), hint)
    folder = SHIPPED / os.fspath(name)
    if not (folder / CARD_NAME).is_file():
        if (path / CARD_NAME).is_file():  # converted into a folder of that name
            return path
        how = entry.obtain or "the installation is damaged, install emclick again"
        raise WeightsError(f"{name} has no weights here: {how}")
    return folder


def choose_runtime(folder: Path, exports: bool = True) -> str:
    """The runtime for a model folder where none was asked for: onnx if it holds graphs, else torch.

    `exports` says whether graphs of such a model can be made.

    Raises:
        MissingExtraError: what would run it is not installed.
    """
    graphs = has_graphs(folder)
    if graphs and importlib.util.find_spec("onnxruntime") is not None:
        return "onnx"
    if importlib.util.find_spec("torch") is not None:
        return "torch"
    if graphs:
        raise MissingExtraError("onnxruntime is not installed, which emclick needs: pip install onnxruntime")
    if not exports:
        raise MissingExtraError(f'{folder} needs PyTorch: pip install "emclick[torch]"')
    raise MissingExtraError(
        f'{folder} holds no ONNX graphs: run `emclick export {folder}` where "emclick[torch]" is installed'
    )


def load(
    name: str | os.PathLike[str] = DEFAULT_MODEL,
    *,
    runtime: str | None = None,
    threads: int | None = None,
    precision: str = "fp32",
    device: str = "cpu",
) -> Model:
    """Load a model.

    Args:
        name: of the zoo (`list_models`), or a folder made by `emclick convert`, `train` or `export`.
        runtime: name in the table of runtimes; None takes onnx if the model has graphs, else torch.
        threads: CPU threads; None takes the CPUs that this process may use (torch: no
            more than it is set to already, by OMP_NUM_THREADS for instance).
        precision: what the runtime computes in; each offers fp32, onnx also int8 (where the
            folder holds it), openvino bf16, torch bf16 and fp16.
        device: "cpu", or for torch another one, such as "cuda".

    Raises:
        UnknownNameError: no such model or runtime.
        WeightsError: no weights or graphs here (says how to get them), or they are truncated or changed.
        CheckpointError: the folder's card and weights do not fit each other.
        OptionError: threads, precision or device are not usable, or the runtime does not run this method.
        MissingExtraError: the runtime is not installed; names the extra that brings it.
    """
    if runtime is not None and runtime not in RUNTIMES:
        raise UnknownNameError("runtime", runtime, sorted(RUNTIMES))
    if threads is not None and (isinstance(threads, bool) or not isinstance(threads, int) or threads < 1):
        raise OptionError(f"threads must be a whole number above 0, not {threads!r}")
    folder = find_folder(name)
    card = read_card(folder)
    loop = METHODS[card.method]
    chosen = runtime or choose_runtime(folder, "onnx" in loop.runtimes)
    if chosen not in loop.runtimes:
        raise OptionError(
            f"{card.name} ({card.method}) does not run on {chosen}: {loop.needs}; "
            f"choose from {', '.join(loop.runtimes)}"
        )
    module = NEEDS.get(chosen)
    if module is not None and importlib.util.find_spec(module) is None:
        raise MissingExtraError(f'the {chosen} runtime needs {module}: pip install "emclick[{chosen}]"')
    opened, card = RUNTIMES[chosen].from_folder(folder, threads=threads, precision=precision, device=device)
    return Model(card, opened)
