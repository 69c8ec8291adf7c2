"""Options that several commands have, each said once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[
    str | None,
    typer.Option(
        help="Name of `emclick models`, or a folder made by convert or train. Default: the default model."
    ),
]
Runtime = Annotated[
    str | None, typer.Option(help="onnx, openvino or torch. Default: onnx where the model has graphs.")
]
Precision = Annotated[
    str | None, typer.Option(help="What the runtime computes in: fp32 (default), bf16, ...")
]
Threads = Annotated[
    int | None,
    typer.Option(min=1, help="CPU threads in all. Default: what this process may use.", metavar="N"),
]
Workers = Annotated[int, typer.Option(min=1, help="Processes; they share the CPU's threads.", metavar="N")]
Flip = Annotated[
    bool, typer.Option("--flip", help="Flip test-time augmentation: twice the work, a little better.")
]
ShortSide = Annotated[
    int | None,
    typer.Option(min=4, help="Shorter side of the frame in pixels. Default: the model's own.", metavar="S"),
]
ZoomIn = Annotated[
    bool | None,
    typer.Option(
        "--zoom-in/--no-zoom-in",
        help="Once there is a mask, look at the object instead of the whole image. Default: the model's own.",
        show_default=False,
    ),
]
ObjectLimit = Annotated[
    int | None, typer.Option(min=1, help="The first N objects of each dataset only.", metavar="N")
]
Markdown = Annotated[Path | None, typer.Option(help="Also write tables (markdown).", metavar="FILE")]
