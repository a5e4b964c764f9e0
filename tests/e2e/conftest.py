"""Endpoints and workers for the end-to-end tests; one worker serves all tests that leave it as they found it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from deployment import Deployment
from runpod_stage import RunningEndpoint


# No worker is lost here: on a busy machine a heartbeat may come late.
@pytest.fixture
def endpoint() -> Iterator[RunningEndpoint]:
    with RunningEndpoint(lost_job_s=60) as running:
        yield running


@pytest.fixture
def deploy(endpoint: RunningEndpoint, tmp_path: Path) -> Iterator[Callable[..., Deployment]]:
    deployments: list[Deployment] = []

    def start(name: str = "w1", **environment: str) -> Deployment:
        deployments.append(Deployment(endpoint, tmp_path, name, **environment))
        return deployments[-1]

    yield start
    for deployment in deployments:
        deployment.kill()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with RunningEndpoint(lost_job_s=60) as running:
        deployment = Deployment(running, tmp_path_factory.mktemp("shared"))
        try:
            yield deployment.ready()
        finally:
            deployment.kill()
