"""The progress messages of one prompt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True)
class NodeProgress:
    state: str
    value: float
    max: float


class PromptProgress:
    """Sends `progress_state` whenever a node starts, advances or ends.

    Each message lists every node of the prompt that was touched so far (recording `success_single_image`).
    """

    def __init__(self, prompt_id: str, send: Callable[[str, Json], None]) -> None:
        self._prompt_id = prompt_id
        self._send = send
        self._nodes: dict[str, NodeProgress] = {}

    def start(self, node_id: str) -> None:
        self._set(node_id, NodeProgress("running", 0.0, 1.0))

    def advance(self, node_id: str, value: int, maximum: int) -> None:
        self._set(node_id, NodeProgress("running", value, maximum))

    def finish(self, node_id: str) -> None:
        known = self._nodes.get(node_id, NodeProgress("pending", 0, 1))
        self._set(node_id, replace(known, state="finished", value=known.max))

    def _set(self, node_id: str, progress: NodeProgress) -> None:
        self._nodes[node_id] = progress
        nodes = {each: self._entry(each, state) for each, state in self._nodes.items()}
        self._send("progress_state", {"prompt_id": self._prompt_id, "nodes": nodes})

    def _entry(self, node_id: str, progress: NodeProgress) -> Json:
        return {
            "value": progress.value,
            "max": progress.max,
            "state": progress.state,
            "node_id": node_id,
            "prompt_id": self._prompt_id,
            "display_node_id": node_id,
            "parent_node_id": None,
            "real_node_id": node_id,
        }
