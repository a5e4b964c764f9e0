"""Takes prompts out of ComfyUI's history, off the way of their jobs.

ComfyUI tells of a prompt's end before it writes the history (up to 0.3 s later; of ten small jobs on a real server two
were forgotten before they were written, and stayed). So the entry is deleted once the queue no longer lists the prompt
as running, which happens together with the writing.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from comfy_worker.comfyui.client import ComfyUIClient
from comfy_worker.errors import ComfyUIUnavailable
from comfy_worker.timing import Deadline

#: How long to wait for the history of a prompt that has ended.
WRITTEN_S = 10.0
LOOK_S = 0.05


class Forgetting:
    """Safe to share between threads. `close` waits for what is left."""

    def __init__(self, client: ComfyUIClient) -> None:
        self._client = client
        self._threads = ThreadPoolExecutor(2, "forget")

    def add(self, prompt_id: str) -> None:
        self._threads.submit(self._forget, prompt_id)

    def close(self) -> None:
        self._threads.shutdown()

    def _forget(self, prompt_id: str) -> None:
        deadline, pause = Deadline(WRITTEN_S), threading.Event()
        try:
            while prompt_id in self._client.queue()[0] and not deadline.expired:
                pause.wait(LOOK_S)
            self._client.forget(prompt_id)
        except ComfyUIUnavailable:
            # The history went with the process.
            return
