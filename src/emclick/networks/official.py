"""The authors' checkpoints: which of their keys is which of ours, and which model they hold."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from emclick.errors import CheckpointError
from emclick.networks.model import EmcNetwork
from emclick.spec import CorrectionSpec, ModelSpec

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
    for pattern, replacement in _CORRECTOR if key.startswith("corrector.") else _RULES[base]:
        key = re.sub(pattern, replacement, key)
    return key


def _expected(spec: ModelSpec) -> dict[str, tuple[str, torch.Size]]:
    """Release key -> (our key, our shape), without allocating the network."""
    with torch.device("meta"):
        state = EmcNetwork(spec).state_dict()
    return {official_key(key, spec.base): (key, value.shape) for key, value in state.items()}


def _shape(name: str, ours: torch.Size) -> torch.Size:
    """The release's shape of a key: SegFormer's head has linear layers where ours has 1x1 convolutions."""
    linear = name.startswith("feature_extractor.decode_head.linear_c") and name.endswith("weight")
    return ours[:2] if linear else ours


def _faults(name: str, value: Tensor, shape: torch.Size) -> list[str]:
    if value.shape != shape:
        return [f"key {name} has shape {list(value.shape)}, not {list(shape)}"]
    counter = name.endswith("num_batches_tracked")
    if value.layout != torch.strided or (not value.is_floating_point() and not counter):
        return [f"key {name} holds {value.dtype} ({value.layout}), not plain floating-point numbers"]
    if not counter and not torch.isfinite(value).all():
        return [f"key {name} holds NaN or infinite values"]
    return []


def _problems(state: Mapping[str, Tensor], spec: ModelSpec) -> list[str]:
    """Every key that is missing, left over or of the wrong shape, in the release's names."""
    expected = _expected(spec)
    problems = []
    for theirs, (_, shape) in expected.items():
        names = [theirs]
        if theirs.startswith(SHARED_MODULE):
            names += [alias + theirs.removeprefix(SHARED_MODULE) for alias in SHARED_ALIASES]
        for name in names:
            if name not in state:
                problems.append(f"missing key {name}")
            elif faults := _faults(name, state[name], _shape(theirs, shape)):
                problems += faults
            elif name != theirs and theirs in state and not torch.equal(state[name], state[theirs]):
                problems.append(f"key {name} differs from {theirs}, which names the same module")
    known = set(expected)
    known |= {
        a + k.removeprefix(SHARED_MODULE)
        for k in expected
        if k.startswith(SHARED_MODULE)
        for a in SHARED_ALIASES
    }
    for name in state:
        unused = spec.base.startswith("segformer") and name in UNUSED_WITH_SEGFORMER
        if name not in known and not unused:
            problems.append(f"left-over key {name}")
    return problems


def recognise(state: Mapping[str, Tensor]) -> str:
    """The zoo name of the model that `state` (release keys) belongs to, from keys and shapes alone.

    Raises:
        CheckpointError: no model fits; the message names the nearest and what differs.
    """
    found = {name: _problems(state, spec) for name, spec in OFFICIAL_SPECS.items()}
    nearest = min(found, key=lambda name: len(found[name]))
    problems = found[nearest]
    if problems:
        shown = "; ".join(problems[:8]) + (f"; and {len(problems) - 8} more" if len(problems) > 8 else "")
        raise CheckpointError(f"not a released EMC-Click checkpoint; nearest is {nearest}: {shown}")
    return nearest


def convert_state(state: Mapping[str, Tensor]) -> tuple[str, dict[str, Tensor]]:
    """A released state dict -> (zoo name, our state dict).

    Args:
        state: release keys (`feature_extractor.*`, `maps_transform.*`, `refiner.*`) to tensors.

    Raises:
        CheckpointError: a key is missing, left over or of the wrong shape; all are named.
    """
    name = recognise(state)
    converted = {}
    for theirs, (ours, shape) in _expected(OFFICIAL_SPECS[name]).items():
        converted[ours] = state[theirs].reshape(shape).contiguous()
    return name, converted
