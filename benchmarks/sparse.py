"""2b. Jobs that arrive now and then, two workers: prefetch must not keep a job from a worker that is free."""

from __future__ import annotations

import random
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import workflows
from benchmarks.endpoint import LocalEndpoint, WorkerAt
from benchmarks.processes import until
from benchmarks.report import Aim, Report
from benchmarks.spread import Spread

JOB_S = 1.0
EVERY_S = 2.0
SETTINGS = ("1", "auto", "2")
SDK_SLEEP_S = 1.1
#: A wait shorter than this is the handing over itself: the way there and back, and the SDK's 0.1 s.
HANDED_OVER_S = 0.35


@dataclass(frozen=True)
class Ran:
    latency_s: float
    #: Taken and then waited, while another worker had nothing to do.
    kept_back: bool
    #: The same counted more strictly: the other worker may have been in the SDK's sleep.
    beside_idle: bool


def run(*, quick: bool) -> Report:
    jobs = 10 if quick else 40
    arrivals = _arrivals(jobs)
    report = Report(
        "backlog-sparse",
        f"{jobs} jobs of {JOB_S:g} s on two workers, one every {EVERY_S:g} s at random",
        [
            "concurrency",
            "latency median, s",
            "90 %",
            "largest",
            "jobs kept from a worker that asked",
            "from an idle ComfyUI",
        ],
    )
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(len(SETTINGS)) as threads:
        futures = {setting: threads.submit(_measure, Path(name), setting, arrivals) for setting in SETTINGS}
        measured = {setting: future.result() for setting, future in futures.items()}
    for setting, ran in measured.items():
        latencies = sorted(each.latency_s for each in ran)
        spread, kept = Spread.of(latencies), sum(each.kept_back for each in ran)
        beside = sum(each.beside_idle for each in ran)
        tail = latencies[int(0.9 * len(latencies))]
        report.rows.append([setting, spread.show(), f"{tail:.2f}", f"{latencies[-1]:.2f}", str(kept), str(beside)])
        report.data[setting] = {
            "latency": spread.as_json(),
            "p90": tail,
            "largest": latencies[-1],
            "kept_back": kept,
            "beside_idle": beside,
        }
    added = _mean(measured["auto"]) - _mean(measured["1"])
    report.aims.append(Aim("seconds that auto adds to the mean latency (at most 0.05)", added, at_most=0.05))
    kept_back = sum(each.kept_back for each in measured["auto"])
    report.aims.append(Aim("jobs that auto kept from a worker that asked for work (none)", kept_back, at_most=0))
    report.notes.append("latency: from /run to the result; the same arrivals for all settings, at the same time")
    return report


def _mean(ran: list[Ran]) -> float:
    return sum(each.latency_s for each in ran) / len(ran)


def _arrivals(jobs: int) -> list[float]:
    chance, at, arrivals = random.Random(7), 0.0, []
    for _ in range(jobs):
        at += chance.expovariate(1 / EVERY_S)
        arrivals.append(at)
    return arrivals


def _measure(folder: Path, setting: str, arrivals: list[float]) -> list[Ran]:
    with ExitStack() as stack:
        endpoint = stack.enter_context(LocalEndpoint())
        for side in "ab":
            stack.enter_context(WorkerAt(endpoint, folder, f"c{setting}-{side}", WORKER_CONCURRENCY=setting))
        until(lambda: endpoint.call("GET", "/health")["workers"]["idle"] == 2, 30, "both workers idle")
        _warm_up(endpoint)
        began = time.time()
        ids: list[tuple[str, float]] = []
        for number, arrival in enumerate(arrivals):
            time.sleep(max(0.0, began + arrival - time.time()))
            submitted = time.time()
            ids.append((endpoint.submit(workflows.sleeping(JOB_S, number)), submitted))
        return _judged([_Job.of(endpoint.wait_for(job_id, 120), submitted) for job_id, submitted in ids])


def _warm_up(endpoint: LocalEndpoint) -> None:
    """Both workers have run such a job and know how long it takes."""
    ids = [endpoint.submit(workflows.sleeping(JOB_S, 1000 + number)) for number in range(4)]
    for job_id in ids:
        endpoint.wait_for(job_id, 60)
    time.sleep(2.5)


@dataclass(frozen=True)
class _Job:
    """In seconds since the epoch; the prompt ran for the last JOB_S before `done`, but for the way of its result."""

    worker: str
    submitted: float
    taken: float
    done: float

    @classmethod
    def of(cls, status: dict[str, Any], submitted: float) -> _Job:
        taken = submitted + status["delayTime"] / 1000
        return cls(str(status["workerId"]), submitted, taken, taken + status["executionTime"] / 1000)


def _judged(jobs: list[_Job]) -> list[Ran]:
    ran = []
    for job in jobs:
        waited_until = job.done - JOB_S - HANDED_OVER_S
        others = [(other.taken, other.done) for other in jobs if other.worker != job.worker]
        kept_back = waited_until > job.taken and free_between(others, job.taken, waited_until)
        idle = not any(done - JOB_S < job.taken + HANDED_OVER_S and job.taken < done for _, done in others)
        behind = any(o.worker == job.worker and o.taken < job.taken < o.done for o in jobs if o is not job)
        ran.append(Ran(job.done - job.submitted, kept_back, waited_until > job.taken and behind and idle))
    return ran


def free_between(held: list[tuple[float, float]], begin: float, end: float) -> bool:
    """Whether a worker that held jobs at these times was asking for one at some time: it had nothing, for so long that
    it was not in the SDK's sleep either."""
    starts = [0.0, *(done + SDK_SLEEP_S for _, done in held)]
    for start in starts:
        # Asking until the next job comes.
        until_next = min((taken for taken, _ in held if taken > start - SDK_SLEEP_S), default=end)
        busy = any(taken <= start < done + SDK_SLEEP_S for taken, done in held)
        if not busy and max(start, begin) < min(until_next, end):
            return True
    return False
