"""FocalClick's networks (Chen et al., CVPR 2022, sections 3.2 and 3.3): coarse segmentor and refiner."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emclick.methods.focalclick_spec import RADIUS_PX, FocalClickSpec
from emclick.networks.backbones import BASES
from emclick.networks.base_network import BaseNetwork, BaseOutput
from emclick.networks.blocks import ConvNormAct, upsample_to
from emclick.networks.fold import fold

CLICK_MAPS = 3
"""Maps that the coarse segmentor reads beside the image: previous mask, positive disks, negative disks."""

WIDTH = 32
"""Channels of the refiner."""


class Refined(NamedTuple):
    """What the refiner gives for a focus crop of (H, W).

    Attributes:
        detail: (B, 1, H/2, W/2) logits of the mask.
        trimap: (B, 1, H/2, W/2) logits of how far `detail` replaces the coarse mask.
        coarse: (B, 1, H, W) the coarse logits in the crop.
    """

    detail: Tensor
    trimap: Tensor
    coarse: Tensor

    def logits(self) -> Tensor:
        """(B, 1, H, W) logits of the refined mask."""
        detail, trimap = (upsample_to(each, self.coarse.shape[-2:]) for each in (self.detail, self.trimap))
        share = torch.sigmoid(trimap)
        return detail * share + self.coarse * (1 - share)


class SeparableConv(nn.Module):
    """Depthwise 3x3, 1x1, BN, ReLU; both convolutions with bias."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.pointwise = nn.Conv2d(channels, channels, 1)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.pointwise(self.depthwise(x))))


class Refiner(nn.Module):
    """Refines the coarse mask in a crop, from the crop at full resolution and the coarse features under it.

    Args:
        feature_channels: of the coarse segmentor's features.
    """

    def __init__(self, feature_channels: int) -> None:
        super().__init__()
        self.image1 = ConvNormAct(6, WIDTH, 3, stride=2, bias=True)
        self.image2 = SeparableConv(WIDTH)
        self.image3 = SeparableConv(WIDTH)
        self.features = ConvNormAct(feature_channels, WIDTH, bias=True)
        self.fuse1 = SeparableConv(WIDTH)
        self.fuse2 = SeparableConv(WIDTH)
        self.predict = nn.Conv2d(WIDTH, 1, 3, padding=1)
        self.trimap = nn.Conv2d(WIDTH, 1, 3, padding=1)

    def forward(
        self, image: Tensor, disks: Tensor, features: Tensor, coarse_logits: Tensor, boxes: Tensor
    ) -> Refined:
        """Refine one crop per sample.

        Args:
            image: (B, 3, H, W) RGB in [0, 1], the crops; not normalised, as released.
            disks: (B, 2, H, W), positive and negative clicks in the crops.
            features: (B, C, h, w) of the coarse segmentor's frame.
            coarse_logits: (B, 1, h, w) likewise.
            boxes: (B, 4) top, left, bottom, right of the crops in the coarse frame, as shares of its sides.
        """
        size_hw = (image.shape[-2], image.shape[-1])
        coarse = crop(upsample_to(coarse_logits, size_hw), boxes, size_hw)
        x = self.image1(torch.cat([image, disks, torch.sigmoid(coarse)], 1))
        x = self.image3(self.image2(x))
        # a 1x1 convolution and a bilinear crop may change places: fewer channels are cropped
        project, *rest = self.features
        cropped = crop(project(features), boxes, (features.shape[-2], features.shape[-1]))
        for layer in rest:
            cropped = layer(cropped)
        x = self.fuse2(self.fuse1(x + upsample_to(cropped, x.shape[-2:])))
        return Refined(self.predict(x), self.trimap(x), coarse)


