"""The links between a prompt's nodes, and the order in which nodes run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

Prompt = dict[str, Any]


def is_link(value: object) -> bool:
    """`["node id", output index]`."""
    return (
        isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], int | float)
    )


def linked_nodes(node: dict[str, Any]) -> list[str]:
    return [value[0] for value in node["inputs"].values() if is_link(value)]


def cycle_failure(prompt: Prompt) -> dict[str, Any]:
    """What `execution_error` says of nodes that wait for each other."""
    return {
        "exception_message": "Dependency cycle detected",
        "exception_type": "graph.DependencyCycleError",
        "traceback": [],
        "current_inputs": [],
        "current_outputs": list(prompt),
    }


class ExecutionPlan:
    """Which nodes still have to run for the wanted outputs, and which of them is next.

    Nodes with a cached result are left out, except the outputs themselves: those are visited, so that their
    result is announced again.
    """

    def __init__(self, prompt: Prompt, is_output: Callable[[str], bool], is_cached: Callable[[str], bool]) -> None:
        self._prompt = prompt
        self._is_output = is_output
        self._is_cached = is_cached
        self._waits_for: dict[str, set[str]] = {}

    def add_outputs(self, node_ids: Iterable[str]) -> None:
        for node_id in node_ids:
            self._add(node_id)

    def _add(self, node_id: str) -> None:
        to_add = [node_id]
        while to_add:
            current = to_add.pop()
            if current in self._waits_for:
                continue
            needed = [source for source in linked_nodes(self._prompt[current]) if not self._is_cached(source)]
            self._waits_for[current] = set(needed)
            to_add.extend(needed)

    def next(self) -> str | None:
        """The next node, outputs and the nodes right before them first: users see a picture as soon as there is one."""
        ready = [node_id for node_id, needed in self._waits_for.items() if not needed]
        if not ready:
            return None
        for nearness in range(3):
            for node_id in ready:
                if self._leads_to_output(node_id, nearness):
                    return node_id
        return ready[0]

    def _leads_to_output(self, node_id: str, steps: int) -> bool:
        if steps == 0:
            return self._is_output(node_id)
        followers = (other for other, needed in self._waits_for.items() if node_id in needed)
        return any(self._leads_to_output(other, steps - 1) for other in followers)

    @property
    def waiting(self) -> list[str]:
        """What is left. When none of it is ready, its nodes wait for each other."""
        return list(self._waits_for)

    def done(self, node_id: str) -> None:
        del self._waits_for[node_id]
        for needed in self._waits_for.values():
            needed.discard(node_id)
