"""What the releases that tools/release_speed.py runs import and PyTorch does not bring: no more than a click needs."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from emclick.networks.focalclick import crop


class ToTensor:
    """(H, W, 3) uint8 to (3, H, W) in [0, 1]."""

    def __call__(self, image: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float().div(255)


def roi_align(x: Tensor, boxes: Tensor, size: Sequence[int], spatial_scale: float, aligned: bool) -> Tensor:
    """For one box (1, 5) inside the map and not larger than `size`: number, left, top, right, bottom."""
    assert aligned
    _, left, top, right, bottom = (boxes * spatial_scale).unbind(1)
    height, width = x.shape[-2:]
    shares = torch.stack([top / height, left / width, bottom / height, right / width], 1)
    return crop(x, shares, (size[0], size[1]))


class ConvModule(nn.Module):
    """Convolution, BN, ReLU under the names of mmcv."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, norm_cfg: object) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)
        self.activate = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.activate(self.bn(self.conv(x)))


def same(value: Any, *_: Any, **__: Any) -> Any:
    """The value, whatever is to be done to it in training."""
    return value


def stand_in(**modules: Mapping[str, Any]) -> None:
    """Put modules into `sys.modules`; a name's dots are written `__`."""
    for name, content in modules.items():
        parts = name.split("__")
        for count in range(1, len(parts) + 1):
            path = ".".join(parts[:count])
            if path not in sys.modules:
                made = sys.modules[path] = ModuleType(path)
                if count > 1:
                    setattr(sys.modules[".".join(parts[: count - 1])], parts[count - 1], made)
        vars(sys.modules[".".join(parts)]).update(content)


def stand_in_for_all() -> None:
    """What the releases import beside PyTorch, OpenCV and scipy, and a name that numpy no longer has."""
    vars(np)["int"] = int
    identity = {"DropPath": lambda share: nn.Identity(), "trunc_normal_": nn.init.trunc_normal_}
    stand_in(
        torchvision__transforms={"ToTensor": ToTensor},
        torchvision__ops__roi_align={},
        torchvision__ops={"roi_align": roi_align},
        mmcv__cnn={"ConvModule": ConvModule, "DepthwiseSeparableConvModule": None},
        timm__models__layers={**identity, "to_2tuple": lambda each: (each, each)},
        timm__models__registry={"register_model": same},
        timm__models__vision_transformer={"_cfg": dict},
        skimage__measure={"label": None},
        IPython={"embed": None},
        attr={},
        tkinter={"E": None},
        torch__utils__tensorboard={"SummaryWriter": object},
    )
