"""The published tables, held to the talk's own arithmetic and to what this package has."""

from __future__ import annotations

import pytest

from emclick.benchmark.costs import COSTS
from emclick.evaluation.published import (
    ABLATION,
    ABLATION_NEGATIVES,
    ACCURACY,
    ACCURACY_COLUMNS,
    CORRECTION,
    GPU_SPEED,
    SBD_RUNS,
    SPEED,
)
from emclick.methods import METHODS
from emclick.zoo import ZOO

# later clicks of EMC in the time of one: as the talk prints them
RATIOS = {
    "RITM-hrnet18s": 3.4, "RITM-hrnet32": 5.8, "FocalClick-hrnet18s": 2.0, "FocalClick-hrnet32": 2.6,
    "FocalClick-SegB0": 1.1, "FocalClick-SegB3": 2.9,
}  # fmt: skip


def test_the_talk_s_ratios_follow_from_its_milliseconds() -> None:
    later = {row.model: row.ms for row in SPEED if row.stage == CORRECTION}
    found = {row.label: row.ms / later[row.against] for row in SPEED if row.against}
    assert {label: found[label] for label in RATIOS} == pytest.approx(RATIOS, abs=0.1)


def test_costs_of_emc_are_near_those_counted_here() -> None:
    bases = {
        "emc-hrnet18s": "hrnet18s",
        "emc-segformer-b3": "segformer_b3",
        "emc-segformer-b0": "segformer_b0",
    }
    for (base, _, _), costs in COSTS.items():
        for row in (each for each in SPEED if bases.get(each.model) == base):
            first = row.stage != CORRECTION
            macs = costs.first_macs if first else costs.correction_macs
            params = costs.params if first else costs.correction_params
            assert macs / 1e9 == pytest.approx(row.gmacs, rel=0.17)
            assert params / 1e6 == pytest.approx(row.params_m, rel=0.12)


def test_sums() -> None:
    # over the columns of the printed tables, by hand
    assert len(ACCURACY) == 22
    assert sum(sum(row.noc.values()) for row in ACCURACY) == pytest.approx(609.18)
    assert sum(row.ms for row in SPEED) == 18656
    assert sum(row.gmacs for row in SPEED) == pytest.approx(353.58)
    assert sum(sum(row.ms) for row in GPU_SPEED) == 814
    assert sum(sum(row.noc.values()) for row in SBD_RUNS) == pytest.approx(147.37)
    assert sum(sum(row.minutes.values()) for row in SBD_RUNS) == 583
    assert [round(sum(row.noc90[name] for row in ABLATION), 2) for name in ("davis", "sbd", "pascalvoc")] == [
        37.95, 40.18, 19.37
    ]  # fmt: skip
    assert sum(sum(row.noc90.values()) for row in ABLATION_NEGATIVES) == pytest.approx(61.82)


def test_rows_name_what_there_is() -> None:
    keys = [row.key for row in ACCURACY if row.key]
    assert len(set(keys)) == len(keys)
    assert {row.key for row in SBD_RUNS} <= set(keys)
    assert all(set(row.noc) <= set(ACCURACY_COLUMNS) for row in ACCURACY)
    models = {row.model for row in (*SPEED, *GPU_SPEED, *ACCURACY) if row.model}
    for model in models:
        method = model.partition("-")[0]
        assert method not in METHODS or model in ZOO, model
    ablation = [row.key for row in (*ABLATION, *ABLATION_NEGATIVES)]
    assert len(set(ablation)) == len(ablation) == 10
