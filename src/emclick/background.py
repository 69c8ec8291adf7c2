"""Work that starts before its result is wanted."""

from __future__ import annotations

import atexit
import threading
import weakref
from collections.abc import Callable
from typing import Any, Generic, TypeVar, cast

Result = TypeVar("Result")

THREAD_NAME = "emclick-open"
_LIVE: weakref.WeakSet[Background[Any]] = weakref.WeakSet()


class Background(Generic[Result]):
    """Runs `work` in a thread of its own.

    A program that ends waits for work that has begun, and does not begin any: a thread that came back from native code
    into an interpreter that is no more would abort the process. The thread ends with the work; a result that nobody
    asks for is dropped. While it waits, it does not keep this object alive: if nobody can ask any more, the work is
    not done.

    Args:
        work: to be done. It must not hold what holds this object, or waiting goes on until that is collected.
        after_s: seconds to wait before, unless the result is asked for.
    """

    def __init__(self, work: Callable[[], Result], after_s: float = 0) -> None:
        self._work = work
        self._after_s = after_s
        self._lock = threading.Lock()
        self._start()
        _LIVE.add(self)

    def _start(self) -> None:
        self._result: Result | None = None
        self._error: BaseException | None = None
        self._begun = self._cancelled = False
        self._wanted = threading.Event()
        self._thread = threading.Thread(
            target=_run, args=(weakref.ref(self), self._wanted, self._after_s), name=THREAD_NAME, daemon=True
        )
        self._thread.start()

    def _do(self, wanted: threading.Event) -> None:
        with self._lock:
            if self._cancelled or wanted is not self._wanted:  # started anew meanwhile
                return
            self._begun = True
        try:
            self._result = self._work()
        except BaseException as error:  # raised where the result is asked for
            self._error = error

    def cancel(self) -> bool:
        """Do not begin work that only waits; who asks for the result gets it all the same, later.

        Returns:
            Whether it will not be done: False if it has begun.
        """
        with self._lock:
            if not self._begun:
                self._cancelled = True
                self._wanted.set()
            return self._cancelled

    def resume(self) -> None:
        """Take `cancel` back."""
        with self._lock:
            if self._cancelled:
                self._start()

    def result(self) -> Result:
        """Wait for the result. Raises what the work raised; it is then tried again for the next who asks."""
        while True:
            self.resume()
            thread = self._thread
            self._wanted.set()
            thread.join()
            if self._error is not None:
                error = self._error
                self._start()
                raise error
            if self._begun:
                return cast(Result, self._result)


def _run(waiting: weakref.ref[Background[Any]], wanted: threading.Event, after_s: float) -> None:
    if after_s:
        wanted.wait(after_s)
    work = waiting()
    if work is not None:
        work._do(wanted)


@atexit.register
def _finish() -> None:
    """Called while threads still run; those that have begun hold their object."""
    for each in list(_LIVE):
        each.cancel()
        each._thread.join()
