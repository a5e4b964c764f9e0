"""The embedded server as a process, started like a real ComfyUI."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import requests
from comfyui_conversation import ComfyUI, one_picture

import local_comfyui

MAIN = Path(local_comfyui.__file__).parent / "main.py"


@contextmanager
def process(*command: str, cwd: Path) -> Iterator[tuple[ComfyUI, subprocess.Popen[str]]]:
    """A server on a free port, once it listens."""
    with subprocess.Popen(
        [sys.executable, *command, "--port", "0"], cwd=cwd, stderr=subprocess.PIPE, text=True
    ) as running:
        try:
            assert running.stderr is not None
            for line in running.stderr:
                found = re.search(r"Listening on (http://\S+)", line)
                if found:
                    break
            else:
                pytest.fail("the server did not start")
            yield ComfyUI(found[1]), running
        finally:
            running.kill()


def test_it_starts_the_way_a_checkout_of_comfyui_does(tmp_path: Path) -> None:
    base = tmp_path / "base"
    command = (str(MAIN), "--listen", "127.0.0.1", "--base-directory", str(base), "--verbose", "INFO", "--cpu")
    with process(*command, cwd=tmp_path) as (comfyui, running):
        system = comfyui.get("/system_stats").json()["system"]
        assert system["argv"][1:4] == ["--listen", "127.0.0.1", "--base-directory"]
        assert (system["comfyui_version"], system["embedded"]) == ("0.26.0", True)
        entry = comfyui.run(one_picture("cli")).output("2")["images"][0]
        assert (base / "output" / entry["filename"]).is_file()
        running.send_signal(signal.SIGTERM)
        assert running.wait(timeout=20) == 0


def test_it_validates_a_long_chain(tmp_path: Path) -> None:
    chain = {str(n): {"class_type": "ImageInvert", "inputs": {"image": [str(n - 1), 0]}} for n in range(1, 600)}
    broken = {"0": {"class_type": "EmptyImage", "inputs": {}}}
    end = {"save": {"class_type": "SaveImage", "inputs": {"images": ["599", 0], "filename_prefix": "x"}}}
    with process("-m", "local_comfyui", cwd=tmp_path) as (comfyui, _):
        answer = comfyui.post("/prompt", {"prompt": broken | chain | end}).json()
    assert {error["type"] for error in answer["node_errors"]["0"]["errors"]} == {"required_input_missing"}


def test_it_runs_as_a_module_in_the_default_directory_and_empties_temp(tmp_path: Path) -> None:
    left_over = tmp_path / ".comfyui" / "temp" / "old.png"
    left_over.parent.mkdir(parents=True)
    left_over.write_bytes(b"")
    with process("-m", "local_comfyui", cwd=tmp_path) as (comfyui, running):
        assert not left_over.exists()
        prompt = one_picture()
        prompt["2"] = {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}
        comfyui.run(prompt)
        assert list(left_over.parent.iterdir())
        running.send_signal(signal.SIGINT)
        assert running.wait(timeout=20) == 0
    assert not left_over.parent.exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_an_exit_node_kills_the_process(tmp_path: Path, number: signal.Signals) -> None:
    with process("-m", "local_comfyui", "--test-nodes", cwd=tmp_path) as (comfyui, running):
        prompt = one_picture()
        prompt["x"] = {"class_type": "TestExit", "inputs": {"image": ["1", 0], "signal_number": int(number)}}
        prompt["2"]["inputs"]["images"] = ["x", 0]
        # The process may be gone before it answers.
        with suppress(requests.ConnectionError):
            comfyui.queue(prompt)
        assert running.wait(timeout=20) == -number


def test_a_taken_port_ends_the_program_with_an_error(tmp_path: Path) -> None:
    with process("-m", "local_comfyui", cwd=tmp_path) as (comfyui, _):
        port = comfyui.url.rsplit(":", 1)[1]
        second = subprocess.run(
            [sys.executable, "-m", "local_comfyui", "--port", port, "--directory", str(tmp_path / "b")],
            capture_output=True,
            text=True,
            timeout=20,
        )
    assert second.returncode == 1
    assert f"port {port}" in second.stderr


def test_folders_can_lie_elsewhere(tmp_path: Path) -> None:
    folders = [f"--{name}-directory={tmp_path / name}" for name in ("input", "output", "temp")]
    with process("-m", "local_comfyui", *folders, cwd=tmp_path) as (comfyui, _):
        comfyui.run(one_picture("here"))
        assert os.listdir(tmp_path / "output") == ["here_00001_.png"]
        assert (tmp_path / "input").is_dir()
        assert (tmp_path / "temp" / "temp").is_dir()
