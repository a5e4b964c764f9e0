"""Follows one prompt to its end: events as they come, looks at queue and history after every gap and in every
silence.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Set
from typing import Any

from comfy_worker import progress, submission
from comfy_worker.comfyui import events
from comfy_worker.comfyui.client import ComfyUIClient
from comfy_worker.comfyui.listener import Dropped, Listener, Reconnected, Silent
from comfy_worker.comfyui.process import ComfyUIServer
from comfy_worker.errors import (
    ComfyUIDied,
    ComfyUIUnavailable,
    ExecutionInterrupted,
    ExecutionStalled,
    ExecutionTimedOut,
)
from comfy_worker.execution import Execution, NodeOutput, PictureOutput, State
from comfy_worker.logs import JobLog
from comfy_worker.timing import Clock, Deadline

#: How long one wait for the socket may keep us from noticing a cancel, a limit or a dead process.
SLICE_S = 0.5
#: Silence after which the truth is asked, on a sound connection.
SILENCE_S = 3.0
#: The same once the connection had a gap: it may be deaf.
SILENCE_AFTER_GAP_S = 1.0
#: Between two looks when the end was announced but the history is not written yet.
END_LOOK_S = 0.1


#: Progress is computed no more often than this, however many events a large workflow sends.
REPORT_S = 0.25


class Cancelled(ExecutionInterrupted):
    code = "CANCELLED"


def raise_if_cancelled(stop: threading.Event) -> None:
    if stop.is_set():
        raise Cancelled("The job was cancelled")


class Tracker:
    def __init__(
        self,
        client: ComfyUIClient,
        server: ComfyUIServer,
        listener: Listener,
        stop: threading.Event,
        log: JobLog,
        followed: Set[str] = frozenset(),
        clock: Clock = time.monotonic,
    ) -> None:
        """`followed` are the prompts that have a job behind them, which watches over their limits."""
        self._client = client
        self._server = server
        self._listener = listener
        self._stop = stop
        self._log = log
        self._followed = followed
        self._clock = clock
        self._generation = server.generation
        self._quiet = False
        self._last_look = self._last_heard = self._last_moved = clock()
        self._seen: tuple[Any, ...] = ()
        #: The queue or the history showed that it runs or ran, whether an event told so or not.
        self._seen_running = self._seen_ended = False
        self._started_at: float | None = None
        self._last_report = 0.0
        self._queue_position: int | None = None

    @property
    def began(self) -> bool:
        return self._started_at is not None

    @property
    def ran_s(self) -> float:
        """Seconds since the prompt began to run; 0 before."""
        return 0.0 if self._started_at is None else self._clock() - self._started_at

    def follow(
        self,
        execution: Execution,
        workflow: Mapping[str, Any],
        on_output: Callable[[NodeOutput | PictureOutput], None],
        on_progress: Callable[[dict[str, Any]], None],
        *,
        limit_s: float | None,
        stall_s: float | None,
    ) -> None:
        """Return when the execution is settled; outputs and progress are handed on as they come.

        `limit_s` counts from the start of the run: what a prompt waits behind others in the queue is not its fault.
        Raises Cancelled, ExecutionTimedOut, ExecutionStalled, ComfyUIDied, ComfyUIUnavailable.
        """
        limit = Deadline(None)
        node = ""
        while not execution.settled:
            self._check(execution, workflow, limit, stall_s)
            if output := self._hear(execution):
                on_output(output)
            if self._started_at is None and (self._seen_running or execution.state is not State.QUEUED):
                self._started_at, limit = self._clock(), Deadline(limit_s, self._clock)
            if execution.node_id and execution.node_id != node:
                node = execution.node_id
                self._log.debug("running %s", describe_node(workflow, node))
            if self._clock() - self._last_report >= REPORT_S:
                self._last_report = self._clock()
                on_progress(progress.report(execution, workflow, self._queue_position))
            if not execution.settled and self._look_is_due(execution, stall_s):
                for seen in self._look(execution):
                    on_output(seen)

    def stop(self, execution: Execution) -> list[NodeOutput]:
        """See to it that the prompt does not go on. -> what it made before, also what no event told."""
        if execution.ended or not submission.withdraw(self._client, execution.prompt_id):
            return []
        try:
            history = self._client.history(execution.prompt_id)
        except ComfyUIUnavailable:
            return []
        return execution.reconcile(history, queued=False)

    def _check(self, execution: Execution, workflow: Mapping[str, Any], limit: Deadline, stall_s: float | None) -> None:
        at = describe_node(workflow, execution.node_id)
        raise_if_cancelled(self._stop)
        # What it sent before it died is still to be read: the last node, maybe the end.
        if self._quiet and (how := self._server.how_it_died(self._generation)):
            raise ComfyUIDied(how, at)
        if limit.expired:
            raise ExecutionTimedOut(
                f"The workflow took longer than its limit of {limit.seconds:g} s{at and f' (at {at})'}:"
                " raise EXECUTION_TIMEOUT_S or input.timeout_s, or make the workflow smaller"
            )
        # Only a look tells whether it merely waits behind others.
        if self._has_stalled(stall_s) and self._last_look >= self._last_moved:
            raise ExecutionStalled(
                f"ComfyUI made no progress for {stall_s:g} s{at and f' (at {at})'}: raise STALL_TIMEOUT_S if the node"
                " needs longer without a word"
            )

    def _has_stalled(self, stall_s: float | None) -> bool:
        return stall_s is not None and self._clock() - self._last_moved >= stall_s

    def _hear(self, execution: Execution) -> NodeOutput | PictureOutput | None:
        heard = self._listener.receive(END_LOOK_S if execution.wants_look else SLICE_S)
        now = self._clock()
        self._quiet = isinstance(heard, Silent | Dropped | Reconnected)
        match heard:
            case Silent():
                return None
            case Dropped(reason):
                execution.connection_lost()
                self._log.warning("lost the websocket (%s); reopening it and asking the history meanwhile", reason)
                self._last_look = 0.0
                return None
            case Reconnected(attempt):
                self._log.info("websocket open again on try %d", attempt)
                self._last_look = 0.0
                return None
            case events.Unknown(kind):
                self._log.debug("ignored an event of type %s", kind)
                return None
        if self._concerns(heard, execution):
            self._last_heard = self._last_moved = now
        return execution.receive(heard)

    @staticmethod
    def _concerns(heard: events.Event, execution: Execution) -> bool:
        """The length of the queue, which is told to everybody, says nothing of our prompt."""
        return not isinstance(heard, events.Status) and getattr(heard, "prompt_id", None) in (execution.prompt_id, None)

    def _look_is_due(self, execution: Execution, stall_s: float | None) -> bool:
        if execution.wants_look:
            return self._clock() - self._last_look >= END_LOOK_S
        if self._has_stalled(stall_s):
            return True
        patience = SILENCE_AFTER_GAP_S if execution.gap or self._seen_ended else SILENCE_S
        return self._clock() - max(self._last_heard, self._last_look) >= patience

    def _look(self, execution: Execution) -> list[NodeOutput]:
        """Ask the queue first: a prompt that ends in between is then in the history."""
        self._last_look = self._clock()
        try:
            running, pending = self._client.queue()
            history = self._client.history(execution.prompt_id)
        except ComfyUIUnavailable:
            if self._listener.given_up:
                raise
            return []
        self._last_look = self._clock()
        waits = execution.prompt_id in pending
        self._queue_position = pending.index(execution.prompt_id) + len(running) if waits else None
        self._seen_running |= execution.prompt_id in running
        if (running, pending) != self._seen or (waits and not self._followed.isdisjoint(running)):
            # Whoever runs before us is watched by its own job.
            self._seen = (running, pending)
            self._last_moved = self._clock()
        if history is not None and not (self._seen_ended or execution.ended or execution.gap):
            # On a sound connection its last events are on their way.
            self._seen_ended = True
            return []
        return execution.reconcile(history, queued=waits or execution.prompt_id in running)


def describe_node(workflow: Mapping[str, Any], node_id: str | None) -> str:
    """`node 31 (KSampler)`; "" when there is none."""
    if node_id is None:
        return ""
    node = workflow.get(node_id)
    return f"node {node_id} ({node['class_type']})" if isinstance(node, Mapping) else f"node {node_id}"
