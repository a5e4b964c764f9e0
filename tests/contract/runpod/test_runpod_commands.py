"""`python -m local_runpod`, `serve` and `once` as processes."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from runpod_stage import HANDLERS, until

PYTHON = sys.executable
COMMAND = (PYTHON, "-m", "local_runpod")
ROOT = Path(__file__).parents[3]


class Command:
    """One run of the command, its output collected as it comes."""

    def __init__(self, *arguments: str, home: Path, command: tuple[str, ...] = COMMAND) -> None:
        environment = {
            key: value for key, value in os.environ.items() if not key.startswith(("RUNPOD", "LOCAL_RUNPOD"))
        }
        self.process = subprocess.Popen(
            [*command, *arguments],
            cwd=ROOT,
            env={**environment, "HOME": str(home), "LOCAL_RUNPOD_POLL_HOLD_S": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.output = ""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def __enter__(self) -> Command:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            # As from a terminal, to the whole group: make itself passes no Ctrl-C on.
            os.killpg(self.process.pid, signal.SIGINT)
            os.killpg(self.process.pid, signal.SIGINT)
        self.exit_code()

    def exit_code(self, seconds: float = 40) -> int:
        code = self.process.wait(seconds)
        self._reader.join(5)
        assert not self._reader.is_alive(), "a child process outlived the command"
        return code

    def says(self, pattern: str, seconds: float = 40) -> str:
        return until(lambda: re.search(pattern, self.output), seconds, f"{pattern} in:\n{self.output}").group(1)

    def _read(self) -> None:
        with self.process.stdout as output:  # type: ignore[union-attr]
            for line in output:
                self.output += line


def worker(handler: str) -> list[str]:
    return ["--worker", f"{PYTHON} {HANDLERS / handler}.py"]


def post(url: str, body: Any) -> Any:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
        return json.load(answer)


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Command]]:
    """All at once; they spend their time in starts and pauses."""
    folder = tmp_path_factory.mktemp("commands")
    (folder / "good.json").write_text('{"input": {"n": 1}}')
    once = ["once", *worker("write_files"), "--output", str(folder / "out"), "--request"]
    plan = {
        "serve": ["--port", "0", "serve", *worker("return_refresh_worker"), "--workers", "1"],
        "once": [*once, str(folder / "good.json")],
    }
    with ExitStack() as stack:
        started = {name: stack.enter_context(Command(*arguments, home=folder)) for name, arguments in plan.items()}
        if shutil.which("make"):
            started["make"] = stack.enter_context(make_serve("sleep_then_echo", home=folder))
        yield started


def make_serve(handler: str, home: Path) -> Command:
    """`make serve` with this Python, as it is set up, and another worker."""
    command = ("make", "--old-file", ".venv/runtime", f"BIN={Path(PYTHON).parent}", "serve", "PORT=0")
    return Command(f"WORKER={worker(handler)[1]}", home=home, command=command)


def test_once_writes_the_files_and_sums_up(commands: dict[str, Command]) -> None:
    once = commands["once"]
    assert once.exit_code() == 0, once.output
    path = Path(once.says(r"\n  (/.*/out/a\.png)  7 B\n"))
    assert path.read_bytes() == b"picture"
    assert re.search(r"\nCOMPLETED  sync-.*\n  waited \d+ ms, ran \d+ ms on local-worker-1\n", once.output)
    assert "\n  a warning\n" in once.output
    assert "local-worker-1 | " in once.output


def test_serve_replaces_a_stopped_worker_and_ends_in_order(commands: dict[str, Command]) -> None:
    serve = commands["serve"]
    url = serve.says(r"curl -X POST (http://127\.0\.0\.1:\d+/runsync) -H \"Content-Type: application/json\" -d ")
    first = post(url, {"input": {"n": 1}})
    second = post(url, {"input": {"n": 2}})
    assert (first["status"], second["status"]) == ("COMPLETED", "COMPLETED")
    assert first["output"]["pid"] != second["output"]["pid"], "the handler asked for a fresh worker"
    serve.process.send_signal(signal.SIGINT)
    assert serve.exit_code() == 0
    assert "stopping: jobs in hand are finished first" in serve.output
    for pid in (first["output"]["pid"], second["output"]["pid"]):
        with pytest.raises(ProcessLookupError):
            os.killpg(pid, 0)


def test_sigterm_to_make_and_all_it_started_lets_the_job_in_hand_finish(commands: dict[str, Command]) -> None:
    """As service managers and `timeout` send it: `make` passes it on, so it comes twice to the command it runs."""
    if "make" not in commands:
        pytest.skip("needs make")
    make = commands["make"]
    url = make.says(r"curl -X POST (http://127\.0\.0\.1:\d+)/runsync")
    with ThreadPoolExecutor(1) as client:
        job = client.submit(post, f"{url}/runsync", {"input": {"seconds": 1}})
        make.says(r"(sync-\S+) IN_PROGRESS")
        os.killpg(make.process.pid, signal.SIGTERM)
        assert make.process.wait(40) != 0
        with pytest.raises(ProcessLookupError):  # make has waited for all of them
            os.killpg(make.process.pid, 0)
        assert job.result()["status"] == "COMPLETED"


def test_serve_ends_when_comfyui_does(tmp_path: Path) -> None:
    # The worker ignores SIGTERM for as long as it imports the SDK; a short sleep is not one.
    with Command("serve", "--port", "0", "--worker", "sleep 60", "--comfyui", "sh -c 'exit 3'", home=tmp_path) as serve:
        assert serve.exit_code() == 1
        assert "failed: comfyui has ended with code 3" in serve.output


def test_what_cannot_be_started_is_said(tmp_path: Path) -> None:
    with Command("serve", "--port", "0", "--worker", "/no/such/program", home=tmp_path) as serve:
        assert serve.exit_code() == 1
        assert "failed: cannot start local-worker-1 (/no/such/program)" in serve.output
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with Command("--port", port, home=tmp_path) as endpoint:
            assert endpoint.exit_code() == 1
            assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in endpoint.output


def test_the_endpoint_alone(tmp_path: Path) -> None:
    with Command("--port", "0", home=tmp_path) as endpoint:
        url = endpoint.says(r"RunPod endpoint `local` on (http://\S+) ")
        assert post(f"{url}/run", {"input": 1})["status"] == "IN_QUEUE"
        endpoint.process.send_signal(signal.SIGINT)
        assert endpoint.exit_code() == 0
