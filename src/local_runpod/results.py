"""What a worker posts to job-done: the end of a job, or a progress update.

Body forms sent by runpod-python 1.12.0: `{"output":...}`, `{"output":{...},"error":"..."}`, `{"error":"..."}`, `{}`,
`{"output":...,"stopPod":true}` and `{"status":"IN_PROGRESS","output":...}`.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from .jobs import dumps
from .json_text import RawJson, cut, members, outline, parse

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Result:
    """The end of one attempt."""

    output: RawJson | None = field(default=None, repr=False)
    error: str | None = None
    stop_pod: bool = False


@dataclass(frozen=True)
class Progress:
    """An update while the job runs; `status: IN_PROGRESS` is what tells it from a result."""

    output: RawJson | None = field(default=None, repr=False)


def read_result(body: bytes | bytearray) -> Result | Progress:
    """Read a job-done body. Raises NotJson, also for NaN, which the SDK would send."""
    document = outline(body)
    if not isinstance(document, dict):
        return Result(output=cut(body, slice(0, len(body))))
    spans = members(body)
    output = cut(body, spans["output"]) if "output" in spans else None
    if document.get("status") == "IN_PROGRESS":
        return Progress(output=output)
    error = parse(bytes(cut(body, spans["error"]))) if "error" in spans else None
    if error is not None and not isinstance(error, str):
        log.warning("the worker sent an `error` that is not a string; RunPod's own code expects a string")
        error = dumps(error).decode()
    return Result(output=output, error=error, stop_pod=document.get("stopPod") is True)
