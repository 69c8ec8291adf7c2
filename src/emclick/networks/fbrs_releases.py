"""The checkpoints of f-BRS's authors: which of their keys is which of ours. HRNet+OCR has the names that EMC's kept."""

from __future__ import annotations

from functools import partial

from emclick.methods.deeplab_spec import HRNETS, FbrsSpec
from emclick.networks.deeplab_keys import deeplab_rules, head_rules
from emclick.networks.official import official_key
from emclick.networks.releases import Release, rewrite

TERMS = (
    "the release is under the Mozilla Public License 2.0, and says nothing else of its weights; trained on SBD, or "
    "(files named lvis) on COCO with LVIS masks"
)

SPECS = {f"fbrs-{base}": FbrsSpec(base) for base in ("resnet50", "resnet34", "hrnet18", "hrnet32")}

_MIX = (r"^mix\.", r"rgb_conv.")


def released_key(key: str, base: str) -> str:
    """The release's name of our state dict entry `key` in a model on backbone `base`."""
    if base in HRNETS:
        return official_key(rewrite(key, [_MIX]), base)
    return rewrite(key, (_MIX, *head_rules("predict", "head"), *deeplab_rules(base)))


def _beside(key: str) -> bool:
    """Whether it is the number that some of the files on ResNet carry beside the weights."""
    return key == "aspp_dropout"


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
        unused=_beside if spec.base not in HRNETS else lambda key: False,
    )
    for name, spec in SPECS.items()
]
