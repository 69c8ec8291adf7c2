"""The View between an image and the network's frame, and the bilinear resize that the method uses.

Source: METHOD, "Frames and resizing". Sizes are (height, width). Image coordinates are (x, y) in pixels,
frame coordinates (row, column). A click scales by new side / old side; images and masks are resampled
with aligned corners. Both rules are the published protocol, so a click may lie up to one frame pixel
from where its image pixel was resampled to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from emclick.errors import FrameError

Float = NDArray[np.float32]
Number = TypeVar("Number", float, NDArray[np.float64])

GRID = 4
"""Frame pixels per grid cell: features, logits and distance maps live at 1/4 of the frame."""

MAX_ASPECT = 4
"""A frame's longer side is at most this many times its shorter side."""

MAX_SHORT_SIDE = 4096
"""Largest short side accepted; beyond it a single feature map would need gigabytes."""

_BLOCK_VALUES = 1 << 17  # values blended at a time, so that the temporaries stay in the CPU's cache
_BLOCK_BYTES = 1 << 18  # likewise, of image rows or of one float64 temporary, when an image becomes a frame

_BLEND_ERROR = 1e-6  # more than a float32 blend of four values leaves their range by, see _corners_beyond
_MIXED_SHARE = 8  # blending a pixel on its own costs about this many times one in a row


class _Taps(NamedTuple):
    """Along one axis: output i is `input[low[i]] * (1 - weight[i]) + input[high[i]] * weight[i]`."""

    low: NDArray[np.intp]
    high: NDArray[np.intp]
    weight: Float


def _taps(size: int, out_size: int) -> _Taps:
    # Positions are computed in float32, as the networks' reference does: at 500 px that moves a sample
    # by 3e-5 px, which a float64 position would turn into a difference of the same order.
    scale = np.float32(size - 1) / np.float32(out_size - 1) if out_size > 1 else np.float32(0)
    position = scale * np.arange(out_size, dtype=np.float32)
    low = np.minimum(position.astype(np.intp), size - 1)
    high = np.minimum(low + 1, size - 1)
    weight = np.clip(position - low.astype(np.float32), 0, 1).astype(np.float32)
    return _Taps(low, high, weight)


def _gathered(taps: _Taps, size: int) -> tuple[NDArray[np.intp] | None, _Taps]:
    """The input indices that are read (None for all of them), and the taps counted within those."""
    used = np.zeros(size, np.bool_)
    used[taps.low] = used[taps.high] = True
    if used.all():
        return None, taps
    place = np.cumsum(used) - 1
    return np.flatnonzero(used), _Taps(place[taps.low], place[taps.high], taps.weight)


def _blend_columns(array: Float, taps: _Taps) -> Float:
    out = np.take(array, taps.low, axis=-1)
    out *= 1 - taps.weight
    part = np.take(array, taps.high, axis=-1)
    part *= taps.weight
    out += part
    return out


def _blend_rows(array: Float, taps: _Taps, start: int, stop: int) -> Float:
    weight = taps.weight[start:stop, None]
    out = np.take(array, taps.low[start:stop], axis=-2)
    out *= 1 - weight
    part = np.take(array, taps.high[start:stop], axis=-2)
    part *= weight
    out += part
    return out


