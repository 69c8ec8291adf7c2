"""The table of base networks: name -> builder `(click_maps=1) -> BaseNetwork`, one file each."""

from emclick.registry import Registry

BASES = Registry(
    "base network",
    "emclick.backbones",
    {
        "hrnet18s": "emclick.networks.backbones.hrnet:hrnet18s",
        "hrnet18": "emclick.networks.backbones.hrnet:hrnet18",
        "hrnet32": "emclick.networks.backbones.hrnet:hrnet32",
        "segformer_b0": "emclick.networks.backbones.segformer:segformer_b0",
        "segformer_b3": "emclick.networks.backbones.segformer:segformer_b3",
        "mobilenet_v2": "emclick.networks.backbones.mobilenet_v2:mobilenet_v2",
    },
)
