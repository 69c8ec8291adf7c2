"""emclick: click on an object, get its mask, correct it with more clicks, on an ordinary CPU.

    import emclick
    session = emclick.Session(emclick.load(), "photo.jpg")
    mask = session.click(x=120, y=84).mask

Public names are imported when first used, so that `import emclick` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emclick.clicks import Click as Click
    from emclick.errors import EmclickError as EmclickError
    from emclick.evaluation.benchmark import evaluate as evaluate
    from emclick.images import read_image as read_image
    from emclick.images import read_mask as read_mask
    from emclick.images import write_mask as write_mask
    from emclick.images import write_overlay as write_overlay
    from emclick.prediction import Prediction as Prediction
    from emclick.session import Session as Session
    from emclick.zoo import Model as Model
    from emclick.zoo import list_models as list_models
    from emclick.zoo import load as load

__version__ = "0.1.0"

_PUBLIC = {
    "Click": "emclick.clicks",
    "EmclickError": "emclick.errors",
    "Model": "emclick.zoo",
    "Prediction": "emclick.prediction",
    "Session": "emclick.session",
    "evaluate": "emclick.evaluation.benchmark",
    "list_models": "emclick.zoo",
    "load": "emclick.zoo",
    "read_image": "emclick.images",
    "read_mask": "emclick.images",
    "write_mask": "emclick.images",
    "write_overlay": "emclick.images",
}

__all__ = [
    "Click",
    "EmclickError",
    "Model",
    "Prediction",
    "Session",
    "__version__",
    "evaluate",
    "list_models",
    "load",
    "read_image",
    "read_mask",
    "write_mask",
    "write_overlay",
]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'emclick' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
