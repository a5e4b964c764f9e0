"""The faults the embedded server offers to tests, seen from a client."""

from __future__ import annotations

import errno
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import websocket
from comfyui_conversation import ComfyUI, Socket, one_picture, png, unique

from local_comfyui import LocalComfyUI


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LocalComfyUI]:
    with LocalComfyUI(tmp_path, test_nodes=True) as server:
        yield server


@pytest.fixture
def comfyui(server: LocalComfyUI) -> ComfyUI:
    return ComfyUI(server.url)


def sleeping(seconds: float, steps: int) -> dict[str, Any]:
    prompt = one_picture(unique())
    prompt["s"] = {"class_type": "TestSleep", "inputs": {"image": ["1", 0], "seconds": seconds, "steps": steps}}
    prompt["2"]["inputs"]["images"] = ["s", 0]
    return prompt


def test_dropped_sockets_are_closed_in_order(server: LocalComfyUI, comfyui: ComfyUI) -> None:
    with comfyui.open() as client:
        client.receive_status()
        assert server.sockets == 1
        server.faults.drop_sockets()
        with pytest.raises(websocket.WebSocketConnectionClosedException):
            client.receive()
    assert comfyui.run(one_picture()).types[-2] == "execution_success"


def test_reset_sockets_end_with_a_reset(server: LocalComfyUI, comfyui: ComfyUI) -> None:
    with comfyui.open() as client:
        client.receive_status()
        server.faults.reset_sockets()
        with pytest.raises(ConnectionResetError):
            client.receive()


def test_a_deaf_server_says_nothing_but_works(server: LocalComfyUI, comfyui: ComfyUI) -> None:
    with comfyui.open() as client:
        client.receive_status()
        server.faults.go_deaf()
        prompt_id = comfyui.queue(one_picture(unique()), client)["prompt_id"]
        comfyui.wait_until_idle()
        assert client.is_silent_for(0.1)
        server.faults.hear_again()
        later = comfyui.queue(one_picture(unique()), client)["prompt_id"]
        heard = client.until_done(later)
    assert comfyui.history(prompt_id)["status"]["completed"] is True
    assert all(isinstance(each, dict) and each["data"]["prompt_id"] == later for each in heard)


@pytest.mark.parametrize("deaf", [False, True])
def test_only_a_hearing_server_answers_pings(server: LocalComfyUI, deaf: bool) -> None:
    connection = websocket.create_connection(f"ws://{server.host}/ws", timeout=10)
    connection.recv()
    if deaf:
        server.faults.go_deaf()
    connection.ping("are you there")
    connection.settimeout(0.1 if deaf else 10)
    if deaf:
        with pytest.raises(websocket.WebSocketTimeoutException):
            connection.recv_data_frame(control_frame=True)
    else:
        opcode, _ = connection.recv_data_frame(control_frame=True)
        assert opcode == websocket.ABNF.OPCODE_PONG
    connection.close(timeout=0)


def test_refused_sockets(server: LocalComfyUI, comfyui: ComfyUI) -> None:
    server.faults.refuse_sockets(2)
    for _ in range(2):
        with pytest.raises(websocket.WebSocketBadStatusException, match="503"):
            comfyui.open()
    comfyui.open().close()
    server.faults.refuse_sockets()
    with pytest.raises(websocket.WebSocketBadStatusException):
        comfyui.open()
    server.faults.allow_sockets()
    comfyui.open().close()


def test_a_late_history(server: LocalComfyUI, comfyui: ComfyUI) -> None:
    server.faults.delay_history(0.3)
    with comfyui.open() as client:
        prompt_id = comfyui.queue(one_picture(unique()), client)["prompt_id"]
        client.until("execution_success")
        assert comfyui.history(prompt_id) == {}
        assert [each[1] for each in comfyui.get("/queue").json()["queue_running"]] == [prompt_id]
        client.until_done(prompt_id)
    assert comfyui.history(prompt_id)["status"]["completed"] is True


def test_a_lost_history(server: LocalComfyUI, comfyui: ComfyUI) -> None:
    server.faults.lose_history()
    run = comfyui.run(one_picture(unique()))
    assert run.history == {}
    assert comfyui.get("/history").json() == {}
    server.faults.keep_history()
    assert comfyui.history(run.prompt_id)["status"]["completed"] is True


