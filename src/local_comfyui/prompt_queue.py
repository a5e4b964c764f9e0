"""Prompts that wait, run, and have run."""

from __future__ import annotations

import copy
import heapq
import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from local_comfyui.graph import Prompt

Json = dict[str, Any]

HISTORY_LIMIT = 10_000


@dataclass(frozen=True, order=True)
class QueuedPrompt:
    """Ordered by number, then by arrival."""

    number: float
    arrival: int
    prompt_id: str = field(compare=False)
    prompt: Prompt = field(compare=False)
    extra_data: Json = field(compare=False)
    outputs: list[str] = field(compare=False)
    secrets: Json = field(compare=False, repr=False)
    """Keys for paid API nodes: handed to the run, never shown by `/queue` or `/history`."""

    def shown(self) -> list[Any]:
        return [self.number, self.prompt_id, self.prompt, self.extra_data, self.outputs]


@dataclass(frozen=True)
class Outcome:
    """What a finished prompt leaves in the history."""

    success: bool
    messages: list[tuple[str, Json]]
    outputs: Json
    meta: Json

    def shown(self, prompt: QueuedPrompt) -> Json:
        return {
            "prompt": prompt.shown(),
            "outputs": self.outputs,
            "status": {
                "status_str": "success" if self.success else "error",
                "completed": self.success,
                "messages": [list(message) for message in self.messages],
            },
            "meta": self.meta,
        }


class PromptQueue:
    """Thread-safe. `changed` is called, within the lock, whenever the number of prompts left may have changed."""

    def __init__(self, changed: Callable[[int], None], history_limit: int = HISTORY_LIMIT) -> None:
        self._changed = changed
        self._history_limit = history_limit
        self._condition = threading.Condition(threading.RLock())
        self._arrivals = itertools.count()
        self._pending: list[QueuedPrompt] = []
        self._running: QueuedPrompt | None = None
        self._history: dict[str, Json] = {}
        self._free_wanted = False
        self._closed = False

    def put(
        self, number: float, prompt_id: str, prompt: Prompt, extra_data: Json, outputs: list[str], secrets: Json
    ) -> None:
        with self._condition:
            arrival = next(self._arrivals)
            queued = QueuedPrompt(number, arrival, prompt_id, prompt, extra_data, outputs, secrets)
            heapq.heappush(self._pending, queued)
            self._tell()
            self._condition.notify()

    def wait_for_work(self) -> bool:
        """Wait for a prompt, a wish to free memory, or the end. False at the end."""
        with self._condition:
            self._condition.wait_for(lambda: self._pending or self._free_wanted or self._closed)
            return not self._closed

    def take(self) -> QueuedPrompt | None:
        with self._condition:
            if not self._pending:
                return None
            self._running = heapq.heappop(self._pending)
            self._tell()
            return self._running

    def finish(self, outcome: Outcome) -> None:
        """The running prompt becomes history."""
        with self._condition:
            assert self._running is not None
            finished, self._running = self._running, None
            if len(self._history) > self._history_limit:
                self._history.pop(next(iter(self._history)))
            self._history[finished.prompt_id] = copy.deepcopy(outcome.shown(finished))
            self._tell()

    def close(self) -> None:
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    def remaining(self) -> int:
        with self._condition:
            return len(self._pending) + (self._running is not None)

    def shown(self) -> Json:
        """`GET /queue`."""
        with self._condition:
            running = [self._running.shown()] if self._running else []
            return {"queue_running": running, "queue_pending": [each.shown() for each in self._pending]}

    def is_running(self, prompt_id: str) -> bool:
        with self._condition:
            return self._running is not None and self._running.prompt_id == prompt_id

    def clear(self) -> None:
        with self._condition:
            self._pending.clear()
            self._tell()

    def delete(self, prompt_id: str) -> None:
        with self._condition:
            for queued in self._pending:
                if queued.prompt_id == prompt_id:
                    self._pending.remove(queued)
                    heapq.heapify(self._pending)
                    if not self._pending:
                        # ComfyUI empties the queue for its last entry, and tells of both.
                        self._tell()
                    self._tell()
                    return

    def history(self, max_items: int | None = None, offset: int = -1) -> Json:
        """The newest `max_items`, or `max_items` from `offset` on, oldest first."""
        with self._condition:
            start = offset
            if offset < 0 and max_items is not None:
                start = len(self._history) - max_items
            items = list(self._history.items())[max(start, 0) :]
            return dict(items if max_items is None else items[: max(max_items, 1)])

    def history_of(self, prompt_id: str) -> Json:
        with self._condition:
            entry = self._history.get(prompt_id)
            return {} if entry is None else {prompt_id: entry}

    def clear_history(self) -> None:
        with self._condition:
            self._history.clear()

    def delete_history(self, prompt_id: str) -> None:
        with self._condition:
            self._history.pop(prompt_id, None)

    def want_free_memory(self) -> None:
        with self._condition:
            self._free_wanted = True
            self._condition.notify()

    def take_free_memory(self) -> bool:
        with self._condition:
            wanted, self._free_wanted = self._free_wanted, False
            return wanted

    def _tell(self) -> None:
        self._changed(self.remaining())
