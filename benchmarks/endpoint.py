"""A local endpoint behind a long way, and workers at it: the SDK's real loop, as on RunPod."""

from __future__ import annotations

import json
import re
import sys
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmarks.processes import EMBEDDED, ROOT, Process, answers, free_port, until
from local_runpod.environment import worker_environment
from local_runpod.settings import Settings

ROUND_TRIP_S = 0.05
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class LocalEndpoint:
    """`url` is where clients reach it at once, `far_url` where workers reach it after the way there and back."""

    def __init__(self, round_trip_s: float = ROUND_TRIP_S) -> None:
        self._round_trip_s = round_trip_s
        self._stack = ExitStack()
        self.settings = Settings(port=free_port(), ping_interval_ms=2000)
        self.url = f"http://127.0.0.1:{self.settings.port}"
        self.far_url = self.url

    def __enter__(self) -> LocalEndpoint:
        command = [sys.executable, "-m", "local_runpod", "--port", str(self.settings.port)]
        self._stack.enter_context(Process(command, {"LOCAL_RUNPOD_LOG_LEVEL": "WARNING"}))
        until(lambda: answers(f"{self.url}/ping"), 30, "the endpoint answers")
        if self._round_trip_s:
            link = self._stack.enter_context(
                Process(
                    [sys.executable, "-m", "benchmarks.slow_link", str(self.settings.port), str(self._round_trip_s)]
                )
            )
            line = until(lambda: next((text for _, text in link.lines if text.startswith("port ")), None), 20, "link")
            self.far_url = f"http://127.0.0.1:{line.split()[1]}"
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.url + path, data=data, headers={"Content-Type": "application/json"}, method=method
        )
        with _OPENER.open(request, timeout=100) as answer:
            return json.load(answer)

    def submit(self, workflow: dict[str, Any]) -> str:
        return str(self.call("POST", "/run", {"input": {"workflow": workflow}})["id"])

    def wait_for(self, job_id: str, seconds: float) -> dict[str, Any]:
        """The answer of /status once the job is completed."""
        found: dict[str, Any] = until(lambda: self.finished(job_id), seconds, job_id, pause=0.05)
        return found

    def status(self, job_id: str) -> str:
        return str(self.call("GET", f"/status/{job_id}")["status"])

    def finished(self, job_id: str) -> dict[str, Any] | None:
        status: dict[str, Any] = self.call("GET", f"/status/{job_id}")
        if status["status"] in ("FAILED", "CANCELLED", "TIMED_OUT"):
            raise RuntimeError(f"{job_id}: {str(status)[:500]}")
        return status if status["status"] == "COMPLETED" else None


@dataclass(frozen=True)
class Span:
    """One prompt's run, in seconds since the epoch."""

    begin: float
    end: float


class WorkerAt:
    """handler.py at an endpoint, with the ComfyUI it launches."""

    _EXECUTED = re.compile(r"Prompt executed in ([0-9.]+) seconds")

    def __init__(self, endpoint: LocalEndpoint, folder: Path, name: str, **environment: str) -> None:
        own = {
            **worker_environment(endpoint.far_url, endpoint.settings, name),
            "RUNPOD_LOG_LEVEL": "WARN",
            "HOME": str(folder),
            "COMFY_HOST": f"127.0.0.1:{free_port()}",
            "COMFYUI_PATH": str(EMBEDDED),
            "COMFY_ARGS": f"--base-directory {folder / name} --test-nodes",
        }
        self.process = Process([sys.executable, str(ROOT / "handler.py")], {**own, **environment})
        self.host = own["COMFY_HOST"]

    def __enter__(self) -> WorkerAt:
        until(lambda: answers(f"http://{self.host}/system_stats"), 60, "ComfyUI answers")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.__exit__(kind, error, trace)

    def spans(self, since: float = 0.0) -> list[Span]:
        """When ComfyUI ran prompts, by its own log: it prints how long each took as soon as it is over."""
        found = []
        for at, text in list(self.process.lines):
            if (match := self._EXECUTED.search(text)) and at - float(match[1]) >= since:
                found.append(Span(at - float(match[1]), at))
        return found
