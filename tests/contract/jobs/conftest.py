"""Whole jobs through `Worker.run`, over real sockets: on the embedded ComfyUI always, and the tests that use `any_host`
on a real one too when COMFYUI_URL (http://127.0.0.1:8188) is set."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from job_requests import MakeWorker

from comfy_worker.comfyui.client import ComfyUIClient
from comfy_worker.comfyui.folders import Folders
from comfy_worker.comfyui.process import ComfyUIServer
from comfy_worker.config import Settings
from comfy_worker.worker import Worker
from local_comfyui.embedded import LocalComfyUI

REAL = os.environ.get("COMFYUI_URL", "").removeprefix("http://").rstrip("/")


@pytest.fixture
def comfyui(tmp_path: Path) -> Iterator[LocalComfyUI]:
    with LocalComfyUI(tmp_path / "comfyui", test_nodes=True) as server:
        yield server


@pytest.fixture
def make_worker() -> Iterator[MakeWorker]:
    """A worker for "host:port" with any settings changed; closed at the end."""
    workers: list[Worker] = []

    def make(host: str, directory: Path | None = None, client: ComfyUIClient | None = None, **changes: Any) -> Worker:
        quick = Settings(comfy_host=host, reconnect_delay_s=0.2, comfy_start_timeout_s=1.0)
        settings = replace(quick, **changes)
        server = ComfyUIServer(settings)
        server.start()
        folders = Folders.of(directory, ()) if directory else None
        workers.append(Worker(settings, server, client or ComfyUIClient(host), folders))
        return workers[-1]

    yield make
    for worker in workers:
        worker.close()


@pytest.fixture
def worker(comfyui: LocalComfyUI, make_worker: MakeWorker) -> Worker:
    """On the embedded server, whose folders it knows."""
    return make_worker(comfyui.host, comfyui.directory)


@pytest.fixture(params=["embedded", "real"])
def any_host(request: pytest.FixtureRequest) -> str:
    """ "host:port" of the embedded server, and of the real one where there is one."""
    if request.param == "embedded":
        return str(request.getfixturevalue("comfyui").host)
    if not REAL:
        pytest.skip("COMFYUI_URL is not set: no real ComfyUI to run this against")
    return REAL
