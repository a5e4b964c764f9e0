"""What an operator runs: handler.py as a process under the SDK's real loop, with the ComfyUI it launches, at a local
endpoint."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import requests
from runpod_stage import RunningEndpoint, until

from local_runpod.environment import worker_environment

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Deployment:
    """One worker process. `log` is all it printed so far, its ComfyUI included."""

    def __init__(self, endpoint: RunningEndpoint, folder: Path, name: str = "w1", **environment: str) -> None:
        self.endpoint = endpoint
        self.directory = folder / f"comfyui-{name}"
        self.host = f"127.0.0.1:{free_port()}"
        self._log = folder / f"{name}.log"
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("RUNPOD_", "COMFY"))}
        own = {
            **worker_environment(endpoint.url, endpoint.settings, name),
            "RUNPOD_LOG_LEVEL": "INFO",
            "HOME": str(folder),
            "COMFY_HOST": self.host,
            "COMFYUI_PATH": str(ROOT / "src" / "local_comfyui"),
            "COMFY_ARGS": f"--base-directory {self.directory} --test-nodes",
            "WEBSOCKET_RECONNECT_DELAY_S": "0.2",
        }
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(ROOT / "handler.py")],
                env={**inherited, **own, **environment},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def comfyui_answers(self) -> bool:
        try:
            return requests.get(f"http://{self.host}/system_stats", timeout=2).status_code == 200
        except requests.ConnectionError:
            return False

    def comfyui_pid(self) -> int:
        children = psutil.Process(self.process.pid).children()
        return int(next(child.pid for child in children if any(part.endswith("main.py") for part in child.cmdline())))

    def queue(self) -> tuple[int, int]:
        """-> (running prompts, pending prompts) in ComfyUI."""
        answer = requests.get(f"http://{self.host}/queue", timeout=5).json()
        return len(answer["queue_running"]), len(answer["queue_pending"])

    def ready(self) -> Deployment:
        until(self.comfyui_answers, 60, "ComfyUI answers")
        self.endpoint.workers_ready(1)
        return self

    def ended(self, seconds: float = 30) -> int:
        return self.process.wait(seconds)

    def stop(self) -> None:
        """SIGTERM, and SIGKILL to the group for what is left (the SDK's heartbeat outlives a killed worker)."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        finally:
            self.kill()

    def kill(self) -> None:
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        self.process.wait(10)


def sleeping(seconds: float, color: int = 1, steps: int = 0) -> dict[str, Any]:
    """A request whose only work is to wait on the (pretended) GPU."""
    workflow = {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": color}},
        "2": {
            "class_type": "TestSleep",
            "inputs": {"image": ["1", 0], "seconds": seconds, "steps": steps or max(1, int(seconds * 10))},
            "_meta": {"title": "Nap"},
        },
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "ComfyUI"}},
    }
    return {"workflow": workflow}