class FocalClickNetwork(nn.Module):
    """Coarse segmentor (`coarse`) and refiner (`refine`) of one model.

    Clicks come as points (B, N, 2), (row, column) in the frame, and sides (B, N): 1 positive, -1 negative, 0 none.

    Args:
        spec: which base network, which pipeline.

    Raises:
        UnknownNameError: no base network of that name.
    """

    def __init__(self, spec: FocalClickSpec) -> None:
        super().__init__()
        self.spec = spec
        self.base: BaseNetwork = BASES[spec.base](click_maps=CLICK_MAPS)
        if hasattr(self.base.backbone, "unused_norm"):  # EMC's release holds it, FocalClick's does not
            del self.base.backbone.unused_norm
        self.refiner = Refiner(self.base.feature_channels)

    def coarse(self, image: Tensor, previous: Tensor, points: Tensor, sides: Tensor) -> BaseOutput:
        """The coarse segmentor.

        Args:
            image: (B, 3, H, W) RGB in [0, 1], sides multiples of 8.
            previous: (B, 1, H, W) probability of the mask before, 0 without one.
            points: clicks.
            sides: their polarity.

        Returns:
            Features and logits at 1/4 of the frame, in S1 at 1/8.
        """
        disks = click_disks(points, sides, (image.shape[-2], image.shape[-1]), self.spec.coarse_radius_px)
        maps = torch.cat([previous, disks], 1)
        if self.spec.divisor > 1:
            size_hw = [side // self.spec.divisor for side in image.shape[-2:]]
            image, maps = upsample_to(image, size_hw), upsample_to(maps, size_hw)
        return self.base(image, maps)

    def refine(
        self, image: Tensor, points: Tensor, sides: Tensor, features: Tensor, coarse_logits: Tensor,
        boxes: Tensor,
    ) -> Refined:  # fmt: skip
        """The refiner, on crops and the clicks in them; see `Refiner.forward`."""
        disks = click_disks(points, sides, (image.shape[-2], image.shape[-1]), RADIUS_PX)
        return self.refiner(image, disks, features, coarse_logits, boxes)

    def for_inference(self) -> FocalClickNetwork:
        """This network in eval mode, changed in place into a faster one with the same sums (to rounding)."""
        fold(self.base)
        return cast(FocalClickNetwork, cast(Any, self).to(memory_format=torch.channels_last))


def crop(x: Tensor, boxes: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """One box per sample, resampled to (h, w).

    Bilinear, half-pixel centres, clamped at the border: what RoIAlign (He et al., 2017; "aligned") gives for
    boxes inside the map that are not larger than (h, w) pixels of it, one sample per cell.

    Args:
        x: (B, C, H, W).
        boxes: (B, 4) top, left, bottom, right, as shares of the sides.
        size_hw: (h, w).

    Returns:
        (B, C, h, w).
    """
    top, left, bottom, right = boxes.float().unbind(1)
    rows, columns = (
        start[:, None] + (torch.arange(size, device=x.device) + 0.5) * ((stop - start) / size)[:, None]
        for start, stop, size in zip((top, left), (bottom, right), size_hw)
    )
    grid = torch.stack(
        [
            columns[:, None, :].expand(-1, size_hw[0], -1),
            rows[:, :, None].expand(-1, -1, size_hw[1]),
        ],
        -1,
    )
    with torch.autocast(x.device.type, enabled=False):
        out = F.grid_sample(x.float(), 2 * grid - 1, padding_mode="border", align_corners=False)
    return out.to(x.dtype)


def click_disks(points: Tensor, sides: Tensor, size_hw: tuple[int, int], radius_px: int) -> Tensor:
    """1 where a click is within the radius, of each polarity.

    Args:
        points: (B, N, 2) (row, column), also beyond the map. As released, a point of which both are negative is
            none.
        sides: (B, N) 1 positive, -1 negative, 0 none.
        size_hw: (H, W).
        radius_px: radius, inclusive.

    Returns:
        (B, 2, H, W) float32: positive, negative.
    """
    height, width = size_hw
    points = points.float()
    shown = (points.amax(2) >= 0) & (sides != 0)
    reach = torch.arange(-radius_px, radius_px + 2, device=points.device)
    corner = points.floor()
    rows, columns = (corner[..., axis, None] + reach for axis in (0, 1))  # (B, N, K)
    down, across = rows - points[..., :1], columns - points[..., 1:]
    near = down[..., :, None] ** 2 + across[..., None, :] ** 2 <= radius_px**2
    near &= ((rows >= 0) & (rows < height))[..., :, None] & ((columns >= 0) & (columns < width))[..., None, :]
    near &= shown[..., None, None]
    polarity = (sides < 0).long()[..., None, None] * (height * width)
    place = rows.clamp(0, height - 1).long()[..., :, None] * width
    place = polarity + place + columns.clamp(0, width - 1).long()[..., None, :]
    maps = torch.zeros(len(points), 2 * height * width, device=points.device)
    maps.scatter_reduce_(1, place.flatten(1), near.float().flatten(1), "amax")
    return maps.view(-1, 2, height, width)
