"""The endpoint in time: long polls, waits, the ticking clock and webhooks around the state machine."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from weakref import WeakValueDictionary

from .endpoint import Endpoint
from .jobs import Job, WorkerRef
from .polling import Bell, wait_for_any
from .settings import Settings
from .webhooks import WebhookSender

log = logging.getLogger(__name__)

_TICK_S = 0.1
# A stopped worker's polls are held no longer than this, so that a worker told to exit need not wait for their end;
# not zero, because the SDK asks again at once.
_RETIRED_HOLD_S = 0.3


class LiveEndpoint:
    """One endpoint, used from one event loop."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.endpoint = Endpoint(settings, time.monotonic, self)
        self._webhooks = WebhookSender(settings)
        self._jobs_bell = Bell()
        # A bell lives as long as a request listens to it.
        self._worker_bells: WeakValueDictionary[str, Bell] = WeakValueDictionary()
        self._job_bells: WeakValueDictionary[str, Bell] = WeakValueDictionary()
        self._closing = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        ticking = asyncio.create_task(self._tick())
        try:
            yield
        finally:
            ticking.cancel()
            with suppress(asyncio.CancelledError):
                await ticking
            await self._webhooks.close()

    def close(self) -> None:
        """Answer every waiting request now, so that the server can stop."""
        self._closing = True
        for bell in [self._jobs_bell, *self._worker_bells.values(), *self._job_bells.values()]:
            bell.ring()

    # --- what the state machine tells (Observer) ---

    def job_waiting(self) -> None:
        self._jobs_bell.ring()

    def job_ended(self, job: Job) -> None:
        self._ring_job(job)
        call = self.endpoint.webhook_call(job)
        if call is not None:
            self._webhooks.send(call)

    def job_deleted(self, job: Job) -> None:
        self._ring_job(job)

    def worker_signalled(self, name: str) -> None:
        bell = self._worker_bells.get(name)
        if bell is not None:
            bell.ring()

    # --- what requests wait for ---

    async def final(self, job: Job, seconds: float, gone: asyncio.Future[None]) -> Job:
        """Wait until the job is over, but no longer than `seconds`. Raises the 404 of a job deleted meanwhile."""
        deadline = time.monotonic() + seconds
        while not self._closing and not gone.done() and (left := deadline - time.monotonic()) > 0:
            if self.endpoint.find(job.id).status.is_final:
                break
            await wait_for_any([self._job_bells.setdefault(job.id, Bell())], gone, left)
        return self.endpoint.find(job.id)

    async def take(self, ref: WorkerRef, connection: str, limit: int, gone: asyncio.Future[None]) -> list[Job]:
        """job-take: up to `limit` jobs as soon as there is one, or none after the hold."""
        fleet = self.endpoint.fleet
        worker = fleet.poll_started(ref, connection)
        deadline = time.monotonic() + self.settings.poll_hold_s
        bells = [self._jobs_bell, self._worker_bells.setdefault(ref.name, Bell())]
        try:
            while not self._closing and not gone.done():
                jobs = fleet.take(worker, limit)
                if jobs:
                    return jobs
                if worker.retired:
                    deadline = min(deadline, time.monotonic() + _RETIRED_HOLD_S)
                    bells = []
                if time.monotonic() >= deadline:
                    break
                await wait_for_any(bells, gone, deadline - time.monotonic())
            return []
        finally:
            fleet.poll_ended(worker)

    async def stops(self, ref: WorkerRef, connection: str, gone: asyncio.Future[None]) -> list[str]:
        """job-stop: the jobs this worker shall stop, as soon as there is one, or none after the hold."""
        fleet = self.endpoint.fleet
        worker = fleet.poll_started(ref, connection)
        deadline = time.monotonic() + self.settings.poll_hold_s
        bell = self._worker_bells.setdefault(ref.name, Bell())
        try:
            while not self._closing and not gone.done():
                stops = fleet.collect_stops(worker)
                if stops:
                    return stops
                if worker.retired:
                    deadline = min(deadline, time.monotonic() + _RETIRED_HOLD_S)
                if time.monotonic() >= deadline:
                    break
                await wait_for_any([bell], gone, deadline - time.monotonic())
            return []
        finally:
            fleet.poll_ended(worker)

    def _ring_job(self, job: Job) -> None:
        bell = self._job_bells.get(job.id)
        if bell is not None:
            bell.ring()

    async def _tick(self) -> None:
        while True:
            self.endpoint.tick()
            await asyncio.sleep(_TICK_S)
