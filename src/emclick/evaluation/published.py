"""The tables of the EMC-Click talk (CVPR 2023, poster THU-PM-207), as data.

Rows name our models where there are any: `model` is a name of the zoo, and `key` names one row's weights, because the
same networks were trained on different data. An empty `model` is a system that is not here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from emclick.spec import CorrectionSpec

SOURCE = "EMC-Click, CVPR 2023, talk and poster THU-PM-207"
FIRST, CORRECTION = "first", "correction"


@dataclass(frozen=True)
class Speed:
    """What a click costs on a CPU (machine not stated).

    Attributes:
        label: as printed.
        model: ours.
        stage: which click of ours, in the stages of `emclick bench`.
        input_px: side of the input.
        params_m: parameters, millions.
        gmacs: multiply-adds, 10^9 (printed as GFLOPs).
        ms: milliseconds per click.
        against: EMC's corrector on the same backbone, for how many of its clicks one of these takes; "" for EMC.
    """

    label: str
    model: str
    stage: str
    input_px: int
    params_m: float
    gmacs: float
    ms: float
    against: str = ""


# fmt: off
SPEED = (
    Speed("CDNet-ResNet34", "cdnet-resnet34", CORRECTION, 384, 23.5, 56.7, 3339, "emc-hrnet18s"),
    Speed("f-BRS-ResNet50", "fbrs-resnet50", CORRECTION, 400, 31.4, 84.6, 2373, "emc-hrnet18s"),
    Speed("RITM-hrnet18s", "ritm-hrnet18s", CORRECTION, 400, 4.22, 8.96, 634, "emc-hrnet18s"),
    Speed("RITM-hrnet18", "ritm-hrnet18", CORRECTION, 400, 10.0, 15.4, 1103, "emc-hrnet18"),
    Speed("RITM-hrnet32", "ritm-hrnet32", CORRECTION, 400, 31.0, 40.4, 1635, "emc-hrnet32"),
    Speed("FocalClick-hrnet18s", "focalclick-hrnet18s", CORRECTION, 256, 4.23, 3.82, 358, "emc-hrnet18s"),
    Speed("FocalClick-hrnet32", "focalclick-hrnet32", CORRECTION, 256, 31.0, 17.1, 728, "emc-hrnet32"),
    Speed("FocalClick-SegB0", "focalclick-segformer-b0", CORRECTION, 256, 3.74, 1.94, 207, "emc-segformer-b0"),
    Speed("FocalClick-SegB3", "focalclick-segformer-b3", CORRECTION, 256, 45.6, 12.9, 805, "emc-segformer-b3"),
    Speed("EMC-hrnet18s, first click", "emc-hrnet18s", FIRST, 384, 4.33, 9.35, 752),
    Speed("EMC-hrnet18, first click", "emc-hrnet18", FIRST, 384, 10.3, 15.3, 1237),
    Speed("EMC-hrnet32, first click", "emc-hrnet32", FIRST, 384, 31.2, 40.5, 1745),
    Speed("EMC-SegB0, first click", "emc-segformer-b0", FIRST, 384, 3.84, 5.38, 528),
    Speed("EMC-SegB3, first click", "emc-segformer-b3", FIRST, 384, 45.9, 32.3, 2006),
    Speed("EMC C64 (hrnet18s), correction", "emc-hrnet18s", CORRECTION, 384, 0.11, 1.09, 183),
    Speed("EMC C64 (SegB0), correction", "emc-segformer-b0", CORRECTION, 384, 0.11, 1.09, 183),
    Speed("EMC C96 (hrnet18), correction", "emc-hrnet18", CORRECTION, 384, 0.22, 2.25, 280),
    Speed("EMC C96 (hrnet32), correction", "emc-hrnet32", CORRECTION, 384, 0.22, 2.25, 280),
    Speed("EMC C96 (SegB3), correction", "emc-segformer-b3", CORRECTION, 384, 0.22, 2.25, 280),
)
# fmt: on


@dataclass(frozen=True)
class GpuSpeed:
    """Milliseconds per click on a GPU (not stated), in the two settings as printed."""

    label: str
    model: str
    stage: str
    ms: tuple[int, int]


# fmt: off
GPU_SPEED = (
    GpuSpeed("RITM-hrnet18s", "ritm-hrnet18s", CORRECTION, (30, 22)),
    GpuSpeed("RITM-hrnet32", "ritm-hrnet32", CORRECTION, (59, 40)),
    GpuSpeed("FocalClick-hrnet18s", "focalclick-hrnet18s", CORRECTION, (35, 26)),
    GpuSpeed("FocalClick-hrnet32", "focalclick-hrnet32", CORRECTION, (61, 45)),
    GpuSpeed("FocalClick-SegB0", "focalclick-segformer-b0", CORRECTION, (21, 16)),
    GpuSpeed("FocalClick-SegB3", "focalclick-segformer-b3", CORRECTION, (44, 34)),
    GpuSpeed("EMC-hrnet18s, first click", "emc-hrnet18s", FIRST, (38, 30)),
    GpuSpeed("EMC-hrnet32, first click", "emc-hrnet32", FIRST, (70, 47)),
    GpuSpeed("EMC-SegB0, first click", "emc-segformer-b0", FIRST, (23, 17)),
    GpuSpeed("EMC-SegB3, first click", "emc-segformer-b3", FIRST, (54, 36)),
    GpuSpeed("EMC-hrnet18s, correction", "emc-hrnet18s", CORRECTION, (9, 7)),
    GpuSpeed("EMC-hrnet32, correction", "emc-hrnet32", CORRECTION, (10, 7)),
    GpuSpeed("EMC-SegB0, correction", "emc-segformer-b0", CORRECTION, (9, 7)),
    GpuSpeed("EMC-SegB3, correction", "emc-segformer-b3", CORRECTION, (10, 7)),
)
# fmt: on


@dataclass(frozen=True)
class WholeRun:
    """A whole evaluation on SBD: NoC and minutes, stopping each object at 90 and at 95."""

    label: str
    key: str
    noc: Mapping[int, float]
    minutes: Mapping[int, int]


def _whole(label: str, key: str, noc90: float, minutes90: int, noc95: float, minutes95: int) -> WholeRun:
    return WholeRun(label, key, {90: noc90, 95: noc95}, {90: minutes90, 95: minutes95})


SBD_RUNS = (
    _whole("FocalClick-hrnet18s", "focalclick-hrnet18s", 6.79, 34, 12.78, 62),
    _whole("FocalClick-hrnet32", "focalclick-hrnet32", 6.51, 49, 12.50, 85),
    _whole("FocalClick-SegB0", "focalclick-segformer-b0", 6.86, 23, 12.73, 39),
    _whole("FocalClick-SegB3", "focalclick-segformer-b3", 5.59, 34, 11.55, 63),
    _whole("EMC-hrnet18s", "emc-hrnet18s", 6.16, 19, 12.47, 30),
    _whole("EMC-hrnet32", "emc-hrnet32", 5.65, 21, 11.90, 32),
    _whole("EMC-SegB0", "emc-segformer-b0", 6.21, 16, 12.45, 27),
    _whole("EMC-SegB3", "emc-segformer-b3", 5.57, 20, 11.65, 29),
)


@dataclass(frozen=True)
class Accuracy:
    """NoC of a model.

    Attributes:
        label: as printed.
        data: what it was trained on: SBD, or C+L, COCO with LVIS.
        model: ours.
        key: names the weights: the model, with "-sbd" where it was trained on that.
        noc: (dataset, IoU in %) -> mean number of clicks.
    """

    label: str
    data: str
    model: str
    key: str
    noc: Mapping[tuple[str, int], float] = field(default_factory=dict)


ACCURACY_COLUMNS = (
    ("grabcut", 85), ("grabcut", 90), ("berkeley", 90), ("sbd", 85), ("sbd", 90), ("davis", 85), ("davis", 90),
    ("pascalvoc", 85),
)  # fmt: skip
_ = None  # not printed


def _row(label: str, data: str, model: str, *noc: float | None) -> Accuracy:
    found = {column: value for column, value in zip(ACCURACY_COLUMNS, noc, strict=True) if value is not None}
    return Accuracy(label, data, model, f"{model}-sbd" if model and data == "SBD" else model, found)


# fmt: off
ACCURACY = (
    _row("f-BRS-B-ResNet50", "SBD", "fbrs-resnet50", 2.50, 2.98, 4.34, 5.06, 8.08, 5.39, 7.81, _),
    _row("CDNet-ResNet50", "SBD", "", 2.22, 2.64, 3.69, 4.37, 7.87, 5.17, 6.66, _),
    _row("FocusCut-ResNet50", "SBD", "", 1.60, 1.78, 3.44, 3.62, 5.66, 5.00, 6.38, _),
    _row("FocalClick-hrnet18s", "SBD", "focalclick-hrnet18s", 1.86, 2.06, 3.14, 4.30, 6.52, 4.92, 6.48, _),
    _row("RITM-hrnet18", "SBD", "ritm-hrnet18", 1.76, 2.04, 3.22, 3.39, 5.43, 4.94, 6.71, _),
    _row("EMC-hrnet18s", "SBD", "emc-hrnet18s", 1.82, 1.92, 3.26, 3.58, 5.79, 5.23, 6.88, 2.47),
    _row("EMC-hrnet18", "SBD", "emc-hrnet18", 1.74, 1.84, 3.03, 3.38, 5.51, 5.05, 6.71, 2.37),
    _row("TransClick-segformerB4", "C+L", "", 1.52, 1.60, 1.60, 3.44, 5.63, 3.68, 5.06, 2.08),
    _row("FocalClick-segformerB0", "C+L", "focalclick-segformer-b0", 1.40, 1.66, 2.27, 4.56, 6.86, 4.04, 5.49, 2.97),
    _row("EMC-segformerB0", "C+L", "emc-segformer-b0", 1.56, 1.64, 2.40, 3.95, 6.21, 4.48, 5.53, 2.65),
    _row("FocalClick-segformerB3", "C+L", "focalclick-segformer-b3", 1.44, 1.50, 1.92, 3.53, 5.59, 3.61, 4.90, 2.46),
    _row("EMC-segformerB3", "C+L", "emc-segformer-b3", 1.42, 1.48, 2.35, 3.44, 5.57, 4.49, 5.69, 2.23),
    _row("RITM-hrnet18s", "C+L", "ritm-hrnet18s", 1.54, 1.68, 2.60, 4.04, 6.48, 4.70, 5.98, 2.57),
    _row("FocalClick-hrnet18s", "C+L", "focalclick-hrnet18s", 1.48, 1.62, 2.66, 4.43, 6.79, 3.90, 5.25, 2.93),
    _row("EMC-hrnet18s", "C+L", "emc-hrnet18s", 1.40, 1.52, 2.68, 3.86, 6.16, 4.42, 5.66, 2.37),
    _row("RITM-hrnet18", "C+L", "ritm-hrnet18", 1.42, 1.54, 2.26, 3.80, 6.06, 4.36, 5.74, 2.28),
    _row("EdgeFlow-hrnet18", "C+L", "", 1.60, 1.72, 2.40, _, _, 4.54, 5.77, 2.50),
    _row("EMC-hrnet18", "C+L", "emc-hrnet18", 1.38, 1.50, 2.30, 3.69, 5.93, 4.34, 5.59, 2.37),
    _row("RITM-hrnet32", "C+L", "ritm-hrnet32", 1.46, 1.56, 2.10, 3.59, 5.71, 4.11, 5.34, 2.57),
    _row("FocalClick-hrnet32", "C+L", "focalclick-hrnet32", 1.64, 1.80, 2.36, 4.24, 6.51, 4.01, 5.39, 2.80),
    _row("PseudoClick-hrnet32", "C+L", "", _, 1.50, 2.08, _, 5.68, 4.09, 5.27, 1.94),
    _row("EMC-hrnet32", "C+L", "emc-hrnet32", 1.30, 1.42, 2.35, 3.55, 5.65, 4.29, 5.33, 2.22),
)
# fmt: on


@dataclass(frozen=True)
class Ablation:
    """EMC on hrnet18s with parts of the mask correction left out.

    Attributes:
        key: names the row's model and its recipe, `recipes/ablation/KEY.toml`.
        label: what is there.
        correction: the network; None if this package has no such switch.
        noc90: NoC@90 on davis, sbd, pascalvoc.
    """

    key: str
    label: str
    correction: CorrectionSpec | None
    noc90: Mapping[str, float]


def _ablation(
    key: str, label: str, correction: CorrectionSpec | None, davis: float, sbd: float, pascal: float
) -> Ablation:
    return Ablation(key, label, correction, {"davis": davis, "sbd": sbd, "pascalvoc": pascal})


_BARE = CorrectionSpec(attention=False, correlation=False, selection=False)
_CORRELATION = CorrectionSpec(attention=False, selection=False)
_ATTENTION = CorrectionSpec(correlation=False, selection=False)

# fmt: off
ABLATION = (
    _ablation("none", "none", None, 7.11, 8.32, 4.38),
    _ablation("first-click", "first click into the base network", _BARE, 6.98, 6.83, 3.19),
    _ablation("correlation", "+ correlation", _CORRELATION, 6.32, 6.30, 3.09),
    _ablation("attention", "+ self-attention", _ATTENTION, 6.02, 6.33, 2.98),
    _ablation("both", "+ both", CorrectionSpec(selection=False), 5.86, 6.24, 2.89),
    _ablation("selection", "+ both + template selection", CorrectionSpec(), 5.66, 6.16, 2.84),
)
"""The modules, one after the other (table 4)."""

ABLATION_NEGATIVES = (
    _ablation("correlation-negatives", "correlation, negative templates",
              CorrectionSpec(attention=False), 6.10, 6.39, 3.01),
    _ablation("correlation-positives", "correlation, positive templates alone",
              CorrectionSpec(attention=False, correlation_negatives=False), 6.09, 6.26, 2.96),
    _ablation("attention-negatives", "self-attention, negative templates",
              CorrectionSpec(correlation=False), 6.04, 6.55, 3.22),
    _ablation("attention-positives", "self-attention, positive templates alone",
              CorrectionSpec(correlation=False, attention_negatives=False), 5.92, 6.29, 2.99),
)
"""Negative templates, one module at a time (table 5): the check mark is printed on the first row of each pair."""
# fmt: on
