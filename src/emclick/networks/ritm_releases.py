"""The checkpoints of RITM's authors: the click branch and HRNet+OCR have the names that EMC's release kept."""

from __future__ import annotations

from functools import partial

from emclick.methods.ritm_spec import RitmSpec
from emclick.networks.official import official_key
from emclick.networks.releases import Release

TERMS = (
    "the authors release code and weights together under the MIT licence; the weights were trained on COCO with "
    "LVIS masks, or on SBD, whose terms apply besides"
)

RELEASES = [
    Release(
        f"ritm-{base}",
        "ritm",
        RitmSpec(base),
        partial(official_key, base=base),
        source="the authors of RITM",
        licence="MIT",
        terms=TERMS,
        short_side=400,
        zoom_in=True,
    )
    for base in ("hrnet18s", "hrnet18", "hrnet32")
]
