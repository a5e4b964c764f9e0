"""The API that workers call: job-take, job-done, job-stream, job-stop, ping, as runpod-python 1.12.0 uses it."""

from __future__ import annotations

from urllib.parse import parse_qsl

from fastapi import Request
from fastapi.responses import Response

from .exchange import RawJsonResponse, aside, read_body
from .fleet import STREAM_CHUNK_LIMIT
from .job_table import ASYNC_LIMIT, size_limit
from .jobs import WorkerRef, dumps, json_array
from .json_text import NotJson, RawJson, cut, members, parse
from .live import LiveEndpoint
from .polling import hang_up
from .problems import Problem, bad_request
from .results import Progress, read_result
from .routes import Route

_BATCH_LIMIT = 1000


class WorkerApi:
    """The worker routes of one endpoint."""

    def __init__(self, live: LiveEndpoint) -> None:
        self._live = live
        self._fleet = live.endpoint.fleet

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/job-take/{worker}", self.take, {"summary": "Take one job (long poll)"}),
            Route(
                "GET",
                "/job-take-batch/{worker}",
                self.take_batch,
                {"summary": "Take several jobs (long poll)"},
            ),
            Route("GET", "/job-stop/{worker}", self.stops, {"summary": "Ids of jobs to stop (long poll)"}),
            Route("POST", "/job-done/{worker}/{job_id}", self.done, {"summary": "Result or progress of a job"}),
            Route("POST", "/job-stream/{worker}/{job_id}", self.stream, {"summary": "One chunk of a job's stream"}),
            Route("GET", "/ping/{worker}", self.ping, {"summary": "Heartbeat with the ids of the jobs in hand"}),
        ]

    async def take(self, request: Request, worker: str) -> Response:
        ref, _ = _caller(request, worker)
        async with hang_up(request) as gone:
            jobs = await self._live.take(ref, _connection(request), 1, gone)
        if not jobs:
            return Response(status_code=204)
        return RawJsonResponse(self._fleet.worker_document(jobs[0]))

    async def take_batch(self, request: Request, worker: str) -> Response:
        ref, query = _caller(request, worker)
        limit = _batch_size(query.get("batch_size", ""))
        async with hang_up(request) as gone:
            jobs = await self._live.take(ref, _connection(request), limit, gone)
        if not jobs:
            return Response(status_code=204)
        return RawJsonResponse(json_array([self._fleet.worker_document(job) for job in jobs]))

    async def stops(self, request: Request, worker: str) -> Response:
        ref, _ = _caller(request, worker)
        async with hang_up(request) as gone:
            job_ids = await self._live.stops(ref, _connection(request), gone)
        if not job_ids:
            return Response(status_code=204)
        return RawJsonResponse([dumps({"jobsToStop": job_ids})])

    async def done(self, request: Request, worker: str, job_id: str) -> Response:
        """The body is JSON text although the SDK labels it as a form. 400 and 404 are not retried by the SDK."""
        ref, _ = _caller(request, worker)
        self._live.endpoint.find(job_id)
        try:
            body = await read_body(request, size_limit(job_id))
        except Problem:
            self._fleet.oversized(job_id, ref)
            raise
        try:
            result = await aside(read_result, body)
        except NotJson as error:
            raise bad_request(f"bad request: body is not valid JSON: {error}") from None
        if isinstance(result, Progress):
            self._fleet.progressed(job_id, ref, result)
        else:
            self._fleet.finished(job_id, ref, result, _connection(request))
        return RawJsonResponse([b"{}"])

    async def stream(self, request: Request, worker: str, job_id: str) -> Response:
        ref, _ = _caller(request, worker)
        self._live.endpoint.find(job_id)
        body = await read_body(request, ASYNC_LIMIT)
        self._fleet.streamed(job_id, ref, await aside(_stream_chunks, body))
        return RawJsonResponse([b"{}"])

    async def ping(self, request: Request, worker: str) -> Response:
        ref, query = _caller(request, worker)
        if query.get("status") == "unhealthy":
            self._fleet.unhealthy(ref, f"{query.get('check', '')}: {query.get('reason', '')}")
        else:
            self._fleet.pinged(ref, query.get("job_id", "").split(","))
        return Response(status_code=200)


def _caller(request: Request, worker: str) -> tuple[WorkerRef, dict[str, str]]:
    """The worker and the parameters. A job-take URL without `?` makes the SDK append `&...` to the worker's name."""
    name, _, appended = worker.partition("&")
    query = dict(parse_qsl(appended)) | dict(request.query_params)
    return WorkerRef(name, query.get("start", "")), query


def _batch_size(text: str) -> int:
    """What is not a number of jobs asks for one."""
    try:
        return min(max(int(text), 1), _BATCH_LIMIT)
    except ValueError:
        return 1


def _connection(request: Request) -> str:
    return f"{request.client.host} {request.client.port}" if request.client else ""


def _stream_chunks(body: bytes | bytearray) -> list[RawJson]:
    """A chunk over 1 MB is split (RunPod documentation); only text can be, the form of the parts is an assumption."""
    try:
        document = parse(body)
    except NotJson as error:
        raise bad_request(f"bad request: body is not valid JSON: {error}") from None
    if not isinstance(document, dict) or "output" not in document:
        raise bad_request("bad request: a stream chunk needs an `output`")
    output = document["output"]
    if isinstance(output, str) and len(body) > STREAM_CHUNK_LIMIT:
        part = STREAM_CHUNK_LIMIT // 8  # a character takes at most six bytes in JSON text
        return [dumps(output[at : at + part]) for at in range(0, len(output), part)]
    return [cut(body, members(body)["output"])]
