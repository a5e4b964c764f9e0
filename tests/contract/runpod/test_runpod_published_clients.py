"""Clients as they are published, told nothing but where the endpoint is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from runpod_stage import HERE, RunningEndpoint

JS = HERE / "js"


@pytest.fixture(scope="module")
def clients(stages: dict[str, RunningEndpoint], log_folder: Path) -> Iterator[dict[str, subprocess.Popen[str]]]:
    """Both at once: each spends most of its time in pauses of its own."""
    commands = {"python": [sys.executable, str(HERE / "clients" / "python_sdk.py")]}
    node = shutil.which("node")
    if node is not None and (JS / "node_modules").is_dir():
        commands["javascript"] = [node, str(JS / "use_sdk.js")]
    urls = [stages["echo"].url, stages["streaming"].url]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    environment = {**os.environ, "HOME": str(log_folder), "NO_COLOR": "1"}
    with ExitStack() as stack:
        started = {}
        for name, command in commands.items():
            # One each to purge: the queue they share holds the other's jobs.
            idle = stack.enter_context(RunningEndpoint())
            started[name] = subprocess.Popen([*command, *urls, idle.url], text=True, env=environment, **pipes)
            stack.enter_context(started[name])
            stack.callback(started[name].kill)
        yield started


def seen_by(client: subprocess.Popen[str]) -> dict[str, Any]:
    output, errors = client.communicate(timeout=50)
    assert client.returncode == 0, errors
    return json.loads(output.splitlines()[-1])


def test_python_sdk(echo: object, streaming: object, clients: dict[str, subprocess.Popen[str]]) -> None:
    seen = seen_by(clients["python"])
    assert seen["status"] in ("IN_QUEUE", "IN_PROGRESS", "COMPLETED")
    assert seen["final status"] == "COMPLETED"
    assert seen["output"]["echo"] == {"seconds": 0.1}
    assert seen["run_sync"]["echo"] == {"n": 2}
    assert seen["unwrapped"]["echo"] == {"prompt": "x"}
    assert seen["cancel"]["status"] == seen["cancelled"] == "CANCELLED"
    assert set(seen["health"]) == {"jobs", "workers"}
    assert seen["purge_queue"] == {"removed": 1, "status": "completed"}
    assert seen["stream"] == [{"index": index} for index in range(3)]
    assert seen["async status"] in ("IN_QUEUE", "IN_PROGRESS", "COMPLETED")
    assert seen["async output"]["echo"] == {"seconds": 0.1}
    assert seen["async cancel"]["status"] == "CANCELLED"
    assert set(seen["async health"]) == {"jobs", "workers"}
    assert seen["async purge_queue"]["status"] == "completed"


def test_javascript_sdk(echo: object, streaming: object, clients: dict[str, subprocess.Popen[str]]) -> None:
    if "javascript" not in clients:
        pytest.skip("needs node, and `npm ci` in tests/contract/runpod/js")
    seen = seen_by(clients["javascript"])
    assert seen["run"]["status"] == "IN_QUEUE"
    assert seen["status"]["started"] is True
    assert seen["cancel"] == {"id": seen["run"]["id"], "status": "CANCELLED"}
    assert (seen["cancelled"]["status"], seen["cancelled"]["completed"]) == ("CANCELLED", True)
    assert seen["runSync"]["output"]["echo"] == {"n": 1}
    assert seen["runSync"]["succeeded"] is True
    assert (seen["runSyncLong"]["status"], seen["runSyncLong"]["completed"]) == ("COMPLETED", True)
    assert set(seen["health"]["workers"]) >= {"idle", "ready", "running", "initializing", "throttled", "unhealthy"}
    assert seen["purgeQueue"] == {"removed": 1, "status": "completed"}
    assert [chunk["output"] for chunk in seen["stream"]] == [{"index": index} for index in range(3)]
