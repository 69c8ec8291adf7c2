"""The checkpoints of FocalClick's authors (ClickSEG): which of their keys is which of ours."""

from __future__ import annotations

from functools import partial

from emclick.methods.focalclick_spec import FocalClickSpec
from emclick.networks.official import official_key
from emclick.networks.releases import Release, rewrite

TERMS = (
    "the authors' repository, under the Apache licence 2.0 by its LICENSE and MIT by its README, says nothing of its "
    "weights; ask them before you redistribute"
)

_REFINER = (
    (r"\.depthwise\.", r".conv3x3."),
    (r"\.pointwise\.", r".conv1x1."),
    (r"\.image(\d)\.", r".image_conv\1."),
    (r"\.features\.", r".refine_fusion."),
    (r"\.(image_conv1|refine_fusion)\.0\.", r".\1.conv."),
    (r"\.(image_conv1|refine_fusion)\.1\.", r".\1.norm."),
    (r"\.fuse1\.", r".refine_fusion2."),
    (r"\.fuse2\.", r".refine_fusion3."),
    (r"\.predict\.", r".refine_pred."),
    (r"\.trimap\.", r".refine_trimap."),
)

# SegFormer models of the release carry a click branch and a gate that they never run.
UNUSED_WITH_SEGFORMER = frozenset(
    (
        *(f"maps_transform.{name}" for name in ("0.weight", "0.bias", "2.weight", "2.bias", "3.scale")),
        *(f"refiner.feature_gate.0.{name}" for name in ("weight", "bias")),
    )
)


def released_key(key: str, base: str) -> str:
    """The release's name of our state dict entry `key` in a model on base network `base`."""
    return rewrite(key, _REFINER) if key.startswith("refiner.") else official_key(key, base)


_MODELS = (
    ("hrnet18s", "s2"), ("hrnet32", "s2"), ("segformer_b0", "s2"), ("segformer_b3", "s2"),
    ("hrnet18s", "s1"), ("segformer_b0", "s1"),  # keys and shapes are those of s2: told apart by name alone
)  # fmt: skip

RELEASES = [
    Release(
        f"focalclick-{base.replace('_', '-')}{'' if pipeline == 's2' else f'-{pipeline}'}",
        "focalclick",
        FocalClickSpec(base, pipeline),
        partial(released_key, base=base),
        source="the authors of FocalClick",
        licence="not stated by the authors",
        terms=TERMS,
        short_side=256,
        zoom_in=True,
        unused=UNUSED_WITH_SEGFORMER.__contains__ if base.startswith("segformer") else lambda key: False,
        # SegFormer's head has linear layers where ours has 1x1 convolutions
        linear=r"^feature_extractor\.decode_head\.linear_c.*weight$",
    )
    for base, pipeline in _MODELS
]
