"""Time budgets and retry schedules. The clock and the sleep come in from outside, so that tests need neither."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

Clock = Callable[[], float]


class Deadline:
    """A budget in seconds, fixed once and asked for what is left at each step. `None` means without limit."""

    def __init__(self, seconds: float | None, clock: Clock = time.monotonic) -> None:
        self.seconds = seconds
        self._clock = clock
        self._end = None if seconds is None else clock() + seconds

    @property
    def expired(self) -> bool:
        return self._end is not None and self._clock() >= self._end

    def left(self, at_most: float) -> float:
        """Seconds left, never negative and never more than `at_most`."""
        if self._end is None:
            return at_most
        return max(0.0, min(at_most, self._end - self._clock()))


def backoff(first: float, factor: float = 2.0, highest: float = 30.0) -> Iterator[float]:
    """Delays in seconds without end: `first`, then each `factor` times the last, at most `highest`."""
    delay = min(first, highest)
    while True:
        yield delay
        delay = min(highest, delay * factor)
