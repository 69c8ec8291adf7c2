"""Work that starts before its result is wanted."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar, cast

Result = TypeVar("Result")

THREAD_NAME = "emclick-open"


class Background(Generic[Result]):
    """Runs `work` in a thread of its own.

    The thread does not keep the program alive, and ends with the work; a result that nobody asks for is dropped.

    Args:
        work: to be done.
        after_s: seconds to wait before, unless the result is asked for.
    """

    def __init__(self, work: Callable[[], Result], after_s: float = 0) -> None:
        self._work = work
        self._after_s = after_s
        self._wanted = threading.Event()
        self._start()

    def _start(self) -> None:
        self._result: Result | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=THREAD_NAME, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        if self._after_s:
            self._wanted.wait(self._after_s)
        try:
            self._result = self._work()
        except BaseException as error:  # raised where the result is asked for
            self._error = error

    def result(self) -> Result:
        """Wait for the result. Raises what the work raised; it is then tried again for the next who asks."""
        self._wanted.set()
        self._thread.join()
        if self._error is not None:
            error = self._error
            self._start()
            raise error
        return cast(Result, self._result)
