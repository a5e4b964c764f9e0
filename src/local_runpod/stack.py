"""The endpoint, its workers and a ComfyUI as one: started together, watched, stopped together."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from .client import EndpointClient, Unreachable
from .environment import worker_environment
from .process import ChildProcess, Console, end
from .settings import PREFIX, Settings

ENDPOINT, COMFYUI = "endpoint", "comfyui"
_LOOK_S = 0.1
_WATCH_S = 1.0
_LONGEST_PAUSE_S = 30.0
_STABLE_S = 60.0
_FATAL_DEATHS = 3
INTERRUPTED = 130
_GRACE_S = 10.0


class StackFailed(Exception):
    """The whole cannot go on; the text says which part and why."""


@dataclass(frozen=True)
class Plan:
    """What to start."""

    worker: str
    workers: int
    comfyui: str
    ready_timeout: float


class Stack:
    """Starts everything, runs some work while everything is up, stops everything."""

    def __init__(self, plan: Plan, settings: Settings, listener: socket.socket) -> None:
        host, port = listener.getsockname()[:2]
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        self.base_url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        self._plan = plan
        self._settings = settings
        self._listener = listener
        self._names = [f"local-worker-{number + 1}" for number in range(plan.workers)]
        self.console = Console([*self._names, ENDPOINT, COMFYUI])
        self.client = EndpointClient(self.base_url, settings)
        self._services: list[ChildProcess] = []
        self._workers: dict[str, ChildProcess] = {}
        self._starts: dict[str, str] = {}
        self._ready = self._stopping = False
        self._failure: asyncio.Future[None]
        self._stop: asyncio.Event
        self._kill: asyncio.Event

    async def run(self, work: Callable[[Stack], Awaitable[int]]) -> int:
        """The exit code: that of the work, 1 after a failure, INTERRUPTED when a signal came first."""
        self._stop, self._kill = asyncio.Event(), asyncio.Event()
        self._failure = asyncio.get_running_loop().create_future()
        for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(name, self._signalled, name)
        tasks: list[asyncio.Task[Any]] = [
            asyncio.create_task(self._work(work)),
            asyncio.create_task(self._stop.wait()),
        ]
        keepers: list[asyncio.Task[None]] = []
        grace: float | None = _GRACE_S
        try:
            await self._start(keepers)
            waiting: list[asyncio.Future[Any]] = [*tasks, self._failure]
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if self._failure.done():
                self._failure.result()
            code = INTERRUPTED
            if tasks[0].done():
                code = tasks[0].result()
            else:
                grace = None
        except (StackFailed, Unreachable) as error:
            self.console.line("", f"failed: {error}")
            code = 1
        finally:
            self._stopping = True
            for task in [*tasks, *keepers]:
                task.cancel()
            await asyncio.gather(*tasks, *keepers, return_exceptions=True)
            await self._stop_all(grace)
        return code

    async def _work(self, work: Callable[[Stack], Awaitable[int]]) -> int:
        await self._until_ready()
        return await work(self)

    # --- starting ---

    async def _start(self, keepers: list[asyncio.Task[None]]) -> None:
        base = {**os.environ, "PYTHONUNBUFFERED": "1"}
        command = [sys.executable, "-m", __package__ or "", "--fd", str(self._listener.fileno())]
        environment = {**base, PREFIX + "WORKERS": str(self._plan.workers)}
        await self._start_service(keepers, ENDPOINT, command, environment, [self._listener.fileno()])
        # Now the endpoint alone has the socket: when it is gone, who waits for an answer learns it at once.
        self._listener.close()
        if self._plan.comfyui:
            await self._start_service(keepers, COMFYUI, shlex.split(self._plan.comfyui), base, [])
        for name in self._names:
            keepers.append(asyncio.create_task(self._guarded(self._keep_worker(name, base))))
        keepers.append(asyncio.create_task(self._guarded(self._replace_stopped_workers())))

    async def _start_service(
        self, keepers: list[asyncio.Task[None]], name: str, command: list[str], env: dict[str, str], fds: list[int]
    ) -> None:
        process = await self._spawn(name, command, env, fds)
        self._services.append(process)
        keepers.append(asyncio.create_task(self._guarded(self._watch_service(process))))

    async def _spawn(self, name: str, command: list[str], env: dict[str, str], fds: list[int]) -> ChildProcess:
        try:
            return await ChildProcess.start(name, command, env, self.console, fds)
        except (OSError, IndexError) as error:
            raise StackFailed(f"cannot start {name} ({shlex.join(command)}): {error}") from None

    async def _until_ready(self) -> None:
        deadline = time.monotonic() + self._plan.ready_timeout
        while time.monotonic() < deadline:
            with suppress(Unreachable):
                workers = (await self.client.call("GET", "/health"))["workers"]
                if workers["idle"] + workers["running"] >= self._plan.workers:
                    self._ready = True
                    return
            await asyncio.sleep(_LOOK_S)
        raise StackFailed(f"not ready after {self._plan.ready_timeout:g} s")

    # --- watching ---

    async def _guarded(self, watching: Awaitable[None]) -> None:
        try:
            await watching
        except StackFailed as error:
            if not self._failure.done():
                self._failure.set_exception(error)

    async def _watch_service(self, process: ChildProcess) -> None:
        code = await process.wait()
        if not self._stopping:
            raise StackFailed(f"{process.name} has ended with code {code}")

    async def _keep_worker(self, name: str, base: dict[str, str]) -> None:
        """Restart a worker whenever it ends: at once after code 0 (refresh_worker), else after a growing pause."""
        start = deaths = 0
        while not self._stopping:
            start += 1
            environment = worker_environment(self.base_url, self._settings, name, str(start))
            command = shlex.split(self._plan.worker.replace("{number}", str(self._names.index(name) + 1)))
            process = await self._spawn(name, command, {"RUNPOD_LOG_LEVEL": "INFO", **base, **environment}, [])
            self._workers[name], self._starts[name] = process, str(start)
            born = time.monotonic()
            code = await process.wait()
            if self._stopping:
                return
            await process.end_group()
            deaths = 0 if code == 0 or time.monotonic() - born > _STABLE_S else deaths + 1
            if deaths >= _FATAL_DEATHS and not self._ready:
                raise StackFailed(f"{name} died {deaths} times with code {code} before it was ready")
            pause = min(2.0 ** (deaths - 1), _LONGEST_PAUSE_S) if deaths else 0
            self.console.line(name, f"ended with code {code}; starting again" + (f" in {pause:g} s" if pause else ""))
            await asyncio.sleep(pause)

    async def _replace_stopped_workers(self) -> None:
        """A handler that returns `refresh_worker` lives on and asks for work; RunPod stops its pod, so does this.

        Only when it is seen twice: a worker started with `refresh_worker` is about to end by itself.
        """
        seen: set[tuple[str, str]] = set()
        while True:
            await asyncio.sleep(_WATCH_S)
            with suppress(Unreachable):
                workers = (await self.client.call("GET", "/local/workers"))["workers"]
                retired = {(worker["name"], worker["start"]) for worker in workers if worker["retired"]}
                for name, start in retired & seen:
                    if self._starts.get(name) == start:
                        self._workers[name].terminate()
                seen = retired

    # --- stopping ---

    def _signalled(self, name: signal.Signals) -> None:
        """A second Ctrl-C kills. A second SIGTERM does not: `make` passes on the one its whole process group got."""
        if self._stop.is_set():
            if name is signal.SIGINT:
                self._kill.set()
        else:
            self.console.line("", "stopping: jobs in hand are finished first; Ctrl-C again kills")
            self._stop.set()

    async def _stop_all(self, grace: float | None) -> None:
        """Workers first: what they finish must still reach the endpoint."""
        workers = list(self._workers.values())
        with suppress(Unreachable):
            await asyncio.gather(
                *(self.client.call("POST", f"/local/workers/{worker.name}/retire", timeout=1) for worker in workers)
            )
        for worker in workers:
            worker.terminate()
        await end(workers, grace, self._kill)
        for service in self._services:
            service.terminate()
        await end(self._services, _GRACE_S, self._kill)
