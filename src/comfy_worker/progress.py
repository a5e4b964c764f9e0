"""What a client sees of a running job: `{"progress": {...}}`, computed from the execution. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfy_worker.execution import Execution, State


def report(execution: Execution, workflow: Mapping[str, Any], queue_position: int | None) -> dict[str, Any]:
    """{"percent", "nodes_done", "nodes_total"} and, where known, "node", "node_type", "node_title", "step", "steps",
    "queue_position" (prompts ahead of this one in ComfyUI's queue)."""
    total = max(1, len(workflow))
    done = len((execution.cached | execution.ran) & workflow.keys())
    progress: dict[str, Any] = {"percent": 0, "nodes_done": done, "nodes_total": total}
    if execution.state is State.QUEUED:
        if queue_position is not None:
            progress["queue_position"] = queue_position
        return {"progress": progress}
    part = 0.0
    if execution.node_id is not None:
        progress.update(_node(workflow, execution.node_id))
        step = execution.progress
        if step is not None and step.node_id in (None, execution.node_id) and step.maximum > 0:
            progress.update(step=int(step.value), steps=int(step.maximum))
            part = max(0.0, min(1.0, step.value / step.maximum))
    progress["percent"] = min(99, int(100 * (done + part) / total))
    return {"progress": progress}


def _node(workflow: Mapping[str, Any], node_id: str) -> dict[str, Any]:
    node = workflow.get(node_id, {})
    found = {"node": node_id, "node_type": node.get("class_type")}
    meta = node.get("_meta")
    title = meta.get("title") if isinstance(meta, Mapping) else None
    return {key: value for key, value in {**found, "node_title": title}.items() if isinstance(value, str)}
