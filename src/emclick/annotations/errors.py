"""What goes wrong with annotation files."""

from __future__ import annotations

from emclick.errors import EmclickError


class AnnotationError(EmclickError, ValueError):
    """An annotation file or entry that is damaged, of another format or does not fit its image.

    The message names the file and the entry.
    """
