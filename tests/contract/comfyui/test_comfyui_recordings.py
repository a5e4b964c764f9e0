"""The embedded server held against the recordings: the same requests, the same answers, the same messages."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from comfyui_conversation import ComfyUI, Socket, png
from comfyui_folders import furnish
from comfyui_recording import comparable_response, events_of, normal

from local_comfyui import LocalComfyUI

Json = dict[str, Any]

# Replayed step by step. Not here: scenarios whose nodes need models or a video or audio library (the embedded server
# has neither), `server_killed_while_running`, and the four in which time decides (`test_comfyui_events` has those).
REPLAYED = [
    "success_single_image",
    "success_batch_of_three",
    "client_chosen_prompt_id",
    "feature_flags",
    "two_prompts_one_socket",
    "muted_and_numeric_ids",
    "same_file_name_from_two_nodes",
    "success_all_cached",
    "success_partly_cached",
    "load_image_invert_save_and_preview",
    "load_image_from_subfolder",
    "upload_routes",
    "invalid_prompts",
    "partly_valid_prompt",
    "execution_error",
    "execution_error_after_one_output",
    "two_sockets_same_client_id",
    "output_animated_webp",
    "output_animated_png",
    "output_text",
    "output_preview_only",
    "save_image_websocket",
    "view_routes",
    "free_and_bad_calls",
    "probes",
]

BROKEN_PICTURE = b"this is not a pictur"

# Two outputs run in the order of a Python set, another one in every recorded process.
SEVERAL_OUTPUTS = {
    "muted_and_numeric_ids",
    "same_file_name_from_two_nodes",
    "load_image_invert_save_and_preview",
    "execution_error_after_one_output",
}

# Where 0.3.64 answers otherwise than 0.26.0, which the embedded server imitates.
ONLY_IN_OLD = {
    ("invalid_prompts", "a node without class_type"),
    ("invalid_prompts", "unknown node type"),
    ("invalid_prompts", "a cycle"),
    ("invalid_prompts", "node is a list"),
    ("probes", "/system_stats"),
    ("probes", "/features"),
    ("probes", "/models"),
    ("probes", "/object_info/SaveImage"),
    ("probes", "/object_info/LoadImage"),
    ("probes", "/object_info/EmptyImage"),
}

# Left by the scenario before.
BROKEN_PICTURE_IS_THERE = {"execution_error_after_one_output"}

# The pictures behind the recorded uploads, by their place in the scenario: what counts is which are alike.
UPLOADED_COLORS = {"upload_routes": [1, 2, 1, 3, 4, 5, 6, 7, 8, 9]}


@pytest.fixture
def replay(tmp_path: Path, scenario: str) -> Iterator[Replay]:
    furnish(tmp_path)
    if scenario in BROKEN_PICTURE_IS_THERE:
        (tmp_path / "input" / "rec_broken.png").write_bytes(BROKEN_PICTURE)
    with LocalComfyUI(tmp_path) as server:
        replay = Replay(ComfyUI(server.url))
        yield replay
        replay.close()


class Replay:
    def __init__(self, server: ComfyUI) -> None:
        self._server = server
        self._sockets: dict[str, Socket] = {}
        self._prompt_ids: dict[str, str] = {}
        self._files: dict[str, str] = {}
        self._uploads = 0
        self.recorded: list[Any] = []
        self.received: list[Any] = []

    def play(self, scenario: str, version: str) -> None:
        for event in events_of(scenario, version):
            kind = event["kind"]
            if kind == "http":
                self._request(scenario, version, event)
            elif kind != "ws_text" or event["message"]["type"] != "status":
                getattr(self, f"_{kind}")(event)

    def close(self) -> None:
        for socket in self._sockets.values():
            socket.close()

    def _ws_open(self, event: Json) -> None:
        client_id = parse_qs(urlsplit(event["path"]).query)["clientId"][0]
        if event["socket"] in self._sockets:
            self._sockets[event["socket"]].close()
        socket = self._sockets[event["socket"]] = Socket(self._server.url, client_id)
        assert socket.receive_status()["data"]["sid"] == client_id

    def _ws_sent(self, event: Json) -> None:
        self._sockets[event["socket"]].send(event["message"])

    def _ws_text(self, event: Json) -> None:
        message = self._sockets[event["socket"]].receive()
        assert not isinstance(message, bytes)
        self.recorded.append(normal(event["message"]))
        self.received.append(normal(message))
        if message["type"] == event["message"]["type"] == "executed":
            self._note_files(event["message"]["data"]["output"], message["data"]["output"])

    def _note_files(self, recorded: Json, received: Json) -> None:
        """The recorded server counted on from what lay in its folders."""
        for one, other in zip(recorded.get("images", []), received.get("images", []), strict=True):
            self._files[one["filename"]] = other["filename"]

    def _ws_binary(self, event: Json) -> None:
        frame = self._sockets[event["socket"]].receive()
        assert isinstance(frame, bytes)
        expected = bytes.fromhex(event["first_64_bytes_hex"])
        assert struct.unpack(">I", frame[:4]) == (event["event_type"],)
        # Type and picture header: format, width, height.
        assert frame[:28] == expected[:28]

    def _ws_silent_for_s(self, event: Json) -> None:
        assert self._sockets[event["socket"]].is_silent_for(0.1)

    def _ws_closed(self, event: Json) -> None:
        self._sockets[event["socket"]].close()

    def _request(self, scenario: str, version: str, event: Json) -> None:
        wanted, answer = event["request"], event["response"]
        response = self._send(scenario, wanted)
        if "prompt_id" in answer.get("json", {}):
            self._prompt_ids[answer["json"]["prompt_id"]] = response.json()["prompt_id"]
        if version != "0.26.0" and (scenario, wanted.get("note", wanted["path"])) in ONLY_IN_OLD:
            return
        name = f"{version} {wanted['method']} {wanted['path']} {wanted.get('note', '')}"
        assert _seen(response, answer) == _expected(wanted["path"], answer), name

    def _send(self, scenario: str, wanted: Json) -> requests.Response:
        path = wanted["path"]
        for recorded, ours in self._prompt_ids.items():
            path = path.replace(recorded, ours)
        if "multipart" in wanted:
            return self._upload(scenario, dict(wanted["multipart"]))
        if "body" in wanted:
            return self._server.call(wanted["method"], path, data=wanted["body"])
        params = dict(wanted.get("params", {}))
        if params.get("filename") in self._files:
            params["filename"] = self._files[params["filename"]]
        return self._server.call(wanted["method"], path, json=wanted.get("json"), params=params)

    def _upload(self, scenario: str, fields: Json) -> requests.Response:
        image = fields.pop("image", None)
        if image is None:
            # Still a multipart body, but without the part that counts.
            return self._server.call("POST", "/upload/image", files={key: (None, v) for key, v in fields.items()})
        colors = UPLOADED_COLORS.get(scenario, [1])
        content = png((colors[self._uploads], 0, 0)) if image["bytes"] > 20 else BROKEN_PICTURE
        self._uploads += 1
        return self._server.upload(image["filename"], content, **fields)


def _seen(response: requests.Response, recorded: Json) -> Json:
    seen: Json = {"status": response.status_code, "content_type": response.headers.get("Content-Type", "")}
    if "json" in recorded:
        seen["json"] = response.json()
    if "headers" in recorded:
        # Header bytes are UTF-8; the recorder's client and ours read them as Latin-1.
        seen["headers"] = dict(response.headers)
    return _adapted(urlsplit(response.url).path, comparable_response(seen))


def _expected(path: str, answer: Json) -> Json:
    return _adapted(path, comparable_response(answer))


def _adapted(path: str, response: Json) -> Json:
    """Leave out what describes the one installation that was recorded."""
    body = response.get("json")
    if path == "/":
        response["content_type"] = response["content_type"].split(";")[0]
    elif path == "/system_stats":
        known = ("os", "comfyui_version", "ram_total", "ram_free", "python_version", "pytorch_version", "argv")
        assert set(known) <= set(body["system"])
        response["json"] = [body["system"]["os"], body["system"]["comfyui_version"], sorted(body["devices"][0])]
    elif path == "/features":
        response["json"] = {name: type(value).__name__ for name, value in body.items()}
    elif path.startswith("/history") and body:
        response["json"] = list(body.values())
    return response


@pytest.mark.parametrize("version", ["0.26.0", "0.3.64"])
@pytest.mark.parametrize("scenario", REPLAYED)
def test_the_embedded_server_answers_as_the_recorded_one(replay: Replay, scenario: str, version: str) -> None:
    replay.play(scenario, version)
    recorded, received = replay.recorded, replay.received
    if scenario == "feature_flags":
        # Which features there are is the server's own affair.
        recorded, received = recorded[1:], received[1:]
    if scenario in SEVERAL_OUTPUTS:
        recorded, received = _in_any_order(recorded), _in_any_order(received)
    assert received == recorded


def _in_any_order(messages: list[Any]) -> list[Any]:
    """What was told, whatever came first; progress lists what ran before, so it cannot be compared."""
    return sorted((each for each in messages if each["type"] != "progress_state"), key=json.dumps)
