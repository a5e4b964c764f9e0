"""A ComfyUI that is alive and of no use is replaced, one that works is left alone."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from tcp_server import Eventually, free_port

from comfy_worker.comfyui.client import ComfyUIClient
from comfy_worker.comfyui.process import ComfyUIServer, Pauses
from comfy_worker.config import Settings
from comfy_worker.errors import (
    ComfyUIDied,
    ComfyUIUnavailable,
    ExecutionStalled,
    ExecutionTimedOut,
    InputUploadFailed,
    InvalidInput,
    WorkerError,
)
from comfy_worker.recovery import Recovery

EMBEDDED = Path(__file__).parents[3] / "src" / "local_comfyui"


def process_of(server: ComfyUIServer) -> int:
    port = server.host.rpartition(":")[2]
    return int(next(child.pid for child in psutil.Process().children() if port in child.cmdline()))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyUIServer]:
    settings = Settings(
        comfy_host=f"127.0.0.1:{free_port()}",
        comfyui_path=EMBEDDED,
        comfy_args=("--base-directory", str(tmp_path_factory.mktemp("comfyui")), "--test-nodes"),
    )
    server = ComfyUIServer(settings, Pauses(restart_s=0.05))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def client(server: ComfyUIServer) -> Iterator[ComfyUIClient]:
    server.wait_ready()
    client = ComfyUIClient(server.host)
    yield client
    client.close()


@pytest.fixture
def hanging(client: ComfyUIClient, eventually: Eventually) -> str:
    """The id of a prompt at a node that hears of no interrupt."""
    prompt_id = str(uuid.uuid4())
    workflow = {
        "1": {"class_type": "TestSleep", "inputs": {"seconds": 3600, "steps": 1}},
        "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
    }
    client.queue_prompt(workflow, prompt_id, "", {})
    eventually(lambda: client.queue()[0] == [prompt_id])
    client.discard(prompt_id)
    return prompt_id


@pytest.mark.parametrize(
    "error",
    [ComfyUIUnavailable("h"), InputUploadFailed([]), ExecutionStalled("s"), ExecutionTimedOut("t")],
    ids=lambda error: error.code,
)
def test_trap_05_one_that_answers_no_more_is_replaced(
    server: ComfyUIServer, client: ComfyUIClient, error: WorkerError
) -> None:
    before = server.generation
    os.kill(process_of(server), signal.SIGSTOP)
    impatient = ComfyUIClient(server.host, timeout_s=0.5)
    assert Recovery(impatient, server, set()).from_failure(error) is True
    impatient.close()
    server.wait_ready()
    assert server.generation == before + 1
    assert client.queue() == ([], [])


def test_trap_04_one_that_hangs_in_a_node_is_replaced(
    server: ComfyUIServer, client: ComfyUIClient, hanging: str
) -> None:
    before = server.generation
    assert Recovery(client, server, {"another"}).from_failure(ExecutionStalled("s")) is True
    server.wait_ready()
    assert server.generation == before + 1
    assert client.queue() == ([], [])


def test_one_that_answers_is_left_alone(server: ComfyUIServer, client: ComfyUIClient, hanging: str) -> None:
    before = server.generation
    for error in (ComfyUIUnavailable("h"), InputUploadFailed([]), ExecutionTimedOut("t"), InvalidInput("i")):
        assert Recovery(client, server, set()).from_failure(error) is True
    assert Recovery(client, server, {hanging}).from_failure(ExecutionStalled("another job's")) is True
    assert (server.generation, client.queue()) == (before, ([hanging], []))


def test_one_that_is_being_started_again_is_left_alone(server: ComfyUIServer, client: ComfyUIClient) -> None:
    before = server.generation
    os.kill(process_of(server), signal.SIGKILL)
    assert Recovery(client, server, set()).from_failure(ComfyUIDied("exit signal 9 (SIGKILL)")) is True
    assert Recovery(client, server, set()).from_failure(ComfyUIUnavailable("h")) is True
    server.wait_ready()
    assert server.generation == before + 1


def test_one_of_somebody_else_is_left_alone() -> None:
    server = ComfyUIServer(Settings(comfy_host=f"127.0.0.1:{free_port()}"))
    server.start()
    client = ComfyUIClient(server.host)
    assert Recovery(client, server, set()).from_failure(ComfyUIUnavailable("h")) is True
    client.close()
