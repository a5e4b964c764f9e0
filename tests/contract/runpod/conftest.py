"""Endpoints and workers shared by the tests: importing the SDK takes each worker process two seconds of CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from runpod_stage import SOON_LOST_S, RunningEndpoint, Worker


@dataclass(frozen=True)
class Cast:
    """Which handlers play at an endpoint, by worker name."""

    workers: dict[str, str]
    knobs: dict[str, Any] = field(default_factory=dict)


def _cast(*handlers: str, **knobs: Any) -> Cast:
    return Cast({f"w{number + 1}": handler for number, handler in enumerate(handlers)}, knobs)


# A poll that is never answered in vain: the SDK itself gives up after 90 s.
_ENDLESS = 3600.0
CASTS = {
    "echo": _cast("sleep_then_echo", "sleep_then_echo"),
    "told": _cast("return_as_told", lost_job_s=SOON_LOST_S),
    "streaming": _cast("yield_chunks"),
    "reporting": _cast("report_progress", lost_job_s=SOON_LOST_S),
    "blocking": _cast("block_then_echo"),
    "two_at_once": _cast("run_two_at_once", execution_timeout_ms=2000),
    "three_to_end": _cast(
        "sleep_then_echo", "sleep_then_echo", "sleep_then_echo", poll_hold_s=_ENDLESS, lost_job_s=SOON_LOST_S
    ),
    "two_to_refresh": Cast({"stopped": "return_refresh_worker", "ending": "refresh_by_configuration"}),
}


@pytest.fixture(scope="session")
def log_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("workers")


@pytest.fixture(scope="session", autouse=True)
def stages(request: pytest.FixtureRequest, log_folder: Path) -> Iterator[dict[str, RunningEndpoint]]:
    """Every stage that a collected test asks for, all started at once: the first tests run while the rest starts."""
    wanted = {name for item in request.session.items for name in getattr(item, "fixturenames", ())}
    with ExitStack() as stack:
        stages = {}
        for name, cast in CASTS.items():
            if name in wanted:
                stages[name] = endpoint = stack.enter_context(RunningEndpoint(**cast.knobs))
                for worker, handler in cast.workers.items():
                    endpoint.workers[worker] = stack.enter_context(Worker(endpoint, handler, worker, log_folder))
        yield stages


def _stage(name: str) -> Any:
    @pytest.fixture(name=name)
    def ready(stages: dict[str, RunningEndpoint]) -> RunningEndpoint:
        stages[name].workers_ready(sum(worker.is_running() for worker in stages[name].workers.values()))
        return stages[name]

    return ready


echo = _stage("echo")
told = _stage("told")
streaming = _stage("streaming")
reporting = _stage("reporting")
blocking = _stage("blocking")
two_at_once = _stage("two_at_once")
three_to_end = _stage("three_to_end")
two_to_refresh = _stage("two_to_refresh")


@pytest.fixture
def start_worker(log_folder: Path) -> Iterator[Callable[..., Worker]]:
    with ExitStack() as workers:
        yield lambda endpoint, handler, name: workers.enter_context(Worker(endpoint, handler, name, log_folder))


@pytest.fixture
def bare() -> Iterator[RunningEndpoint]:
    """An endpoint without workers: the test plays the worker itself."""
    with RunningEndpoint(poll_hold_s=0.5) as endpoint:
        yield endpoint
