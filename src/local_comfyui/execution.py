"""Running one prompt: nodes in order, results into the cache, every step told to the client.

The order of messages is that of the recordings `success_*`, `execution_error*` and `interrupted_while_running`.
"""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

from local_comfyui.audience import Audience
from local_comfyui.cache import CacheEntry, OutputCache, Signatures
from local_comfyui.folders import Folders
from local_comfyui.graph import ExecutionPlan, cycle_failure, is_link
from local_comfyui.interruption import Interruption, ProcessingInterrupted, ServerStopping
from local_comfyui.journal import Journal
from local_comfyui.nodes.declaration import Json, NodeCall, NodeResult, NodeType
from local_comfyui.nodes.faulty import OutOfMemoryError
from local_comfyui.nodes.pictures import Images, Masks
from local_comfyui.progress import PromptProgress
from local_comfyui.prompt_queue import Outcome, QueuedPrompt
from local_comfyui.validation_errors import exception_name

log = logging.getLogger(__name__)

_PICTURE_TYPES = {"IMAGE": Images, "MASK": Masks}


class NodeFailed(Exception):
    """A node raised; its exception is the cause."""

    def __init__(self, node_id: str, inputs: Mapping[str, Any]) -> None:
        super().__init__(node_id)
        self.node_id = node_id
        self.inputs = inputs


@dataclass(frozen=True)
class Surroundings:
    """What all executions of one server share."""

    node_types: Mapping[str, NodeType]
    folders: Folders
    cache: OutputCache
    interruption: Interruption
    journal: Journal
    exit_process: Callable[[int], None]


