"""CDNet (Chen et al., ICCV 2021): DeepLabV3+ with two diffusions conditioned on the clicks.

Feature diffusion (section 3.2) spreads features from the clicked and the already sure places over the image;
pixel diffusion (section 3.3) spreads the mask's values between pixels of like colour, and is a fixed filter.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emclick.methods.deeplab_spec import DeepLabSpec
from emclick.networks.blocks import upsample_to
from emclick.networks.deeplab import DeepLab, separable_head
from emclick.networks.resnet import RESNETS

LATENT = 4
"""Masks that training asks for beside the one, so that they differ."""

SURE = 0.8
"""Features spread from where the gate, or one minus it, is above this."""

REACHES_PX = (1, 2, 4, 8)
"""Pixel diffusion reads the eight neighbours at each of these distances."""

ROUNDS = 5
CLICK_VALUE = 10.0
DOUBTFUL = 0.25
"""Values in [-1, 1] whose size is not above this do not spread."""


class CdnetOutput(NamedTuple):
    """Logits: the mask's (B, 1, h/4, w/4), the gate's (B, 1, h/8, w/8), and `LATENT` others (B, 4, h/4, w/4)."""

    mask: Tensor
    gate: Tensor
    latent: Tensor


class FeatureDiffusion(nn.Module):
    """Attention of every place to the positive places and to the negative ones, gated by what the place itself is.

    Args:
        width: channels in and out.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate = separable_head((width, width), 1)
        self.query, self.key, self.value = (nn.Conv2d(width, width, 1, bias=False) for _ in range(3))
        self.positive, self.negative = (
            nn.Sequential(nn.Conv2d(width, width, 1, bias=False), nn.BatchNorm2d(width)) for _ in range(2)
        )

    def forward(self, x: Tensor, clicked: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, h, w) and (B, 2, h, w) in [0, 1] -> diffused (B, C, h, w), gate logits (B, 1, h, w)."""
        logits = self.gate(x)
        gate = logits.sigmoid().detach()
        value = self.value(x).flatten(2).transpose(1, 2)
        similarity = self.query(x).flatten(2).transpose(1, 2) @ self.key(x).flatten(2)
        out = x
        for place, sure, project in (
            (clicked[:, :1], gate, self.positive),
            (clicked[:, 1:], 1 - gate, self.negative),
        ):
            weight = (place + (sure > SURE).to(place.dtype)).flatten(2)
            spread = torch.softmax(similarity * weight, 2) @ value
            out = out + project(spread.transpose(1, 2).reshape(x.shape) * sure)
        return out, logits


class CdnetNetwork(nn.Module):
    """Image and disks of all clicks -> logits.

    Args:
        spec: what to build.
    """

    def __init__(self, spec: DeepLabSpec) -> None:
        super().__init__()
        self.spec = spec
        self.base = DeepLab(RESNETS[spec.base](click_maps=2), spec.width)
        self.diffusion = FeatureDiffusion(spec.width)
        head = (spec.width, spec.width // 2, spec.width // 2)
        self.predict = separable_head(head, 1)
        self.latent = separable_head(head, LATENT)

    def decoded(self, images: Tensor, disks: Tensor, clicked: Tensor) -> tuple[Tensor, Tensor]:
        """Features for the heads (B, width, h/4, w/4), and the gate's logits."""
        backbone = self.base.backbone
        context, skip = self.base.encode(backbone.after_click(backbone.before_click(images), disks))
        context, gate = self.diffusion(context, clicked)
        return self.base.decode(self.base.join(context, skip)), gate

    def forward(self, images: Tensor, disks: Tensor, clicked: Tensor) -> CdnetOutput:
        """What training needs.

        Args:
            images: (B, 3, h, w) in [0, 1].
            disks: (B, 2, h, w) in {0, 1} of positive, of negative clicks, radius 5 px.
            clicked: (B, 2, h/8, w/8) in [0, 1], sides rounded up: disks of radius 24 px, made smaller.
        """
        decoded, gate = self.decoded(images, disks, clicked)
        return CdnetOutput(self.predict(decoded), gate, self.latent(decoded))

    def frame(self, part: Tensor, frame_hw: tuple[int, int]) -> Tensor:
        """(h, w, 3) uint8 RGB -> (1, 3, H, W) in [0, 1]."""
        return upsample_to(part.permute(2, 0, 1)[None].float() / 255, frame_hw)

    def look(self, frame: Tensor, disks: Tensor, clicked: Tensor) -> Tensor:
        """A frame with B = 1, or with its mirror image 2, sets of disks -> logits (h/4, w/4), their mean, upright."""
        frames = frame if len(disks) == 1 else torch.cat([frame, frame.flip(3)])
        logits = self.predict(self.decoded(frames, disks, clicked)[0])[:, 0].float()
        return logits[0] if len(disks) == 1 else 0.5 * (logits[0] + logits[1].flip(1))


def likeness(frame: Tensor) -> Tensor:
    """(1, 3, H, W) in [0, 1] -> (32, H, W): weights of each pixel's neighbours by colour, which add up to 1."""
    planes = frame[0].float()
    around = _neighbours(planes)
    spots = torch.cat([around, planes[:, None].expand(-1, len(REACHES_PX), -1, -1)], 1)
    # the pixel itself counts once per reach
    spread = spots.std(1, keepdim=True)
    return torch.softmax((-(planes[:, None] - around).abs() / (1e-8 + 0.1 * spread)).mean(0), 0)


def pixel_diffusion(logits: Tensor, disks: Tensor, weights: Tensor) -> Tensor:
    """The probability after the mask's sure values and the clicks have spread to pixels of like colour.

    Args:
        logits: (h, w) of the network, at 1/4 of the frame.
        disks: (2, H, W) in {0, 1} of positive, of negative clicks.
        weights: what `likeness` gave for the frame.

    Returns:
        (H, W) float32.
    """
    value = (upsample_to(logits[None, None], disks.shape[-2:])[0].sigmoid() - 0.5) * 2
    spread = value * (value.abs() > DOUBTFUL) + disks[:1] * CLICK_VALUE - disks[1:] * CLICK_VALUE
    for _ in range(ROUNDS):
        spread = (_neighbours(spread)[0] * weights).sum(0, keepdim=True)
    return (spread + value)[0].sigmoid()


def _neighbours(planes: Tensor) -> Tensor:
    """(K, H, W) -> (K, 32, H, W): eight neighbours at each reach, the border repeated outwards."""
    height, width = planes.shape[-2:]
    found = []
    for reach in REACHES_PX:
        padded = F.pad(planes[None], [reach] * 4, mode="replicate")[0]
        found += [
            padded[:, down : down + height, across : across + width]
            for down in (0, reach, 2 * reach)
            for across in (0, reach, 2 * reach)
            if (down, across) != (reach, reach)
        ]
    return torch.stack(found, 1)
