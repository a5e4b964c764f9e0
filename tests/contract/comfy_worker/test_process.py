"""ComfyUI launched as a real process, by a server object that is to keep it running and to leave nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tcp_server import Connection, Eventually, Request, StartServer, answering, free_port

from comfy_worker.comfyui.child import launch_command
from comfy_worker.comfyui.process import ComfyUIServer, Pauses
from comfy_worker.config import Settings
from comfy_worker.errors import ComfyUIUnavailable

FAKE = Path(__file__).parent / "fake_comfyui"
EMBEDDED = Path(__file__).parents[3] / "src" / "local_comfyui"
#: Short pauses, long patience.
QUICK = Pauses(poll_s=0.02, probe_s=5.0, come_back_s=10.0, stop_s=10.0, restart_s=0.05)
SECRETS = ("BUCKET_ACCESS_KEY_ID", "BUCKET_SECRET_ACCESS_KEY", "COMFY_ORG_API_KEY")
SECRETS += ("RUNPOD_AI_API_KEY", "RUNPOD_API_KEY", "RUNPOD_ENDPOINT_SECRET")


class Fake:
    """The fake ComfyUI's folder: how it is to behave from the next start on, and what its starts were."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = free_port()
        self.host = f"127.0.0.1:{self.port}"
        self.behave()

    def behave(self, **behaviour: Any) -> None:
        (self._folder / "behaviour.json").write_text(json.dumps(behaviour))

    @property
    def starts(self) -> list[dict[str, Any]]:
        path = self._folder / "starts.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def settings(self, **changes: Any) -> Settings:
        return replace(Settings(comfy_host=self.host, comfyui_path=FAKE, comfy_start_timeout_s=20.0), **changes)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    monkeypatch.setenv("FAKE_COMFYUI_DIR", str(tmp_path))
    return Fake(tmp_path)


@pytest.fixture
def launch(fake: Fake) -> Iterator[Callable[..., ComfyUIServer]]:
    """`launch(setting=value)` -> a started server of the fake; stopped at the end."""
    servers: list[ComfyUIServer] = []

    def run(pauses: Pauses = QUICK, **changes: Any) -> ComfyUIServer:
        servers.append(ComfyUIServer(fake.settings(**changes), pauses))
        servers[-1].start()
        return servers[-1]

    yield run
    for server in servers:
        server.stop()


Launch = Callable[..., ComfyUIServer]


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


# --- launching


def test_it_is_launched_from_its_folder_and_waited_for(fake: Fake, launch: Launch) -> None:
    server = launch(comfy_args=("--cpu",), log_level="WARNING")
    server.wait_ready()
    assert (server.generation, server.launched, server.hopeless) == (1, True, False)
    assert server.how_it_died(1) is None
    (start,) = fake.starts
    assert start["folder"] == str(FAKE)
    assert start["verbose"] == "WARNING"
    assert "--cpu" in start["argv"]


def test_its_log_is_passed_through(fake: Fake, launch: Launch, capfd: pytest.CaptureFixture[str]) -> None:
    launch().wait_ready()
    assert "fake ComfyUI says hello" in capfd.readouterr().out


@pytest.mark.parametrize("arguments", [("--listen", "0.0.0.0"), ("--listen",), ("--list", "0.0.0.0"), ("--port", "1")])
def test_trap_23_it_listens_on_loopback_whatever_comfy_args_say(
    fake: Fake, launch: Launch, arguments: tuple[str, ...]
) -> None:
    launch(comfy_args=arguments).wait_ready()
    assert fake.starts[0]["listen"] == "127.0.0.1"


def test_trap_23_no_secret_is_in_its_environment(fake: Fake, launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*SECRETS, "HF_TOKEN"):
        monkeypatch.setenv(name, "s3cret")
    launch().wait_ready()
    given = fake.starts[0]["environment"]
    assert set(given) & set(SECRETS) == set()
    # Which custom nodes need to load models.
    assert {"HF_TOKEN", "PATH"} <= set(given)


@pytest.mark.parametrize(
    ("host", "listen"), [("localhost:8188", "127.0.0.1"), ("127.0.0.2:8188", "127.0.0.2"), ("[::1]:8188", "::1")]
)
def test_the_address_it_listens_on_is_written_as_comfyui_reads_it(host: str, listen: str) -> None:
    command = launch_command(Settings(comfy_host=host, comfyui_path=FAKE))
    assert command[-4:] == ["--listen", listen, "--port", "8188"]


def test_the_python_of_its_own_venv_runs_it(tmp_path: Path) -> None:
    python = tmp_path / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    assert launch_command(Settings(comfyui_path=tmp_path))[0] == sys.executable
    python.touch()
    assert launch_command(Settings(comfyui_path=tmp_path))[:2] == [str(python), str(tmp_path / "main.py")]
    assert launch_command(Settings(comfyui_path=tmp_path, comfy_python="/x/python"))[0] == "/x/python"


