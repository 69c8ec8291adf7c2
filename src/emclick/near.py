"""Which cells a click changes in maps that feel it near it alone, and which cells those are made of."""

from __future__ import annotations

import math
from dataclasses import dataclass

from emclick.clicks import DISK_CELLS


@dataclass(frozen=True)
class Reach:
    """How far the layers look that make a map.

    Attributes:
        cells: to each side, cells of 4x4 frame pixels; a multiple of `step`.
        step: where windows begin, and where what they change begins and ends, is a multiple of so many cells, or the
            frame's end; 1 or 2.
    """

    cells: int
    step: int = 1

    def side(self, size: int) -> int:
        """Of `size` rows or columns of cells, how many a window has."""
        side = DISK_CELLS + 4 * self.cells + 2 * (self.step - 1)
        return min(side + size % self.step, size)

    def window(self, touched: slice, size: int) -> tuple[slice, slice]:
        """Of `size` rows or columns those that are made again, and among them those that differ.

        Args:
            touched: where the click's disk is. If that is more than a disk can be, all are made again.
        """
        if touched.stop - touched.start > DISK_CELLS:
            return slice(0, size), slice(0, size)
        start = (touched.start - self.cells) // self.step * self.step
        stop = -(-(touched.stop + self.cells) // self.step) * self.step
        side = self.side(size)
        used = min(max(start - self.cells, 0), size - side)
        return slice(used, used + side), slice(max(start, 0), min(stop, size))


FUSED = Reach(8)
"""Of the fused feature: four layers of two 3x3 convolutions each (`networks.split.FusePart`)."""

AROUND = Reach(6, step=2)
"""Of what a backbone's `around_click` may make."""


def within(cells: slice, others: slice) -> slice:
    """`cells`, counted from the first of `others`."""
    return slice(cells.start - others.start, cells.stop - others.start)


def scaled(cells: slice, size: int, own_size: int) -> slice:
    """Of a map with `own_size` rows or columns for `size` of cells those that are whole within `cells`."""
    if own_size >= size:
        finer = own_size // size
        return slice(cells.start * finer, cells.stop * finer)
    coarser = 1 << round(math.log2(size / own_size))
    stop = own_size if cells.stop == size else cells.stop // coarser
    return slice(cells.start // coarser, stop)
