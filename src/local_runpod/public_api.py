"""The API that clients call: /run, /runsync, /status ... as RunPod documents it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Path, Query, Request
from fastapi.responses import Response

from . import documentation as docs
from .exchange import RawJsonResponse, aside, read_body
from .job_table import ASYNC_LIMIT, SYNC_LIMIT
from .jobs import Job, dumps, json_array, json_object
from .live import LiveEndpoint
from .polling import hang_up
from .routes import Handler, Route
from .submission import read_submission

# The documented range of `wait` on /runsync; on /status-sync the JS SDK clamps to 90 s.
_RUNSYNC_WAIT_MS = (1_000, 300_000)
_STATUS_WAIT_MS = (1_000, 90_000)

JobId = Annotated[str, Path(description="id that /run or /runsync returned")]
Wait = Annotated[
    float | None, Query(description="how long to wait for the result, in milliseconds", allow_inf_nan=False)
]
Ttl = Annotated[float | None, Query(description="delete the job after so many milliseconds", ge=0, allow_inf_nan=False)]


class PublicApi:
    """The client routes of one endpoint."""

    def __init__(self, live: LiveEndpoint) -> None:
        self._live = live
        self._endpoint = live.endpoint

    def routes(self) -> list[Route]:
        return [
            Route("POST", "/run", self.run, docs.RUN),
            Route("POST", "/runsync", self.runsync, docs.RUNSYNC),
            *_get_or_post("/status/{job_id}", self.status, docs.STATUS),
            *_get_or_post("/status-sync/{job_id}", self.status_sync, docs.STATUS_SYNC),
            *_get_or_post("/stream/{job_id}", self.stream, docs.STREAM),
            Route("POST", "/cancel/{job_id}", self.cancel, docs.CANCEL),
            Route("POST", "/retry/{job_id}", self.retry, docs.RETRY),
            Route("POST", "/purge-queue", self.purge_queue, docs.PURGE_QUEUE),
            Route("GET", "/requests", self.requests, docs.REQUESTS),
            Route("GET", "/health", self.health, docs.HEALTH),
        ]

    async def run(self, request: Request) -> Response:
        job = await self._submit(request, sync=False)
        return _state(job)

    async def runsync(self, request: Request, wait: Wait = None) -> Response:
        job = await self._submit(request, sync=True)
        default = self._live.settings.sync_wait_default_ms
        return await self._when_final(request, job, default if wait is None else _clamp(wait, _RUNSYNC_WAIT_MS))

    async def status(self, job_id: JobId, ttl: Ttl = None) -> Response:
        job = self._endpoint.find(job_id)
        if ttl is not None:
            self._endpoint.shorten_life(job, ttl / 1000)
        return self._document(job)

    async def status_sync(self, request: Request, job_id: JobId, wait: Wait = None) -> Response:
        job = self._endpoint.find(job_id)
        await read_body(request, ASYNC_LIMIT)
        longest = _STATUS_WAIT_MS[1]
        return await self._when_final(request, job, _clamp(longest if wait is None else wait, _STATUS_WAIT_MS))

    async def stream(self, job_id: JobId) -> Response:
        """Never held back: the Python SDK gives up after 10 s."""
        status, chunks = self._endpoint.drain_stream(self._endpoint.find(job_id))
        outputs = json_array([json_object({"output": chunk}) for chunk in chunks])
        return RawJsonResponse([b'{"status":', dumps(status.value), b',"stream":', *outputs, b"}"])

    async def cancel(self, job_id: JobId) -> Response:
        job = self._endpoint.find(job_id)
        self._endpoint.cancel(job)
        return _state(job)

    async def retry(self, job_id: JobId) -> Response:
        job = self._endpoint.find(job_id)
        self._endpoint.retry(job)
        return _state(job)

    async def purge_queue(self) -> Response:
        return RawJsonResponse([dumps({"removed": self._endpoint.purge(), "status": "completed"})])

    async def requests(self) -> Response:
        """RunPod names this route in its rate limits only; the answer's form is this project's choice."""
        jobs = [{"id": job.id, "status": job.status.value} for job in self._endpoint.jobs()]
        return RawJsonResponse([dumps({"requests": jobs})])

    async def health(self) -> Response:
        return RawJsonResponse([dumps(self._endpoint.health())])

    async def _submit(self, request: Request, *, sync: bool) -> Job:
        body = await read_body(request, SYNC_LIMIT if sync else ASYNC_LIMIT)
        submission = await aside(read_submission, body, self._live.settings)
        return self._endpoint.submit(submission, sync=sync)

    async def _when_final(self, request: Request, job: Job, wait_ms: float) -> Response:
        """A client that hangs up does not cancel the job."""
        async with hang_up(request) as gone:
            return self._document(await self._live.final(job, wait_ms / 1000, gone))

    def _document(self, job: Job) -> Response:
        return RawJsonResponse(self._endpoint.document(job))


def _get_or_post(path: str, handler: Handler, documented: Mapping[str, Any]) -> list[Route]:
    """Old clients send POST; the documentation shows GET alone."""
    return [Route("GET", path, handler, documented), Route("POST", path, handler, {"include_in_schema": False})]


def _state(job: Job) -> Response:
    return RawJsonResponse([dumps({"id": job.id, "status": job.status.value})])


def _clamp(value: float, limits: tuple[int, int]) -> float:
    return min(max(value, limits[0]), limits[1])
