"""`emclick segment`: clicks on a photograph in, mask out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emclick.cli.options import Flip, Model, Runtime, ShortSide, Threads, ZoomIn

if TYPE_CHECKING:
    from emclick.clicks import Click

POLARITIES = {"": True, "pos": True, "neg": False}


def parse_click(text: str) -> Click:
    """`X,Y`, `X,Y,pos` or `X,Y,neg` to a click; anything else is a usage error."""
    from emclick.clicks import Click

    x, _, rest = text.partition(",")
    y, _, polarity = rest.partition(",")
    try:
        return Click(float(x), float(y), POLARITIES[polarity.strip().lower()])
    except (ValueError, KeyError):
        raise typer.BadParameter(f"{text!r} is not X,Y or X,Y,neg, in image pixels") from None


def segment_command(
    image: Annotated[Path, typer.Argument(help="The photograph.", metavar="IMAGE")],
    click: Annotated[
        list[str],
        typer.Option(
            "--click",
            "-c",
            help="A click in image pixels, origin at the top left: X,Y on the object, X,Y,neg beside it. "
            "Repeat for more; the order counts.",
            metavar="X,Y[,neg]",
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Mask to write: 0 and 255.", metavar="MASK.png")
    ],
    initial_mask: Annotated[
        Path | None,
        typer.Option(help="A mask to correct: every pixel that is not 0 is object.", metavar="MASK.png"),
    ] = None,
    overlay: Annotated[
        Path | None, typer.Option(help="Also write the photograph with mask and clicks.", metavar="FILE")
    ] = None,
    model: Model = None,
    runtime: Runtime = None,
    precision: Annotated[str, typer.Option(help="What the runtime computes in: fp32, bf16, ...")] = "fp32",
    threads: Threads = None,
    short_side: ShortSide = None,
    flip: Flip = False,
    zoom_in: ZoomIn = None,
    threshold: Annotated[float, typer.Option(help="Probability above which a pixel is object.")] = 0.5,
    progressive_merge: Annotated[
        bool,
        typer.Option("--progressive-merge", help="With a mask present, a click changes only its own part."),
    ] = False,
) -> None:
    """Cut an object out of a photograph by clicks.

    The first click lies on the object, unless --initial-mask gives a mask to correct. Each further click
    corrects the mask: on a missing part, or with `neg` on a part too many.

    Example: emclick segment dog.jpg --click 240,150 --click 300,90,neg -o mask.png --overlay overlay.png
    """
    clicks = [parse_click(text) for text in click]
    from emclick.images import check_writable, read_image, read_mask, write_mask, write_overlay
    from emclick.session import Session
    from emclick.zoo import DEFAULT_MODEL, load

    check_writable(output, overlay)
    pixels = read_image(image)
    mask = None if initial_mask is None else read_mask(initial_mask, pixels.shape[:2])
    loaded = load(model or DEFAULT_MODEL, runtime=runtime, threads=threads, precision=precision)
    session = Session(
        loaded,
        pixels,
        short_side=short_side,
        flip=flip,
        initial_mask=mask,
        threshold=threshold,
        progressive_merge=progressive_merge,
        zoom_in=zoom_in,
    )
    for number, made in enumerate(clicks, 1):
        prediction = session.click(made.x, made.y, made.positive)
        kind = "positive" if made.positive else "negative"
        share = 100 * float(prediction.mask.mean())
        typer.echo(
            f"click {number}: ({made.x:g}, {made.y:g}) {kind}, {prediction.ms:.0f} ms, "
            f"object {share:.1f} % of the image"
        )
    write_mask(output, session.mask)
    typer.echo(f"wrote {output}")
    if overlay is not None:
        write_overlay(overlay, pixels, session.mask, session.clicks)
        typer.echo(f"wrote {overlay}")
