"""Stopping a running prompt."""

from __future__ import annotations

import threading


class ProcessingInterrupted(Exception):
    """The running prompt was interrupted by `POST /interrupt`."""


class ServerStopping(Exception):
    """The server goes down: whatever runs is dropped without a word."""


class Interruption:
    """The one flag that `POST /interrupt` raises and the runner looks at between nodes and steps."""

    def __init__(self) -> None:
        self._wanted = threading.Event()
        self._stopping = threading.Event()

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()

    def request(self) -> None:
        self._wanted.set()

    def clear(self) -> None:
        """A prompt starts: an interrupt that came while nothing ran is forgotten, as in ComfyUI."""
        self._wanted.clear()

    def check(self) -> None:
        if self._stopping.is_set():
            raise ServerStopping
        if self._wanted.is_set():
            self._wanted.clear()
            raise ProcessingInterrupted

    def stop(self) -> None:
        self._stopping.set()

    def pause(self, seconds: float) -> None:
        """Sleep. An interrupt does not wake the sleeper (a real node is not woken either), the server's end does."""
        if self._stopping.wait(seconds):
            raise ServerStopping
