"""A job's progress on its way: in order, not too often, never after the end, and never in the job's way."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from comfy_worker.reporter import Reporter

PAUSE_S = 0.02


def progress(percent: int) -> dict[str, Any]:
    return {"progress": {"percent": percent}}


def play(scene: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(scene(), 20)

    asyncio.run(bounded())


class Runpod:
    """Takes updates. While `holding`, they are on their way and do not arrive."""

    def __init__(self, *, holding: bool = False) -> None:
        self.sent: list[dict[str, Any]] = []
        self.sent_at: list[float] = []
        self.arrived: list[dict[str, Any]] = []
        self._sending = asyncio.Event()
        self._let_through = asyncio.Event()
        if not holding:
            self._let_through.set()

    async def post(self, value: dict[str, Any]) -> None:
        self.sent.append(value)
        self.sent_at.append(asyncio.get_running_loop().time())
        self._sending.set()
        await self._let_through.wait()
        self.arrived.append(value)

    async def is_being_told(self) -> None:
        await self._sending.wait()

    def let_through(self) -> None:
        self._let_through.set()

    async def has(self, value: dict[str, Any]) -> None:
        while self.arrived[-1:] != [value]:
            await asyncio.sleep(PAUSE_S / 4)


def test_the_newest_is_sent_once_and_in_order() -> None:
    async def scene() -> None:
        runpod = Runpod()
        reporter = Reporter(runpod.post, PAUSE_S)
        for percent in (10, 20, 30):
            reporter.tell(progress(percent - 1))
            reporter.tell(progress(percent))
            await runpod.has(progress(percent))
        await asyncio.sleep(4 * PAUSE_S)
        await reporter.finish()
        assert runpod.sent == [progress(10), progress(20), progress(30)]

    play(scene)


def test_no_more_than_one_a_pause_however_often_it_is_told() -> None:
    async def scene() -> None:
        runpod = Runpod()
        reporter = Reporter(runpod.post, PAUSE_S)
        percents = itertools.count()
        while len(runpod.sent) < 5:
            reporter.tell(progress(next(percents)))
            await asyncio.sleep(PAUSE_S / 10)
        await reporter.finish()
        # An event loop's timers may be early by its clock's resolution.
        assert all(later - earlier > 0.9 * PAUSE_S for earlier, later in itertools.pairwise(runpod.sent_at))

    play(scene)


def test_nothing_is_sent_for_a_job_that_is_over_before_the_first_pause() -> None:
    async def scene() -> None:
        runpod = Runpod()
        reporter = Reporter(runpod.post, PAUSE_S)
        reporter.tell(progress(50))
        await reporter.finish()
        reporter.tell(progress(60))
        await asyncio.sleep(4 * PAUSE_S)
        assert runpod.sent == []

    play(scene)


def test_finish_waits_for_the_update_that_is_on_its_way() -> None:
    async def scene() -> None:
        runpod = Runpod(holding=True)
        reporter = Reporter(runpod.post, PAUSE_S)
        reporter.tell(progress(50))
        await runpod.is_being_told()
        finishing = asyncio.create_task(reporter.finish())
        await asyncio.sleep(4 * PAUSE_S)
        assert not finishing.done()
        runpod.let_through()
        await finishing
        assert runpod.arrived == [progress(50)]

    play(scene)


def test_a_post_that_hangs_is_given_up_and_cannot_arrive_later() -> None:
    async def scene() -> None:
        runpod = Runpod(holding=True)
        reporter = Reporter(runpod.post, PAUSE_S, last_s=2 * PAUSE_S)
        reporter.tell(progress(50))
        await runpod.is_being_told()
        await reporter.finish()
        runpod.let_through()
        await asyncio.sleep(4 * PAUSE_S)
        assert runpod.arrived == []

    play(scene)


@pytest.mark.parametrize("error", [OSError("no route"), ValueError("odd"), asyncio.TimeoutError()])
def test_a_post_that_raises_neither_fails_the_job_nor_ends_the_updates(error: Exception) -> None:
    async def scene() -> None:
        runpod = Runpod()

        async def post(value: dict[str, Any]) -> None:
            await runpod.post(value)
            if len(runpod.sent) == 1:
                raise error

        reporter = Reporter(post, PAUSE_S)
        for percent in (10, 20):
            reporter.tell(progress(percent))
            await runpod.has(progress(percent))
        await reporter.finish()
        assert runpod.sent == [progress(10), progress(20)]

    play(scene)


def test_a_job_cancelled_while_it_finishes_still_ends_its_updates() -> None:
    async def scene() -> None:
        runpod = Runpod(holding=True)
        reporter = Reporter(runpod.post, PAUSE_S)
        reporter.tell(progress(50))
        await runpod.is_being_told()
        finishing = asyncio.create_task(reporter.finish())
        await asyncio.sleep(0)
        finishing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await finishing
        runpod.let_through()
        await asyncio.sleep(4 * PAUSE_S)
        assert runpod.arrived == []

    play(scene)
