"""What the server did, for tests to look at."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any, TypeVar

T = TypeVar("T")


class Journal:
    """Outlives restarts of the server. Lists only grow; reading them from another thread is safe.

    A server that nobody tests lives for long: with `keep=False` nothing is noted.
    """

    def __init__(self, *, keep: bool = True) -> None:
        self._keep = keep
        self._lock = threading.Lock()
        self.requests: Counter[str] = Counter()
        """How often each route was called, by `"GET /history/{prompt_id}"` and the like, without `/api`."""
        self.prompts: list[Any] = []
        """The bodies of all `POST /prompt`."""
        self.free_calls: list[Any] = []
        """The bodies of all `POST /free`."""
        self.executed_nodes: list[tuple[str, str]] = []
        """(prompt_id, node_id) of every node really run, not answered from the cache."""

    def count(self, route: str) -> None:
        if self._keep:
            with self._lock:
                self.requests[route] += 1

    def note(self, entries: list[T], entry: T) -> None:
        if self._keep:
            entries.append(entry)
