"""Whatever happens in whatever order: no job is lost, none is with two workers, every counter is right."""

from __future__ import annotations

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule
from runpod_desk import Desk

from local_runpod.jobs import Job, Status, WorkerRef
from local_runpod.problems import Problem
from local_runpod.results import Progress, Result
from local_runpod.settings import Settings

WORKERS = st.sampled_from(["w1", "w2", "w3"])


class EndpointMachine(RuleBasedStateMachine):
    jobs = Bundle("jobs")
    attempts = Bundle("attempts")

    def __init__(self) -> None:
        super().__init__()
        self.desk = Desk(Settings(ttl_ms=300_000, retention_async_s=100, retention_sync_s=20, workers=1))
        self.known: dict[str, Job] = {}
        self.handed_out: dict[str, int] = {}

    @rule(target=jobs, sync=st.booleans(), low=st.booleans())
    def submit(self, sync: bool, low: bool) -> Job:
        job = self.desk.submit({"input": 1, "policy": {"lowPriority": low}}, sync=sync)
        self.known[job.id] = job
        return job

    @rule(target=attempts, name=WORKERS, limit=st.integers(1, 3), start=st.sampled_from(["", "2"]))
    def take(self, name: str, limit: int, start: str):  # type: ignore[no-untyped-def]
        taken = self.desk.take(name, start=start, limit=limit)
        for job in taken:
            self.handed_out[job.id] = self.handed_out.get(job.id, 0) + 1
        return multiple(*((job.id, WorkerRef(name, start)) for job in taken))

    @rule(attempt=attempts, error=st.sampled_from([None, "bad"]), stop=st.booleans())
    def finish(self, attempt: tuple[str, WorkerRef], error: str | None, stop: bool) -> None:
        self.unless_unknown(lambda: self.desk.fleet.finished(*attempt, Result(b"1", error, stop)))

    @rule(attempt=attempts)
    def progress(self, attempt: tuple[str, WorkerRef]) -> None:
        self.unless_unknown(lambda: self.desk.fleet.progressed(*attempt, Progress(b"1")))

    @rule(attempt=attempts)
    def oversize(self, attempt: tuple[str, WorkerRef]) -> None:
        self.unless_unknown(lambda: self.desk.fleet.oversized(*attempt))

    @rule(name=WORKERS, listed=st.lists(attempts, max_size=2))
    def ping(self, name: str, listed: list[tuple[str, WorkerRef]]) -> None:
        self.desk.fleet.pinged(WorkerRef(name), [job_id for job_id, _ in listed])

    @rule(name=WORKERS)
    def fetch_stops(self, name: str) -> None:
        for job_id in self.desk.stops(name):
            job = self.known[job_id]
            current = job.id in self.running() and job.attempt and job.attempt.worker.name == name
            assert not current, "a job that runs on is never stopped"

    @rule(job=consumes(jobs))
    def cancel(self, job: Job) -> None:
        self.unless_unknown(lambda: self.desk.endpoint.cancel(self.desk.endpoint.find(job.id)))

    @rule(job=jobs)
    def retry(self, job: Job) -> None:
        self.unless_unknown(lambda: self.desk.endpoint.retry(self.desk.endpoint.find(job.id)))

    @rule()
    def purge(self) -> None:
        self.desk.endpoint.purge()

    @rule(seconds=st.sampled_from([0.1, 3, 15, 45]))
    def wait(self, seconds: float) -> None:
        self.desk.after(seconds)

    def unless_unknown(self, step) -> None:  # type: ignore[no-untyped-def]
        try:
            step()
        except Problem as problem:
            assert problem.status in (400, 404)

    def running(self) -> dict[str, Job]:
        return {job.id: job for job in self.desk.endpoint.jobs() if job.status is Status.IN_PROGRESS}

    @invariant()
    def health_counts_what_is_there(self) -> None:
        jobs = self.desk.endpoint.jobs()
        health = self.desk.endpoint.health()
        assert health["jobs"]["inQueue"] == sum(job.status is Status.IN_QUEUE for job in jobs)
        assert health["jobs"]["inProgress"] == len(self.running())
        assert all(count >= 0 for part in health.values() for count in part.values())

    @invariant()
    def each_running_job_is_with_one_worker(self) -> None:
        held = [job_id for worker in self.desk.fleet.workers for job_id in worker.jobs]
        assert len(held) == len(set(held))
        assert set(self.running()) <= set(held)

    @invariant()
    def the_json_fits_the_state(self) -> None:
        for job in self.desk.endpoint.jobs():
            shown = self.desk.shown(job)
            assert list(shown) == sorted(shown)
            assert shown["status"] == job.status.value
            assert ("error" in shown) == (job.status in (Status.FAILED, Status.TIMED_OUT))
            assert ("workerId" in shown) == ("delayTime" in shown)
            assert job.status is not Status.IN_QUEUE or "workerId" not in shown


EndpointMachine.TestCase.settings = hypothesis_settings(max_examples=40, stateful_step_count=40)
TestEndpointInvariants = EndpointMachine.TestCase
