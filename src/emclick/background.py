"""Work that starts before its result is wanted."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar, cast

Result = TypeVar("Result")


class Background(Generic[Result]):
    """Runs `work` in a thread of its own, at once.

    The thread does not keep the program alive, and ends with the work; a result that nobody asks for is dropped.
    """

    def __init__(self, work: Callable[[], Result]) -> None:
        self._work = work
        self._start()

    def _start(self) -> None:
        self._result: Result | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="emclick-open", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._result = self._work()
        except BaseException as error:  # raised where the result is asked for
            self._error = error

    def result(self) -> Result:
        """Wait for the result. Raises what the work raised; it is then tried again for the next who asks."""
        self._thread.join()
        if self._error is not None:
            error = self._error
            self._start()
            raise error
        return cast(Result, self._result)
