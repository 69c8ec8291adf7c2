"""The table of methods: interaction loops. One file each; see `base.Method`, a subclass of which each entry is."""

from emclick.registry import Registry

METHODS = Registry(
    "method",
    "emclick.methods",
    {
        "cdnet": "emclick.methods.cdnet:CdnetMethod",
        "emc": "emclick.methods.emc:EmcMethod",
        "fbrs": "emclick.methods.fbrs:FbrsMethod",
        "focalclick": "emclick.methods.focalclick:FocalClickMethod",
        "ritm": "emclick.methods.ritm:RitmMethod",
    },
)
