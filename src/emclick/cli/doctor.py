"""`emclick doctor`: what is here, what is used and why, and whether a click works."""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import time
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

CPUINFO = Path("/proc/cpuinfo")
BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})  # x86, x86, ARM

OPTIONAL = {
    "onnx": "emclick export",
    "onnxscript": "emclick export",
    "scipy": "emclick train",
    "matplotlib": "plots",
    "tensorboard": "emclick train",
    "pycocotools": "COCO and LVIS masks",
    "tflite": "converting MobileNetV2's backbone",
    "threadpoolctl": "the BLAS's name in emclick bench",
}
"""Module -> what wants it."""

Facts = dict[str, Any]


def doctor_command(
    as_json: Annotated[bool, typer.Option("--json", help="Print the same as JSON.")] = False,
) -> None:
    """Say what is installed, what emclick uses of it and why, and try a click.

    The last part loads the default model, as `emclick.load()` does, and clicks on a generated picture. Exit code 0 if
    that works, else 1 with the reason.
    """
    facts = examine()
    if as_json:
        import json

        typer.echo(json.dumps(facts, indent=2, ensure_ascii=False))
    else:
        from rich.console import Console

        show(facts, Console())
    if not facts["click"]["works"]:
        raise typer.Exit(1)


# --- facts ----------------------------------------------------------------------------------------------


def examine() -> Facts:
    """All that the command tells, as plain values."""
    import emclick

    return {
        "emclick": emclick.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "cpu": cpu_facts(),
        "runtimes": runtime_facts(),
        "default": default_facts(),
        "models": model_facts(),
        "libraries": [
            {"name": name, "version": module_version(name), "for": purpose}
            for name, purpose in OPTIONAL.items()
        ],
        "click": try_click(),
    }


def cpu_facts() -> Facts:
    """The processor, and why fewer CPUs may be used than it has."""
    from emclick.cpus import cpu_name, usable_cpus

    there, usable = os.cpu_count() or 1, usable_cpus()
    try:
        allowed = len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        allowed = there
    why = []
    if allowed < there:
        why.append(f"this process is bound to {allowed} (affinity)")
    if usable < allowed:
        why.append(f"the container's quota allows {usable}")
    return {"name": cpu_name(), "cpus": there, "usable": usable, "why": "; ".join(why), "bf16": has_bf16()}


def has_bf16(cpuinfo: Path = CPUINFO) -> bool:
    """Whether the processor says that it multiplies in bf16; False where it cannot be asked."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return False
    flags = (
        line.partition(":")[2].split() for line in lines if line.lower().startswith(("flags", "features"))
    )
    return not BF16_FLAGS.isdisjoint(next(flags, []))


def runtime_facts() -> list[Facts]:
    """Of each runtime in the table: whether it is installed, its version, and what it computes in on this machine."""
    from emclick.runtimes import NEEDS, RUNTIMES

    found = []
    for name in RUNTIMES:
        module = NEEDS.get(name)
        facts: Facts = {
            "name": name,
            "installed": True,
            "version": "",
            "precisions": {},
            "obtain": "",
            "problem": "",
        }
        if module is not None and not is_installed(module):
            facts.update(installed=False, obtain=_obtain(name))
        else:
            facts["version"] = (module and module_version(module)) or ""
            try:
                facts["precisions"] = PRECISIONS.get(name, _only_float)()
            except Exception as error:  # a broken library must not end the examination
                facts["problem"] = f"{module} does not work: {_line(error)}"
        found.append(facts)
    return found


def _obtain(runtime: str) -> str:
    return "pip install emclick" if runtime == "onnx" else f'pip install "emclick[{runtime}]"'


def _only_float() -> dict[str, list[str]]:
    return {"cpu": ["fp32"]}


def _onnx_precisions() -> dict[str, list[str]]:
    importlib.import_module("onnxruntime")
    return {"cpu": ["fp32", "int8"]}  # int8 for models that hold such a graph


def _openvino_precisions() -> dict[str, list[str]]:
    openvino = importlib.import_module("openvino")
    able = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return {"cpu": ["fp32", *(["bf16"] if "BF16" in able else [])]}


def _torch_precisions() -> dict[str, list[str]]:
    torch = importlib.import_module("torch")
    found = {"cpu": ["fp32", *(["bf16"] if has_bf16() else [])]}
    if torch.cuda.is_available():
        found["cuda"] = ["fp32", "bf16", "fp16"]
    return found


PRECISIONS: Mapping[str, Callable[[], dict[str, list[str]]]] = {
    "onnx": _onnx_precisions,
    "openvino": _openvino_precisions,
    "torch": _torch_precisions,
}
"""Runtime -> device -> precisions; bf16 where the device computes in it, and not only accepts it."""


def default_facts() -> Facts:
    """Which model and runtime `emclick.load()` takes here, and why."""
    from emclick.errors import EmclickError
    from emclick.graphs import has_graphs
    from emclick.zoo import DEFAULT_MODEL, choose_runtime, find_folder

    facts: Facts = {"model": DEFAULT_MODEL, "runtime": None, "why": ""}
    try:
        folder = find_folder(DEFAULT_MODEL)
        facts["runtime"] = choose_runtime(folder)
    except EmclickError as error:
        return {**facts, "why": _line(error)}
    graphs = "holds ONNX graphs" if has_graphs(folder) else "holds no ONNX graphs"
    onnx = "onnxruntime is installed" if is_installed("onnxruntime") else "onnxruntime is not installed"
    return {**facts, "why": f"{DEFAULT_MODEL} {graphs}, and {onnx}"}


def model_facts() -> list[Facts]:
    """Of each model of the zoo: whether weights and graphs are here, or how to get them."""
    from emclick.errors import EmclickError
    from emclick.graphs import has_graphs
    from emclick.zoo import ZOO, find_folder

    found = []
    for name, entry in ZOO.items():
        try:
            folder = find_folder(name)
            found.append({"name": name, "weights": True, "graphs": has_graphs(folder), "obtain": ""})
        except EmclickError as error:
            found.append(
                {"name": name, "weights": False, "graphs": False, "obtain": entry.obtain or _line(error)}
            )
    return found


def try_click() -> Facts:
    """Load the default model and click on a small picture; milliseconds, or why it does not work."""
    facts: Facts = {"works": False, "runtime": None, "threads": None, "problem": ""}
    try:
        from emclick.benchmark.picture import photograph
        from emclick.session import Session
        from emclick.zoo import load

        began = time.perf_counter()
        model = load()
        facts.update(runtime=model.runtime.name, threads=model.runtime.threads)
        loaded = time.perf_counter()
        session = Session(model, photograph(360, 480))
        first = session.click(240, 180)
        session.click(300, 180)  # the first of its kind also takes memory and starts threads
        second = session.click(40, 40, positive=False)
        facts.update(
            load_s=round(loaded - began, 3), first_ms=round(first.ms, 1), later_ms=round(second.ms, 1)
        )
        facts["works"] = second.mask.shape == (360, 480)
    except Exception as error:  # whatever it is, it is the answer
        facts["problem"] = _line(error)
    return facts


def is_installed(module: str) -> bool:
    """Whether a module can be found; it is not imported."""
    return importlib.util.find_spec(module) is not None


def module_version(module: str) -> str | None:
    """Version of the package of a module's name, "" if the package goes by another name, None if it is not there."""
    if not is_installed(module):
        return None
    try:
        return version(module)
    except PackageNotFoundError:
        return ""


