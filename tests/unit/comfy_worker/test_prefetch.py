"""When to take how many jobs: the rules one by one, and under the SDK's own loop in simulated time."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest
from runpod.serverless.modules import rp_scale
from runpod.serverless.modules.worker_state import JobsProgress

from comfy_worker.config import MOST_CONCURRENT
from comfy_worker.prefetch import AT_ONCE_S, BLIND_S, LONGEST_PREPARATION_S, MOST_LEAVING, Prefetch, Slots

AT_ONCE = 0.05
HELD = 5.0


class Desk:
    """The SDK's side: `look` asks, `answer` brings jobs after some seconds, `end` lets the oldest job's run end."""

    def __init__(self) -> None:
        self.now = 100.0
        self.in_hand: list[str] = []
        self.prefetch = Prefetch(lambda: self.in_hand, lambda: self.now)
        self._names = map(str, itertools.count())

    def look(self) -> int:
        return self.prefetch.wanted()

    def answer(self, jobs: int, after: float) -> int:
        self.now += after
        self.in_hand += itertools.islice(self._names, jobs)
        return self.look()

    def end(self, seconds: float, *, leaves: bool = True) -> None:
        self.now += seconds
        oldest = next(job for job in self.in_hand if job not in self.prefetch._leaving)
        self.prefetch.ran(oldest, seconds)
        if leaves:
            self.in_hand.remove(oldest)

    def knows(self, seconds: float) -> Desk:
        """A worker that has run a few such jobs, found none waiting since, and waits for the next."""
        for _ in range(3):
            assert self.look() >= 1
            assert self.answer(1, HELD) == 0
            self.end(seconds)
        assert self.look() >= 1
        assert self.answer(0, HELD) == 1
        return self

    def finds_a_backlog(self, seconds: float) -> Desk:
        """The same, but more jobs came while one ran than are taken at a time."""
        self.knows(seconds)
        self.answer(1, HELD)
        self.end(seconds)
        self.answer(self.look(), AT_ONCE)
        return self


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_an_idle_worker_asks_for_one(desk: Desk) -> None:
    assert [desk.look(), desk.answer(0, HELD), desk.answer(0, HELD)] == [1, 1, 1]


def test_cold_one_job_at_a_time_even_if_more_wait(desk: Desk) -> None:
    assert desk.look() == 1
    assert desk.answer(1, AT_ONCE) == 0
    desk.now += 60
    assert desk.look() == 0


def test_sparse_no_look_while_a_job_runs(desk: Desk) -> None:
    desk.knows(1.0)
    assert desk.answer(1, HELD) == 0
    desk.now += 0.9
    assert desk.look() == 0
    desk.end(0.1)
    assert desk.look() >= 1


@pytest.mark.parametrize("seconds", [0.1, 0.5, 1.0, 4.0])
def test_sparse_a_job_that_came_during_the_sdks_sleep_is_no_backlog(desk: Desk, seconds: float) -> None:
    desk.knows(seconds)
    desk.answer(1, HELD)
    desk.end(seconds)
    desk.look()
    assert desk.answer(1, AT_ONCE) == 0
    desk.now += seconds / 2
    assert desk.look() == 0


@pytest.mark.parametrize(("seconds", "jobs"), [(0.1, 14), (0.5, 3), (1.0, 2), (1.3, 2), (1.5, 1), (60, 1)])
def test_after_a_sleep_what_covers_the_next_one_is_asked_for(desk: Desk, seconds: float, jobs: int) -> None:
    desk.knows(seconds)
    desk.answer(1, HELD)
    desk.end(seconds)
    assert desk.look() == jobs
    assert desk.answer(0, HELD) == 1


@pytest.mark.parametrize("seconds", [0.3, 0.5, 1.0])
def test_a_full_answer_is_a_backlog_that_is_followed_tick_by_tick(desk: Desk, seconds: float) -> None:
    desk.finds_a_backlog(seconds)
    assert desk.look() == 0
    desk.end(seconds)
    assert desk.look() >= 1


@pytest.mark.parametrize("seconds", [4.0, 30.0, 600.0])
def test_long_jobs_are_followed_by_a_look_shortly_before_their_end_only(desk: Desk, seconds: float) -> None:
    desk.knows(seconds)
    for _ in range(2):
        desk.answer(1, AT_ONCE)
        assert desk.look() == 0
        desk.end(seconds)
        assert desk.look() == 1
    desk.answer(1, AT_ONCE)
    desk.now += seconds - BLIND_S - 0.01
    assert desk.look() == 0
    desk.now += 0.02
    assert desk.look() == 1
    assert desk.answer(1, AT_ONCE) == 0


def test_a_look_that_waits_while_a_job_runs_ends_the_burst(desk: Desk) -> None:
    desk.finds_a_backlog(1.0)
    desk.end(1.0)
    assert desk.look() == 1
    assert desk.answer(1, AT_ONCE_S) == 0
    desk.end(0.6)
    assert desk.look() == 0


@pytest.mark.parametrize("after", [0.0, AT_ONCE, HELD, 90.0])
def test_no_job_or_an_error_ends_the_burst_and_is_not_asked_again_at_once(desk: Desk, after: float) -> None:
    """204, 400, 500, no connection: all that can be seen is that no job came."""
    desk.finds_a_backlog(1.0)
    desk.end(1.0)
    assert desk.look() == 1
    assert desk.answer(0, after) == 0


def test_a_job_that_leaves_during_an_empty_answer_is_no_new_job(desk: Desk) -> None:
    desk.finds_a_backlog(1.0)
    desk.end(1.0)
    desk.look()
    desk.end(AT_ONCE_S / 2)
    assert desk.answer(0, 0.0) == 1  # idle: as many as an idle worker asks for


def test_after_a_cold_start_the_long_first_run_does_not_hold_for_ever(desk: Desk) -> None:
    desk.look()
    desk.answer(1, AT_ONCE)
    desk.end(60.0)  # models loaded
    assert desk.look() == 1
    assert desk.answer(1, AT_ONCE) == 0
    desk.end(0.5)
    desk.look()
    assert desk.answer(1, AT_ONCE) == 1


def test_short_and_long_jobs_mixed_pile_up_by_their_mean(desk: Desk) -> None:
    for seconds in (0.1, 10.0, 0.1, 10.0, 0.1):
        desk.look()
        desk.answer(1, AT_ONCE)
        desk.end(seconds)
    wanted, asked = desk.look(), 0
    while wanted:
        asked += wanted
        wanted = desk.answer(wanted, AT_ONCE)
    assert asked == 2


def test_jobs_whose_run_is_over_count_no_more_unless_many(desk: Desk) -> None:
    desk.knows(1.0)
    for number in range(MOST_LEAVING):
        assert desk.look() >= 1, number
        desk.answer(1, HELD)
        desk.end(1.0, leaves=False)
    assert desk.look() == 0
    desk.in_hand.pop(0)
    assert desk.look() >= 1


def test_inputs_that_take_long_are_prepared_earlier(desk: Desk) -> None:
    desk.knows(30.0)
    desk.prefetch.prepared(3.0)
    desk.answer(1, AT_ONCE)
    desk.end(30.0)
    desk.look()
    desk.answer(1, AT_ONCE)
    desk.now += 30.0 - BLIND_S - 3.0 + 0.01
    assert desk.look() == 1


def test_inputs_that_take_very_long_do_not_pile_up_jobs(desk: Desk) -> None:
    desk.knows(30.0)
    desk.prefetch.prepared(600.0)
    desk.answer(1, AT_ONCE)
    desk.end(30.0)
    desk.look()
    desk.answer(1, AT_ONCE)
    desk.now += 30.0 - BLIND_S - LONGEST_PREPARATION_S - 0.01
    assert desk.look() == 0


def test_never_more_than_the_most(desk: Desk) -> None:
    desk.knows(0.001)
    desk.answer(1, HELD)
    desk.end(0.001)
    assert desk.look() == MOST_CONCURRENT
    assert desk.answer(MOST_CONCURRENT, AT_ONCE) == 0


def test_a_worker_that_is_given_back_takes_nothing(desk: Desk) -> None:
    desk.prefetch.closed = True
    assert desk.look() == 0


# --- under the SDK's own JobScaler, in simulated time ---


class SimulatedTime(asyncio.SelectorEventLoop):
    """Sleeping costs nothing: the clock jumps to the next timer."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def time(self) -> float:
        return self.now

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:  # type: ignore[attr-defined]
            self.now = max(self.now, self._scheduled[0].when())  # type: ignore[attr-defined]
        super()._run_once()  # type: ignore[misc]


