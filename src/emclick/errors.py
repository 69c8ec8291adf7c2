"""Every error emclick raises on purpose.

Each is also a `ValueError`, `TypeError` or `OSError`, so callers may catch the built-in kind, and an
`EmclickError`, which the command line turns into one line and exit code 1.
"""


class EmclickError(Exception):
    """Base of all errors raised on purpose; never raised itself."""


class ClickError(EmclickError, ValueError):
    """A click that is outside the image, not finite, missing, or a negative first click without a mask."""


class ClickTypeError(EmclickError, TypeError):
    """A click whose coordinates are not numbers or whose polarity is not a bool."""


class MaskError(EmclickError, ValueError):
    """A mask of the wrong size, type or content."""


class HistoryError(EmclickError, ValueError):
    """Nothing to undo or to redo, or no such click to remove."""


class FrameError(EmclickError, ValueError):
    """A frame too small for the model's templates, or a short side that is not usable."""


class UnknownNameError(EmclickError, ValueError):
    """A name that is in no table; the message lists the names that are."""

    def __init__(self, kind: str, name: object, known: "list[str]", hint: str = "") -> None:
        choices = ", ".join(known) or "none"
        super().__init__(f"unknown {kind} {name!r}; choose from {choices}" + (f" ({hint})" if hint else ""))
        self._arguments = (kind, name, known, hint)

    def __reduce__(self) -> "tuple[type, tuple[object, ...]]":
        return type(
            self
        ), self._arguments  # an exception pickles by its text, which is not what it is made of


class OptionError(EmclickError, ValueError):
    """An option whose value cannot be used."""


class RecipeError(EmclickError, ValueError):
    """A training recipe that does not parse or asks for something unknown."""


class CheckpointError(EmclickError, ValueError):
    """Weights whose keys, shapes or content do not fit the model."""


class ImageTypeError(EmclickError, TypeError):
    """An image or mask argument of a type that is not supported."""


class ImageValueError(EmclickError, ValueError):
    """An image array of a supported type that is empty, or float values outside [0, 1]."""


class ImageReadError(EmclickError, OSError):
    """An image file that is missing, truncated, too large or not an image."""


class WriteError(EmclickError, OSError):
    """A result that could not be written (folder missing or read-only, disk full)."""


class WeightsError(EmclickError, OSError):
    """Weights that are missing, truncated or fail their checksum."""


class DatasetError(EmclickError, OSError):
    """A dataset folder that is missing or not laid out as published."""


class WorkerError(EmclickError, OSError):
    """A process that was working for this one died or failed."""


class MissingExtraError(EmclickError, OSError):
    """An optional dependency is not installed; the message names the extra that brings it."""
