"""Disk and distance maps of batches of clicks, on the training device. `emclick.clicks` is the numpy twin."""

from __future__ import annotations

from collections.abc import Sequence

import torch
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
