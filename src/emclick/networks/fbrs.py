"""f-BRS-B (Sofiiuk et al., CVPR 2020): a network over image and distance maps, and the search that meets all clicks.

Backpropagating refinement: a scale and a bias per channel, in DeepLabV3+ after the ASPP and the skip connection, in
HRNet before OCR, found by L-BFGS anew at every click, so that every click has its own label (paper, section 3; the
release's settings).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from emclick.methods.deeplab_spec import HRNETS, FbrsSpec
from emclick.networks.backbones import BASES
from emclick.networks.base_network import BaseOutput
from emclick.networks.blocks import Normalize, upsample_to
from emclick.networks.deeplab import SKIP_CHANNELS, DeepLab, separable_head
from emclick.networks.resnet import RESNETS

NORM_RADIUS_PX = 260
"""Distances are in units of this."""

LEVEL = 0.49
"""A click is met where its probability is on its own side of this."""

SCALE_PENALTY, BIAS_PENALTY = 1e-3, 10.0
"""Weight of the sum of squares of scale - 1, and of bias relative to that."""

SAME_MASK = 0.99
"""The search ends when a step leaves masks whose overlap with those before it is larger."""

SEARCH = {"m": 20, "factr": 0, "pgtol": 1e-8, "maxfun": 20, "maxiter": 40}
"""Settings of scipy's `fmin_l_bfgs_b`."""


def distance_maps(points: Tensor, positive: Tensor, exists: Tensor, frame_hw: tuple[int, int]) -> Tensor:
    """(B, 2, H, W) in [0, 1]: `tanh(2 d / 260)`, d the distance to the nearest positive (0), negative (1) click.

    1 where there is no click of a polarity.

    Args:
        points: (B, N, 2) float32, (row, column) in the frame, or off it.
        positive: (B, N) bool.
        exists: (B, N) bool, False for what is not to be shown.
        frame_hw: (H, W).
    """
    batch, count = positive.shape
    squared = []
    for axis, size in enumerate(frame_hw):
        places = torch.arange(size, dtype=torch.float32, device=points.device)
        squared.append(((places - points[..., axis, None]) / NORM_RADIUS_PX).square())
    nearest = torch.full((batch, 2, *frame_hw), 1e6, device=points.device)
    for number in range(count):  # one at a time: all at once would take (B, N, H, W)
        own = squared[0][:, number, :, None] + squared[1][:, number, None, :]
        for polarity, chosen in enumerate((positive[:, number], ~positive[:, number])):
            shown = (chosen & exists[:, number])[:, None, None]
            nearest[:, polarity] = torch.where(
                shown, torch.minimum(nearest[:, polarity], own), nearest[:, polarity]
            )
    return nearest.sqrt_().mul_(2).tanh_()


class FbrsNetwork(nn.Module):
    """Image and distance maps are mixed to three channels, of which a base network makes features, and these a mask.

    Attributes:
        refined_channels: of the features; each has a scale and a bias.

    Args:
        spec: what to build.
    """

    refined_channels: int

    def __init__(self, spec: FbrsSpec) -> None:
        super().__init__()
        self.spec = spec
        self.normalize = Normalize()
        self.mix = nn.Sequential(nn.Conv2d(5, 8, 1), nn.LeakyReLU(0.2), nn.BatchNorm2d(8), nn.Conv2d(8, 3, 1))

    def encode(self, mixed: Tensor) -> Tensor:
        """What `mix` gave, (B, 3, H, W) -> (B, refined_channels, H/4, W/4), sides rounded up."""
        raise NotImplementedError

    def decode(self, features: Tensor) -> BaseOutput:
        """Features, refined or not -> logits, and what else training needs."""
        raise NotImplementedError

    def frames(self, part: Tensor, frame_hw: tuple[int, int], flip: bool) -> Tensor:
        """(h, w, 3) uint8 RGB -> (1 or 2, 3, H, W): normalised, resized, with `flip` its mirror after it."""
        image = self.normalize(part.permute(2, 0, 1)[None].float() / 255)
        frame = upsample_to(image, frame_hw)
        return torch.cat([frame, frame.flip(3)]) if flip else frame

    def features(self, frames: Tensor, distances: Tensor) -> Tensor:
        """Normalised (B, 3, H, W) and (B, 2, H, W) -> (B, refined_channels, H/4, W/4), sides rounded up."""
        return self.encode(self.mix(torch.cat([frames, distances], 1)))

    def logits(self, features: Tensor) -> Tensor:
        """(B, 1, H/4, W/4) of `features`, refined or not."""
        return self.decode(features).coarse_logits

    def forward(self, images: Tensor, distances: Tensor) -> BaseOutput:
        """(B, 3, H, W) in [0, 1] and (B, 2, H, W) -> logits (B, 1, H/4, W/4), see `decode`."""
        return self.decode(self.features(self.normalize(images), distances))

    def look(
        self, part: Tensor, frame_hw: tuple[int, int], flip: bool, points: Tensor, positive: Tensor,
        exists: Tensor,
    ) -> Tensor:  # fmt: skip
        """The features of a part of an image with clicks on it, B frames as `frames` gives them.

        Args:
            part: (h, w, 3) uint8 RGB.
            frame_hw: (H, W), the part's size as the network sees it.
            flip: whether the mirror image is looked at too.
            points: (B, N, 2) float32, (row, column) in each frame.
            positive, exists: (N,) bool, (B, N) bool, see `distance_maps`.
        """
        with _recorded(False):
            maps = distance_maps(points, positive.expand(exists.shape), exists, frame_hw)
            return self.features(self.frames(part, frame_hw, flip), maps)

    def refine(
        self, features: Tensor, frame_hw: tuple[int, int], squares: Tensor, start: NDArray[np.float64],
        search: bool,
    ) -> tuple[Tensor, NDArray[np.float64]]:  # fmt: skip
        """The mask whose features are scaled and shifted so that all clicks are met.

        Args:
            features: what `look` gave.
            frame_hw: (H, W).
            squares: (2, B, 1, H, W) float32, 1 where the mask has to be object, has to be background.
            start: (2 * refined_channels,) what is added to a scale of 1 and a bias of 0 to begin with.
            search: False takes `start` as it is.

        Returns:
            Logits (B, 1, H/4, W/4) of the best values tried, and the search's last ones.
        """
        with _recorded(search):
            objective = _Objective(self, features, frame_hw, squares.clone())
            if not search:
                return objective.logits(torch.from_numpy(start).float().to(features.device))[0], start
            from scipy.optimize import fmin_l_bfgs_b

            found = fmin_l_bfgs_b(objective, x0=start, **SEARCH)[0]
        return objective.best, found


