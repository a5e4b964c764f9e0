"""The workers as their requests show them: what they poll, ping and were told to stop."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from .jobs import WorkerRef

# A stop signal is repeated only when a heartbeat still lists the job so much later: a second cancellation would
# interrupt the handler's own clean-up.
STOP_REPEAT_S = 10.0
# A stopped worker polls without a pause on the connections it has; its successor takes longer than this to start.
_SUCCESSOR_S = 0.5
_CONNECTIONS = 16
# A worker counts as present for so many heartbeat intervals after its last sign of life.
_PRESENT_INTERVALS = 3


@dataclass
class Worker:
    """One worker name. A new process under the name is a new life: see `Workers.polling`."""

    name: str
    start: str
    open_polls: int = 0
    last_poll: float | None = None
    last_ping: float | None = None
    unhealthy: bool = False
    retired: bool = False
    jobs: set[str] = field(default_factory=set)
    stops_pending: dict[str, None] = field(default_factory=dict)
    stops_sent: dict[str, float] = field(default_factory=dict)
    connections: deque[str] = field(default_factory=lambda: deque(maxlen=_CONNECTIONS))

    def came_from(self, connection: str) -> None:
        if connection not in self.connections:
            self.connections.append(connection)

    def polled_within(self, seconds: float, now: float) -> bool:
        return self.open_polls > 0 or (self.last_poll is not None and now - self.last_poll <= seconds)

    def pinged_within(self, seconds: float, now: float) -> bool:
        return self.last_ping is not None and now - self.last_ping <= seconds


class Workers:
    """All workers by name."""

    def __init__(self, *, ping_interval: float, gap: float, expected: int) -> None:
        self._ping_interval = ping_interval
        self._gap = gap
        self._expected = expected
        self._workers: dict[str, Worker] = {}

    def __iter__(self) -> Iterator[Worker]:
        return iter(self._workers.values())

    def get(self, name: str) -> Worker | None:
        return self._workers.get(name)

    def polling(self, ref: WorkerRef, now: float, connection: str = "") -> tuple[Worker, frozenset[str]]:
        """A poll begins. Also returns the jobs that were with an earlier process of this name and died with it.

        A new process is known by another `start` in its URLs (workers started by `serve` have one). Without it, a
        stopped worker that polls again after a silence, or on a new connection after a short one, is taken for the
        new process that took its place.
        """
        worker = self._workers.get(ref.name)
        orphaned: frozenset[str] = frozenset()
        if worker is None or worker.start != ref.start:
            orphaned = frozenset(worker.jobs) if worker else orphaned
            worker = self._workers[ref.name] = Worker(ref.name, ref.start)
        elif worker.retired:
            silence = self._gap if connection in worker.connections else min(self._gap, _SUCCESSOR_S)
            worker.retired = worker.polled_within(silence, now)
        worker.came_from(connection)
        worker.open_polls += 1
        worker.last_poll = now
        worker.unhealthy = False
        return worker, orphaned

    def poll_ended(self, worker: Worker, now: float) -> None:
        worker.open_polls -= 1
        worker.last_poll = now

    def pinged(self, ref: WorkerRef, now: float) -> Worker:
        """A heartbeat. It never makes a new life: the heartbeat process can outlive its worker."""
        worker = self._workers.setdefault(ref.name, Worker(ref.name, ref.start))
        worker.last_ping = now
        return worker

    def repeat_stops(self, worker: Worker, listed: Iterable[str], now: float) -> bool:
        """Tell again about jobs that still run although their stop signal went out a while ago."""
        listed = set(listed)
        overdue = [job for job, sent in worker.stops_sent.items() if job in listed and now - sent >= STOP_REPEAT_S]
        for job in [job for job in worker.stops_sent if job not in listed or job in overdue]:
            del worker.stops_sent[job]
        worker.stops_pending.update(dict.fromkeys(overdue))
        return bool(overdue)

    def stop(self, name: str, job_id: str) -> None:
        worker = self._workers.get(name)
        if worker is not None:
            worker.jobs.discard(job_id)
            if job_id not in worker.stops_sent:
                worker.stops_pending[job_id] = None

    def collect_stops(self, worker: Worker, now: float) -> list[str]:
        """The signals to hand out now; each is handed out once."""
        stops = list(worker.stops_pending)
        worker.stops_pending.clear()
        worker.stops_sent.update(dict.fromkeys(stops, now))
        return stops

    def assign(self, worker: Worker, job_id: str) -> None:
        """The job is with this worker; a stop signal left from an earlier attempt must not hit the new one."""
        worker.jobs.add(job_id)
        worker.stops_pending.pop(job_id, None)
        worker.stops_sent.pop(job_id, None)

    def release(self, ref: WorkerRef, job_id: str) -> None:
        """The job is not with this worker any more. What an earlier process of the name says changes nothing: its
        successor may have the job by now."""
        worker = self._workers.get(ref.name)
        if worker is not None and ref.start in ("", worker.start):
            worker.jobs.discard(job_id)
            worker.stops_pending.pop(job_id, None)
            worker.stops_sent.pop(job_id, None)

    def forget_absent(self, now: float, after: float) -> None:
        for worker in list(self._workers.values()):
            seen = worker.polled_within(after, now) or worker.pinged_within(after, now)
            if not seen and not worker.jobs:
                del self._workers[worker.name]

    def counts(self, now: float) -> dict[str, int]:
        """The six counters of /health. In every live capture `ready` equals `idle`; nothing is throttled here."""
        present = self._ping_interval * _PRESENT_INTERVALS
        states = [self._state(worker, present, now) for worker in self._workers.values()]
        known = sum(state != "gone" for state in states)
        idle = states.count("idle")
        return {
            "idle": idle,
            "initializing": states.count("initializing") + max(0, self._expected - known),
            "ready": idle,
            "running": states.count("running"),
            "throttled": 0,
            "unhealthy": states.count("unhealthy"),
        }

    def _state(self, worker: Worker, present: float, now: float) -> str:
        if worker.jobs:
            return "running"
        if worker.unhealthy:
            return "unhealthy"
        if worker.retired:
            return "gone"
        if worker.polled_within(present, now):
            return "idle"
        # A heartbeat alone: the worker is starting (or is an orphan heartbeat, which never becomes ready).
        return "initializing" if worker.pinged_within(present, now) else "gone"
