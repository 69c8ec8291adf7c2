"""The checkpoints of f-BRS's authors on ResNet: which of their keys is which of ours."""

from __future__ import annotations

from functools import partial

from emclick.methods.deeplab_spec import DeepLabSpec
from emclick.networks.deeplab_keys import deeplab_rules, head_rules
from emclick.networks.releases import Release, rewrite

TERMS = "the release is under the Mozilla Public License 2.0, and says nothing else of its weights; trained on SBD"

SPECS = {"fbrs-resnet50": DeepLabSpec("resnet50", 128), "fbrs-resnet34": DeepLabSpec("resnet34", 128)}


def released_key(key: str, base: str) -> str:
    """The release's name of our state dict entry `key` in a model on backbone `base`."""
    return rewrite(key, ((r"^mix\.", r"rgb_conv."), *head_rules("predict", "head"), *deeplab_rules(base)))


RELEASES = [
    Release(
        name,
        "fbrs",
        spec,
        partial(released_key, base=spec.base),
        source="the authors of f-BRS",
        licence="MPL-2.0",
        terms=TERMS,
        short_side=400,
        zoom_in=True,
        unused="aspp_dropout".__eq__,  # a number that some of the files carry beside the weights
    )
    for name, spec in SPECS.items()
]