class Endpoint:
    """Jobs by the time they arrive; a look is held until there is one, for at most HELD."""

    def __init__(self, loop: SimulatedTime, arrivals: list[float]) -> None:
        self._loop = loop
        self._arrivals = sorted(arrivals)
        self._numbers = itertools.count()
        self.looks: list[float] = []
        self.taken_at: dict[str, float] = {}
        self.status = 200

    async def take(self, session: Any, wanted: int) -> list[dict[str, Any]] | None:
        assert wanted > 0
        self.looks.append(self._loop.now)
        await asyncio.sleep(0.05)
        if self.status != 200:
            raise RuntimeError("500")
        end = self._loop.now + HELD
        while not self._arrivals or self._arrivals[0] > self._loop.now:
            soonest = min([end, *self._arrivals[:1]])
            await asyncio.sleep(max(0.001, soonest - self._loop.now))
            if self._loop.now >= end:
                return None
        ready = [at for at in self._arrivals if at <= self._loop.now][:wanted]
        del self._arrivals[: len(ready)]
        jobs = [{"id": f"job-{next(self._numbers)}", "input": {}} for _ in ready]
        self.taken_at.update({job["id"]: self._loop.now for job in jobs})
        return jobs


class Gpu:
    """Runs one prompt after the other; `spans` are (begin, end)."""

    def __init__(self, loop: SimulatedTime, prefetch: Prefetch, seconds: float) -> None:
        self._loop = loop
        self._prefetch = prefetch
        self._seconds = seconds
        self._lock = asyncio.Lock()
        self.spans: dict[str, tuple[float, float]] = {}

    async def handle(self, session: Any, config: Any, job: dict[str, Any]) -> None:
        await asyncio.sleep(0.03)
        async with self._lock:
            begin = self._loop.now
            await asyncio.sleep(self._seconds)
            self.spans[job["id"]] = (begin, self._loop.now)
            self._prefetch.ran(job["id"], self._seconds)
        await asyncio.sleep(0.06)

    @property
    def gaps(self) -> list[float]:
        spans = sorted(self.spans.values())
        return [later[0] - earlier[1] for earlier, later in itertools.pairwise(spans)]


