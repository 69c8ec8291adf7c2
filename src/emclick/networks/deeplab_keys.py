"""Names of DeepLabV3+ and its ResNet in released checkpoints; the releases of f-BRS and CDNet share them."""

from __future__ import annotations

from emclick.networks.releases import Rewrites, rewrite

_STEM_CONVOLUTIONS = {"resnet34": 1, "resnet50": 3}


def resnet_rules(base: str) -> Rewrites:
    """Our key within the backbone -> that of the public ResNet weights, whose names the releases keep."""
    count = _STEM_CONVOLUTIONS[base]
    if count == 1:
        stem = [(r"\bstem\.0\.0\.", r"conv1."), (r"\bstem\.0\.1\.", r"bn1.")]
    else:
        stem = [(rf"\bstem\.{count - 1}\.1\.", r"bn1.")]
        for number in range(count):
            stem.append((rf"\bstem\.{number}\.0\.", rf"conv1.{3 * number}."))
            stem.append((rf"\bstem\.{number}\.1\.", rf"conv1.{3 * number + 1}."))
    stages = [(rf"\bstages\.{number}\.", rf"layer{number + 1}.") for number in range(4)]
    convs = [
        (rf"\.convs\.{number}\.{part}\.", rf".{name}{number + 1}.")
        for number in range(3)
        for part, name in enumerate(("conv", "bn"))
    ]
    return (*stem, *stages, *convs, (r"\.shortcut\.", r".downsample."))


def deeplab_rules(base: str) -> Rewrites:
    """Our key of `networks.deeplab.DeepLab` under `base.` -> the releases'."""
    return (
        (r"^base\.backbone\.", r"feature_extractor.backbone."),
        *resnet_rules(base),
        (r"^base\.skip\.", r"feature_extractor.skip_project.skip_project."),
        (r"^base\.aspp\.branches\.", r"feature_extractor.aspp.concurent."),
        (r"^base\.aspp\.image_pooling\.0\.", r"feature_extractor.aspp.concurent.4.gap.1."),
        (r"^base\.aspp\.image_pooling\.1\.", r"feature_extractor.aspp.concurent.4.gap.2."),
        (r"^base\.aspp\.", r"feature_extractor.aspp."),
        (r"^base\.decoder\.(\d)\.(\d)\.", r"feature_extractor.head.block.\1.body.\2."),
        (r"^base\.decoder\.", r"feature_extractor.head.block."),
    )


def head_rules(ours: str, theirs: str) -> Rewrites:
    """Our key of a `separable_head` at `ours` (a pattern) -> the releases' at `theirs`."""
    return (
        (rf"^{ours}\.(\d)\.(\d)\.", rf"{theirs}.layers.\1.body.\2."),
        (rf"^{ours}\.", rf"{theirs}.layers."),
    )


def public_resnet_key(key: str, base: str) -> str:
    """Our key under `base.backbone.` -> that in the public file of pretrained weights."""
    return rewrite(key.removeprefix("base.backbone."), resnet_rules(base))
