"""Every job of the endpoint and the transitions between its states.

    submit -> IN_QUEUE -> (taken) IN_PROGRESS -> COMPLETED | FAILED
                           lost: back to the front of the queue once, then FAILED
    IN_QUEUE | IN_PROGRESS -> cancel -> CANCELLED
    FAILED | TIMED_OUT -> retry -> IN_QUEUE
    any -> ttl or retention elapsed -> deleted

No sockets, no tasks: the clock is given, and an observer is told what others wait for.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from .backlog import Backlog
from .jobs import Attempt, Job, Status, WorkerRef, is_sync_id, new_job_id
from .ledger import Ledger
from .problems import MIB, job_not_found
from .settings import Settings, TimeoutStatus
from .submission import Submission

log = logging.getLogger(__name__)

ASYNC_LIMIT = 10 * MIB
SYNC_LIMIT = 20 * MIB


def size_limit(job_id: str) -> int:
    """Limit of a result: 10 MiB for /run jobs, 20 MiB for /runsync jobs, as for their requests."""
    return SYNC_LIMIT if is_sync_id(job_id) else ASYNC_LIMIT


class Observer(Protocol):
    """Who waits for something to happen."""

    def job_waiting(self) -> None:
        """A job is there to be taken."""

    def job_ended(self, job: Job) -> None:
        """The job reached a final state."""

    def job_deleted(self, job: Job) -> None:
        """The job is forgotten; its id is unknown from now on."""

    def worker_signalled(self, name: str) -> None:
        """The worker has a stop signal to fetch, or gets no more jobs."""


@dataclass
class Counters:
    """Totals since the start, for /health."""

    completed: int = 0
    failed: int = 0
    retried: int = 0


class JobTable:
    """The jobs, where they wait and how they change state."""

    def __init__(self, settings: Settings, clock: Callable[[], float], observer: Observer) -> None:
        self._settings = settings
        self._observer = observer
        self._ledger = Ledger(settings.retained_mib * MIB)
        self.clock = clock
        self.backlog = Backlog()
        self.running: dict[str, Job] = {}
        self.counters = Counters()

    def __iter__(self) -> Iterator[Job]:
        return iter(self._ledger)

    def create(self, submission: Submission, *, sync: bool) -> Job:
        now = self.clock()
        job = Job(new_job_id(sync), submission, now, now + submission.policy.ttl)
        self._ledger.add(job)
        log.info("%s IN_QUEUE", job.id)
        self._enqueue(job)
        return job

    def find(self, job_id: str) -> Job:
        job = self._ledger.get(job_id)
        if job is None or job.expires_at <= self.clock():
            raise job_not_found()
        return job

    def start(self, worker: WorkerRef) -> Job | None:
        """The next job of the queue goes to the worker. One whose time is up is left for `expired` to delete."""
        now = self.clock()
        job = self.backlog.pop()
        while job is not None and job.expires_at <= now:
            job = self.backlog.pop()
        if job is not None:
            job.status = Status.IN_PROGRESS
            job.attempt = Attempt(worker, taken_at=now, confirmed_at=now)
            self.running[job.id] = job
            log.info("%s IN_PROGRESS on %s", job.id, worker.name)
        return job

    def end(self, job: Job, status: Status) -> None:
        self.backlog.remove(job)
        self.running.pop(job.id, None)
        now = self.clock()
        job.status = status
        job.ended_at = now
        if status is Status.COMPLETED:
            self.counters.completed += 1
        elif status in (Status.FAILED, Status.TIMED_OUT):
            self.counters.failed += 1
        kept = self._settings.retention_sync_s if is_sync_id(job.id) else self._settings.retention_async_s
        self._ledger.mark_finished(job)
        self._ledger.shorten(job, now + kept)
        log.info("%s %s%s", job.id, status.value, f": {job.error[:500]}" if job.error else "")
        self._observer.job_ended(job)

    def time_out(self, job: Job, error: str) -> None:
        """RunPod's documentation says TIMED_OUT here; in every live capture the job is FAILED."""
        job.output = None
        job.error = error
        self.end(job, Status.FAILED if self._settings.timeout_status is TimeoutStatus.FAILED else Status.TIMED_OUT)

    def lose(self, job: Job, why: str) -> None:
        """The worker has the job no more. RunPod hands it out again once, then fails it (a live capture)."""
        log.warning("%s is lost: %s", job.id, why)
        if job.retries >= self._settings.max_retries:
            self.time_out(job, f"job timed out after {job.retries} retries")
            return
        self.running.pop(job.id, None)
        job.retries += 1
        self.counters.retried += 1
        self._reset(job)
        self.backlog.add_first(job)
        self._observer.job_waiting()

    def retry(self, job: Job) -> None:
        """The client wants a failed job to run again: same id and input, all else as new, the ttl goes on."""
        self._reset(job)
        job.error = None
        job.retries = 0
        job.submitted_at = self.clock()
        self._ledger.mark_unfinished(job)
        log.info("%s IN_QUEUE again", job.id)
        self._enqueue(job)

    def shorten_life(self, job: Job, seconds: float) -> None:
        self._ledger.shorten(job, self.clock() + seconds)

    def forget_input(self, job: Job) -> None:
        """Nobody can ask for the input of a completed job any more once its webhook has been called."""
        self._ledger.forget_input(job)

    def delete(self, job: Job) -> None:
        self.backlog.remove(job)
        self.running.pop(job.id, None)
        self._ledger.remove(job)
        log.info("%s deleted", job.id)
        self._observer.job_deleted(job)

    def expired(self) -> list[Job]:
        """The jobs to delete now: ttl or retention over, or the oldest results when memory is short."""
        return [*self._ledger.due(self.clock()), *self._ledger.surplus()]

    def _enqueue(self, job: Job) -> None:
        self.backlog.add(job)
        self._observer.job_waiting()

    @staticmethod
    def _reset(job: Job) -> None:
        job.status = Status.IN_QUEUE
        job.attempt = job.output = job.ended_at = None
        job.stream.clear()
