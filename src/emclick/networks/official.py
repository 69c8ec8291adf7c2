"""The checkpoints of EMC-Click's authors: which of their keys is which of ours."""

from __future__ import annotations

from functools import partial

from emclick.networks.releases import Release, rewrite
from emclick.spec import CorrectionSpec, ModelSpec

TERMS = "the authors' release states no licence for its weights; ask them before you redistribute"

OFFICIAL_SPECS = {
    "emc-hrnet18s": ModelSpec("hrnet18s", CorrectionSpec(64, 64)),
    "emc-hrnet18": ModelSpec("hrnet18", CorrectionSpec(96, 96)),
    "emc-hrnet32": ModelSpec("hrnet32", CorrectionSpec(96, 96)),
    "emc-segformer-b0": ModelSpec("segformer_b0", CorrectionSpec(64, 64)),
    "emc-segformer-b3": ModelSpec("segformer_b3", CorrectionSpec(96, 96)),
}

# One module of the release stands under three names; all three must be there and equal.
SHARED_MODULE = "refiner.corr_conv."
SHARED_ALIASES = ("refiner.corr_conv_pos.", "refiner.corr_conv_neg.")
# SegFormer models of the release may carry HRNet's click branch, which they never run: these keys, or none.
UNUSED_WITH_SEGFORMER = frozenset(
    f"maps_transform.{name}" for name in ("0.weight", "0.bias", "2.weight", "2.bias", "3.scale")
)

# Our key -> the release's, as successive rewrites: (pattern, replacement).
_XCONV = (
    (r"\.depthwise(\d)\.", r".conv3x3_\1."),
    (r"\.pointwise\.", r".conv1x1."),
)
_CORRECTOR = (
    *_XCONV,
    (r"^corrector\.", r"refiner."),
    (r"\.input1\.", r".image_conv1.1."),
    (r"\.input2\.", r".image_conv2."),
    (r"\.feature_projection\.0\.", r".refine_fusion.conv."),
    (r"\.feature_projection\.1\.", r".refine_fusion.norm."),
    (r"\.fusion\.", r".fusion1."),
    (r"\.correlation\.query\.", r".feature_convq."),
    (r"\.correlation\.key\.", r".feature_convk."),
    (r"\.correlation\.refine\.", r".corr_conv."),
    (r"\.correlation\.fuse\.", r".corr_fusion."),
    (r"\.attention\.attention\.", r".cross_attention."),
    (r"\.merge\.", r".all_fusion."),
    (r"\.refine(\d)\.", r".refine_fusion\1."),
    (r"\.predict\.", r".refine_pred."),
)
_HRNET = (
    (r"^base\.backbone\.click_branch\.expand\.", r"maps_transform.0."),
    (r"^base\.backbone\.click_branch\.down\.", r"maps_transform.2."),
    (r"^base\.backbone\.click_branch\.scale$", r"maps_transform.3.scale"),
    (r"^base\.backbone\.stem(\d)\.0\.", r"feature_extractor.conv\1."),
    (r"^base\.backbone\.stem(\d)\.1\.", r"feature_extractor.bn\1."),
    (r"^base\.backbone\.stage1\.", r"feature_extractor.layer1."),
    (r"^base\.backbone\.", r"feature_extractor."),
    (r"\.shortcut\.", r".downsample."),
    (r"\.conv(\d)\.0\.", r".conv\1."),
    (r"\.conv(\d)\.1\.", r".bn\1."),
    (r"\.exchange\.", r".fuse_layers."),
    (r"\.transition1\.1\.", r".transition1.1.0."),
    (r"\.transition2\.", r".transition2.2.0."),
    (r"\.transition3\.", r".transition3.3.0."),
    (r"^base\.head\.pixels\.", r"feature_extractor.conv3x3_ocr."),
    (r"^base\.head\.auxiliary\.0\.", r"feature_extractor.aux_head."),
    (r"^base\.head\.auxiliary\.1\.", r"feature_extractor.aux_head.3."),
    (r"^base\.head\.predict\.", r"feature_extractor.cls_head."),
    (r"^base\.head\.fuse\.0\.0\.", r"feature_extractor.ocr_distri_head.conv_bn_dropout.0."),
    (r"^base\.head\.fuse\.0\.1\.", r"feature_extractor.ocr_distri_head.conv_bn_dropout.1.0."),
    (r"^base\.head\.attention\.", r"feature_extractor.ocr_distri_head.object_context_block.f_"),
    # The second pair first: its new names match none of the patterns below.
    (r"\.f_(pixel|object)\.1\.0\.", r".f_\1.2."),
    (r"\.f_(pixel|object)\.1\.1\.", r".f_\1.3.0."),
    (r"\.f_(pixel|object)\.0\.0\.", r".f_\1.0."),
    (r"\.f_(pixel|object)\.0\.1\.", r".f_\1.1.0."),
    (r"\.f_(down|up)\.1\.", r".f_\1.1.0."),
)
_SEGFORMER = (
    (r"^base\.backbone\.click_embedding\.", r"feature_extractor.backbone.patch_embed_side1."),
    (r"^base\.backbone\.unused_norm\.", r"feature_extractor.backbone.norm_add."),
    *(
        (rf"^base\.backbone\.stages\.{i}\.{ours}\.", rf"feature_extractor.backbone.{theirs}{i + 1}.")
        for i in range(4)
        for ours, theirs in (("embedding", "patch_embed"), ("blocks", "block"), ("norm", "norm"))
    ),
    *(
        (rf"^base\.head\.linear\.{i}\.", rf"feature_extractor.decode_head.linear_c{i + 1}.proj.")
        for i in range(4)
    ),
    (r"\.projection\.", r".proj."),
    (r"\.attention\.", r".attn."),
    (r"\.attn\.query\.", r".attn.q."),
    (r"\.attn\.key_value\.", r".attn.kv."),
    (r"\.attn\.output\.", r".attn.proj."),
    (r"\.attn\.reduction\.", r".attn.sr."),
    (r"\.mlp\.expand\.", r".mlp.fc1."),
    (r"\.mlp\.depthwise\.", r".mlp.dwconv.dwconv."),
    (r"\.mlp\.project\.", r".mlp.fc2."),
    (r"^base\.head\.fuse\.0\.0\.", r"feature_extractor.decode_head.linear_fuse.conv."),
    (r"^base\.head\.fuse\.0\.1\.", r"feature_extractor.decode_head.linear_fuse.bn."),
    (r"^base\.head\.predict\.", r"feature_extractor.decode_head.linear_pred."),
)
_RULES = {
    "hrnet18s": _HRNET,
    "hrnet18": _HRNET,
    "hrnet32": _HRNET,
    "segformer_b0": _SEGFORMER,
    "segformer_b3": _SEGFORMER,
}


def official_key(key: str, base: str) -> str:
    """The release's name of our state dict entry `key` in a model on base network `base`."""
    return rewrite(key, _CORRECTOR if key.startswith("corrector.") else _RULES[base])


RELEASES = [
    Release(
        name,
        "emc",
        spec,
        partial(official_key, base=spec.base),
        source="the authors of EMC-Click",
        licence="not stated by the authors",
        terms=TERMS,
        unused=UNUSED_WITH_SEGFORMER.__contains__ if spec.base.startswith("segformer") else lambda key: False,
        aliases={SHARED_MODULE: SHARED_ALIASES},
        # SegFormer's head has linear layers where ours has 1x1 convolutions
        linear=r"^feature_extractor\.decode_head\.linear_c.*weight$",
    )
    for name, spec in OFFICIAL_SPECS.items()
]
