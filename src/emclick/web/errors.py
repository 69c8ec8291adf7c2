"""What goes wrong with projects and requests."""

from __future__ import annotations

from typing import Any

from emclick.errors import EmclickError


class ProjectError(EmclickError, OSError):
    """A project that cannot be opened: no folder, no project file, a damaged or newer one."""


class ProjectBusyError(ProjectError):
    """A project that another process is writing to."""


class StorageError(EmclickError, OSError):
    """A change that could not be stored (disk full, read-only); nothing was changed."""


class NotFoundError(EmclickError, ValueError):
    """An image, object or history item that is not there."""


class StaleError(EmclickError, ValueError):
    """A change to something that has changed since the client saw it.

    Attributes:
        state: the object as it is now (`records.ObjectState`), or None for an image.
    """

    def __init__(self, message: str, state: Any = None) -> None:
        super().__init__(message)
        self.state = state


class ImageChangedError(EmclickError, ValueError):
    """An image file that no longer fits the objects made on it, or is gone."""

    @classmethod
    def by_size(cls, name: str, now_hw: tuple[int, int], then_hw: tuple[int, int]) -> ImageChangedError:
        """Its (H, W) is another one than when its objects were made."""
        return cls(
            f"{name} is {now_hw[1]}x{now_hw[0]} pixels now, but was {then_hw[1]}x{then_hw[0]} when its objects "
            "were made: put the old file back"
        )


class RequestError(EmclickError, ValueError):
    """A request that cannot be answered.

    Attributes:
        status: of HTTP.
        code: short name for programs.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class PortError(EmclickError, OSError):
    """An address that the server cannot listen on."""