def _four_taps(image: NDArray[np.uint8], rows: _Taps, columns: _Taps) -> Float:
    """(H, W, 3) uint8 to (3, h, w) float32 in [0, 1], with the reference's rounding.

    Equal to the bit to PyTorch's result with one thread: its kernel multiplies the two weights of each corner
    first and adds corner by corner with fused multiply-adds, here done in float64. It matters: two templates
    whose scores tie to rounding swap over the frame's last bit, and a whole session takes another course.
    """
    width, out_hw = image.shape[1], (len(rows.low), len(columns.low))
    # bytes within an image row: both columns of every sample, by channel, so that planes come out
    picked = np.concatenate([3 * column + channel for column in columns[:2] for channel in range(3)])
    right = columns.weight
    left = 1 - right
    frame = np.empty((3, *out_hw), np.float32)
    block = max(1, _BLOCK_BYTES // (3 * max(width, 8 * out_hw[1])))
    for start in range(0, out_hw[0], block):
        part = slice(start, min(start + block, out_hw[0]))

        def corners(row: NDArray[np.intp]) -> Float:
            """(2, rows, 3, w): at the left, at the right columns of image rows `row`."""
            whole = np.ascontiguousarray(image[row]).reshape(len(row), -1)
            values = np.take(whole, picked, axis=1).astype(np.float32)
            values /= 255
            return values.reshape(len(row), 2, 3, -1).swapaxes(0, 1)

        (up_left, up_right), (down_left, down_right) = corners(rows.low[part]), corners(rows.high[part])
        down = rows.weight[part, None]
        up = 1 - down
        total = (up * right)[:, None] * up_right
        last = frame[:, part].swapaxes(0, 1)
        for weight, corner, out in (
            (up * left, up_left, total),
            (down * left, down_left, total),
            (down * right, down_right, last),
        ):
            product = corner.astype(np.float64)
            product *= weight.astype(np.float64)[:, None]
            np.add(product, total, out=out, casting="same_kind")  # in float64, then rounded
    return frame


def _resized_rows(
    array: NDArray[Any], out_hw: tuple[int, int], convert: Callable[[NDArray[Any]], Float] | None = None
) -> Iterator[tuple[int, int, Float]]:
    """Rows start to stop of the resized array, block by block: (start, stop, (..., stop - start, w))."""
    height, width = array.shape[-2:]
    rows, row_taps = _gathered(_taps(height, out_hw[0]), height)
    columns, column_taps = _gathered(_taps(width, out_hw[1]), width)
    if rows is not None:
        array = np.take(array, rows, axis=-2)
    if columns is not None:
        array = np.take(array, columns, axis=-1)
    values = convert(array) if convert is not None else array.astype(np.float32, copy=False)
    values = _blend_columns(values, column_taps)
    per_row = max(1, values.size // values.shape[-2])
    block = max(1, _BLOCK_VALUES // per_row)
    for start in range(0, out_hw[0], block):
        stop = min(start + block, out_hw[0])
        yield start, stop, _blend_rows(values, row_taps, start, stop)


def resize_bilinear(
    array: NDArray[Any],
    out_hw: tuple[int, int],
    convert: Callable[[NDArray[Any]], Float] | None = None,
) -> Float:
    """Bilinear resize of the last two axes with aligned corners (corner samples stay corner samples).

    Input and output index relate by `input = output * (in - 1) / (out - 1)`, as in
    `torch.nn.functional.interpolate(mode="bilinear", align_corners=True)`. Nothing is averaged when
    shrinking, so only the at most two rows and columns behind each output value are read.

    Args:
        array: (..., H, W), any real dtype.
        out_hw: the new (h, w), at least (1, 1).
        convert: element by element conversion to float32, applied to the values that are read and
            before they are blended; a plain cast if not given.

    Returns:
        (..., h, w) float32.
    """
    out = np.empty((*array.shape[:-2], *out_hw), np.float32)
    for start, stop, rows in _resized_rows(array, out_hw, convert):
        out[..., start:stop, :] = rows
    return out


def _corners_beyond(frame: Float, level: np.float32) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(h, w) each: all four values that a blend in cell (row, column) reads are far above, far below `level`.

    Far is beyond what rounding can do. In float32 a blend of a and b rounds each of its two parts at most three
    times (1 - weight, product, sum), by 2^-24 of it: the blend lies at most 3 * 2^-24 * max(|a|, |b|) out of
    their range, and a blend of two blends twice that, 3.6e-7; rounding the two limits adds 6e-8. What is not a
    number is neither above nor below.
    """
    margin = _BLEND_ERROR * max(1.0, float(frame.max()), -float(frame.min()))
    above, below = frame > float(level) + margin, frame < float(level) - margin
    for each in (above, below):  # a last row or column has itself as its neighbour
        each[:, :-1] &= each[:, 1:]
        each[:-1] &= each[1:]
    return above, below


class _CellOutputs(NamedTuple):
    """Along one axis, the outputs in each of N cells: those blended of inputs `low` and `high` = low + 1."""

    low: NDArray[np.intp]  # (N,)
    high: NDArray[np.intp]  # (N,)
    output: NDArray[np.intp]  # (most of any cell, N); where a cell has fewer, its last one repeats
    weight: Float  # likewise


def _outputs_in(cells: NDArray[np.intp], taps: _Taps, counts: NDArray[np.intp]) -> _CellOutputs:
    """`counts`: how many outputs each cell of the axis has; `cells` have at least one."""
    stop, count = np.cumsum(counts)[cells], counts[cells]
    output = np.minimum(stop - count + np.arange(count.max())[:, None], stop - 1)
    return _CellOutputs(cells, np.minimum(cells + 1, len(counts) - 1), output, taps.weight[output])


def _blend_cells(frame: Float, down: _CellOutputs, across: _CellOutputs) -> Float:
    """(most rows, most columns, N): the operations of `_blend_columns` and `_blend_rows`, in their order."""

    def blend_columns(row: NDArray[np.intp]) -> Float:
        out = frame[row, across.low] * (1 - across.weight)
        out += frame[row, across.high] * across.weight
        return out

    out = blend_columns(down.low) * (1 - down.weight)[:, None]
    out += blend_columns(down.high) * down.weight[:, None]
    return out


def _enlarged(
    cells: NDArray[np.bool_], rows: NDArray[np.intp], columns: NDArray[np.intp]
) -> NDArray[np.bool_]:
    """`cells[rows][:, columns]`; both ascending."""
    mask = np.empty((len(rows), len(columns)), np.bool_)
    transposed = cells.T.view(np.uint8)
    counts = np.bincount(columns, minlength=len(transposed))
    block = max(1, _BLOCK_VALUES // len(columns))
    for start in range(0, len(cells), block):
        # wide first, as rows of the transposed: to copy runs of bytes is quicker than to copy bytes
        wide = np.repeat(np.ascontiguousarray(transposed[:, start : start + block]), counts, axis=0)
        wide = cv2.transpose(wide).reshape(-1, len(columns)).view(np.bool_)
        top, bottom = np.searchsorted(rows, (start, start + block))
        np.take(wide, rows[top:bottom] - start, axis=0, out=mask[top:bottom], mode="clip")
    return mask


def _mask_by_cells(frame: Float, out_hw: tuple[int, int], level: np.float32) -> NDArray[np.bool_] | None:
    """`resize_bilinear(frame, out_hw) > level`, blending only in the cells of the frame that leave it open.

    None where these are so many that blending everything is quicker.
    """
    above, below = _corners_beyond(frame, level)
    mixed = ~(above | below)
    if np.count_nonzero(mixed) * _MIXED_SHARE > frame.size:
        return None
    taps = [_taps(size, out_size) for size, out_size in zip(frame.shape, out_hw)]
    counts = [np.bincount(each.low, minlength=size) for each, size in zip(taps, frame.shape)]
    mask = _enlarged(above, taps[0].low, taps[1].low)
    rows, columns = np.divmod(np.flatnonzero(mixed), frame.shape[1])
    seen = (counts[0][rows] > 0) & (counts[1][columns] > 0)
    rows, columns = rows[seen], columns[seen]
    block = max(1, _BLOCK_VALUES // int(counts[0].max() * counts[1].max()))
    for start in range(0, len(rows), block):
        part = slice(start, start + block)
        down = _outputs_in(rows[part], taps[0], counts[0])
        across = _outputs_in(columns[part], taps[1], counts[1])
        pixels = (down.output * out_hw[1])[:, None] + across.output
        mask.reshape(-1)[pixels] = _blend_cells(frame, down, across) > level
    return mask


class GridSampler:
    """Reduces maps of a frame to the grid as `resize_bilinear` does, for maps known where it reads them alone.

    Attributes:
        rows: (2 h/4,) the frame's rows that are read: the upper one of each row of the grid, then the lower ones.
        columns: (2 w/4,) likewise, left and right.
    """

    def __init__(self, frame_hw: tuple[int, int]) -> None:
        down, across = (_taps(size, size // GRID) for size in frame_hw)
        self.rows, self.columns = (np.concatenate([taps.low, taps.high]) for taps in (down, across))
        self.grid_hw = (frame_hw[0] // GRID, frame_hw[1] // GRID)
        self._lower, self._right = down.weight[:, None], across.weight
        self._upper, self._left = 1 - self._lower, 1 - self._right

    def reduce(self, samples: Float) -> Float:
        """(R, C) float32, the map's values at `rows` and `columns` -> (h/4, w/4) float32."""
        height, width = self.grid_hw
        across = samples[:, :width] * self._left
        across += samples[:, width:] * self._right
        down = across[:height] * self._upper
        down += across[height:] * self._lower
        return down


def check_short_side(short_side: object) -> int:
    """`short_side` as an int.

    Raises:
        FrameError: not a whole number, or outside 4 to `MAX_SHORT_SIDE`.
    """
    if isinstance(short_side, bool) or not isinstance(short_side, (int, np.integer)):
        raise FrameError(f"short side must be a whole number of pixels, not {short_side!r}")
    if not GRID <= short_side <= MAX_SHORT_SIDE:
        raise FrameError(f"short side must be {GRID} to {MAX_SHORT_SIDE} pixels, not {short_side}")
    return int(short_side)


def _side(side: int, scale: float) -> int:
    return max(GRID, round(side * scale) // GRID * GRID)


class Box(NamedTuple):
    """A rectangle of whole image pixels: rows top to bottom - 1, columns left to right - 1."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def hw(self) -> tuple[int, int]:
        """(height, width)."""
        return self.bottom - self.top, self.right - self.left

    def contains(self, x: float, y: float) -> bool:
        """Whether image point (x, y) lies in one of its pixels."""
        return self.left - 0.5 <= x < self.right - 0.5 and self.top - 0.5 <= y < self.bottom - 0.5

    def covers(self, other: Box) -> bool:
        """Whether all of another rectangle lies in it."""
        return (
            self.top <= other.top and self.left <= other.left
            and self.bottom >= other.bottom and self.right >= other.right
        )  # fmt: skip

    def of(self, array: NDArray[Any]) -> NDArray[Any]:
        """The part of an (H, W, ...) array that it covers; no copy."""
        return array[self.top : self.bottom, self.left : self.right]


@dataclass(frozen=True, slots=True)
class View:
    """How an image lies in the frame: one scale per axis, then optionally mirrored left to right.

    Attributes:
        image_hw: the image's (H, W), at least (1, 1).
        frame_hw: the frame's (h, w), multiples of 4.
        mirrored: frame column c holds what the plain frame has at w - 1 - c.
        box: the part of the image that fills the frame; None for all of it. Off it a probability is 0.
    """

    image_hw: tuple[int, int]
    frame_hw: tuple[int, int]
    mirrored: bool = False
    box: Box | None = None

    @classmethod
    def fit(cls, image_hw: tuple[int, int], short_side: int, box: Box | None = None) -> View:
        """The view whose shorter frame side is `short_side`; both sides floored to multiples of 4.

        The longer side is capped at `MAX_ASPECT` times the shorter: a longer image is squeezed along it.

        Raises:
            FrameError: `short_side` is not usable, or the image has no pixels.
        """
        short_side = check_short_side(short_side)
        height, width = image_hw if box is None else box.hw
        if height < 1 or width < 1:
            raise FrameError(f"an image of {width}x{height} pixels has nothing to segment")
        scale = short_side / min(height, width)
        sides = (_side(height, scale), _side(width, scale))
        cap = min(sides) * MAX_ASPECT
        frame_hw = (min(sides[0], cap), min(sides[1], cap))
        return cls((int(image_hw[0]), int(image_hw[1])), frame_hw, box=box)

    def mirror(self) -> View:
        """The same view mirrored left to right (twice: itself)."""
        return View(self.image_hw, self.frame_hw, not self.mirrored, self.box)

    @property
    def seen(self) -> Box:
        """The part of the image that fills the frame."""
        return Box(0, 0, *self.image_hw) if self.box is None else self.box

    @property
    def scale(self) -> tuple[float, float]:
        """Frame pixels per image pixel, down and across."""
        height, width = self.seen.hw
        return self.frame_hw[0] / height, self.frame_hw[1] / width

    @property
    def grid_hw(self) -> tuple[int, int]:
        """(h/4, w/4), the size of features and logits."""
        return self.frame_hw[0] // GRID, self.frame_hw[1] // GRID

    def to_frame(self, x: Number, y: Number) -> tuple[Number, Number]:
        """(row, column) in the frame of image point (x, y); numbers or float64 arrays, not rounded."""
        down, across = self.scale
        row, column = (y - self.seen.top) * down, (x - self.seen.left) * across
        return row, (self.frame_hw[1] - 1 - column) if self.mirrored else column

    def from_frame(self, row: Number, column: Number) -> tuple[Number, Number]:
        """(x, y) in the image of a frame point: the inverse of `to_frame`, up to float64 rounding."""
        if self.mirrored:
            column = self.frame_hw[1] - 1 - column
        down, across = self.scale
        return column / across + self.seen.left, row / down + self.seen.top

    def image_to_frame(self, image: NDArray[np.uint8]) -> Float:
        """(H, W, 3) uint8 to (3, h, w) float32 in [0, 1]."""
        self._check(image.shape[:2], self.image_hw, "image")
        rows, columns = (_taps(size, new) for size, new in zip(self.seen.hw, self.frame_hw))
        return self._flipped(_four_taps(self.seen.of(image), rows, columns))

    def probability_to_image(self, frame_prob: Float) -> Float:
        """(h, w) float32 to (H, W) float32; values stay within the range of the input, 0 off the box."""
        self._check(frame_prob.shape, self.frame_hw, "frame probability")
        return self._placed(resize_bilinear(self._flipped(frame_prob), self.seen.hw))

    def probability_to_mask(self, frame_prob: Float, threshold: float) -> NDArray[np.bool_]:
        """`probability_to_image(frame_prob) > threshold`, (H, W) bool, without the float image in memory."""
        self._check(frame_prob.shape, self.frame_hw, "frame probability")
        frame, level = self._flipped(frame_prob.astype(np.float32, copy=False)), np.float32(threshold)
        mask = _mask_by_cells(frame, self.seen.hw, level)
        if mask is None:
            mask = np.empty(self.seen.hw, np.bool_)
            for start, stop, rows in _resized_rows(frame, self.seen.hw):
                np.greater(rows, level, out=mask[start:stop])
        return self._placed(mask)

    def mask_to_grid(self, mask: NDArray[np.bool_]) -> Float:
        """(H, W) bool to (h/4, w/4) float32 in [0, 1]."""
        self._check(mask.shape, self.image_hw, "mask")
        return self._flipped(resize_bilinear(self.seen.of(mask), self.grid_hw))

    def _placed(self, part: NDArray[Any]) -> NDArray[Any]:
        if self.box is None:
            return part
        whole = np.zeros(self.image_hw, part.dtype)
        self.box.of(whole)[...] = part
        return whole

    def _flipped(self, array: Float) -> Float:
        return np.ascontiguousarray(array[..., ::-1]) if self.mirrored else array

    @staticmethod
    def _check(shape: tuple[int, ...], expected: tuple[int, int], what: str) -> None:
        if tuple(shape) != tuple(expected):
            raise FrameError(f"{what} has shape {tuple(shape)} where the view expects {tuple(expected)}")