def test_the_embedded_server_is_launched_like_a_comfyui(tmp_path: Path) -> None:
    host = f"127.0.0.1:{free_port()}"
    settings = Settings(comfy_host=host, comfyui_path=EMBEDDED, comfy_args=("--base-directory", str(tmp_path)))
    server = ComfyUIServer(settings, QUICK)
    server.start()
    try:
        server.wait_ready()
    finally:
        server.stop()
    assert server.how_it_died(1) in ("exit code 0", "exit signal 15 (SIGTERM)")


# --- not launching


def _system_stats(connection: Connection, request: Request) -> None:
    connection.respond(200, {"system": {}, "devices": []})


def test_it_is_not_launched_when_something_answers_already(fake: Fake, start_server: StartServer) -> None:
    running = start_server(answering(_system_stats))
    server = ComfyUIServer(fake.settings(comfy_host=running.host), QUICK)
    server.start()
    server.wait_ready()
    assert (server.launched, server.generation, fake.starts) == (False, 0, [])
    assert server.how_it_died(0) is None
    assert server.restart() is False
    server.stop()


def test_it_is_not_launched_for_another_machine(fake: Fake) -> None:
    server = ComfyUIServer(fake.settings(comfy_host="comfyui.invalid:8188", comfy_start_timeout_s=0.0), QUICK)
    server.start()
    assert not server.launched
    with pytest.raises(ComfyUIUnavailable, match=r"ComfyUI server \(comfyui.invalid:8188\) not reachable"):
        server.wait_ready()


def test_nothing_answers_and_nothing_can_be_launched() -> None:
    port = free_port()
    server = ComfyUIServer(Settings(comfy_host=f"127.0.0.1:{port}", comfy_start_timeout_s=0.1), QUICK)
    server.start()
    with pytest.raises(ComfyUIUnavailable) as caught:
        server.wait_ready()
    assert str(caught.value) == f"ComfyUI server (127.0.0.1:{port}) not reachable after multiple retries"
    assert server.how_it_died(0) is None


def test_something_that_is_no_comfyui_is_not_ready(start_server: StartServer) -> None:
    other = start_server(answering(lambda connection, request: connection.respond(404)))
    server = ComfyUIServer(Settings(comfy_host=other.host, comfy_start_timeout_s=0.1), QUICK)
    with pytest.raises(ComfyUIUnavailable):
        server.wait_ready()


def test_a_comfyui_of_somebody_else_gets_time_to_come_back(start_server: StartServer) -> None:
    first = start_server(answering(_system_stats))
    server = ComfyUIServer(Settings(comfy_host=first.host, comfy_start_timeout_s=20.0), QUICK)
    server.wait_ready()
    first.close()
    waited = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:
            start_server(answering(_system_stats), port=first.port)

    server.wait_ready(wait)
    assert len(waited) >= 3


def test_waiting_ends_when_the_job_is_cancelled(fake: Fake, launch: Launch) -> None:
    fake.behave(deaf=True)
    server = launch(comfy_start_timeout_s=600.0)
    cancelled = threading.Event()
    cancelled.set()
    with pytest.raises(ComfyUIUnavailable):
        server.wait_ready(cancelled.wait)


# --- dying


def test_trap_05_a_comfyui_that_died_is_started_again(fake: Fake, launch: Launch, eventually: Eventually) -> None:
    server = launch()
    server.wait_ready()
    os.kill(fake.starts[0]["pid"], signal.SIGKILL)
    eventually(lambda: server.how_it_died(1))
    server.wait_ready()
    assert server.generation == 2
    assert server.how_it_died(1) == "exit signal 9 (SIGKILL)"
    assert server.how_it_died(2) is None
    assert fake.starts[1]["pid"] != fake.starts[0]["pid"]


def test_trap_05_one_that_does_not_start_three_times_is_given_up(fake: Fake, launch: Launch) -> None:
    fake.behave(exit_at_start=3)
    server = launch(replace(QUICK, restart_s=0.1))
    with pytest.raises(ComfyUIUnavailable) as caught:
        server.wait_ready()
    assert str(caught.value) == f"ComfyUI server ({fake.host}) not reachable after multiple retries"
    assert caught.value.details == ["ComfyUI did not start 3 times in a row: exit code 3"]
    assert server.hopeless
    assert server.restart() is False
    first, second, third = (start["at"] for start in fake.starts)
    assert second - first >= 0.1
    assert third - second >= 0.2


