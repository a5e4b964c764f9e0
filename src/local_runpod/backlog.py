"""The jobs that wait for a worker, in the order they will be handed out."""

from __future__ import annotations

from collections import OrderedDict

from .jobs import Job


class Backlog:
    """First in, first out; `lowPriority` jobs run when nothing else is waiting (RunPod documentation)."""

    def __init__(self) -> None:
        self._normal: OrderedDict[str, Job] = OrderedDict()
        self._low: OrderedDict[str, Job] = OrderedDict()

    def __len__(self) -> int:
        return len(self._normal) + len(self._low)

    def add(self, job: Job) -> None:
        self._lane(job)[job.id] = job

    def add_first(self, job: Job) -> None:
        """A lost job goes before those that have not had their turn."""
        self.add(job)
        self._lane(job).move_to_end(job.id, last=False)

    def remove(self, job: Job) -> None:
        self._lane(job).pop(job.id, None)

    def pop(self) -> Job | None:
        for lane in (self._normal, self._low):
            if lane:
                return lane.popitem(last=False)[1]
        return None

    def clear(self) -> list[Job]:
        jobs = [*self._normal.values(), *self._low.values()]
        self._normal.clear()
        self._low.clear()
        return jobs

    def _lane(self, job: Job) -> OrderedDict[str, Job]:
        return self._low if job.submission.policy.low_priority else self._normal
