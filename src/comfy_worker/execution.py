"""What we know of one prompt's run: a pure state machine over ComfyUI's events and looks at its history.

Two rules for this file. Everything that decides how a prompt ended lives here; nothing here does I/O or knows the time.

Theory of operation. The websocket is an accelerator, /history and /queue are the truth. On one unbroken connection the
events alone are enough: every output was named by an `executed`, and `execution_success` ends the run (up to 0.3 s
before the history is written, recording success_single_image). After a gap (`connection_lost`) events may be missing,
so an end counts only once the history confirms it; the caller looks (`wants_look`) and hands in what it saw
(`reconcile`). A prompt that neither the queue nor the history knows on LOST_AFTER_LOOKS looks in a row is LOST. So
success is never reported without either an unbroken event stream or a history entry that says so.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from comfy_worker.comfyui import events


class State(Enum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    LOST = "lost"


_ALIVE: Mapping[type[Any], State] = {
    events.Started: State.RUNNING,
    events.Cached: State.RUNNING,
    events.Executing: State.RUNNING,
    events.Progress: State.RUNNING,
    events.ProgressState: State.RUNNING,
    events.Executed: State.RUNNING,
    events.Succeeded: State.SUCCEEDED,
    events.Failed: State.FAILED,
    events.Interrupted: State.INTERRUPTED,
}
#: state -> event -> next state; what is not listed changes nothing. Ends are final: only the history overrules them.
TRANSITIONS: Mapping[State, Mapping[type[Any], State]] = {
    State.QUEUED: _ALIVE,
    State.RUNNING: _ALIVE,
    State.SUCCEEDED: {},
    State.FAILED: {},
    State.INTERRUPTED: {},
    State.LOST: {},
}

LOST_AFTER_LOOKS = 2
#: When an end was announced, its history entry is only a moment away: be patient.
LOST_AFTER_LOOKS_AT_END = 20


@dataclass(frozen=True)
class NodeOutput:
    """A node's ui dict, e.g. {"images": [{"filename", "subfolder", "type"}]}."""

    node_id: str
    output: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True)
class PictureOutput:
    """A picture that SaveImageWebsocket sent over the socket; `number` counts per node from 1."""

    node_id: str
    number: int
    media_type: str
    content: bytes = field(repr=False)


