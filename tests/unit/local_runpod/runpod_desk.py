"""A state machine whose time is set by the test, and the few steps most tests begin with."""

from __future__ import annotations

import json
from typing import Any

from local_runpod.endpoint import Endpoint
from local_runpod.jobs import Job, WorkerRef
from local_runpod.results import Result
from local_runpod.settings import Settings
from local_runpod.submission import read_submission


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Recorder:
    """The observer: remembers what it was told."""

    def __init__(self) -> None:
        self.ended: list[str] = []
        self.deleted: list[str] = []
        self.signalled: list[str] = []
        self.waiting = 0

    def job_waiting(self) -> None:
        self.waiting += 1

    def job_ended(self, job: Job) -> None:
        self.ended.append(job.id)

    def job_deleted(self, job: Job) -> None:
        self.deleted.append(job.id)

    def worker_signalled(self, name: str) -> None:
        self.signalled.append(name)


class Desk:
    """An endpoint together with its clock and observer."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.clock = Clock()
        self.observer = Recorder()
        self.endpoint = Endpoint(settings, self.clock, self.observer)
        self.fleet = self.endpoint.fleet

    def submit(self, body: Any = None, *, sync: bool = False) -> Job:
        body = {"input": {"n": 1}} if body is None else body
        return self.endpoint.submit(read_submission(json.dumps(body).encode(), self.settings), sync=sync)

    def take(self, name: str = "w1", start: str = "", limit: int = 1) -> list[Job]:
        worker = self.fleet.poll_started(WorkerRef(name, start))
        jobs = self.fleet.take(worker, limit)
        self.fleet.poll_ended(worker)
        return jobs

    def running(self, body: Any = None, name: str = "w1") -> Job:
        self.submit(body)
        return self.take(name)[0]

    def finish(self, job: Job, result: Result | None = None, name: str = "w1") -> None:
        self.fleet.finished(job.id, WorkerRef(name), result or Result(output=b'{"ok":1}'))

    def stops(self, name: str = "w1") -> list[str]:
        worker = self.fleet.poll_started(WorkerRef(name))
        stops = self.fleet.collect_stops(worker)
        self.fleet.poll_ended(worker)
        return stops

    def after(self, seconds: float) -> None:
        self.clock.now += seconds
        self.endpoint.tick()

    def shown(self, job: Job) -> Any:
        return json.loads(b"".join(self.endpoint.document(job)))
