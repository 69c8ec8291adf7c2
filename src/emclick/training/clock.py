"""Where a training step's time goes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field


@dataclass
class StageClock:
    """Seconds spent per stage since the last reading; a stage inside another counts as itself alone.

    Attributes:
        now: the time, in seconds.
        settle: waits for a device that computes on its own, so that stages are told apart; nothing by default.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    now: Callable[[], float] = time.perf_counter
    settle: Callable[[], None] = lambda: None
    _stages: list[str] = field(default_factory=list)
    _since: float = 0.0

    @contextlib.contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        self._charge()
        self._stages.append(stage)
        try:
            yield
        finally:
            self._charge()
            self._stages.pop()

    def _charge(self) -> None:
        """The time since the last change of stage goes to the stage that it was spent in."""
        self.settle()
        now = self.now()
        if self._stages:
            stage = self._stages[-1]
            self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._since
        self._since = now

    def read(self) -> dict[str, float]:
        read, self.seconds = self.seconds, {}
        return read
