"""`emclick doctor`: with everything installed, with little, and with something broken."""

from __future__ import annotations

import json
import os
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from emclick import cpus, zoo
from emclick.cli import doctor
from emclick.errors import WeightsError


def run(*arguments: str) -> Any:
    app = typer.Typer()
    app.command()(doctor.doctor_command)
    return CliRunner().invoke(app, arguments)


def facts_of(result: Any) -> dict[str, Any]:
    return json.loads(result.stdout)


def runtime(facts: dict[str, Any], name: str) -> dict[str, Any]:
    return next(each for each in facts["runtimes"] if each["name"] == name)


def hide(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)


def test_the_default_install_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, "torch", "openvino", "matplotlib")
    result = run("--json")
    assert result.exit_code == 0, result.output
    facts = facts_of(result)
    assert facts["default"] == {
        "model": "emc-mobilenetv2",
        "runtime": "onnx",
        "why": "emc-mobilenetv2 holds ONNX graphs, and onnxruntime is installed",
    }
    assert runtime(facts, "onnx")["precisions"] == {"cpu": ["fp32", "int8"]}
    assert runtime(facts, "torch") == {
        "name": "torch", "installed": False, "version": "", "precisions": {}, "problem": "",
        "obtain": 'pip install "emclick[torch]"',
    }  # fmt: skip
    assert not runtime(facts, "openvino")["installed"]
    assert facts["click"]["works"]
    assert facts["click"]["runtime"] == "onnx"
    assert min(facts["click"][name] for name in ("load_s", "first_ms", "later_ms")) > 0
    assert {"name": "matplotlib", "version": None, "for": "plots"} in facts["libraries"]
    models = {each["name"]: each for each in facts["models"]}
    assert models["emc-mobilenetv2"] == {
        "name": "emc-mobilenetv2",
        "weights": True,
        "graphs": True,
        "obtain": "",
    }
    assert "emclick convert" in models["emc-hrnet18"]["obtain"]


def test_the_page_says_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, "torch", "openvino")
    result = run()
    assert result.exit_code == 0, result.output
    page = " ".join(result.output.split())
    assert "onnx *" in page
    assert 'not installed: pip install "emclick[openvino]"' in page
    obtained = {entry.obtain for entry in zoo.ZOO.values()} - {""}
    assert page.count("emclick convert") == len(obtained)  # once for all models of a release
    assert "A click works: onnx" in page
    assert "\x1b" not in result.output


def test_no_runtime_at_all_is_the_reason_and_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, "torch", "openvino", "onnxruntime")
    result = run("--json")
    assert result.exit_code == 1
    facts = facts_of(result)
    assert facts["default"]["runtime"] is None
    assert not facts["click"]["works"]
    assert facts["click"]["problem"] == facts["default"]["why"] != ""
    assert runtime(facts, "onnx")["obtain"] == "pip install emclick"
    page = run()
    assert page.exit_code == 1
    assert "A click does not work: " in page.output


def test_a_model_that_cannot_be_loaded_is_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def load() -> None:
        raise WeightsError("model.safetensors is truncated")

    hide(monkeypatch, "torch", "openvino")
    monkeypatch.setattr(zoo, "load", load)
    result = run("--json")
    assert result.exit_code == 1
    assert facts_of(result)["click"]["problem"] == "model.safetensors is truncated"


def test_a_broken_library_is_named_and_the_rest_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(ModuleType):
        def __getattr__(self, name: str) -> Any:
            raise RuntimeError(f"no {name}\nin here")

    broken = Broken("openvino")
    broken.__spec__ = ModuleSpec("openvino", None)
    hide(monkeypatch, "torch")
    monkeypatch.setitem(sys.modules, "openvino", broken)
    result = run("--json")
    assert result.exit_code == 0
    found = runtime(facts_of(result), "openvino")
    assert found["problem"] == "openvino does not work: RuntimeError: no Core in here"
    assert "openvino does not work" in " ".join(run().output.split())


def test_torch_says_what_it_computes_in(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(doctor, "has_bf16", lambda: False)
    assert doctor.PRECISIONS["torch"]() == {"cpu": ["fp32"], "cuda": ["fp32", "bf16", "fp16"]}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(doctor, "has_bf16", lambda: True)
    assert doctor.PRECISIONS["torch"]() == {"cpu": ["fp32", "bf16"]}


def test_openvino_says_what_it_computes_in() -> None:
    pytest.importorskip("openvino")
    assert doctor.PRECISIONS["openvino"]()["cpu"][0] == "fp32"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx512f avx512_bf16 amx_bf16\n", True),
        ("processor\t: 0\nFeatures\t: fp asimd bf16\n", True),
        ("flags\t\t: fpu avx512f\n", False),
        ("nothing\n", False),
    ],
)
def test_bf16_by_the_processor_s_flags(tmp_path: Path, text: str, expected: bool) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    assert doctor.has_bf16(tmp_path / "cpuinfo") is expected
    assert doctor.has_bf16(tmp_path / "none") is False


def test_why_fewer_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(cpus, "usable_cpus", lambda: 3)
    facts = doctor.cpu_facts()
    assert (facts["cpus"], facts["usable"]) == (16, 3)
    assert facts["why"] == "this process is bound to 8 (affinity); the container's quota allows 3"
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(cpus, "usable_cpus", lambda: 16)
    assert doctor.cpu_facts()["why"] == ""
