"""The worker side of the endpoint: who takes which job, what comes back, who is lost (runpod-python 1.12.0)."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from .job_table import JobTable, Observer, size_limit
from .jobs import Job, Status, WorkerRef
from .json_text import RawJson
from .problems import MIB, bad_request
from .results import Progress, Result
from .settings import EmptyInput, LateProgress, Oversize, Ping, Settings
from .workers import Worker, Workers

log = logging.getLogger(__name__)

STREAM_CHUNK_LIMIT = MIB
# A worker that neither polls nor pings for so long is forgotten.
_FORGET_S = 60.0


class Fleet:
    """The workers and the jobs in their hands."""

    def __init__(self, settings: Settings, table: JobTable, observer: Observer) -> None:
        self._settings = settings
        self._table = table
        self._observer = observer
        self._ping_interval = settings.ping_interval_ms / 1000
        self.workers = Workers(
            ping_interval=self._ping_interval, gap=settings.stopped_worker_gap_s, expected=settings.workers
        )

    def poll_started(self, ref: WorkerRef, connection: str = "") -> Worker:
        """`connection` is the client's address and port: two processes never share one."""
        worker, orphaned = self.workers.polling(ref, self._table.clock(), connection)
        for job_id in orphaned & self._table.running.keys():
            self._table.lose(self._table.running[job_id], f"{ref.name} was restarted")
        return worker

    def poll_ended(self, worker: Worker) -> None:
        self.workers.poll_ended(worker, self._table.clock())

    def take(self, worker: Worker, limit: int) -> list[Job]:
        """Hand out up to `limit` jobs."""
        jobs: list[Job] = []
        while len(jobs) < limit and not worker.retired:
            job = self._table.start(WorkerRef(worker.name, worker.start))
            if job is None:
                break
            self.workers.assign(worker, job.id)
            jobs.append(job)
            if job.submission.input_is_empty and self._settings.empty_input is EmptyInput.DROP:
                log.warning("%s has an empty input: as on RunPod the worker gets none, so it cannot run", job.id)
        return jobs

    def worker_document(self, job: Job) -> list[RawJson]:
        return job.worker_document(drop_empty_input=self._settings.empty_input is EmptyInput.DROP)

    def collect_stops(self, worker: Worker) -> list[str]:
        return self.workers.collect_stops(worker, self._table.clock())

    def pinged(self, ref: WorkerRef, job_ids: Iterable[str]) -> None:
        """A heartbeat and the jobs the worker says it has."""
        worker = self.workers.pinged(ref, self._table.clock())
        listed = [job_id for job_id in job_ids if job_id]
        for job_id in listed:
            job = self._table.running.get(job_id)
            if job is not None:
                self._confirm_if_current(job, ref)
        if self.workers.repeat_stops(worker, listed, self._table.clock()):
            self._observer.worker_signalled(worker.name)

    def unhealthy(self, ref: WorkerRef, reason: str) -> None:
        """The SDK sends this once when a fitness check fails, then the worker exits."""
        self.workers.pinged(ref, self._table.clock()).unhealthy = True
        log.error("%s is unhealthy: %s", ref.name, reason)

    def retire(self, name: str) -> None:
        """Give this worker no more jobs until another process takes its place."""
        worker = self.workers.get(name)
        if worker is not None and not worker.retired:
            worker.retired = True
            log.info("%s gets no more jobs until it is restarted", name)
            self._observer.worker_signalled(name)

    def progressed(self, job_id: str, ref: WorkerRef, progress: Progress) -> None:
        """`late_progress=overwrite` shows what runpod-python issue #250 reports: a finished job stuck IN_PROGRESS."""
        job = self._table.find(job_id)
        if self._confirm_if_current(job, ref):
            job.output = progress.output
        elif self._settings.late_progress is LateProgress.OVERWRITE and job.status.is_final:
            job.status, job.output, job.ended_at = Status.IN_PROGRESS, progress.output, None

    def finished(self, job_id: str, ref: WorkerRef, result: Result, connection: str = "") -> None:
        """A result. One that is late, or of an attempt that was given to another worker, is ignored."""
        worker = self.workers.get(ref.name)
        if worker is not None:
            worker.came_from(connection)
        if result.stop_pod:
            self.retire(ref.name)
        job = self._table.find(job_id)
        if not self._confirm_if_current(job, ref):
            log.info("%s: result of %s ignored, the job is %s", job_id, ref.name, job.status.value)
            self.workers.release(ref, job_id)
            return
        job.output, job.error = result.output, result.error
        self._end(job, Status.COMPLETED if result.error is None else Status.FAILED)

    def oversized(self, job_id: str, ref: WorkerRef) -> None:
        """A result over the limit. RunPod refuses it, and the job ends COMPLETED without output."""
        job = self._table.find(job_id)
        if not self._confirm_if_current(job, ref):
            return
        limit = size_limit(job_id) // MIB
        log.error("%s: the result is over %d MiB and is dropped, as on RunPod", job_id, limit)
        job.output = None
        if self._settings.oversize is Oversize.FAIL:
            job.error = f"result exceeded max body size of {limit}MiB"
        self._end(job, Status.COMPLETED if job.error is None else Status.FAILED)

    def streamed(self, job_id: str, ref: WorkerRef, chunks: list[RawJson]) -> None:
        job = self._table.find(job_id)
        if any(len(chunk) > STREAM_CHUNK_LIMIT for chunk in chunks):
            raise bad_request("bad request: a stream chunk exceeded max size of 1MiB")
        if self._confirm_if_current(job, ref):
            job.stream.extend(chunks)

    def stop(self, job: Job) -> None:
        """Signal the worker that has the job, if one has it, to stop it."""
        if job.attempt is not None and job.id in self._table.running:
            self.workers.stop(job.attempt.worker.name, job.id)
            self._observer.worker_signalled(job.attempt.worker.name)

    def check_jobs(self) -> None:
        """Apply the time limits to the jobs in the workers' hands."""
        now = self._table.clock()
        for job in list(self._table.running.values()):
            attempt = job.attempt
            if attempt is None:  # cannot be: running jobs have one
                continue
            if now - attempt.taken_at >= job.submission.policy.execution_timeout:
                self.stop(job)
                self._table.time_out(job, "executionTimeout exceeded")
            elif self._is_lost(job, now):
                self.stop(job)
                self._table.lose(job, f"{attempt.worker.name} has not confirmed it")
        self.workers.forget_absent(now, _FORGET_S)

    def _is_lost(self, job: Job, now: float) -> bool:
        """Heartbeats of the first two intervals after the take may lack the job; after that they must list it."""
        attempt = job.attempt
        if attempt is None or now - attempt.taken_at < 2 * self._ping_interval:
            return False
        if now - attempt.confirmed_at < self._settings.lost_job_s:
            return False
        worker = self.workers.get(attempt.worker.name)
        trusted = (
            self._settings.ping is Ping.OPTIONAL
            and worker is not None
            and worker.last_ping is None
            and worker.polled_within(self._settings.lost_job_s, now)
        )
        return not trusted

    def _confirm_if_current(self, job: Job, ref: WorkerRef) -> bool:
        """Whether this worker has the job now; if so it has just shown that it is at it."""
        attempt = job.attempt
        if job.status is not Status.IN_PROGRESS or attempt is None or attempt.worker.name != ref.name:
            return False
        if ref.start and attempt.worker.start != ref.start:
            return False
        attempt.confirmed_at = self._table.clock()
        return True

    def _end(self, job: Job, status: Status) -> None:
        if job.attempt is not None:
            self.workers.release(job.attempt.worker, job.id)
        self._table.end(job, status)
