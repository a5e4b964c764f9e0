"""The server under test: the embedded one always, a real ComfyUI too when COMFYUI_URL names one."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from comfyui_conversation import ComfyUI
from comfyui_folders import furnish

from local_comfyui import LocalComfyUI

REAL_URL = os.environ.get("COMFYUI_URL", "").rstrip("/")


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalComfyUI]:
    """One embedded server for all tests, furnished like the recorded one."""
    directory = tmp_path_factory.mktemp("embedded")
    furnish(directory)
    with LocalComfyUI(directory) as server:
        yield server


@pytest.fixture(scope="session", params=["embedded", "real"] if REAL_URL else ["embedded"])
def comfyui(request: pytest.FixtureRequest) -> ComfyUI:
    if request.param == "real":
        return ComfyUI(REAL_URL)
    server: LocalComfyUI = request.getfixturevalue("embedded")
    return ComfyUI(server.url)


@pytest.fixture(scope="session")
def release(comfyui: ComfyUI) -> str:
    """The recorded release a server is held against: the older one for servers of its time."""
    version: str = comfyui.get("/system_stats").json()["system"]["comfyui_version"]
    return "0.3.64" if version.startswith("0.3.") else "0.26.0"
