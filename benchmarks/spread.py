"""The statistics of the benchmarks: medians with quartiles, interleaved rounds, exponents of growth."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Spread:
    """Median and quartiles of some measurements."""

    median: float
    lower: float
    upper: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        if len(values) == 1:
            return cls(values[0], values[0], values[0], 1)
        lower, median, upper = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, lower, upper, len(values))

    def show(self, factor: float = 1.0, digits: int = 2) -> str:
        """`1.02 (0.99-1.10)`."""
        median, lower, upper = (f"{value * factor:.{digits}f}" for value in (self.median, self.lower, self.upper))
        return f"{median} ({lower}-{upper})"

    def as_json(self) -> dict[str, float]:
        return {key: round(value, 6) for key, value in asdict(self).items()}


def ratios(measured: Sequence[float], reference: Sequence[float]) -> Spread:
    """Of the pairs of each round: what disturbs the machine disturbs both."""
    return Spread.of([one / other for one, other in zip(measured, reference, strict=True)])


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """k of the power law cost = c * size^k that fits best (least squares of the logarithms)."""
    points = [(math.log(size), math.log(cost)) for size, cost in zip(sizes, costs, strict=True)]
    return statistics.linear_regression(*zip(*points, strict=True)).slope


def growth(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """The exponent, over the last step, of what is added to the cost of the smallest size: a fixed part would hide how
    the rest grows, and what little the small sizes add drowns in noise."""
    added = [(size - sizes[0], cost - costs[0]) for size, cost in zip(sizes, costs, strict=True)][-2:]
    return exponent(*zip(*added, strict=True)) if min(cost for _, cost in added) > 0 else 0.0


def timed(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def interleaved(
    rounds: int, contenders: Mapping[str, Callable[[], object]], pause_s: float = 0.0
) -> dict[str, list[float]]:
    """Each contender once per round, in turning order, after one round that does not count. The pause before each lets
    the one before it finish what it does in the background."""
    names = list(contenders)
    measured: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds + 1):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            time.sleep(pause_s)
            seconds = timed(contenders[name])
            if number:
                measured[name].append(seconds)
    return measured
