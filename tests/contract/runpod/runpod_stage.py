"""A local endpoint on a port of its own, and workers that run the SDK's real loop in processes of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import requests

from local_runpod.environment import worker_environment
from local_runpod.listener import listening_socket
from local_runpod.server import build_server
from local_runpod.settings import Settings

HERE = Path(__file__).parent
HANDLERS = HERE / "handlers"
FINAL = ("COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT")
# Short, so that what takes RunPod half a minute takes seconds here.
FAST = Settings(ping_interval_ms=300, poll_hold_s=3.0, webhook_retry_s=0.1, webhook_timeout_s=0.5)
# The SDK cannot ping more often. On a crowded machine a ping comes late: a job is lost only after several.
WORKER_PING_MS = "1000"
SOON_LOST_S = 4.0
CLIENT_TIMEOUT_S = 20


def until(condition: Callable[[], Any], seconds: float = 20, what: str = "") -> Any:
    """The first true value of the condition; a failure if there is none in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.04)
    raise AssertionError(f"not within {seconds} s: {what or condition}")


@contextmanager
def meanwhile(step: Callable[..., Any], *arguments: Any) -> Iterator[None]:
    """Takes the step a moment after the block has begun."""
    timer = threading.Timer(0.15, step, arguments)
    timer.start()
    yield
    timer.join()


class RunningEndpoint:
    """The endpoint, served from a thread, and a client of it."""

    def __init__(self, **knobs: Any) -> None:
        self.settings = replace(FAST, **knobs)
        listener = listening_socket("127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self.workers: dict[str, Worker] = {}
        self._listener = listener
        self._server = build_server(self.settings)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [listener]})
        self._local = threading.local()
        self._sessions: list[requests.Session] = []

    def __enter__(self) -> RunningEndpoint:
        self._thread.start()
        until(lambda: self._server.started, what="endpoint is up")
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._server.release_polls()
        self._thread.join(10)
        self._listener.close()
        for session in self._sessions:
            session.close()
        assert not self._thread.is_alive()

    def http(self, method: str, path: str, **more: Any) -> requests.Response:
        session = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = requests.Session()
            session.trust_env = False
            self._sessions.append(session)
        return session.request(method, self.url + path, timeout=CLIENT_TIMEOUT_S, **more)

    def run(self, input: Any, **more: Any) -> str:
        answer = self.http("POST", "/run", json={"input": input, **more})
        assert answer.status_code == 200, answer.text
        assert answer.json()["status"] == "IN_QUEUE"
        return answer.json()["id"]

    def runsync(self, input: Any, wait: int | None = 20_000, **more: Any) -> dict[str, Any]:
        query = "" if wait is None else f"?wait={wait}"
        answer = self.http("POST", f"/runsync{query}", json={"input": input, **more})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def status(self, job_id: str) -> dict[str, Any]:
        answer = self.http("GET", f"/status/{job_id}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def final(self, job_id: str, seconds: float = 20) -> dict[str, Any]:
        until(lambda: self.status(job_id)["status"] in FINAL, seconds, f"{job_id} is over")
        return self.status(job_id)

    def in_progress(self, job_id: str) -> dict[str, Any]:
        return until(lambda: (job := self.status(job_id))["status"] == "IN_PROGRESS" and job, what="job is taken")

    def health(self) -> dict[str, dict[str, int]]:
        return self.http("GET", "/health").json()

    def workers_ready(self, count: int) -> None:
        until(lambda: self.health()["workers"]["idle"] >= count, what=f"{count} workers idle")

    def workers_polling(self, names: list[str]) -> None:
        """Each holds a poll for jobs and one for stop signals: it is not in one of the SDK's pauses."""

        def polls() -> list[int]:
            workers = self.http("GET", "/local/workers").json()["workers"]
            return [worker["polls"] for worker in workers if worker["name"] in names]

        until(lambda: polls() == [2] * len(names), what=f"{names} poll")

    # --- as a worker would, without the SDK ---

    def take(self, worker: str = "raw", query: str = "?gpu=x&job_in_progress=0") -> dict[str, Any] | None:
        answer = self.http("GET", f"/v2/local/job-take/{worker}{query}")
        assert answer.status_code in (200, 204), answer.text
        return answer.json() if answer.status_code == 200 else None

    def done(self, job_id: str, body: Any, worker: str = "raw") -> requests.Response:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded", "charset": "utf-8"}
        path = f"/v2/local/job-done/{worker}/{job_id}?gpu=x&isStream=false"
        return self.http("POST", path, data=data, headers=headers)


class Worker:
    """A handler script under the SDK's loop, in a process group of its own."""

    def __init__(self, endpoint: RunningEndpoint, handler: str, name: str, folder: Path) -> None:
        self.name = name
        self._log = folder / f"{handler}-{name}.log"
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("RUNPOD_", "LOCAL_RUNPOD_"))},
            **worker_environment(endpoint.url, endpoint.settings, name),
            "RUNPOD_PING_INTERVAL": WORKER_PING_MS,
            "RUNPOD_LOG_LEVEL": "INFO",
            "HOME": str(folder),  # a ~/.runpod/config.toml would replace the worker's key
        }
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, str(HANDLERS / f"{handler}.py")],
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: TracebackType | BaseException | None) -> None:
        self.kill()
        if kind is not None:
            sys.stderr.write(f"--- {self.name} ---\n{self.log()}")

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def kill(self) -> None:
        """SIGKILL for the whole group: the SDK's heartbeat process would live on and go on confirming the job."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)

    def terminate(self) -> None:
        self._process.terminate()

    def exit_code(self, seconds: float = 10) -> int:
        return self._process.wait(seconds)

    def is_running(self) -> bool:
        return self._process.poll() is None
