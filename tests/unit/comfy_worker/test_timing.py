from __future__ import annotations

from itertools import islice

import pytest

from comfy_worker.timing import Deadline, backoff


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_deadline_is_spent_once_over_all_steps() -> None:
    clock = Clock()
    deadline = Deadline(10.0, clock)
    assert deadline.left(60.0) == 10.0
    clock.now += 4.0
    assert deadline.left(60.0) == 6.0
    assert deadline.left(1.5) == 1.5
    assert not deadline.expired
    clock.now += 6.0
    assert deadline.expired
    assert deadline.left(1.5) == 0.0
    clock.now += 1000.0
    assert deadline.left(1.5) == 0.0


def test_a_deadline_without_limit_never_expires() -> None:
    clock = Clock()
    deadline = Deadline(None, clock)
    clock.now += 1e9
    assert not deadline.expired
    assert deadline.left(0.5) == 0.5
    assert deadline.seconds is None


def test_no_time_at_all_is_expired_at_once() -> None:
    assert Deadline(0.0, Clock()).expired


def test_the_clock_of_the_machine_is_the_default() -> None:
    assert 0.0 < Deadline(60.0).left(120.0) <= 60.0


@pytest.mark.parametrize(
    ("arguments", "delays"),
    [
        ({"first": 1.0}, [1, 2, 4, 8, 16, 30, 30]),
        ({"first": 0.5, "factor": 3.0, "highest": 5.0}, [0.5, 1.5, 4.5, 5, 5]),
        ({"first": 3.0, "factor": 1.0}, [3, 3, 3]),
        ({"first": 0.0}, [0, 0, 0]),
        ({"first": 60.0}, [30, 30]),
    ],
)
def test_backoff(arguments: dict[str, float], delays: list[float]) -> None:
    assert list(islice(backoff(**arguments), len(delays))) == delays
