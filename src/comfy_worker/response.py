"""The body that goes back to RunPod: success or error, made of plain JSON values only. Pure.

RunPod's SDK (runpod-python 1.12.0) sends nothing at all for bytes and for half a surrogate pair (it posts UTF-8), and
invalid JSON for NaN: a job answered so hangs until its time is over. All three are caught here.
It turns a truthy `error` into FAILED with the rest kept in `output`, and `refresh_worker` into `stopPod`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from comfy_worker.errors import ResultTooLarge, WorkerError

MIB = 1024 * 1024
#: RunPod drops a larger result after it was posted: the job is then COMPLETED without output.
LIMIT_ASYNC = 10 * MIB
LIMIT_SYNC = 20 * MIB
#: Characters of a text that the log may show.
SHOWN = 200
#: For `{"output": }` and what the SDK puts around the body.
ENVELOPE = 1024


class Body(dict[str, Any]):
    """An answer whose text is short. The SDK writes it into two debug lines, at any log level: for 15 MB of base64 that
    took 40 MB of memory and more, and the same again."""

    def __repr__(self) -> str:
        return repr(_shortened(self))


def _shortened(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= SHOWN else f"{value[:SHOWN]}... ({len(value)} characters)"
    if isinstance(value, dict):
        return {key: _shortened(item) for key, item in value.items()}
    return [_shortened(item) for item in value] if isinstance(value, list) else value


def limit_for(job_id: str) -> int:
    """Bytes of JSON that RunPod takes for this job: ids of /runsync begin with `sync-`."""
    return LIMIT_SYNC if job_id.startswith("sync-") else LIMIT_ASYNC


def remedy(limit: int) -> str:
    """What to do about a result over `limit`."""
    other = "send the job to /runsync (20 MiB), " if limit < LIMIT_SYNC else ""
    return f"configure an S3 bucket (BUCKET_ENDPOINT_URL), {other}or make fewer or smaller files"


def success(delivered: Mapping[str, Sequence[Any]], warnings: Sequence[str]) -> Body:
    """`images` is always there; other kinds and `errors` only when they hold something."""
    body = Body(images=[])
    body.update({field: list(items) for field, items in delivered.items() if items})
    if warnings:
        body["errors"] = list(warnings)
    return body


def failure(error: WorkerError, delivered: Mapping[str, Sequence[Any]], warnings: Sequence[str] = ()) -> Body:
    """The error string, its code, and what was made and delivered before it."""
    body = Body(error=error.message or error.code, error_type=error.code)
    if error.details:
        body["details"] = list(error.details)
    body.update({field: list(items) for field, items in delivered.items() if items})
    if warnings:
        body["errors"] = list(warnings)
    return body


def within_limit(body: dict[str, Any], limit: int) -> Body:
    """The body as it can be sent, or in its place an error, when RunPod would drop it for its size."""
    body = Body({key: _utf8(value) for key, value in body.items()})
    try:
        size = json_size(body)
    except ValueError as error:
        return failure(WorkerError(f"The worker made a response that is no JSON ({error}); this is a bug"), {})
    if size <= limit:
        return body
    return failure(
        ResultTooLarge(
            f"The result is {size / MIB:.1f} MiB, over RunPod's limit of {limit / MIB:.0f} MiB: {remedy(limit)}",
            [str(body["error"])[:1000]] if "error" in body else [],
        ),
        {},
    )


def json_size(body: Mapping[str, Any]) -> int:
    """Bytes of the body as JSON with ASCII escapes (never fewer than the UTF-8 that the SDK posts), base64 data counted
    without a copy.

    Raises ValueError for what is no JSON.
    """
    try:
        text = json.dumps(_without_data(body), allow_nan=False)
    except TypeError as error:
        raise ValueError(str(error)) from error
    return len(text) + _data_size(body) + ENVELOPE


def _utf8(value: Any) -> Any:
    """The value with a `?` for each half of a surrogate pair; ASCII, as all base64 is, is not copied."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [_utf8(item) for item in value]
    if isinstance(value, dict):
        return {key: _utf8(item) for key, item in value.items()}
    return value


def _without_data(body: Mapping[str, Any]) -> dict[str, Any]:
    return {key: [_slim(item) for item in value] if isinstance(value, list) else value for key, value in body.items()}


def _slim(item: Any) -> Any:
    return {**item, "data": ""} if isinstance(item, dict) and item.get("type") == "base64" else item


def _data_size(body: Mapping[str, Any]) -> int:
    return sum(
        len(item["data"])
        for value in body.values()
        if isinstance(value, list)
        for item in value
        if isinstance(item, dict) and item.get("type") == "base64"
    )
