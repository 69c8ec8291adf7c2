"""Who runs the model next: one at a time, in the order of asking, and work in the background when no click waits."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Iterator


class Gate:
    """A lock that is fair, and knows clicks from background work."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken = False
        self._clicks: deque[threading.Event] = deque()
        self._behind: deque[threading.Event] = deque()

    @property
    def taken(self) -> bool:
        """Whether somebody has the turn."""
        return self._taken

    @contextlib.contextmanager
    def held(self, *, background: bool = False) -> Iterator[None]:
        """Wait for one's turn, and have it until the block ends. In the background, wait for all clicks first."""
        turn = None
        with self._lock:
            if self._taken:
                turn = threading.Event()
                (self._behind if background else self._clicks).append(turn)
            self._taken = True
        if turn is not None:
            turn.wait()
        try:
            yield
        finally:
            self._pass_on()

    @contextlib.contextmanager
    def held_now(self) -> Iterator[bool]:
        """Have the turn if nobody has it; says whether."""
        with self._lock:
            free = not self._taken
            self._taken = True
        try:
            yield free
        finally:
            if free:
                self._pass_on()

    def _pass_on(self) -> None:
        with self._lock:
            waiting = self._clicks or self._behind
            if waiting:
                waiting.popleft().set()  # it stays taken: handed over, so that nobody slips in between
            else:
                self._taken = False
