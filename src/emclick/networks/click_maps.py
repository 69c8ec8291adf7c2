"""Disk and distance maps of batches of clicks, on the training device. `emclick.clicks` is the numpy twin."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from emclick.networks.blocks import upsample_to
from emclick.networks.correction import STRIDE, ClickInput

DISK_RADIUS_PX = 5


class ClickMaps:
    """The clicks of B frames and their maps, one click per frame at a time; cost does not grow with clicks.

    Args:
        batch: B.
        frame_hw: (H, W), multiples of 4.
        device: where the maps live.
    """

    def __init__(self, batch: int, frame_hw: Sequence[int], device: torch.device | str = "cpu") -> None:
        self.frame_hw = (int(frame_hw[0]), int(frame_hw[1]))
        self.rows = torch.arange(self.frame_hw[0], device=device, dtype=torch.float32)
        self.columns = torch.arange(self.frame_hw[1], device=device, dtype=torch.float32)
        self.points = torch.zeros(batch, 0, 2, device=device)
        self.positive = torch.zeros(batch, 0, dtype=torch.bool, device=device)
        self.exists = torch.zeros(batch, 0, dtype=torch.bool, device=device)
        self.nearest = torch.full((batch, 2, *self.frame_hw), torch.inf, device=device)

    def add(self, points: Tensor, positive: Tensor, exists: Tensor) -> None:
        """Add one click per frame.

        Args:
            points: (B, 2) (row, column) in the frame; any value where there is no click.
            positive: (B,) bool.
            exists: (B,) bool, False where this frame gets no click.
        """
        points = points.to(self.points)
        self.points = torch.cat([self.points, points[:, None]], 1)
        self.positive = torch.cat([self.positive, positive[:, None]], 1)
        self.exists = torch.cat([self.exists, exists[:, None]], 1)
        squared = self.squared_distance(points)
        for channel, chosen in enumerate((exists & positive, exists & ~positive)):
            near = squared.masked_fill(~chosen[:, None, None], torch.inf)
            self.nearest[:, channel] = torch.minimum(self.nearest[:, channel], near)

    def squared_distance(self, points: Tensor) -> Tensor:
        """(B, 2) -> (B, H, W) squared distance of every pixel to one click per frame."""
        down = (self.rows - points[:, :1]) ** 2
        across = (self.columns - points[:, 1:]) ** 2
        return down[:, :, None] + across[:, None, :]

    def first_click_map(self) -> Tensor:
        """(B, 1, H, W) float32 disk map of the first click alone."""
        return (self.squared_distance(self.points[:, 0]) <= DISK_RADIUS_PX**2)[:, None].float()

    def input(self) -> ClickInput:
        """All that the corrector reads of the clicks so far (METHOD, "Click encodings")."""
        height, width = self.frame_hw
        diagonal = float(height**2 + width**2) ** 0.5
        distances = self.nearest.masked_fill(self.nearest.isinf(), 1.0).sqrt() / diagonal
        disks = (self.nearest <= DISK_RADIUS_PX**2).float()
        reduced = upsample_to(distances, (height // STRIDE, width // STRIDE))
        return ClickInput(self.points, self.positive, self.exists, disks, reduced)


class CellMaps:
    """The clicks of B frames as the corrector's first layer reads them: pixels in cells of 4x4, channels last.

    `ClickMaps` in another layout, for training: a click writes its disk alone, and distances are kept at the
    pixels that their reduction reads.

    Args:
        batch: B.
        frame_hw: (H, W), multiples of 4.
        device: where the maps live.
        dtype: of the cells.

    Attributes:
        points, positive, exists: as in `ClickInput`.
    """

    def __init__(
        self, batch: int, frame_hw: Sequence[int], device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:  # fmt: skip
        height, width = self.frame_hw = (int(frame_hw[0]), int(frame_hw[1]))
        grid = (height // STRIDE, width // STRIDE)
        self.points = torch.zeros(batch, 0, 2, device=device)
        self.positive = torch.zeros(batch, 0, dtype=torch.bool, device=device)
        self.exists = torch.zeros(batch, 0, dtype=torch.bool, device=device)
        self._cells = torch.zeros(batch, *grid, 3 * STRIDE**2, dtype=dtype, device=device)
        self._rows, self._row_weights = _read_pixels(height, device)
        self._columns, self._column_weights = _read_pixels(width, device)
        self._nearest = torch.full((batch, 2, 2 * grid[0], 2 * grid[1]), torch.inf, device=device)

    def add(self, points: Tensor, positive: Tensor, exists: Tensor) -> None:
        """Add one click per frame; arguments as of `ClickMaps.add`."""
        points = points.to(self.points)
        self.points = torch.cat([self.points, points[:, None]], 1)
        self.positive = torch.cat([self.positive, positive[:, None]], 1)
        self.exists = torch.cat([self.exists, exists[:, None]], 1)
        frame, row, column = _disk_pixels(points, self.frame_hw)
        frame, row, column = (each[exists[frame]] for each in (frame, row, column))
        channel = STRIDE**2 * (~positive[frame]).long() + STRIDE * (row % STRIDE) + column % STRIDE
        self._cells[frame, row // STRIDE, column // STRIDE, channel] = 1
        squared = _squared_distance(points, self._rows, self._columns)
        for number, chosen in enumerate((exists & positive, exists & ~positive)):
            near = squared.masked_fill(~chosen[:, None, None], torch.inf)
            self._nearest[:, number] = torch.minimum(self._nearest[:, number], near)

    def first_click_map(self) -> Tensor:
        """(B, 1, H, W) float32 disk map of the first click alone, empty where that is negative."""
        disks = torch.zeros(len(self.points), 1, *self.frame_hw, device=self.points.device)
        frame, row, column = _disk_pixels(self.points[:, 0], self.frame_hw)
        seen = self.positive[frame, 0]
        frame, row, column = frame[seen], row[seen], column[seen]
        disks[frame, 0, row, column] = 1
        return disks

    def cells(self, probabilities: Tensor) -> Tensor:
        """Disks, and the mask before, (B, H, W) in [0, 1] -> (B, 48, H/4, W/4).

        Channels are positive disks, negative disks and mask, `4 * (row % 4) + column % 4` of each. The result
        holds until the next call or click.
        """
        mask = F.pixel_unshuffle(probabilities[:, None].to(self._cells.dtype), STRIDE)
        self._cells[..., 2 * STRIDE**2 :] = mask.permute(0, 2, 3, 1)
        return self._cells.permute(0, 3, 1, 2)

    def distances(self) -> Tensor:
        """(B, 2, H/4, W/4) float32 distance maps, positive then negative."""
        height, width = self.frame_hw
        # as `ClickMaps`: one pixel where there is no click
        read = self._nearest.masked_fill(self._nearest.isinf(), 1.0).sqrt()
        upper, lower = read.unflatten(2, (-1, 2)).unbind(3)
        left, right = torch.lerp(upper, lower, self._row_weights[:, None]).unflatten(3, (-1, 2)).unbind(4)
        return torch.lerp(left, right, self._column_weights) / float(height**2 + width**2) ** 0.5


def _squared_distance(points: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """(B, 2), (h,), (w,) -> (B, h, w)."""
    down, across = (rows - points[:, :1]) ** 2, (columns - points[:, 1:]) ** 2
    return down[:, :, None] + across[:, None, :]


def _disk_pixels(points: Tensor, frame_hw: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Frame, row and column, each (K,) int64, of the pixels within the disks around (B, 2) points."""
    reach = torch.arange(-DISK_RADIUS_PX, DISK_RADIUS_PX + 2, device=points.device)
    row, column = (points.floor().long()[:, axis : axis + 1] + reach for axis in range(2))
    near = (row - points[:, :1])[:, :, None] ** 2 + (column - points[:, 1:])[:, None, :] ** 2
    inside = [(each >= 0) & (each < side) for each, side in zip((row, column), frame_hw)]
    found = (near <= DISK_RADIUS_PX**2) & inside[0][:, :, None] & inside[1][:, None, :]
    frame, down, across = found.nonzero(as_tuple=True)
    return frame, row[frame, down], column[frame, across]


def _read_pixels(side: int, device: torch.device | str) -> tuple[Tensor, Tensor]:
    """What a reduction by 4 with aligned corners reads of an axis: pixels (2 * side/4,) in pairs, and weights.

    The weight (side/4,) is that of the second pixel of a pair.
    """
    count = side // STRIDE
    places = torch.arange(count, dtype=torch.float64) * ((side - 1) / max(count - 1, 1))
    first = places.floor().clamp(max=side - 2)
    pairs = torch.stack([first, first + 1], 1).flatten()
    return pairs.float().to(device), (places - first).float().to(device)