class Simulation:
    """The SDK's JobScaler with `auto`, on a worker that has run such jobs before."""

    def __init__(self, loop: SimulatedTime, seconds: float, arrivals: list[float]) -> None:
        self.endpoint = Endpoint(loop, arrivals)
        prefetch = Prefetch(lambda: [job.id for job in JobsProgress()], loop.time)
        for number in range(3):
            prefetch.ran(f"before-{number}", seconds)
        self.gpu = Gpu(loop, prefetch, seconds)
        slots = Slots.of(prefetch)
        self.scaler = rp_scale.JobScaler({"concurrency_modifier": lambda current: slots})
        self.scaler.jobs_fetcher = self.endpoint.take
        self.scaler.jobs_handler = self.gpu.handle

    async def run(self, seconds: float) -> None:
        tasks = [asyncio.ensure_future(self.scaler.get_jobs(None)), asyncio.ensure_future(self.scaler.run_jobs(None))]
        await asyncio.sleep(seconds)
        self.scaler.kill_worker()
        await asyncio.gather(*tasks)


@pytest.fixture
def loop() -> Iterator[SimulatedTime]:
    JobsProgress().clear()
    loop = SimulatedTime()
    asyncio.set_event_loop(loop)
    yield loop
    asyncio.set_event_loop(None)
    loop.close()
    JobsProgress().clear()


def play(loop: SimulatedTime, work: Coroutine[Any, Any, None]) -> None:
    loop.run_until_complete(work)


@pytest.mark.parametrize("seconds", [0.5, 0.7, 1.0, 1.4, 2.0, 4.0, 10.0])
def test_under_the_sdk_a_backlog_keeps_the_gpu_busy(loop: SimulatedTime, seconds: float) -> None:
    simulation = Simulation(loop, seconds, [0.0] * 14)
    play(loop, simulation.run(14 * seconds + 20))
    assert len(simulation.gpu.gaps) == 13
    # That jobs wait is not known of the first one, when they are long.
    assert max(simulation.gpu.gaps[1:]) < 0.01
    assert simulation.gpu.gaps[0] < (0.01 if seconds < BLIND_S else 1.2)


@pytest.mark.parametrize("seconds", [0.5, 1.0, 4.0, 30.0])
def test_under_the_sdk_no_job_of_a_backlog_waits_here_for_long(loop: SimulatedTime, seconds: float) -> None:
    simulation = Simulation(loop, seconds, [0.0] * 12)
    play(loop, simulation.run(12 * seconds + 20))
    waits = [begin - simulation.endpoint.taken_at[job] for job, (begin, _) in simulation.gpu.spans.items()]
    # What it takes to cover the blind time, and one job more at most.
    assert max(waits) <= BLIND_S + min(seconds, 1.0) + 0.3


def test_under_the_sdk_sparse_jobs_are_taken_one_at_a_time(loop: SimulatedTime) -> None:
    simulation = Simulation(loop, 1.0, [7.0 + 5.3 * number for number in range(10)])
    play(loop, simulation.run(80))
    runs = sorted(simulation.gpu.spans.values())
    assert len(runs) == 10
    assert not [look for look in simulation.endpoint.looks for begin, end in runs if begin <= look < end]


def test_under_the_sdk_an_endpoint_in_trouble_is_not_hammered_while_a_job_runs(loop: SimulatedTime) -> None:
    simulation = Simulation(loop, 1.0, [0.0] * 3)

    async def trouble() -> None:
        await asyncio.sleep(0.3)  # two jobs are in hand
        simulation.endpoint.status = 500
        await asyncio.sleep(1.6)
        simulation.endpoint.status = 200

    async def both() -> None:
        await asyncio.gather(simulation.run(10), trouble())

    play(loop, both())
    assert len([look for look in simulation.endpoint.looks if 0.3 < look < 1.9]) <= 3
    assert len(simulation.gpu.spans) == 3
