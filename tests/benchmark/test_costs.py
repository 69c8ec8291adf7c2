"""What a network costs, and the floor that goes with it."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from emclick.benchmark.costs import COSTS, Costs, costs_of, count_costs, emc_costs
from emclick.benchmark.floor import MatrixProducts, blas, matrix_side
from emclick.errors import MissingExtraError
from emclick.spec import CorrectionSpec, ModelSpec
from emclick.zoo import find_folder

# GMAC of a first click, its correction included, and of a correction: METHOD's table
PUBLISHED = {
    "hrnet18s": (9.22, 1.10),
    "hrnet18": (16.31, 2.29),
    "hrnet32": (40.22, 2.40),
    "segformer_b0": (5.31, 1.19),
    "segformer_b3": (32.19, 2.63),
}


# quick to build; `tests/networks/test_official.py` counts the networks of METHOD's table
@pytest.mark.parametrize("base", ["mobilenet_v2", "segformer_b0"])
def test_the_table_is_what_is_counted(base: str) -> None:
    pytest.importorskip("torch")
    ((key, known),) = ((key, known) for key, known in COSTS.items() if key[0] == base)
    assert count_costs(ModelSpec(base, CorrectionSpec(*key[1:]))) == known


def test_the_table_is_the_published_one() -> None:
    for (base, _, _), known in COSTS.items():
        if base in PUBLISHED:
            found = (known.first_macs / 1e9, known.correction_macs / 1e9)
            assert found == pytest.approx(PUBLISHED[base], rel=0.01)
    assert set(PUBLISHED) == {base for base, _, _ in COSTS} - {"mobilenet_v2"}


def test_what_is_not_in_the_table_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    spec = ModelSpec("mobilenet_v2", CorrectionSpec())
    assert emc_costs(spec) == COSTS["mobilenet_v2", 64, 64]
    ablated = replace(spec, correction=CorrectionSpec(correlation=False))
    assert emc_costs(ablated).correction_macs < emc_costs(spec).correction_macs
    monkeypatch.setitem(sys.modules, "torch", None)
    assert isinstance(emc_costs(spec), Costs)
    with pytest.raises(MissingExtraError, match=r"emclick\[torch\]"):
        emc_costs(ablated)


def test_a_model_folder_costs_what_its_networks_do() -> None:
    assert costs_of(find_folder("emc-mobilenetv2")) == COSTS["mobilenet_v2", 64, 64]


def test_another_method_is_counted_while_it_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy = pytest.importorskip("toy_method")
    toy.registered(monkeypatch)
    folder = toy.toy_folder(tmp_path / "toy")
    params = 3 * 8 + 8 + 9 * 9 * 8 + 8 + 8 + 1
    # by hand; what the image alone asks for is done once, on a thread of its own
    assert costs_of(folder) == Costs(params, params, toy.OPEN_MACS + toy.CLICK_MACS, toy.CLICK_MACS)
    monkeypatch.setitem(sys.modules, "emclick.benchmark.counting", None)
    with pytest.raises(MissingExtraError, match=r"emclick\[torch\]"):
        costs_of(folder)


def test_counting_leaves_attention_as_it_found_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy, torch = pytest.importorskip("toy_method"), pytest.importorskip("torch")
    toy.registered(monkeypatch)
    before = (torch.backends.mha.get_fastpath_enabled(), torch.backends.cuda.flash_sdp_enabled())
    costs_of(toy.toy_folder(tmp_path / "toy"))
    assert (torch.backends.mha.get_fastpath_enabled(), torch.backends.cuda.flash_sdp_enabled()) == before


def test_matrices_have_as_many_multiply_adds() -> None:
    assert matrix_side(1000) == 10
    assert matrix_side(1_093_992_448) == 1030
    for known in COSTS.values():
        assert matrix_side(known.first_macs) ** 3 == pytest.approx(known.first_macs, rel=0.002)


def test_a_larger_product_takes_longer() -> None:
    job = MatrixProducts()
    assert job.about["blas"]
    small, large = (job.prepare(str(side)) for side in (8, 600))
    assert 0 < min(small()["ms"] for _ in range(5)) < min(large()["ms"] for _ in range(5))


def test_the_blas_has_a_name_without_threadpoolctl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    found = blas()
    assert found["blas_threads"] is None
    assert len(found["blas"]) > 2
