"""Processes that the benchmarks start, and the lines they print, each with the time it came."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).parents[1]
EMBEDDED = ROOT / "src" / "local_comfyui"
#: A proxy named in the environment must not get requests to this machine.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def answers(url: str) -> bool:
    try:
        with _OPENER.open(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def until(condition: Callable[[], Any], seconds: float, what: str, pause: float = 0.02) -> Any:
    """The first true value of the condition."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(pause)
    raise TimeoutError(f"not within {seconds:g} s: {what}")


class Process:
    """A child in a process group of its own; `lines` are (seconds since the epoch, text)."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("RUNPOD_", "COMFY"))}
        self.lines: list[tuple[float, str]] = []
        self.started_at = time.time()
        self._process = subprocess.Popen(
            command,
            env={**inherited, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", **(environment or {})},
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.pid = self._process.pid
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            sys.stderr.write("".join(f"{text}\n" for _, text in self.lines[-60:]))
        self.kill()

    def said(self, words: str) -> float | None:
        """When the first line with these words came."""
        return next((at for at, text in list(self.lines) if words in text), None)

    def kill(self) -> None:
        """The whole group: the SDK's heartbeat outlives its worker."""
        try:
            os.killpg(self.pid, signal.SIGTERM)
            self._process.wait(0.5)
        except subprocess.TimeoutExpired:
            pass
        except ProcessLookupError:
            return
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait(10)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append((time.time(), line.decode(errors="replace").rstrip("\n")))


class EmbeddedComfyUI:
    """The embedded ComfyUI as a process of its own, with its test nodes. Use it in a `with`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.host = f"127.0.0.1:{free_port()}"
        port = self.host.rpartition(":")[2]
        arguments = ("--port", port, "--base-directory", str(folder), "--test-nodes", "--verbose", "WARNING")
        self._process = Process([sys.executable, str(EMBEDDED / "main.py"), *arguments])

    def __enter__(self) -> EmbeddedComfyUI:
        until(lambda: answers(f"http://{self.host}/system_stats"), 60, "ComfyUI answers")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
