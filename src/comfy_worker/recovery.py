"""Leaves a sound ComfyUI to the next job after one that failed."""

from __future__ import annotations

from collections.abc import Set

from comfy_worker.comfyui.client import ComfyUIClient
from comfy_worker.comfyui.process import ComfyUIServer
from comfy_worker.conclusion import breaks_process, may_mean_hanging
from comfy_worker.errors import ComfyUIUnavailable, ExecutionStalled, OutOfMemory, WorkerError


class Recovery:
    """`followed` are the prompts that have a job behind them."""

    def __init__(self, client: ComfyUIClient, server: ComfyUIServer, followed: Set[str]) -> None:
        self._client = client
        self._server = server
        self._followed = followed

    def from_failure(self, error: WorkerError) -> bool:
        """Unload the models or start a new process where the error asks for it. False: this worker cannot be of use
        any more and is to be replaced."""
        if isinstance(error, OutOfMemory):
            try:
                self._client.free_memory()
            except ComfyUIUnavailable:
                return not self._server.hopeless
        if breaks_process(error) or (may_mean_hanging(error) and self._hangs(error)):
            return self._server.restart()
        return not self._server.hopeless

    def _hangs(self, error: WorkerError) -> bool:
        """Whether our ComfyUI is up but answers no more, or is at a stalled prompt that no interrupt ends."""
        if not self._server.was_up:
            return False
        try:
            running, _ = self._client.queue()
        except ComfyUIUnavailable:
            return self._server.was_up
        return isinstance(error, ExecutionStalled) and not set(running) <= self._followed
