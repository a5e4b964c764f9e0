"""One job while it is under way."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from comfy_worker.job import job_id
from comfy_worker.logs import JobLog


class Attempt:
    """What is known of one job while it is under way; also what survives its failure."""

    def __init__(self, raw: Any, stop: threading.Event, on_progress: Callable[[dict[str, Any]], None]) -> None:
        self.raw = raw
        self.stop = stop
        self.on_progress = on_progress
        self.job_id = job_id(raw)
        self.prompt_id = str(uuid.uuid4())
        self.log = JobLog(self.job_id, self.prompt_id)
        self.warnings: list[str] = []
        #: The prompt was running: it may be the cause when ComfyUI dies.
        self.had_begun = False
        self.delivered: dict[str, list[Any]] = {}
        self._began = time.monotonic()

    @contextmanager
    def pause(self) -> Iterator[None]:
        """What is waited for in here is no preparation of the job."""
        paused = time.monotonic()
        yield
        self._began += time.monotonic() - paused

    def begin_again(self) -> None:
        """What was before is no preparation of the job either."""
        self._began = time.monotonic()

    def warn(self, warnings: Sequence[str]) -> None:
        self.warnings.extend(warning for warning in warnings if warning not in self.warnings)

    @property
    def preparing_s(self) -> float:
        return time.monotonic() - self._began
