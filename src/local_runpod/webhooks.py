"""Calling a job's `webhook` when the job has ended: three tries, until the answer is 200 (RunPod documentation)."""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from .endpoint import WebhookCall
from .settings import Settings

if TYPE_CHECKING:
    import aiohttp

log = logging.getLogger(__name__)

_TRIES = 3
_AT_ONCE = 20
_PIECE = 256 * 1024


class WebhookSender:
    """Delivers webhooks side by side, a few at a time."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._session: aiohttp.ClientSession | None = None
        self._deliveries: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._opening = asyncio.Lock()

    def send(self, call: WebhookCall) -> None:
        """Start a delivery; it goes on by itself."""
        task = asyncio.create_task(self._deliver(call))
        self._deliveries.add(task)
        task.add_done_callback(self._deliveries.discard)

    async def close(self) -> None:
        for task in self._deliveries:
            task.cancel()
        await asyncio.gather(*self._deliveries, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    async def _deliver(self, call: WebhookCall) -> None:
        for attempt in range(_TRIES):
            if attempt:
                await asyncio.sleep(self._settings.webhook_retry_s)
            async with self._slots:
                outcome = await self._try(call)
            if outcome == "200":
                log.info("%s webhook delivered", call.job_id)
                return
            log.warning("%s webhook try %d of %d: %s", call.job_id, attempt + 1, _TRIES, outcome)

    async def _try(self, call: WebhookCall) -> str:
        session = await self._open()
        import aiohttp

        headers = {"Content-Type": "application/json", "Content-Length": str(sum(map(len, call.body)))}
        try:
            async with session.post(call.url, data=_pieces(call), headers=headers, allow_redirects=False) as answer:
                return str(answer.status)
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError, ValueError) as error:
            return f"{type(error).__name__} {error}".strip()

    async def _open(self) -> aiohttp.ClientSession:
        """aiohttp takes half a second to import: not at the start, and not on the event loop."""
        async with self._opening:
            if self._session is None:
                await asyncio.to_thread(importlib.import_module, "aiohttp")
                import aiohttp

                timeout = aiohttp.ClientTimeout(total=self._settings.webhook_timeout_s)
                self._session = aiohttp.ClientSession(timeout=timeout)
            return self._session


async def _pieces(call: WebhookCall) -> AsyncIterator[bytes]:
    for part in call.body:
        for start in range(0, len(part), _PIECE):
            yield bytes(part[start : start + _PIECE])
