"""The table of annotation formats: what goes out of a project and comes into one. One file each.

    FORMATS["coco"].lossy                                    # name, about, suffixes, single_file, lossy
    make_format("coco", polygons=True).export(annotations, Path("out"))
    make_format("coco").read(Path("annotations.json"), {"dog.jpg": (480, 640)})

Each entry is a subclass of `base.Format`, made with its options. The neutral model between project and
format is `annotations.model`.
"""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from emclick.errors import OptionError
from emclick.registry import Registry

if TYPE_CHECKING:
    from emclick.annotations.base import Format

FORMATS = Registry(
    "format",
    "emclick.annotations",
    {
        "coco": "emclick.annotations.coco:Coco",
        "labelme": "emclick.annotations.labelme:LabelMe",
        "voc": "emclick.annotations.voc:Voc",
        "yolo": "emclick.annotations.yolo:Yolo",
        "instances": "emclick.annotations.instances:Instances",
        "zip": "emclick.annotations.archive:Archive",
    },
)


def make_format(name: str, **options: Any) -> Format:
    """Format `name` with its options.

    Raises:
        UnknownNameError: no such format.
        OptionError: an option that it does not have.
    """
    kind = FORMATS[name]
    known = [field.name for field in fields(kind)]
    for option in options:
        if option not in known:
            raise OptionError(f"format {name} has no option {option!r}; it has {', '.join(known) or 'none'}")
    return kind(**options)