def _line(error: Exception) -> str:
    from emclick.errors import EmclickError

    text = " ".join(str(error).split())
    return text if isinstance(error, EmclickError) and text else f"{type(error).__name__}: {text}"


# --- printing -------------------------------------------------------------------------------------------


def show(facts: Facts, console: Console) -> None:
    """Print the facts, as tables and a last line."""
    cpu, default = facts["cpu"], facts["default"]
    why = f" ({cpu['why']})" if cpu["why"] else ""
    rows = [
        ["emclick", facts["emclick"]],
        ["Python", facts["python"]],
        ["system", facts["system"]],
        ["CPU", cpu["name"]],
        ["usable CPUs", f"{cpu['usable']} of {cpu['cpus']}{why}"],
        ["default model", default["model"]],
        ["default runtime", f"{default['runtime'] or 'none'}: {default['why']}"],
    ]
    _table(console, ["", ""], rows)
    _table(
        console,
        ["runtime", "version", "computes in"],
        [
            [f"{each['name']} *" if each["name"] == default["runtime"] else each["name"],
             each["version"] or "-", _computes(each)]
            for each in facts["runtimes"]
        ],
    )  # fmt: skip
    _table(
        console,
        ["model", "weights", "graphs"],
        [
            [each["name"], *("here" if each[part] else "-" for part in ("weights", "graphs"))]
            for each in facts["models"]
        ],
    )
    for how in dict.fromkeys(
        each["obtain"] for each in facts["models"] if each["obtain"]
    ):  # once for all alike
        console.print(f"Where weights are not here: {how}\n", markup=False, highlight=False)
    _table(
        console,
        ["optional", "version", "for"],
        [
            [each["name"], "-" if each["version"] is None else each["version"] or "here", each["for"]]
            for each in facts["libraries"]
        ],
    )
    console.print(_verdict(facts["click"]), markup=False, highlight=False)


def _computes(runtime: Facts) -> str:
    if not runtime["installed"]:
        return f"not installed: {runtime['obtain']}"
    return runtime["problem"] or "; ".join(
        f"{', '.join(each)} on {on}" for on, each in runtime["precisions"].items()
    )


def _verdict(click: Facts) -> str:
    if not click["works"]:
        return f"A click does not work: {click['problem'] or 'the mask has the wrong size'}"
    return (
        f"A click works: {click['runtime']}, threads: {click['threads']}, loaded in {click['load_s']:.2f} s, "
        f"first click {click['first_ms']:.0f} ms, later one {click['later_ms']:.0f} ms"
    )


def _table(console: Console, heads: list[str], rows: list[list[str]]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False, show_header=any(heads))
    for head in heads:
        table.add_column(head, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))  # as it is: "emclick[torch]" is no markup
    console.print(table)
    console.print()
