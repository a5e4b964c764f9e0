"""`python -m local_runpod once`: everything is started for one job, whose files are written into a folder."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

from .client import Unreachable
from .delivery import Delivery
from .stack import Stack, StackFailed

_WAIT_MS = 300_000
_POLL_S = 1.0
_FINAL = ("COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT")


def once(stack: Stack, request: Path, output: Path) -> int:
    try:
        body = request.read_bytes()
    except OSError as error:
        sys.stderr.write(f"local_runpod: cannot read {request}: {error.strerror}\n")
        return 2

    async def one_job(stack: Stack) -> int:
        job = await _send(stack, body)
        delivery = Delivery(output)
        await asyncio.to_thread(delivery.write, job.get("output"))
        sys.stdout.write(summary(job, delivery))
        sys.stdout.flush()
        return 0 if job.get("status") == "COMPLETED" else 1

    return asyncio.run(stack.run(one_job))


async def _send(stack: Stack, body: bytes) -> dict[str, Any]:
    """The finished job, or the problem that came instead of one."""
    job = await _call(stack, "POST", f"/runsync?wait={_WAIT_MS}", body, _WAIT_MS / 1000 + 10)
    while job.get("id") and job.get("status") not in _FINAL:
        await asyncio.sleep(_POLL_S)
        job = await _call(stack, "GET", f"/status/{job['id']}", None, 60)
    return job


async def _call(stack: Stack, method: str, path: str, body: bytes | None, timeout: float) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = await stack.client.call(method, path, body, timeout)
    except Unreachable as error:
        raise StackFailed(str(error)) from None
    return answer


def summary(job: dict[str, Any], delivery: Delivery) -> str:
    """A few lines for people; the job's JSON is not repeated."""
    lines = ["", f"{job.get('status')}  {job.get('id', '')}".rstrip()]
    if "executionTime" in job:
        lines.append(f"  waited {job['delayTime']} ms, ran {job['executionTime']} ms on {job['workerId']}")
    lines += [f"  {line}" for line in delivery.lines()]
    problem = job.get("error") or job.get("detail")
    if problem:
        lines.append(f"  error: {problem}")
    output = job.get("output")
    if isinstance(output, dict):
        lines += [f"  {note}" for key in ("errors", "details") for note in _texts(output.get(key))]
    return "\n".join([*lines, "", ""])


def _texts(value: Any) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []
