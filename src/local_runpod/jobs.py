"""One job and the JSON that describes it. No clock, no sockets: every method is told the time."""

from __future__ import annotations

import json
import uuid
from collections import deque
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from .json_text import RawJson
from .submission import Submission

# Suffixes seen on RunPod's ids are -u1, -u2, -e1, -e2: the region the request went to.
_REGION = "u1"
_SYNC_PREFIX = "sync-"


class Status(Enum):
    """The states of a job (RunPod documentation; there is no RUNNING, as RunPod confirmed)."""

    IN_QUEUE = "IN_QUEUE"
    IN_PROGRESS = "IN_PROGRESS"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    TIMED_OUT = "TIMED_OUT"

    @property
    def is_final(self) -> bool:
        return self not in (Status.IN_QUEUE, Status.IN_PROGRESS)


def new_job_id(sync: bool) -> str:
    """`<uuid4>-u1` for /run and `sync-<uuid4>-u1` for /runsync."""
    return f"{_SYNC_PREFIX if sync else ''}{uuid.uuid4()}-{_REGION}"


def is_sync_id(job_id: str) -> bool:
    return job_id.startswith(_SYNC_PREFIX)


@dataclass(frozen=True)
class WorkerRef:
    """A worker as its requests name it. `start` differs between two processes of one name, when the URL carries it."""

    name: str
    start: str = ""


@dataclass
class Attempt:
    """One handing-out of a job to a worker."""

    worker: WorkerRef
    taken_at: float
    confirmed_at: float


@dataclass
class Job:
    """A job from submission to deletion; changed by `Endpoint` only."""

    id: str
    submission: Submission = field(repr=False)
    submitted_at: float
    ttl_ends_at: float
    status: Status = Status.IN_QUEUE
    attempt: Attempt | None = None
    ended_at: float | None = None
    retries: int = 0
    output: RawJson | None = field(default=None, repr=False)
    error: str | None = None
    stream: deque[RawJson] = field(default_factory=deque, repr=False)
    expires_at: float = field(init=False)

    def __post_init__(self) -> None:
        self.expires_at = self.ttl_ends_at

    def forget_input(self) -> None:
        self.submission = replace(self.submission, input=None, s3_config=None)

    @property
    def size(self) -> int:
        """Bytes held in memory for this job."""
        return self.submission.size + len(self.output or b"") + sum(map(len, self.stream))

    def delay_ms(self) -> int | None:
        """From submission to the start of the last attempt."""
        return None if self.attempt is None else round((self.attempt.taken_at - self.submitted_at) * 1000)

    def execution_ms(self, now: float) -> int | None:
        """On the worker: known at the end, and while a progress update is shown (as live captures have it)."""
        if self.attempt is None or (self.ended_at is None and self.output is None):
            return None
        return round(((now if self.ended_at is None else self.ended_at) - self.attempt.taken_at) * 1000)

    def members(self, now: float) -> dict[str, RawJson]:
        """The keys of the job JSON that are present, each with its JSON text."""
        present: dict[str, Any] = {
            "delayTime": self.delay_ms(),
            "error": self.error,
            "executionTime": self.execution_ms(now),
            "id": self.id,
            "retries": self.retries or None,
            "status": self.status.value,
            "workerId": None if self.attempt is None else self.attempt.worker.name,
        }
        texts: dict[str, RawJson] = {key: dumps(value) for key, value in present.items() if value is not None}
        if self.output is not None:
            texts["output"] = self.output
        return texts

    def document(self, now: float) -> list[RawJson]:
        """The job JSON of /status and /runsync, in pieces."""
        return json_object(self.members(now))

    def webhook_document(self, now: float) -> list[RawJson]:
        """What the webhook gets: the job JSON with `input` and `webhook` added (a live capture)."""
        texts = self.members(now)
        if self.submission.input is not None:
            texts["input"] = self.submission.input
        texts["webhook"] = dumps(self.submission.webhook)
        return json_object(texts)

    def worker_document(self, *, drop_empty_input: bool) -> list[RawJson]:
        """What the worker gets. The SDK needs `id` and `input`; which more keys production sends is not published."""
        texts: dict[str, RawJson] = {"id": dumps(self.id)}
        if self.submission.input is not None and not (drop_empty_input and self.submission.input_is_empty):
            texts["input"] = self.submission.input
        if self.submission.s3_config is not None:
            texts["s3Config"] = self.submission.s3_config
        if self.submission.webhook is not None:
            texts["webhook"] = dumps(self.submission.webhook)
        return json_object(texts)


def dumps(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def json_object(members: dict[str, RawJson]) -> list[RawJson]:
    """An object with its keys in alphabetical order, as RunPod writes them; values are spliced in unread."""
    pieces: list[RawJson] = []
    for key in sorted(members):
        pieces += [b"," if pieces else b"{", dumps(key), b":", members[key]]
    return [*pieces, b"}"] if pieces else [b"{}"]


def json_array(values: list[list[RawJson]]) -> list[RawJson]:
    pieces: list[RawJson] = [b"["]
    for index, value in enumerate(values):
        pieces += [b","] if index else []
        pieces += value
    return [*pieces, b"]"]