class Execution:
    """One run of one prompt, on the runner's thread."""

    def __init__(self, queued: QueuedPrompt, surroundings: Surroundings, audience: Audience) -> None:
        self._queued = queued
        self._prompt = queued.prompt
        self._id = queued.prompt_id
        self._extra = queued.extra_data | queued.secrets
        self._around = surroundings
        self._audience = audience
        self._progress = PromptProgress(self._id, audience.send)
        self._signatures = Signatures(self._prompt, surroundings.node_types, surroundings.folders)
        self._messages: list[tuple[str, Json]] = []
        self._executed: list[str] = []
        self._held: dict[Hashable, CacheEntry] = {}
        """Results this run relies on, whatever the cache forgets meanwhile."""
        self._shown: dict[str, Json] = {}

    def run(self) -> Outcome:
        self._around.interruption.clear()
        self._tell("execution_start", {"prompt_id": self._id})
        cached = [node_id for node_id in self._prompt if self._cached(node_id) is not None]
        self._tell("execution_cached", {"nodes": cached, "prompt_id": self._id})
        success = self._run_nodes()
        outputs = {node_id: shown["output"] for node_id, shown in self._shown.items()}
        meta = {node_id: shown["meta"] for node_id, shown in self._shown.items()}
        return Outcome(success, self._messages, outputs, meta)

    def _run_nodes(self) -> bool:
        plan = ExecutionPlan(self._prompt, self._is_output, lambda node_id: self._cached(node_id) is not None)
        plan.add_outputs(self._queued.outputs)
        while (node_id := plan.next()) is not None:
            try:
                self._run_node(node_id)
            except ProcessingInterrupted:
                log.info("Processing interrupted")
                self._tell("execution_interrupted", self._stopped_at(node_id), broadcast=True)
                return False
            except NodeFailed as failure:
                self._tell("execution_error", self._stopped_at(node_id) | self._failure(failure))
                return False
            plan.done(node_id)
        if plan.waiting:
            # A cycle that validation cannot see. As in ComfyUI the history calls such a prompt a success.
            self._tell("execution_error", self._stopped_at(plan.waiting[0]) | cycle_failure(self._prompt))
        else:
            self._tell("execution_success", {"prompt_id": self._id})
        return True

    def _run_node(self, node_id: str) -> None:
        cached = self._cached(node_id)
        if cached is not None:
            self._announce_cached(node_id, cached)
            self._progress.finish(node_id)
            return
        self._progress.start(node_id)
        inputs = self._inputs_of(node_id)
        self._audience.executing(node_id, self._id)
        result = self._call(node_id, inputs)
        ui = None
        if result.ui:
            ui = {"meta": _meta(node_id), "output": result.ui}
            self._shown[node_id] = ui
            self._send_executed(node_id, result.ui)
        entry = CacheEntry(result.outputs, ui)
        signature = self._signatures.of(node_id)
        self._held[signature] = entry
        self._around.cache.put(signature, entry)
        self._progress.finish(node_id)
        self._executed.append(node_id)
        self._around.journal.note(self._around.journal.executed_nodes, (self._id, node_id))

    def _call(self, node_id: str, inputs: Json) -> NodeResult:
        try:
            self._around.interruption.check()
            node = self._node_type(node_id)
            _require_pictures(node, inputs)
            return node.run(self._node_call(node_id), **inputs)
        except (ProcessingInterrupted, ServerStopping):
            raise
        except Exception as error:
            log.error("!!! Exception during processing !!! %s", error, exc_info=True)
            raise NodeFailed(node_id, self._shown_inputs(node_id, inputs)) from error

    def _inputs_of(self, node_id: str) -> Json:
        """The node's own inputs with links replaced by results; keys the node does not know are left out."""
        node = self._node_type(node_id)
        inputs = {}
        for name, value in self._prompt[node_id]["inputs"].items():
            if node.input_named(name) is not None:
                inputs[name] = self._linked_value(value) if is_link(value) else value
        return inputs

    def _linked_value(self, link: list[Any]) -> Any:
        source, index = link
        entry = self._cached(source)
        return entry.outputs[index] if entry is not None and index < len(entry.outputs) else None

    def _cached(self, node_id: str) -> CacheEntry | None:
        signature = self._signatures.of(node_id)
        entry = self._held.get(signature) or self._around.cache.get(signature)
        if entry is not None:
            self._held[signature] = entry
        return entry

    def _node_type(self, node_id: str) -> NodeType:
        return self._around.node_types[self._prompt[node_id]["class_type"]]

    def _is_output(self, node_id: str) -> bool:
        return self._node_type(node_id).output_node

    def _node_call(self, node_id: str) -> NodeCall:
        return NodeCall(
            folders=self._around.folders,
            prompt_id=self._id,
            node_id=node_id,
            prompt=self._prompt,
            extra_pnginfo=self._extra.get("extra_pnginfo"),
            report_progress=lambda value, maximum, picture: self._advance(node_id, value, maximum, picture),
            pause=self._around.interruption.pause,
            exit_process=self._around.exit_process,
        )

    def _advance(self, node_id: str, value: int, maximum: int, picture: Any) -> None:
        self._around.interruption.check()
        self._progress.advance(node_id, value, maximum)
        described = {
            "node_id": node_id,
            "prompt_id": self._id,
            "display_node_id": node_id,
            "parent_node_id": None,
            "real_node_id": node_id,
        }
        self._audience.send_preview_with_metadata(picture, described)
        self._audience.send("progress", {"value": value, "max": maximum, "prompt_id": self._id, "node": node_id})
        self._audience.send_preview(picture)

    def _announce_cached(self, node_id: str, cached: CacheEntry) -> None:
        # Without a client id ComfyUI skips this as a whole: such a prompt's history lacks its cached outputs.
        if self._audience.client_id is None:
            return
        self._send_executed(node_id, cached.ui["output"] if cached.ui else None)
        if cached.ui is not None:
            self._shown[node_id] = cached.ui

    def _send_executed(self, node_id: str, output: Json | None) -> None:
        if self._audience.client_id is not None:
            data = {"node": node_id, "display_node": node_id, "output": output, "prompt_id": self._id}
            self._audience.send("executed", data)

    def _tell(self, event: str, data: Json, *, broadcast: bool = False) -> None:
        """A message that also stays in the history."""
        stamped = data | {"timestamp": int(time.time() * 1000)}
        self._messages.append((event, stamped))
        if broadcast or self._audience.client_id is not None:
            self._audience.send(event, stamped)

    def _stopped_at(self, node_id: str) -> Json:
        class_type = self._prompt[node_id]["class_type"]
        return {"prompt_id": self._id, "node_id": node_id, "node_type": class_type, "executed": list(self._executed)}

    def _failure(self, failure: NodeFailed) -> Json:
        error = failure.__cause__
        assert error is not None
        full = isinstance(error, OutOfMemoryError | MemoryError)
        hint = "The memory of the device is full: make pictures or batches smaller." if full else ""
        return {
            "exception_message": f"{error}\n{hint}",
            "exception_type": exception_name(error),
            "traceback": traceback.format_tb(error.__traceback__),
            "current_inputs": failure.inputs,
            "current_outputs": list(self._prompt),
        }

    def _shown_inputs(self, node_id: str, inputs: Json) -> Json:
        hidden: Json = {}
        node = self._node_type(node_id)
        if node.metadata and not node.modern:
            hidden = {"prompt": self._prompt, "extra_pnginfo": self._extra.get("extra_pnginfo")}
        return {name: [_shown(value)] for name, value in {**inputs, **hidden}.items()}


def _meta(node_id: str) -> Json:
    return {"node_id": node_id, "display_node": node_id, "parent_node": None, "real_node_id": node_id}


def _shown(value: Any) -> Any:
    return value if value is None or isinstance(value, int | float | str) else str(value)


def _require_pictures(node: NodeType, inputs: Mapping[str, Any]) -> None:
    """A text where a link belongs passes validation (recording `invalid_prompts`) and fails here, as on a tensor."""
    for name, value in inputs.items():
        entry = node.input_named(name)
        wanted = _PICTURE_TYPES.get(entry.type) if entry else None
        if wanted is not None and value is not None and not isinstance(value, wanted):
            raise AttributeError(f"'{type(value).__name__}' object has no attribute 'shape'")
