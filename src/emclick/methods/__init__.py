"""The table of methods: interaction loops over a runtime. One file each; see `base.Method`.

Each entry is a class `(runtime, templates, options) -> Method`.
"""

from emclick.registry import Registry

METHODS = Registry("method", "emclick.methods", {"emc": "emclick.methods.emc:EmcMethod"})
