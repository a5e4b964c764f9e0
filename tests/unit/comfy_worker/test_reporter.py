"""A job's progress on its way: in order, not too often, never after the end, and never in the job's way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from comfy_worker.reporter import Reporter

PAUSE_S = 0.02
Sent = list[dict[str, Any]]


def progress(percent: int) -> dict[str, Any]:
    return {"progress": {"percent": percent}}


def play(scene: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(scene(), 20)

    asyncio.run(bounded())


def test_the_newest_is_sent_once_and_in_order() -> None:
    sent: Sent = []

    async def post(value: dict[str, Any]) -> None:
        sent.append(value)

    async def scene() -> None:
        reporter = Reporter(post, PAUSE_S)
        for percent in (10, 20, 30):
            reporter.tell(progress(percent - 1))
            reporter.tell(progress(percent))
            while sent[-1:] != [progress(percent)]:
                await asyncio.sleep(PAUSE_S / 4)
        await asyncio.sleep(4 * PAUSE_S)
        await reporter.finish()

    play(scene)
    assert sent == [progress(10), progress(20), progress(30)]


def test_no_more_than_one_a_pause_however_often_it_is_told() -> None:
    sent: Sent = []

    async def post(value: dict[str, Any]) -> None:
        sent.append(value)

    async def scene() -> None:
        reporter = Reporter(post, 0.1)
        for percent in range(100):
            reporter.tell(progress(percent))
            await asyncio.sleep(0.005)
        await reporter.finish()

    play(scene)
    assert len(sent) <= 10


def test_nothing_is_sent_for_a_job_that_is_over_before_the_first_pause() -> None:
    sent: Sent = []

    async def post(value: dict[str, Any]) -> None:
        sent.append(value)

    async def scene() -> None:
        reporter = Reporter(post, 0.05)
        reporter.tell(progress(50))
        await reporter.finish()
        reporter.tell(progress(60))
        await asyncio.sleep(0.15)

    play(scene)
    assert sent == []


def test_finish_waits_for_the_update_that_is_on_its_way() -> None:
    arrived: Sent = []

    async def post(value: dict[str, Any]) -> None:
        await asyncio.sleep(0.2)
        arrived.append(value)

    async def scene() -> None:
        reporter = Reporter(post, PAUSE_S)
        reporter.tell(progress(50))
        await asyncio.sleep(2 * PAUSE_S)
        await reporter.finish()
        assert arrived == [progress(50)]
        await asyncio.sleep(0.3)

    play(scene)
    assert arrived == [progress(50)]


def test_a_post_that_hangs_is_given_up_and_cannot_arrive_later() -> None:
    arrived: Sent = []

    async def post(value: dict[str, Any]) -> None:
        await asyncio.sleep(0.5)
        arrived.append(value)

    async def scene() -> None:
        reporter = Reporter(post, PAUSE_S, last_s=0.05)
        reporter.tell(progress(50))
        await asyncio.sleep(2 * PAUSE_S)
        await reporter.finish()
        await asyncio.sleep(0.8)

    play(scene)
    assert arrived == []


@pytest.mark.parametrize("error", [OSError("no route"), ValueError("odd"), asyncio.TimeoutError()])
def test_a_post_that_raises_neither_fails_the_job_nor_ends_the_updates(error: Exception) -> None:
    sent: Sent = []

    async def post(value: dict[str, Any]) -> None:
        sent.append(value)
        if len(sent) == 1:
            raise error

    async def scene() -> None:
        reporter = Reporter(post, PAUSE_S)
        for percent in (10, 20):
            reporter.tell(progress(percent))
            while sent[-1:] != [progress(percent)]:
                await asyncio.sleep(PAUSE_S / 4)
        await reporter.finish()

    play(scene)
    assert sent == [progress(10), progress(20)]


def test_a_job_cancelled_while_it_finishes_still_ends_its_updates() -> None:
    arrived: Sent = []

    async def post(value: dict[str, Any]) -> None:
        await asyncio.sleep(0.3)
        arrived.append(value)

    async def scene() -> None:
        reporter = Reporter(post, PAUSE_S)
        reporter.tell(progress(50))
        await asyncio.sleep(2 * PAUSE_S)
        finishing = asyncio.create_task(reporter.finish())
        await asyncio.sleep(0.05)
        finishing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await finishing
        await asyncio.sleep(0.5)

    play(scene)
    assert arrived == []
