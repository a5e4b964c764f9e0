"""The texts and examples of /docs."""

from __future__ import annotations

from typing import Any

DESCRIPTION = """
A RunPod serverless endpoint on this machine. Clients and workers that work with RunPod work here unchanged.

Every path exists twice: as on RunPod under `/v2/<endpoint_id>/...`, and without that prefix.
Send `Authorization: Bearer <key>` (or the bare key) if keys are configured.

A job: `/run` queues it and answers at once; poll `/status/<id>` until `status` is `COMPLETED`, `FAILED`,
`CANCELLED` or `TIMED_OUT`. `/runsync` waits for the result, and if the wait is over answers with the job as it is
then; go on with `/status/<id>`.
"""

_ID = "0f0c2c0e-7a51-4b39-9a52-7f1c8a1f1f7b-u1"
_IMAGES = {"images": [{"data": "iVBORw0KGgo...", "filename": "ComfyUI_00001_.png", "type": "base64"}]}
_COMPLETED = {
    "delayTime": 214,
    "executionTime": 3391,
    "id": _ID,
    "output": _IMAGES,
    "status": "COMPLETED",
    "workerId": "local-worker-1",
}
_FAILED = {
    "delayTime": 214,
    "error": "Input is missing the 'workflow' key.",
    "executionTime": 12,
    "id": _ID,
    "status": "FAILED",
    "workerId": "local-worker-1",
}
_IN_PROGRESS = {"delayTime": 214, "id": _ID, "status": "IN_PROGRESS", "workerId": "local-worker-1"}
_QUEUED = {"id": _ID, "status": "IN_QUEUE"}
_REQUEST = {
    "input": {"workflow": {"3": {"class_type": "KSampler", "inputs": {}}}},
    "policy": {"executionTimeout": 120000, "lowPriority": False, "ttl": 3600000},
    "webhook": "https://example.com/hook",
}
_HEALTH = {
    "jobs": {"completed": 31, "failed": 1, "inProgress": 1, "inQueue": 2, "retried": 1},
    "workers": {"idle": 0, "initializing": 0, "ready": 0, "running": 1, "throttled": 0, "unhealthy": 0},
}


def _example(value: Any) -> dict[str, Any]:
    return {"value": value}


def _problem(status: int, title: str, detail: str) -> dict[int | str, Any]:
    body = {"status": status, "title": title, "detail": detail}
    return {status: {"description": detail, "content": {"application/json": {"example": body}}}}


_NOT_FOUND = _problem(404, "Not Found", "job not found")
_TOO_LARGE = {
    limit: _problem(400, "Bad Request", f"bad request: body: exceeded max body size of {limit}MiB")
    for limit in (10, 20)
}
_WRONG_STATE = _problem(400, "Bad Request", "bad request: only FAILED and TIMED_OUT jobs can be retried, not COMPLETED")


def _answer(**examples: Any) -> dict[int | str, Any]:
    shown = {name.replace("_", " "): _example(value) for name, value in examples.items()}
    return {200: {"description": "OK", "content": {"application/json": {"examples": shown}}}}


def _job_body() -> dict[str, Any]:
    schema = {
        "type": "object",
        "required": ["input"],
        "properties": {
            "input": {"description": "handed to the worker as it is"},
            "webhook": {"type": "string", "description": "URL that gets the job JSON when the job has ended"},
            "policy": {
                "type": "object",
                "properties": {
                    "executionTimeout": {"type": "integer", "description": "milliseconds, 5000 to 7 days"},
                    "ttl": {"type": "integer", "description": "milliseconds from submission, 10000 to 7 days"},
                    "lowPriority": {"type": "boolean", "description": "run when nothing else is waiting"},
                },
            },
            "s3Config": {"type": "object", "description": "handed to the worker, never returned"},
        },
    }
    examples = {
        "smallest": _example({"input": {"workflow": {}}}),
        "everything": _example(_REQUEST),
    }
    return {
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema, "examples": examples}}}
    }


RUN: dict[str, Any] = {
    "summary": "Queue a job and answer at once",
    "description": "At most 10 MiB. The result is kept for 30 minutes after the end.",
    "openapi_extra": _job_body(),
    "responses": {**_answer(queued=_QUEUED), **_TOO_LARGE[10]},
}
RUNSYNC: dict[str, Any] = {
    "summary": "Queue a job and wait for its result",
    "description": "At most 20 MiB. Waits 90 s, or `wait` (1000 to 300000 ms). The result is kept for 1 minute.",
    "openapi_extra": _job_body(),
    "responses": {**_answer(completed=_COMPLETED, failed=_FAILED, wait_is_over=_IN_PROGRESS), **_TOO_LARGE[20]},
}
STATUS: dict[str, Any] = {
    "summary": "The job as it is now, with its output when it has one",
    "description": "`ttl` deletes the job sooner.",
    "responses": {
        **_answer(queued=_QUEUED, in_progress=_IN_PROGRESS, completed=_COMPLETED, failed=_FAILED),
        **_NOT_FOUND,
    },
}
STATUS_SYNC: dict[str, Any] = {
    "summary": "As /status, but waits for the end of the job",
    "description": "Waits up to `wait` (1000 to 90000 ms). The JS SDK uses it.",
    "responses": {**_answer(completed=_COMPLETED, wait_is_over=_IN_PROGRESS), **_NOT_FOUND},
}
STREAM: dict[str, Any] = {
    "summary": "The chunks a generator handler has yielded since the last call",
    "responses": {
        **_answer(
            in_progress={"status": "IN_PROGRESS", "stream": [{"output": {"index": 0}}, {"output": {"index": 1}}]},
            completed={"status": "COMPLETED", "stream": [{"output": {"index": 2}}]},
        ),
        **_NOT_FOUND,
    },
}
CANCEL: dict[str, Any] = {
    "summary": "Cancel a job that waits or runs",
    "description": "A running job is stopped on the worker. A job that has ended keeps its status.",
    "responses": {**_answer(cancelled={"id": _ID, "status": "CANCELLED"}), **_NOT_FOUND},
}
RETRY: dict[str, Any] = {
    "summary": "Run a FAILED or TIMED_OUT job again",
    "responses": {**_answer(queued=_QUEUED), **_WRONG_STATE, **_NOT_FOUND},
}
PURGE_QUEUE: dict[str, Any] = {
    "summary": "Remove all jobs that wait; those in progress go on",
    "responses": _answer(purged={"removed": 2, "status": "completed"}),
}
REQUESTS: dict[str, Any] = {
    "summary": "Ids and states of the jobs known",
    "description": "RunPod names this route without describing its answer; this form is only local.",
    "responses": _answer(jobs={"requests": [_QUEUED]}),
}
HEALTH: dict[str, Any] = {
    "summary": "Counters of jobs and workers",
    "description": "`completed`, `failed` and `retried` count since the start; the others are as of now.",
    "responses": _answer(busy=_HEALTH),
}
