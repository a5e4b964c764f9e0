"""The one thread that runs prompts, one after the other."""

from __future__ import annotations

import logging
import threading
import time

from local_comfyui.audience import Audience
from local_comfyui.execution import Execution, Surroundings
from local_comfyui.faults import Faults
from local_comfyui.interruption import ServerStopping
from local_comfyui.prompt_queue import Outcome, PromptQueue, QueuedPrompt
from local_comfyui.sockets import Sockets

log = logging.getLogger(__name__)


class PromptRunner:
    """Takes prompts from the queue, runs them, writes the history."""

    def __init__(self, queue: PromptQueue, surroundings: Surroundings, sockets: Sockets, faults: Faults) -> None:
        self._queue = queue
        self._around = surroundings
        self._sockets = sockets
        self._faults = faults
        self._audience = Audience(sockets, None)
        self._thread = threading.Thread(target=self._loop, name="local-comfyui-runner", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Give up what runs and end the thread; a Pillow call in the middle of its work is waited for."""
        self._around.interruption.stop()
        self._queue.close()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(timeout=30)

    def current_node_for(self, client_id: str) -> str | None:
        """The node that runs, if it runs for this client."""
        audience = self._audience
        return audience.current_node if audience.client_id == client_id else None

    def _loop(self) -> None:
        while self._queue.wait_for_work():
            queued = self._queue.take()
            if queued is not None:
                try:
                    self._run(queued)
                except ServerStopping:
                    return
            if self._queue.take_free_memory():
                self._around.cache.clear()

    def _run(self, queued: QueuedPrompt) -> None:
        started = time.perf_counter()
        audience = self._audience = Audience(self._sockets, queued.extra_data.get("client_id"))
        outcome = self._outcome(queued, audience)
        audience.current_node = None
        # Between `execution_success` and the history a real server lets up to 0.3 s pass.
        if self._faults.history_delay:
            self._around.interruption.pause(self._faults.history_delay)
        if self._around.interruption.stopping:
            raise ServerStopping
        self._queue.finish(outcome)
        audience.finished(queued.prompt_id)
        log.info("Prompt executed in %.2f seconds", time.perf_counter() - started)

    def _outcome(self, queued: QueuedPrompt, audience: Audience) -> Outcome:
        """A prompt that cannot even be planned, such as one with a link to nowhere in an input that nobody checked,
        ends a real ComfyUI's only runner for good. Here it fails, and the next one runs."""
        try:
            return Execution(queued, self._around, audience).run()
        except ServerStopping:
            raise
        except Exception:
            log.exception("Prompt %s cannot be run", queued.prompt_id)
            return Outcome(success=False, messages=[], outputs={}, meta={})
