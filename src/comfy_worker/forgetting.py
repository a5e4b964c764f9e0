"""Takes prompts out of ComfyUI's history, off the way of their jobs.

ComfyUI tells of a prompt's end before it writes the history (up to 0.3 s later; of ten small jobs on a real server two
were forgotten before they were written, and stayed). So the entry is deleted once the queue no longer lists the prompt
as running, which happens together with the writing. That of an interrupted prompt is written when its node asks for
interrupts again, which may be minutes later.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from comfy_worker.comfyui.client import ComfyUIClient
from comfy_worker.errors import ComfyUIUnavailable
from comfy_worker.timing import Deadline

#: How long to wait for the history of a prompt that has ended.
WRITTEN_S = 10.0
LOOK_S = 0.05
#: The same for a prompt that was interrupted and goes on all the same.
LATE_S = 3600.0
LATE_LOOK_S = 1.0


class Forgetting:
    """Safe to share between threads. `close` waits for what is left."""

    def __init__(
        self,
        client: ComfyUIClient,
        remove_files: Callable[[str], None] = lambda prompt_id: None,
        written_s: float = WRITTEN_S,
    ) -> None:
        """`remove_files` of a prompt that went on after its job had cleaned up."""
        self._client = client
        self._remove_files = remove_files
        self._written_s = written_s
        self._threads = ThreadPoolExecutor(2, "forget")

    def add(self, prompt_id: str) -> None:
        self._threads.submit(self._forget, prompt_id)

    def close(self) -> None:
        self._threads.shutdown()

    def _forget(self, prompt_id: str) -> None:
        if not self._forgotten(prompt_id, self._written_s, LOOK_S):
            # In a thread that neither keeps the others waiting nor the worker's end.
            name = f"forget-{prompt_id}"
            threading.Thread(target=self._forget_late, args=(prompt_id,), name=name, daemon=True).start()

    def _forget_late(self, prompt_id: str) -> None:
        if self._forgotten(prompt_id, LATE_S, LATE_LOOK_S):
            self._remove_files(prompt_id)

    def _forgotten(self, prompt_id: str, seconds: float, look_s: float) -> bool:
        """Whether it left the history (or never was there) in that time."""
        deadline, pause = Deadline(seconds), threading.Event()
        try:
            while True:
                # First, too: it is not written yet, and the answer of its job goes out meanwhile.
                pause.wait(look_s)
                if prompt_id not in self._client.queue()[0]:
                    break
                if deadline.expired:
                    return False
            self._client.forget(prompt_id)
        except ComfyUIUnavailable:
            # The history went with the process.
            return True
        return True
