"""How many jobs to take, so that the GPU never waits and no job waits behind another without need.

RunPod's SDK (runpod-python 1.12.0, rp_scale.JobScaler) looks for work once a second while it holds all the jobs it may
hold. With one job at a time the GPU therefore idles for up to a second between two jobs. With more, jobs are taken that
an idle worker could have run at once. So `auto` decides before every look, by these rules:

- Nothing to run here: take a job, and wait for it as long as it takes. After one of the SDK's sleeps, in which jobs may
  have come, ask for as many short ones as cover the next sleep.
- Answered at once, and with all that was asked for, or at once twice in a row: more jobs wait than there are free
  workers. Only then is another one taken while one runs, and only as late as possible: when the work in hand will be
  over before the SDK looks again and the next job is prepared. So no job is kept here for longer than that (about
  1.5 s), however long the one before it takes.
- A look that had to wait, or was answered with no job or an error: none is waiting. Back to one at a time.
- As long as no job has run here nothing is known about how long one takes, and the first one also loads the models,
  while other workers may be starting: one at a time.

How the SDK is told: it calls `concurrency_modifier` before each look, and computes `wanted = concurrency - held`. A
*changed* concurrency makes it wait until nothing is held at all, which would bring the gap back; and `held` counts jobs
twice that were just taken. So the concurrency it is given is constantly MOST_CONCURRENT, in the form of an int that
answers exactly this subtraction by the number of jobs to ask for now.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Collection

from comfy_worker.config import MOST_CONCURRENT
from comfy_worker.timing import Clock

#: A look that is answered faster than this found its job waiting. Long polls are held for seconds.
AT_ONCE_S = 0.4
#: From one look to the next job's handler, at worst: the SDK's sleep of 1 s, a look, the SDK's hand-over of 0.1 s; with
#: some reserve.
BLIND_S = 1.4
#: Added to it: how long preparing a job (inputs fetched and uploaded) took lately, but no more than this.
LONGEST_PREPARATION_S = 5.0
#: A job may be found waiting by chance: it came during the SDK's sleep. This many times in a row it was none.
NO_CHANCE = 2
#: What runs and preparations are judged by: the last few.
RECENT = 5
#: Jobs whose results may be on their way out before no more are taken: the way out is what is slow then.
MOST_LEAVING = 4


class Prefetch:
    """`wanted` is called by the SDK's loop; `ran` and `prepared` by the threads of jobs.

    `in_hand` names the jobs that the SDK holds, those included that wait for their handler or whose result is being
    posted.
    """

    def __init__(self, in_hand: Callable[[], Collection[str]], clock: Clock = time.monotonic) -> None:
        self._in_hand = in_hand
        self._clock = clock
        self._runs: deque[float] = deque(maxlen=RECENT)
        self._preparations: deque[float] = deque(maxlen=RECENT)
        #: Jobs in hand that need the GPU no more.
        self._leaving: set[str] = set()
        self._known: set[str] = set()
        #: The look under way; None: the SDK sleeps.
        self._asked_at: float | None = None
        self._asked_for = 0
        #: Looks in a row that found jobs waiting.
        self._found_waiting = 0
        self._idle = True
        #: Since when the GPU is at its present job.
        self._since = clock()
        #: Set to take no more jobs: this worker is being given back.
        self.closed = False

    def ran(self, job_id: str, seconds: float) -> None:
        """A job kept the GPU busy for this long and needs it no more."""
        self._leaving.add(job_id)
        self._runs.append(seconds)
        self._since = self._clock()

    def prepared(self, seconds: float) -> None:
        """A job was this long in hand before it was in ComfyUI's queue."""
        self._preparations.append(seconds)

    def wanted(self) -> int:
        """Jobs to ask for now; 0 or less lets the SDK sleep for a second."""
        now, held = self._clock(), set(self._in_hand())
        slept = self._asked_at is None
        if self._asked_at is not None:
            self._judge_answer(len(held - self._known), now - self._asked_at)
        for job_id in tuple(self._leaving):
            # One by one: threads add to it meanwhile.
            if job_id not in held:
                self._leaving.discard(job_id)
        ahead = len(held - self._leaving)
        if ahead and self._idle:
            self._since = now
        self._idle = not ahead
        wanted = min(self._missing(ahead, now, slept), MOST_CONCURRENT - len(held))
        if self.closed or len(held) - ahead >= MOST_LEAVING:
            wanted = 0
        self._known, self._asked_for = held, wanted
        self._asked_at = now if wanted > 0 else None
        return wanted

    def _judge_answer(self, jobs: int, seconds: float) -> None:
        if not jobs or seconds >= AT_ONCE_S:
            self._found_waiting = 0
        elif jobs >= self._asked_for > 1:
            self._found_waiting = NO_CHANCE
        else:
            self._found_waiting += 1

    def _missing(self, ahead: int, now: float, slept: bool) -> int:
        """How many jobs more the GPU needs, of which it has `ahead`."""
        jobs_wait = self._found_waiting >= NO_CHANCE or (slept and not ahead)
        if not jobs_wait or not self._runs:
            return 0 if ahead else 1
        runs = tuple(self._runs)
        blind = BLIND_S + min(LONGEST_PREPARATION_S, max(self._preparations, default=0.0))
        # The GPU may be through this soon: all runs as short as the shortest.
        lasts = max(0.0, min(runs) - (now - self._since)) + (ahead - 1) * min(runs) if ahead else 0.0
        if lasts >= blind:
            return 0
        mean = max(sum(runs) / len(runs), 0.001)
        return min(math.ceil((blind - lasts) / mean), 1 + math.ceil(blind / mean) - ahead)


class Slots(int):
    """The constant concurrency MOST_CONCURRENT, whose difference to the jobs held is what `Prefetch` wants."""

    _wanted: Callable[[], int]

    @classmethod
    def of(cls, prefetch: Prefetch) -> Slots:
        slots = cls(MOST_CONCURRENT)
        slots._wanted = prefetch.wanted
        return slots

    def __sub__(self, held: int) -> int:
        return self._wanted()