def test_failed_starts_before_a_good_one_are_forgotten(fake: Fake, launch: Launch, eventually: Eventually) -> None:
    fake.behave(exit_at_start=1, bad_starts=[0, 1, 3, 4])
    server = launch()
    server.wait_ready()
    assert server.generation == 3
    os.kill(fake.starts[-1]["pid"], signal.SIGKILL)
    eventually(lambda: server.how_it_died(3))
    server.wait_ready()
    assert (server.generation, server.hopeless) == (6, False)


def test_one_that_cannot_be_launched_at_all_is_given_up_at_once(fake: Fake, launch: Launch) -> None:
    server = launch(comfy_python="/nowhere/python")
    with pytest.raises(ComfyUIUnavailable) as caught:
        server.wait_ready()
    assert "could not be launched" in caught.value.details[0]
    assert "/nowhere/python" in caught.value.details[0]
    assert server.hopeless


def test_one_that_never_answers_is_killed_and_counts_as_a_failed_start(
    fake: Fake, launch: Launch, eventually: Eventually
) -> None:
    fake.behave(deaf=True, child=True)
    server = launch(comfy_start_timeout_s=0.5)
    eventually(lambda: server.hopeless)
    eventually(lambda: not any(alive(pid) for start in fake.starts for pid in (start["pid"], start["child"])))


def test_what_it_started_does_not_outlive_it(fake: Fake, launch: Launch, eventually: Eventually) -> None:
    fake.behave(child=True)
    launch().wait_ready()
    start = fake.starts[0]
    assert alive(start["child"])
    os.kill(start["pid"], signal.SIGKILL)
    eventually(lambda: not alive(start["child"]))


def test_a_restart_on_purpose_replaces_the_process_before_the_next_job(fake: Fake, launch: Launch) -> None:
    fake.behave(ignore_sigterm=True)
    server = launch(replace(QUICK, stop_s=1.0))
    server.wait_ready()
    assert server.restart() is True
    assert not alive(fake.starts[0]["pid"])
    server.wait_ready()
    assert server.generation == 2
    assert server.how_it_died(1) == "exit signal 9 (SIGKILL)"


# --- ending


@pytest.mark.parametrize("ignore_sigterm", [False, True])
def test_stop_ends_it_and_all_that_it_started(
    fake: Fake, launch: Launch, eventually: Eventually, ignore_sigterm: bool
) -> None:
    fake.behave(child=True, ignore_sigterm=ignore_sigterm)
    server = launch(replace(QUICK, stop_s=0.3 if ignore_sigterm else 10.0))
    server.wait_ready()
    server.stop()
    (start,) = fake.starts
    assert not alive(start["pid"])
    eventually(lambda: not alive(start["child"]))
    server.stop()
    assert len(fake.starts) == 1


def test_stop_while_it_starts(fake: Fake, launch: Launch, eventually: Eventually) -> None:
    fake.behave(deaf=True, child=True)
    server = launch()
    eventually(lambda: fake.starts)
    server.stop()
    assert not alive(fake.starts[0]["pid"])
    eventually(lambda: not alive(fake.starts[0]["child"]))


def test_stop_in_the_pause_before_a_restart(fake: Fake, launch: Launch, eventually: Eventually) -> None:
    fake.behave(exit_at_start=1)
    server = launch(replace(QUICK, restart_s=600.0))
    eventually(lambda: server.generation == 1 and server.how_it_died(1))
    server.stop()
    assert len(fake.starts) == 1


def test_stop_at_any_moment_leaves_nothing_running(fake: Fake, launch: Launch) -> None:
    fake.behave(ignore_sigterm=True)
    for _ in range(5):
        launch(replace(QUICK, stop_s=0.2)).stop()
    assert not any(alive(start["pid"]) for start in fake.starts)


def test_stop_of_one_that_was_never_started(fake: Fake) -> None:
    ComfyUIServer(fake.settings(), QUICK).stop()
    assert fake.starts == []


DRIVER = """
import sys, time
from pathlib import Path
from comfy_worker.comfyui.process import ComfyUIServer
from comfy_worker.config import Settings
server = ComfyUIServer(Settings(comfy_host=sys.argv[1], comfyui_path=Path(sys.argv[2])))
server.start()
server.wait_ready()
print("ready", flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of no other system does this")
@pytest.mark.parametrize("ignore_sigterm", [False, True])
def test_the_kernel_ends_it_when_the_worker_is_killed(fake: Fake, eventually: Eventually, ignore_sigterm: bool) -> None:
    fake.behave(ignore_sigterm=ignore_sigterm)
    command = [sys.executable, "-c", DRIVER, fake.host, str(FAKE)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        lines = iter(worker.stdout.readline, "")
        assert "ready\n" in lines
        pid = fake.starts[0]["pid"]
        worker.kill()
        eventually(lambda: not alive(pid))
