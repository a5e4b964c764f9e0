"""2. Does the GPU wait? handler.py under the SDK's real loop, 50 ms away from the endpoint."""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks import sparse, workflows
from benchmarks.endpoint import ROUND_TRIP_S, LocalEndpoint, Span, WorkerAt
from benchmarks.processes import until
from benchmarks.report import Aim, Report
from benchmarks.spread import Spread

SETTINGS = ("auto", "1", "2", "3")
AIM = 0.97
#: From which job length on the aim counts.
AIM_FROM_S = 0.5
#: Shorter ones cost so much of the processor that the settings would disturb each other.
SIDE_BY_SIDE_FROM_S = 0.5
_COLORS = itertools.count(1)


@dataclass(frozen=True)
class Plan:
    seconds: float
    jobs: int
    rounds: int
    #: Submitted to a worker that waits for work. It gets the first job alone, and cannot know of the others.
    at_idle: bool = False

    @property
    def name(self) -> str:
        return f"{self.jobs} x {self.seconds:g} s" + (", burst at an idle worker" if self.at_idle else "")


BURSTS = (Plan(0.5, 14, 1, at_idle=True), Plan(1.0, 12, 1, at_idle=True))
FULL = (Plan(0.1, 16, 2), Plan(0.5, 14, 2), Plan(1.0, 12, 2), Plan(4.0, 12, 1), *BURSTS)
QUICK = (Plan(0.5, 12, 1), Plan(1.0, 12, 1))


@dataclass(frozen=True)
class Outcome:
    busy: float
    gaps: Sequence[float]
    per_minute: float


def run(*, quick: bool) -> list[Report]:
    report = Report(
        "backlog",
        f"a backlog of jobs, {1000 * ROUND_TRIP_S:.0f} ms to the endpoint and back",
        ["job", "concurrency", "ComfyUI busy, %", "gap median, s", "largest", "jobs per minute"],
    )
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        places = {}
        for setting in SETTINGS:
            endpoint = stack.enter_context(LocalEndpoint())
            worker = WorkerAt(endpoint, Path(name), f"w{setting}", WORKER_CONCURRENCY=setting)
            places[setting] = (endpoint, stack.enter_context(worker))
        for plan in QUICK if quick else FULL:
            _add(report, plan, _measure(places, plan))
    report.notes.append(
        "busy and gaps: between the start of the first prompt and the end of the last, by ComfyUI's own log; the"
        " backlog is submitted while the worker runs another such job"
    )
    if quick:
        report.notes.append("quick: without the jobs of 0.1 and of 4 s")
    return [report, sparse.run(quick=quick)]


def _measure(places: dict[str, tuple[LocalEndpoint, WorkerAt]], plan: Plan) -> dict[str, list[Outcome]]:
    """All settings at the same time: their jobs sleep, and what disturbs the machine disturbs all of them. Short jobs,
    which do cost time, one setting after the other."""
    outcomes: dict[str, list[Outcome]] = {setting: [] for setting in places}
    for number in range(plan.rounds):
        order = list(places)[number % len(places) :] + list(places)[: number % len(places)]
        with ThreadPoolExecutor(len(places) if plan.seconds >= SIDE_BY_SIDE_FROM_S else 1) as threads:
            futures = {setting: threads.submit(backlog, *places[setting], plan) for setting in order}
            for setting, future in futures.items():
                outcomes[setting].append(future.result())
    return outcomes


def backlog(endpoint: LocalEndpoint, worker: WorkerAt, plan: Plan) -> Outcome:
    """One job first, and the backlog while it runs: the worker then finds it waiting. Or when it waits for work."""
    before = len(worker.spans())
    ids = [endpoint.submit(workflows.sleeping(plan.seconds, next(_COLORS)))]
    until(lambda: endpoint.status(ids[0]) != "IN_QUEUE", 60, "the first job is taken")
    if plan.at_idle:
        endpoint.wait_for(ids[0], 60)
        time.sleep(2.2)
    ids += [endpoint.submit(workflows.sleeping(plan.seconds, next(_COLORS))) for _ in range(plan.jobs)]
    for job_id in ids:
        endpoint.wait_for(job_id, 60 + 10 * plan.seconds * plan.jobs)
    spans = until(lambda: len(found := worker.spans()[before:]) > plan.jobs and found, 5, "all prompts in the log")
    # The worker is back in its long look for jobs.
    time.sleep(2.2)
    return outcome(spans[1:])


def outcome(spans: Sequence[Span]) -> Outcome:
    whole = spans[-1].end - spans[0].begin
    gaps = [max(0.0, later.begin - earlier.end) for earlier, later in itertools.pairwise(spans)]
    return Outcome(1 - sum(gaps) / whole, gaps, 60 * len(spans) / whole)


def _add(report: Report, plan: Plan, measured: dict[str, list[Outcome]]) -> None:
    for setting, outcomes in measured.items():
        busy = Spread.of([each.busy for each in outcomes])
        gaps = [gap for each in outcomes for gap in each.gaps]
        per_minute = Spread.of([each.per_minute for each in outcomes])
        report.rows.append(
            [plan.name, setting, busy.show(100, 1), Spread.of(gaps).show(1, 3),
             f"{max(gaps):.2f}", per_minute.show(1, 0)]
        )  # fmt: skip
        report.data[f"{plan.name}, {setting}"] = {
            "busy": busy.as_json(), "gaps": Spread.of(gaps).as_json(), "mean_gap": sum(gaps) / len(gaps),
            "largest_gap": max(gaps), "jobs_per_minute": per_minute.as_json(),
        }  # fmt: skip
        if setting == "auto" and plan.seconds >= AIM_FROM_S:
            text = f"busy with auto, {plan.name}, % (at least {AIM:.0%})"
            report.aims.append(Aim(text, 100 * busy.median, at_least=100 * AIM))