def test_a_slow_prompt_is_queued_although_the_client_gave_up(server: LocalComfyUI, comfyui: ComfyUI) -> None:
    server.faults.slow_prompt(5.0, times=1)
    body = {"prompt": one_picture(unique()), "prompt_id": "b9a4c2c4-6a5e-4d3b-9f0e-1b1f4c7d8e9f"}
    with pytest.raises(requests.ReadTimeout):
        requests.post(f"{server.url}/prompt", json=body, timeout=0.2)
    comfyui.wait_until_idle()
    assert comfyui.history("b9a4c2c4-6a5e-4d3b-9f0e-1b1f4c7d8e9f")["status"]["completed"] is True


def test_a_prompt_that_fails_some_times(server: LocalComfyUI, comfyui: ComfyUI) -> None:
    server.faults.fail_prompt(503, {"error": "busy"}, times=2)
    for _ in range(2):
        response = comfyui.post("/prompt", {"prompt": one_picture(unique())})
        assert (response.status_code, response.json()) == (503, {"error": "busy"})
    assert server.executed_nodes == []
    assert comfyui.run(one_picture(unique())).types[-2] == "execution_success"


def test_a_failed_answer_to_a_prompt_that_was_queued(server: LocalComfyUI, comfyui: ComfyUI) -> None:
    server.faults.fail_prompt(502, "bad gateway", queued=True)
    assert comfyui.post("/prompt", {"prompt": one_picture(unique())}).status_code == 502
    comfyui.wait_until_idle()
    assert [node_id for _, node_id in server.executed_nodes] == ["1", "2"]


def test_views_that_fail_stall_or_break_off(server: LocalComfyUI, comfyui: ComfyUI) -> None:
    content = png(7, (64, 64))
    comfyui.upload("x.png", content)
    server.faults.fail_view(500, times=1)
    assert comfyui.get("/view", filename="x.png", type="input").status_code == 500
    server.faults.truncate_view(1)
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        comfyui.get("/view", filename="x.png", type="input")
    server.faults.slow_view(0.05, times=1)
    started = time.monotonic()
    assert comfyui.get("/view", filename="x.png", type="input").content == content
    assert time.monotonic() - started >= 0.05


def test_slow_uploads(server: LocalComfyUI, comfyui: ComfyUI) -> None:
    server.faults.slow_upload(0.05, times=1)
    started = time.monotonic()
    assert comfyui.upload("x.png", png(1)).status_code == 200
    assert time.monotonic() - started >= 0.05


def test_uploads_that_fail(server: LocalComfyUI, comfyui: ComfyUI) -> None:
    server.faults.fail_upload(500, times=1)
    assert comfyui.upload("x.png", png(1)).status_code == 500
    assert comfyui.upload("x.png", png(1)).status_code == 200


def test_any_route_can_be_made_to_fail(server: LocalComfyUI, comfyui: ComfyUI) -> None:
    server.faults.fail_route("GET /history/{prompt_id}", 500, times=None)
    assert comfyui.get("/history/x").status_code == comfyui.get("/api/history/x").status_code == 500
    server.faults.heal()
    assert comfyui.get("/history/x").status_code == 200


def test_a_dead_server_resets_and_refuses(server: LocalComfyUI, comfyui: ComfyUI) -> None:
    with comfyui.open() as client:
        comfyui.queue(sleeping(60, 60), client)
        client.until("executing", node="s")
        server.faults.die()
        assert not server.alive
        with pytest.raises(ConnectionResetError):
            while True:
                client.receive()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", server.port)) == errno.ECONNREFUSED


def test_a_request_in_flight_when_the_server_dies_is_cut_off(server: LocalComfyUI, comfyui: ComfyUI) -> None:
    server.faults.slow_prompt(60)
    errors: list[Exception] = []

    def post() -> None:
        try:
            comfyui.post("/prompt", {"prompt": one_picture(unique())})
        except requests.ConnectionError as error:
            errors.append(error)

    client = threading.Thread(target=post)
    client.start()
    while not server.prompts:
        time.sleep(0.01)
    server.faults.die()
    client.join(timeout=20)
    assert len(errors) == 1


