"""Waiting for something to happen, and for the other side to hang up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from starlette.requests import Request


class Bell:
    """Wakes everybody who waits, in the order they came."""

    def __init__(self) -> None:
        self._waiting: dict[asyncio.Future[None], None] = {}

    def ring(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def listen(self) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[future] = None
        return future

    def leave(self, future: asyncio.Future[None]) -> None:
        self._waiting.pop(future, None)


async def wait_for_any(bells: list[Bell], gone: asyncio.Future[None], seconds: float) -> None:
    """Wait until a bell rings, the client hangs up or the time is over."""
    listening = [(bell, bell.listen()) for bell in bells]
    try:
        await asyncio.wait(
            [gone, *(future for _, future in listening)], timeout=seconds, return_when=asyncio.FIRST_COMPLETED
        )
    finally:
        for bell, future in listening:
            bell.leave(future)


@asynccontextmanager
async def hang_up(request: Request) -> AsyncIterator[asyncio.Future[None]]:
    """A future that is done once the client has closed the connection.

    A job handed to a worker that was killed during its poll would be lost until the lost-job timer finds it.
    The request's body must have been read before.
    """

    async def listen() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    task = asyncio.ensure_future(listen())
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
