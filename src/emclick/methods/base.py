"""What a method is: how clicks become masks, over states that are values.

`open` does what depends on the image alone, `start` gives the state before any click, `step` takes a
state and a click to the next state. A state is frozen and nothing it holds is ever changed, so undo is
keeping the old one. Errors leave no trace: whoever holds the old state still holds all of it.
"""

from __future__ import annotations

import math
import numbers
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from emclick.clicks import Click
from emclick.errors import OptionError
from emclick.geometry import check_short_side
from emclick.prediction import Prediction
from emclick.spec import Spec


@dataclass(frozen=True, slots=True)
class Options:
    """How a session works; the same for every method.

    Attributes:
        short_side: shorter side of the frame, px, 4 to 4096.
        flip: average with the mirrored frame; doubles the cost.
        threshold: probability above which a pixel is foreground, strictly between 0 and 1.
        progressive_merge: with a mask present, a click changes only the connected part it lies in.
        zoom_in: once there is a mask, look at the object and its surroundings instead of the whole image.

    Raises:
        FrameError: `short_side` is not usable.
        OptionError: another value is not.
    """

    short_side: int
    flip: bool = False
    threshold: float = 0.5
    progressive_merge: bool = False
    zoom_in: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "short_side", check_short_side(self.short_side))
        for name in ("flip", "progressive_merge", "zoom_in"):
            value = getattr(self, name)
            if not isinstance(value, (bool, np.bool_)):
                raise OptionError(f"{name} must be True or False, not {value!r:.40}")
            object.__setattr__(self, name, bool(value))
        threshold = self.threshold
        if isinstance(threshold, (bool, np.bool_)) or not isinstance(threshold, numbers.Real):
            raise OptionError(f"threshold must be a number, not {threshold!r:.40}")
        # as float32, in which it is compared: 1e-60 would be 0
        if not (math.isfinite(threshold) and 0 < np.float32(threshold) < 1):
            raise OptionError(f"threshold must lie between 0 and 1, not {threshold!r:.40}")
        object.__setattr__(self, "threshold", float(threshold))


@dataclass(frozen=True)
class PaperProtocol:
    """How a method's published figures were made.

    Attributes:
        short_side: as in `Options`.
        flip: as in `Options`.
        zoom_in: as in `Options`.
        threshold: as in `Options`.
    """

    short_side: int
    flip: bool = True
    zoom_in: bool = True
    threshold: float = 0.5


class HasClicks(Protocol):
    """The one thing every state tells."""

    @property
    def clicks(self) -> tuple[Click, ...]: ...


Opened = TypeVar("Opened")
State = TypeVar("State", bound=HasClicks)


class Method(ABC, Generic[Opened, State]):
    """One interaction loop over one model.

    Attributes:
        spec: class of the specifications of its models.
        network: `package.module:Class` of the network, made from a specification; imported with PyTorch only.
        releases: `package.module:attribute` of the released checkpoints that convert reads, a list of
            `emclick.networks.releases.Release`; empty for none.
        training: `package.module:Class` of its `emclick.training.step.MethodTraining`; empty for none.
        runtimes: names of the runtimes that run it.
        needs: why no other one does, a clause.
        frame: what `short_side` means to it, and how images come to that size; a sentence, for the model card.
        protocol: what its published figures were made with (`PaperProtocol`), by dataset; "" for all others.
        options: as given.
    """

    spec: ClassVar[type[Spec]]
    network: ClassVar[str]
    releases: ClassVar[str] = ""
    training: ClassVar[str] = ""
    runtimes: ClassVar[tuple[str, ...]] = ("torch",)
    needs: ClassVar[str] = "its network has no graphs"
    frame: ClassVar[str] = "the shorter side becomes short_side; bilinear, corners aligned"
    protocol: ClassVar[Mapping[str, PaperProtocol]] = {"": PaperProtocol(384)}
    options: Options

    @classmethod
    def over(cls, runtime: Any, spec: Any, options: Options) -> Self:
        """The loop over a model.

        Args:
            runtime: runs the networks: a `Runtime` of a kind that this method knows.
            spec: of the class `cls.spec`.
            options: see `Options`.

        Raises:
            OptionError: an option that this method does not have is asked for.
        """
        raise NotImplementedError(cls)

    @abstractmethod
    def open(self, image: NDArray[np.uint8]) -> Opened:
        """Take (H, W, 3) uint8 RGB; shared by all states of that image. Returns at once: work goes on behind.

        Raises:
            FrameError: the frame is too small for the model.
        """

    @abstractmethod
    def start(self, opened: Opened, initial_mask: NDArray[np.bool_] | None = None) -> State:
        """The state before any click.

        Args:
            opened: what `open` returned.
            initial_mask: (H, W) bool, the mask to correct.

        Raises:
            MaskError: the mask has another size than the image, or the method takes none.
        """

    @abstractmethod
    def step(self, state: State, click: Click) -> tuple[State, Prediction]:
        """The state after `click`, and its mask. `state` stays as it was.

        Raises:
            ClickError: the click is outside the image, or a negative first click without a mask.
        """

    @abstractmethod
    def set_mask(self, state: State, mask: NDArray[np.bool_]) -> State:
        """The state whose mask is exactly `mask` (H, W) bool and whose clicks are those of `state`.

        Raises:
            MaskError: the mask has another size than the image, or the method takes none.
        """

    @abstractmethod
    def predict(self, state: State) -> Prediction:
        """The mask of `state`, equal bit for bit to what `step` gave; runs no network.

        At the start: the initial mask exactly, else all False.
        """

    @abstractmethod
    def compact(self, state: State) -> State:
        """An equivalent state without what a later step can compute again, to be kept for undo."""

    def get_ready(self, state: State) -> None:
        """Begin, in the background, what the next step after `state` will want whatever its click. Returns at once."""