def test_a_restarted_server_is_empty_but_keeps_its_port_and_its_files(server: LocalComfyUI, comfyui: ComfyUI) -> None:
    prompt = one_picture(unique())
    first = comfyui.run(prompt)
    preview = {"1": prompt["1"], "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}}
    temporary = comfyui.run(preview).output("2")["images"][0]
    with comfyui.open() as client:
        comfyui.queue(sleeping(60, 60), client)
        client.until("executing", node="s")
        server.faults.restart_empty()
        assert comfyui.get("/queue").json() == {"queue_running": [], "queue_pending": []}
        assert comfyui.get("/history").json() == {}
    assert comfyui.get("/view", **temporary).status_code == 404
    assert comfyui.get("/view", **first.output("2")["images"][0]).status_code == 200
    again = comfyui.run(prompt)
    assert again.answer["number"] == 0
    assert again.data_of("execution_cached")[0]["nodes"] == []


def test_a_dead_server_can_come_back(server: LocalComfyUI, comfyui: ComfyUI) -> None:
    server.faults.die()
    server.faults.die()
    server.faults.restart_empty()
    assert server.alive
    assert comfyui.run(one_picture(unique())).types[-2] == "execution_success"


def test_faults_outlive_a_restart(server: LocalComfyUI, comfyui: ComfyUI) -> None:
    server.faults.fail_prompt(500, times=None)
    server.faults.restart_empty()
    assert comfyui.post("/prompt", {"prompt": one_picture()}).status_code == 500


def test_what_the_server_did_can_be_looked_up(server: LocalComfyUI, comfyui: ComfyUI) -> None:
    prompt = one_picture(unique())
    first, second = comfyui.run(prompt), comfyui.run(prompt)
    assert server.executed_nodes == [(first.prompt_id, "1"), (first.prompt_id, "2")]
    assert [body["prompt_id"] for body in server.prompts] == [first.prompt_id, second.prompt_id]
    comfyui.post("/free", {"free_memory": True})
    assert server.free_calls == [{"free_memory": True}]
    comfyui.get("/api/queue")
    assert server.requests["GET /history/{prompt_id}"] == 2
    assert server.requests["GET /queue"] == 1
    assert server.requests["GET /ws"] == 2


def test_strict_prompt_ids(tmp_path: Path) -> None:
    with LocalComfyUI(tmp_path, strict_prompt_ids=True) as server:
        comfyui = ComfyUI(server.url)
        for bad in ("job-1", "B9A4C2C4-6A5E-4D3B-9F0E-1B1F4C7D8E9F", "b9a4c2c46a5e4d3b9f0e1b1f4c7d8e9f", 7):
            response = comfyui.post("/prompt", {"prompt": one_picture(), "prompt_id": bad})
            assert response.status_code == 400
            assert response.json()["error"]["type"] == "invalid_prompt_id"
        assert comfyui.run(one_picture()).types[-2] == "execution_success"
        assert comfyui.post("/prompt", {"prompt": one_picture(), "prompt_id": None}).status_code == 200
        comfyui.wait_until_idle()


def test_the_history_is_bounded(tmp_path: Path) -> None:
    with LocalComfyUI(tmp_path, history_limit=3) as server:
        comfyui = ComfyUI(server.url)
        runs = [comfyui.run(one_picture()) for _ in range(6)]
        # ComfyUI drops one when there are more than the limit, so one more than the limit stays.
        assert list(comfyui.get("/history").json()) == [run.prompt_id for run in runs[-4:]]


def test_a_server_in_a_temporary_directory_leaves_nothing_behind() -> None:
    with LocalComfyUI() as server:
        directory = server.directory
        ComfyUI(server.url).run(one_picture())
        assert (directory / "output").is_dir()
    assert not directory.exists()
    server.close()


def test_a_taken_port_is_an_error_and_leaves_no_thread(server: LocalComfyUI, tmp_path: Path) -> None:
    before = threading.active_count()
    with pytest.raises(OSError):
        LocalComfyUI(tmp_path / "other", port=server.port)
    assert threading.active_count() == before


def test_a_socket_without_client_id_gets_one(server: LocalComfyUI) -> None:
    connection = websocket.create_connection(f"ws://{server.host}/ws", timeout=10)
    assert '"sid": "' in connection.recv()
    connection.send("no json")
    connection.send("[1]")
    connection.close()
    Socket(server.url, "x").close()