class DeepLabFbrs(FbrsNetwork):
    """DeepLabV3+ on a ResNet; refined are the maps of ASPP and skip connection together."""

    def __init__(self, spec: FbrsSpec) -> None:
        super().__init__(spec)
        width = spec.width
        assert width is not None
        self.refined_channels = width + SKIP_CHANNELS
        self.base = DeepLab(RESNETS[spec.base](click_maps=0, normalize=False), width)
        self.predict = separable_head((width, width // 2, width // 2), 1)

    def encode(self, mixed: Tensor) -> Tensor:
        return self.base.join(*self.base.encode(self.base.backbone(mixed, None)))

    def decode(self, features: Tensor) -> BaseOutput:
        decoded = self.base.decode(features)
        return BaseOutput(decoded, self.predict(decoded), None)


class HRNetFbrs(FbrsNetwork):
    """HRNet with OCR; refined are the maps of its four scales together, before all of OCR."""

    def __init__(self, spec: FbrsSpec) -> None:
        super().__init__(spec)
        self.base = BASES[spec.base](click_maps=0, normalize=False)
        self.refined_channels = sum(self.base.backbone.channels)

    def encode(self, mixed: Tensor) -> Tensor:
        return self.base.head.join(self.base.backbone(mixed, None))

    def decode(self, features: Tensor) -> BaseOutput:
        return self.base.head.decode(features)


def fbrs_network(spec: FbrsSpec) -> FbrsNetwork:
    """The network of `spec`, with fresh weights."""
    return (HRNetFbrs if spec.base in HRNETS else DeepLabFbrs)(spec)


class _Objective:
    """What the search minimises, with its gradient; remembers the best it has seen.

    A gradient of zero tells the search to end: all clicks are met, or the mask has ceased to change.
    """

    best: Tensor

    def __init__(
        self, network: FbrsNetwork, features: Tensor, frame_hw: tuple[int, int], squares: Tensor
    ) -> None:
        self.network, self.features, self.frame_hw = network, features, frame_hw
        self.positive, self.negative = squares
        self.best_loss = np.float32(np.inf)
        self.mask: Tensor | None = None

    def logits(self, variables: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, 1, H/4, W/4), and the penalty on the variables."""
        scale, bias = variables.chunk(2)
        penalty = SCALE_PENALTY * ((scale**2).sum() + BIAS_PENALTY * (bias**2).sum())
        # repeated for the mirror image, not broadcast: the sums of the gradient have the release's order
        factor, shift = (
            each.view(1, -1, 1, 1).repeat(len(self.features), 1, 1, 1) for each in (1 + scale, bias)
        )
        return self.network.logits(self.features * factor + shift), penalty

    def __call__(self, values: NDArray[np.float64]) -> tuple[np.float32, NDArray[np.float64]]:
        variables = torch.from_numpy(values).float().to(self.features.device).requires_grad_(True)
        logits, penalty = self.logits(variables)
        probability = upsample_to(logits, self.frame_hw).float().sigmoid()
        missing, extra = (1 - probability) * self.positive, probability * self.negative
        loss = _mean_square(missing, self.positive) + _mean_square(extra, self.negative) + penalty
        value = np.float32(loss.item())
        if value < self.best_loss or not hasattr(self, "best"):
            self.best, self.best_loss = logits.detach(), value
        with torch.no_grad():
            if float(missing.max()) < 1 - LEVEL and float(extra.max()) < LEVEL:
                return value, np.zeros_like(values)
            before, self.mask = self.mask, probability > LEVEL
            if before is not None and _same(before, self.mask):
                return value, np.zeros_like(values)
        (gradient,) = torch.autograd.grad(loss, variables)
        return value, gradient.cpu().numpy().astype(np.float64)


def _mean_square(difference: Tensor, squares: Tensor) -> Tensor:
    return (difference**2).sum() / (squares.sum() + 1e-5)


def _same(before: Tensor, after: Tensor) -> bool:
    """Whether masks (B, 1, H, W) that are not both empty overlap by more than `SAME_MASK` in the mean."""
    union = (before | after).float().mean((1, 2, 3))
    common = (before & after).float().mean((1, 2, 3))
    there = union > 0
    return bool(there.any()) and float((common[there] / union[there]).mean()) > SAME_MASK


@contextlib.contextmanager
def _recorded(gradients: bool) -> Iterator[None]:
    """Plain tensors, with or without gradients, whatever the mode round it: inference tensors have none."""
    with torch.inference_mode(False), torch.set_grad_enabled(gradients):
        yield
