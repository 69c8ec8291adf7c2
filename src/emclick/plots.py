"""Plots: which files they may be, and writing them whole. matplotlib is imported only where one is made."""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any

from emclick.errors import MissingExtraError, UnknownNameError
from emclick.files import require_folder, write_atomic

PLOT_FORMATS = {".png": "png", ".svg": "svg", ".pdf": "pdf"}
_DPI = 150


def check_plot_format(path: Path) -> None:
    """Raise what writing a plot to `path` would raise, before hours are spent on what it shows.

    Raises:
        UnknownNameError: a suffix other than .png, .svg and .pdf.
        MissingExtraError: matplotlib is not installed.
        WriteError: there is no folder to write to.
    """
    if path.suffix.lower() not in PLOT_FORMATS:
        raise UnknownNameError("plot format", path.suffix, sorted(PLOT_FORMATS))
    require_folder(path)
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("plots need matplotlib: pip install 'emclick[torch]'") from error


def new_figure(width_in: float, height_in: float) -> Any:
    """An empty matplotlib figure of that size in inches, which needs no screen."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Any, path: Path) -> Path:
    """Write a figure; the suffix of `path` says the format. Raises `WriteError` if it cannot be written."""

    def write(file: IO[bytes]) -> None:
        figure.savefig(file, format=PLOT_FORMATS[path.suffix.lower()], dpi=_DPI)

    return write_atomic(path, write)
