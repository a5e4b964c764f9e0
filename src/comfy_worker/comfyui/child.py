"""The process of a launched ComfyUI. The one door to subprocesses.

It leads a process group of its own, so that what custom nodes start ends with it; the kernel kills it when the worker
is killed. Only the standard library is imported here: ComfyUI is launched before anything heavy is loaded.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from comfy_worker.config import Settings

#: What ComfyUI and its custom nodes have no business with.
KEPT_FROM_COMFYUI = (
    "BUCKET_ACCESS_KEY_ID", "BUCKET_SECRET_ACCESS_KEY", "COMFY_ORG_API_KEY",
    "RUNPOD_AI_API_KEY", "RUNPOD_API_KEY", "RUNPOD_ENDPOINT_SECRET",
)  # fmt: skip
_PR_SET_PDEATHSIG = 1


class Child:
    """One running or ended ComfyUI. Raises OSError when it cannot be started.

    To be made by a thread that lives as long as the worker: the kernel's signal follows that thread.
    """

    def __init__(self, settings: Settings) -> None:
        environment = {key: value for key, value in os.environ.items() if key not in KEPT_FROM_COMFYUI}
        try:
            self._process = subprocess.Popen(
                launch_command(settings),
                cwd=settings.comfyui_path,
                env=environment,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                preexec_fn=_die_with_parent if _libc else None,
            )
        except subprocess.SubprocessError as error:
            raise OSError(str(error)) from error

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def exit_text(self) -> str:
        """`exit code 1` or `exit signal 9 (SIGKILL)`; only of an ended one."""
        code = self._process.poll()
        if code is None or code >= 0:
            return f"exit code {code}"
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = "unknown"
        return f"exit signal {-code} ({name})"

    def wait(self, seconds: float | None = None) -> bool:
        """Whether it ended within the time."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def terminate(self) -> None:
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        """To the whole group: what it started may outlive the leader."""
        try:
            os.killpg(self._process.pid, number)
        except (ProcessLookupError, PermissionError):
            return


def launch_command(settings: Settings) -> list[str]:
    """How ComfyUI is started. COMFY_ARGS cannot open it to the network: our `--listen` comes last and wins."""
    assert settings.comfyui_path is not None
    host, _, port = settings.comfy_host.rpartition(":")
    return [
        settings.comfy_python or _python_of(settings.comfyui_path),
        str(settings.comfyui_path / "main.py"),
        *("--verbose", settings.log_level),
        *settings.comfy_args,
        *("--listen", "127.0.0.1" if host == "localhost" else host.strip("[]")),
        *("--port", port),
    ]


def _python_of(comfyui_path: Path) -> str:
    candidates: Sequence[Path] = [comfyui_path / name / "bin" / "python" for name in ("venv", ".venv")]
    return str(next((path for path in candidates if path.exists()), sys.executable))


try:
    _libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
except OSError:
    _libc = None


def _die_with_parent() -> None:
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
