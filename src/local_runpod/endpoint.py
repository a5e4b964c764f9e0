"""The client side of the endpoint: what each request of the public API does to the jobs. No sockets, no tasks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .fleet import Fleet
from .job_table import ASYNC_LIMIT, JobTable, Observer
from .jobs import Job, Status
from .json_text import RawJson
from .problems import bad_request
from .settings import Settings
from .submission import Submission


@dataclass(frozen=True)
class WebhookCall:
    """What to post where, now that a job has ended."""

    url: str
    body: tuple[RawJson, ...]
    job_id: str


class Endpoint:
    """All jobs and workers of one endpoint."""

    def __init__(self, settings: Settings, clock: Callable[[], float], observer: Observer) -> None:
        self._settings = settings
        self._table = JobTable(settings, clock, observer)
        self.fleet = Fleet(settings, self._table, observer)

    def submit(self, submission: Submission, *, sync: bool) -> Job:
        return self._table.create(submission, sync=sync)

    def find(self, job_id: str) -> Job:
        """Raises the 404 of an unknown or expired id."""
        return self._table.find(job_id)

    def jobs(self) -> list[Job]:
        return list(self._table)

    def document(self, job: Job) -> list[RawJson]:
        return job.document(self._table.clock())

    def webhook_call(self, job: Job) -> WebhookCall | None:
        """Called once when a job has ended. RunPod calls for FAILED too; for CANCELLED nothing is published.

        The input of a job that cannot be retried is let go here: nobody can ask for it any more.
        """
        call = None
        url = job.submission.webhook
        if url is not None and (job.status is not Status.CANCELLED or self._settings.webhook_on_cancel):
            call = WebhookCall(url, tuple(job.webhook_document(self._table.clock())), job.id)
        if job.status in (Status.COMPLETED, Status.CANCELLED):
            self._table.forget_input(job)
        return call

    def shorten_life(self, job: Job, seconds: float) -> None:
        """`/status/<id>?ttl=`: delete the job sooner than planned."""
        self._table.shorten_life(job, seconds)

    def cancel(self, job: Job) -> None:
        """A finished job keeps its state; what RunPod answers then is not published. Progress is no output of it."""
        if not job.status.is_final:
            self.fleet.stop(job)
            job.output = None
            self._table.end(job, Status.CANCELLED)

    def retry(self, job: Job) -> None:
        """Run a FAILED or TIMED_OUT job again. The error code for other states is not published; 400 is a choice."""
        if job.status not in (Status.FAILED, Status.TIMED_OUT):
            raise bad_request(f"bad request: only FAILED and TIMED_OUT jobs can be retried, not {job.status.value}")
        self._table.retry(job)

    def purge(self) -> int:
        """Remove what is queued; jobs in progress go on. That purged ids become unknown is an assumption."""
        removed = self._table.backlog.clear()
        for job in removed:
            self._table.delete(job)
        return len(removed)

    def drain_stream(self, job: Job) -> tuple[Status, list[RawJson]]:
        """The chunks since the last call. The final state shows only once the last chunk is handed out."""
        chunks: list[RawJson] = []
        size = 0
        while job.stream and size + len(job.stream[0]) <= ASYNC_LIMIT:
            size += len(job.stream[0])
            chunks.append(job.stream.popleft())
        return (Status.IN_PROGRESS if job.stream else job.status), chunks

    def health(self) -> dict[str, dict[str, int]]:
        counters = self._table.counters
        return {
            "jobs": {
                "completed": counters.completed,
                "failed": counters.failed,
                "inProgress": len(self._table.running),
                "inQueue": len(self._table.backlog),
                "retried": counters.retried,
            },
            "workers": self.fleet.workers.counts(self._table.clock()),
        }

    def tick(self) -> None:
        """Apply everything that follows from the time alone."""
        self.fleet.check_jobs()
        for job in self._table.expired():
            self.fleet.stop(job)
            self._table.delete(job)
