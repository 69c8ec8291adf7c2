"""The checkpoint of CDNet in its authors' release: which of its keys is which of ours."""

from __future__ import annotations

from functools import partial

from emclick.methods.deeplab_spec import DeepLabSpec
from emclick.networks.deeplab_keys import deeplab_rules, head_rules
from emclick.networks.releases import Release, rewrite

TERMS = (
    "the release is under the Apache License 2.0, and says nothing else of its weights; "
    "trained on SBD, or on COCO and LVIS"
)

_DIFFUSION = (
    *head_rules(r"diffusion\.gate", "diffusion.gate_head_pos"),
    (r"^diffusion\.query\.", r"diffusion.t."),
    (r"^diffusion\.key\.", r"diffusion.p."),
    (r"^diffusion\.value\.", r"diffusion.g."),
    (r"^diffusion\.positive\.0\.", r"diffusion.z."),
    (r"^diffusion\.positive\.1\.", r"diffusion.bn."),
    (r"^diffusion\.negative\.0\.", r"diffusion.z2."),
    (r"^diffusion\.negative\.1\.", r"diffusion.bn2."),
    (r"^diffusion\.", r"feature_extractor.FDM."),
)
_CLICKS = (
    (r"^base\.backbone\.click_branch\.expand\.", r"maps_transform.0."),
    (r"^base\.backbone\.click_branch\.down\.", r"maps_transform.2."),
    (r"^base\.backbone\.click_branch\.scale$", r"maps_transform.3.scale"),
)
# the fixed kernels of pixel diffusion
UNUSED = frozenset(f"PDM.{name}.kernel" for name in ("aff_x", "aff_m", "aff_std"))


def released_key(key: str, base: str) -> str:
    """The release's name of our state dict entry `key` in a model on backbone `base`."""
    heads = (*head_rules("predict", "head"), *head_rules("latent", "latent_head"))
    return rewrite(key, (*_CLICKS, *_DIFFUSION, *heads, *deeplab_rules(base)))


RELEASES = [
    Release(
        "cdnet-resnet34",
        "cdnet",
        DeepLabSpec("resnet34", 128),
        partial(released_key, base="resnet34"),
        source="the authors of CDNet (ClickSEG)",
        licence="Apache-2.0",
        terms=TERMS,
        short_side=384,
        zoom_in=True,
        unused=UNUSED.__contains__,
    )
]
