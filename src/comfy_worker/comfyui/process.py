"""The ComfyUI server: found on COMFY_HOST, or launched from COMFYUI_PATH, supervised and restarted.

Only what the launch needs of the standard library is imported at the top, because ComfyUI is launched first of all and
everything else (the SDK alone takes 1.6 s, http.client as long as all of this) loads while it starts.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from comfy_worker.comfyui.child import Child
from comfy_worker.config import Settings
from comfy_worker.errors import ComfyUIUnavailable
from comfy_worker.logs import ROOT
from comfy_worker.timing import Deadline, backoff

log = logging.getLogger(ROOT)

#: Starts in a row that end before ComfyUI answers; then it cannot come back.
MOST_FAILED_STARTS = 3


@dataclass(frozen=True)
class Pauses:
    """In seconds."""

    #: Between two looks whether ComfyUI answers.
    poll_s: float = 0.1
    #: For one such look.
    probe_s: float = 2.0
    #: A ComfyUI that answered before gets this long when it is gone and nobody supervises it.
    come_back_s: float = 10.0
    #: To end by itself when asked to.
    stop_s: float = 10.0
    #: Before the first restart; doubled for each further one until ComfyUI answers again.
    restart_s: float = 1.0


PAUSES = Pauses()


def answers(host: str, timeout_s: float = PAUSES.probe_s) -> bool:
    """Whether a ComfyUI answers GET /system_stats on "host:port"."""
    import http.client

    connection = http.client.HTTPConnection(host, timeout=timeout_s)
    try:
        connection.request("GET", "/system_stats")
        with connection.getresponse() as answer:
            return answer.status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


class ComfyUIServer:
    """The server the worker talks to. Safe to share between threads.

    `generation` counts launches: a job compares it to learn that the ComfyUI it started on is gone.
    """

    def __init__(self, settings: Settings, pauses: Pauses = PAUSES) -> None:
        self.host = settings.comfy_host
        self._settings = settings
        self._pauses = pauses
        #: Held while a process is launched and while it is looked up, with its generation.
        self._launching = threading.Lock()
        self._child: Child | None = None
        self._stopping = threading.Event()
        self._supervisor: threading.Thread | None = None
        self._first_start = Deadline(settings.comfy_start_timeout_s)
        self._seen_up = False
        #: The last generation that answered, whoever asked.
        self._answered = 0
        self._last_exit = ""
        self.generation = 0
        #: ComfyUI cannot be brought back: this worker is of no use any more.
        self.hopeless = False

    def start(self) -> None:
        """Launch ComfyUI unless something answers already or COMFYUI_PATH is not set. Returns at once."""
        if self._settings.comfyui_path is None or not _is_loopback(self.host) or self._listening():
            log.info("using the ComfyUI on %s; files of jobs stay in its folders", self.host)
            return
        self._supervisor = threading.Thread(target=self._supervise, name="comfyui-supervisor", daemon=True)
        self._supervisor.start()

    @property
    def launched(self) -> bool:
        """Whether this ComfyUI is ours; else somebody else started it."""
        return self._supervisor is not None

    @property
    def was_up(self) -> bool:
        """Whether this ComfyUI is ours, runs, and has answered since its launch. It may hang nevertheless."""
        with self._launching:
            child, generation = self._child, self.generation
        return bool(self._supervisor and child and child.running and self._answered == generation)

    def wait_ready(self, wait: Callable[[float], object] = time.sleep) -> None:
        """Return once ComfyUI answers. Raises ComfyUIUnavailable when it does not in the time it is given."""
        if self._supervisor:
            deadline = Deadline(self._settings.comfy_start_timeout_s)
        else:
            deadline = Deadline(self._pauses.come_back_s) if self._seen_up else self._first_start
        tried = False
        while not tried or not deadline.expired:
            tried = True
            if not self.hopeless and self._up():
                return
            if self.hopeless or wait(deadline.left(self._pauses.poll_s)) is True:
                break
        raise ComfyUIUnavailable(self.host, [self._last_exit] if self._last_exit else [])

    def how_it_died(self, generation: int, wait_s: float = 0.0) -> str | None:
        """How the ComfyUI of that generation ended, if it does within `wait_s`; None as long as it runs or when it is
        not ours."""
        with self._launching:
            current = self._child if generation == self.generation else None
        if self._supervisor is None or (current and not current.wait(wait_s)):
            return None
        return current.exit_text if current else self._last_exit or "it was restarted"

    def restart(self) -> bool:
        """Replace the process (a broken CUDA context does not heal). False when it is not ours to restart."""
        with self._launching:
            child = self._child
        if self._supervisor is None or child is None or self.hopeless:
            return False
        child.kill()
        # The next job must not find it still answering; a process inside the GPU's driver takes its time.
        child.wait(self._pauses.stop_s)
        return True

    def stop(self) -> None:
        """End a launched ComfyUI with its whole process group, for good."""
        self._stopping.set()
        with self._launching:
            # From here on nothing is launched.
            child = self._child
        if child is not None and child.running:
            child.terminate()
            if not child.wait(self._pauses.stop_s):
                log.warning("ComfyUI does not end within %.0f s, killing it", self._pauses.stop_s)
            child.kill()
            child.wait()
        if self._supervisor is not None:
            self._supervisor.join(self._pauses.stop_s)

    def _up(self) -> bool:
        with self._launching:
            child, generation = self._child, self.generation
        if self._supervisor:
            if not (child and child.running):
                return False
            if self._answered == generation:
                # Asked once is enough; how it fares from then on shows in each job.
                return True
        if answers(self.host, self._pauses.probe_s):
            self._seen_up = True
            self._answered = generation
            return True
        return False

    def _listening(self) -> bool:
        name, _, port = self.host.rpartition(":")
        try:
            socket.create_connection((name.strip("[]"), int(port)), self._pauses.probe_s).close()
        except OSError:
            return False
        return True

    def _supervise(self) -> None:
        """Launch, wait for the end, launch again: with growing pauses, and not for ever when it never gets ready."""
        failed_starts, pauses = 0, backoff(self._pauses.restart_s)
        while True:
            try:
                child = self._launch()
            except OSError as error:
                self._give_up(f"ComfyUI could not be launched: {error}")
                return
            if child is None:
                return
            too_slow = self._await_answer(child)
            child.wait()
            self._last_exit = too_slow or child.exit_text
            child.kill()
            if self._answered == self.generation:
                failed_starts, pauses = 0, backoff(self._pauses.restart_s)
            else:
                failed_starts += 1
            if self._stopping.is_set():
                return
            if failed_starts >= MOST_FAILED_STARTS:
                self._give_up(f"ComfyUI did not start {failed_starts} times in a row: {self._last_exit}")
                return
            pause = next(pauses)
            log.error("ComfyUI ended: %s; starting it again in %.0f s", self._last_exit, pause)
            self._stopping.wait(pause)

    def _launch(self) -> Child | None:
        """None when it is to stop."""
        with self._launching:
            if self._stopping.is_set():
                return None
            child = self._child = Child(self._settings)
            self.generation += 1
        log.info("launched ComfyUI (pid %d) from %s", child.pid, self._settings.comfyui_path)
        return child

    def _await_answer(self, child: Child) -> str:
        """Until it answers or ends, or is killed by us: then with the reason."""
        started, deadline = time.monotonic(), Deadline(self._settings.comfy_start_timeout_s)
        while child.running and not deadline.expired:
            if self._up():
                log.info("ComfyUI answers on %s after %.1f s", self.host, time.monotonic() - started)
                return ""
            if self._stopping.wait(self._pauses.poll_s):
                return ""
        if not child.running:
            return ""
        child.kill()
        return f"it did not answer within {self._settings.comfy_start_timeout_s:g} s (COMFY_START_TIMEOUT_S)"

    def _give_up(self, reason: str) -> None:
        self._last_exit = reason
        self.hopeless = True
        log.critical("%s; giving this worker back", reason)


def _is_loopback(host: str) -> bool:
    name = host.rpartition(":")[0].strip("[]")
    if name in ("127.0.0.1", "::1", "localhost"):
        return True
    import ipaddress

    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
