"""The jobs the endpoint knows: by id, with the time each is deleted."""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Iterator

from .jobs import Job


class Ledger:
    """Jobs by id; forgets them when their time is up, and the oldest finished ones when memory is short."""

    def __init__(self, retained_bytes: int) -> None:
        self._jobs: dict[str, Job] = {}
        self._deadlines: list[tuple[float, str]] = []
        self._finished: OrderedDict[str, int] = OrderedDict()
        self._finished_bytes = 0
        self._retained_bytes = retained_bytes

    def __iter__(self) -> Iterator[Job]:
        return iter(self._jobs.values())

    def get(self, job_id: str) -> Job | None:
        return self._jobs.get(job_id)

    def add(self, job: Job) -> None:
        self._jobs[job.id] = job
        heapq.heappush(self._deadlines, (job.expires_at, job.id))

    def shorten(self, job: Job, expires_at: float) -> None:
        """Delete the job at `expires_at`, if that is sooner than it would have been."""
        if expires_at < job.expires_at:
            job.expires_at = expires_at
            heapq.heappush(self._deadlines, (expires_at, job.id))

    def mark_finished(self, job: Job) -> None:
        self._finished_bytes -= self._finished.get(job.id, 0)
        self._finished[job.id] = job.size
        self._finished_bytes += job.size

    def mark_unfinished(self, job: Job) -> None:
        """The job runs again: its retention no longer counts, its ttl does."""
        self._forget_size(job.id)
        job.expires_at = job.ttl_ends_at
        heapq.heappush(self._deadlines, (job.expires_at, job.id))

    def forget_input(self, job: Job) -> None:
        job.forget_input()
        if job.id in self._finished:
            self.mark_finished(job)

    def remove(self, job: Job) -> None:
        self._jobs.pop(job.id, None)
        self._forget_size(job.id)

    def due(self, now: float) -> Iterator[Job]:
        """Yield the jobs whose time is up. An outdated deadline of a job is skipped."""
        while self._deadlines and self._deadlines[0][0] <= now:
            deadline, job_id = heapq.heappop(self._deadlines)
            job = self._jobs.get(job_id)
            if job is not None and job.expires_at == deadline:
                yield job

    def surplus(self) -> Iterator[Job]:
        """Yield the oldest finished jobs as long as more is retained than allowed; the newest always stays."""
        excess = self._finished_bytes - self._retained_bytes
        for job_id, size in list(self._finished.items())[:-1] if excess > 0 else ():
            if excess <= 0:
                return
            excess -= size
            yield self._jobs[job_id]

    def _forget_size(self, job_id: str) -> None:
        self._finished_bytes -= self._finished.pop(job_id, 0)