class Execution:
    """One prompt. `receive`, `connection_lost` and `reconcile` are the only writers."""

    def __init__(self, prompt_id: str, websocket_nodes: Collection[str] = ()) -> None:
        self.prompt_id = prompt_id
        self.state = State.QUEUED
        self.failure: events.Failed | None = None
        self.interruption: events.Interrupted | None = None
        self.node_id: str | None = None
        self.progress: events.Progress | None = None
        self.cached: frozenset[str] = frozenset()
        self.ran: set[str] = set()
        self._pictures = dict.fromkeys(websocket_nodes, 0)
        self._whole_pictures: set[str] = set()
        self._node_seen_from_start = False
        self._gap = False
        self._history_written = False
        self._confirmed = False
        self._unknown_looks = 0

    def __repr__(self) -> str:
        return f"<Execution {self.prompt_id} {self.state.value} node={self.node_id} gap={self._gap}>"

    @property
    def gap(self) -> bool:
        """Events may have been missed."""
        return self._gap

    @property
    def ended(self) -> bool:
        return not TRANSITIONS[self.state]

    @property
    def settled(self) -> bool:
        """Ended, and nothing can still come: outputs included."""
        return self.ended and (self._confirmed or not self._gap)

    @property
    def wants_look(self) -> bool:
        """A look at the history would settle this now."""
        return not self.settled and (self.ended or self._history_written)

    @property
    def lost_pictures(self) -> list[str]:
        """SaveImageWebsocket nodes whose pictures may have passed while the socket was down; no history has them."""
        return [node for node in self._pictures if self._gap and node not in self._whole_pictures]

    def receive(self, event: events.Event) -> NodeOutput | PictureOutput | None:
        """Take in one event. Returns the output that it hands on, if any."""
        if isinstance(event, events.Picture):
            return self._picture(event)
        if getattr(event, "prompt_id", None) != self.prompt_id or self.ended:
            self._hint(event)
            return None
        self._follow(event)
        self.state = TRANSITIONS[self.state].get(type(event), self.state)
        return NodeOutput(event.node_id, event.output) if isinstance(event, events.Executed) else None

    def connection_lost(self) -> None:
        """The socket dropped (or never was): events may be missing from here on. After the end nothing can be."""
        if self.settled:
            return
        self._gap = True
        self._node_seen_from_start = False

    def reconcile(self, history: Mapping[str, Any] | None, *, queued: bool) -> list[NodeOutput]:
        """Take in one look: the history's entry of our prompt (None: it has none) and whether the queue lists it.

        Returns every output the entry names, those already handed on included.
        """
        if history is not None:
            # An end that nobody told: the connection was dead without a word.
            self._gap |= not self.ended
            self._confirmed = True
            self._end_by_history(history)
            outputs = history.get("outputs")
            items = outputs.items() if isinstance(outputs, Mapping) else ()
            return [NodeOutput(str(node), output) for node, output in items if isinstance(output, Mapping)]
        self._unknown_looks = 0 if queued else self._unknown_looks + 1
        self._give_up_if_unknown()
        return []

    def _give_up_if_unknown(self) -> None:
        patience = LOST_AFTER_LOOKS_AT_END if self.ended or self._history_written else LOST_AFTER_LOOKS
        if self._unknown_looks < patience or self.settled:
            return
        self._confirmed = True
        if not self.ended or self.state is State.SUCCEEDED:
            self.state = State.LOST

    def _follow(self, event: events.Event) -> None:
        """Remember where the run is."""
        match event:
            case events.Cached(node_ids=nodes):
                self.cached = frozenset(nodes)
            case events.Executing(node_id=None):
                self._leave_node()
                self._history_written = True
            case events.Executing(node_id=node):
                self._leave_node()
                self.node_id, self.progress, self._node_seen_from_start = node, None, True
            case events.Progress():
                self.progress = event
            case events.Succeeded():
                self._leave_node()
            case events.Failed():
                self.failure = event
            case events.Interrupted():
                self.interruption = event

    def _leave_node(self) -> None:
        if self.node_id is None:
            return
        self.ran.add(self.node_id)
        if self._node_seen_from_start:
            self._whole_pictures.add(self.node_id)
        self.node_id = None

    def _hint(self, event: events.Event) -> None:
        """Right after a reconnect the server tells the current node, without saying of which prompt."""
        if isinstance(event, events.Executing) and event.prompt_id is None and event.node_id and not self.ended:
            self.node_id, self._node_seen_from_start = event.node_id, False

    def _picture(self, event: events.Picture) -> PictureOutput | None:
        node_id = event.node_id or self.node_id
        if self.ended or event.prompt_id not in (None, self.prompt_id) or node_id not in self._pictures:
            return None
        self._pictures[node_id] += 1
        return PictureOutput(node_id, self._pictures[node_id], event.media_type, event.content)

    def _end_by_history(self, history: Mapping[str, Any]) -> None:
        """`status` is {"status_str": "success"|"error", "completed", "messages": [[type, data], ...]}; an interrupted
        prompt is an "error" whose messages hold execution_interrupted (recording interrupted_while_running)."""
        status = history.get("status")
        status = status if isinstance(status, Mapping) else {}
        messages = _messages(status.get("messages"))
        if "execution_error" in messages:
            self.failure = events.failure_of({"prompt_id": self.prompt_id, **messages["execution_error"]})
            self.state = State.FAILED
        elif "execution_interrupted" in messages:
            self.interruption = events.interruption_of(
                {"prompt_id": self.prompt_id, **messages["execution_interrupted"]}
            )
            self.state = State.INTERRUPTED
        elif status.get("status_str") == "success":
            self.state = State.SUCCEEDED
        elif not self.ended or self.state is State.SUCCEEDED:
            self.state = State.FAILED


def _messages(value: Any) -> dict[str, Mapping[str, Any]]:
    """The history's `[[type, data], ...]` by type; what has another form is passed over."""
    pairs = [item for item in value if isinstance(item, list) and len(item) == 2] if isinstance(value, list) else []
    return {kind: data for kind, data in pairs if isinstance(kind, str) and isinstance(data, Mapping)}
