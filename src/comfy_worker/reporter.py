"""Sends a job's progress to RunPod: in order, not too often, and never after the result.

The SDK's own `progress_update` starts a thread for each call; in 3 of 4 measured jobs such an update arrived after the
result, which RunPod then showed as the job's state.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from comfy_worker.logs import ROOT

log = logging.getLogger(ROOT)

#: Between two updates.
PAUSE_S = 1.0
#: How long the result waits for an update that is on its way; then its connection is dropped.
LAST_S = 5.0

Post = Callable[[dict[str, Any]], Awaitable[object]]


class Reporter:
    """One job's updates. `tell` may be called from any thread; only the newest value counts."""

    def __init__(self, post: Post, pause_s: float = PAUSE_S, last_s: float = LAST_S) -> None:
        self._post = post
        self._pause_s = pause_s
        self._last_s = last_s
        self._newest: dict[str, Any] | None = None
        self._finished = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    def tell(self, progress: dict[str, Any]) -> None:
        self._newest = progress

    async def finish(self) -> None:
        """After this nothing is sent any more, and what was being sent has arrived. Does not fail."""
        self._finished.set()
        try:
            await asyncio.wait([self._task], timeout=self._last_s)
        finally:
            self._task.cancel()

    async def _run(self) -> None:
        sent: dict[str, Any] | None = None
        while not await self._finished_within(self._pause_s):
            newest = self._newest
            if newest is not None and newest != sent:
                sent = newest
                try:
                    await self._post(newest)
                except Exception:
                    # The job goes on; the next update may get through.
                    log.debug("a progress update was not sent", exc_info=True)

    async def _finished_within(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self._finished.wait(), seconds)
        except asyncio.TimeoutError:
            return False
        return True
