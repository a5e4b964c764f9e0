"""Talking to a ComfyUI server the way a client does, over real sockets."""

from __future__ import annotations

import io
import json
import random
import time
import uuid
from typing import Any

import requests
import websocket
from PIL import Image

Json = dict[str, Any]

# Generous: a real server on a busy machine. Nothing waits that long when all is well.
PATIENCE_S = 50.0


class Socket:
    """One websocket of one client."""

    def __init__(self, url: str, client_id: str, features: Json | None = None) -> None:
        self.client_id = client_id
        address = url.replace("http", "ws", 1) + f"/ws?clientId={client_id}"
        self._connection = websocket.create_connection(address, timeout=PATIENCE_S)
        if features is not None:
            self.send({"type": "feature_flags", "data": features})

    def send(self, message: Json) -> None:
        self.send_text(json.dumps(message))

    def send_text(self, text: str) -> None:
        self._connection.send(text)

    def receive(self) -> Json | bytes:
        """The next message that is no `status`: those tell of other people's prompts, too."""
        while True:
            raw = self._connection.recv()
            if isinstance(raw, bytes):
                return raw
            if not raw:
                raise websocket.WebSocketConnectionClosedException("closed by the server")
            message: Json = json.loads(raw)
            if message["type"] != "status":
                return message

    def receive_status(self) -> Json:
        message: Json = json.loads(self._connection.recv())
        assert message["type"] == "status", message
        return message

    def until_done(self, prompt_id: str) -> list[Json | bytes]:
        """Everything up to `executing` with node null of that prompt."""
        messages: list[Json | bytes] = []
        while True:
            message = self.receive()
            messages.append(message)
            if isinstance(message, bytes) or message["type"] != "executing":
                continue
            if message["data"]["node"] is None and message["data"].get("prompt_id") == prompt_id:
                return messages

    def until(self, event: str, **data: Any) -> Json:
        """The first message of that type whose data agrees."""
        while True:
            message = self.receive()
            if isinstance(message, bytes) or message["type"] != event:
                continue
            if all(message["data"].get(key) == value for key, value in data.items()):
                return message

    def is_silent_for(self, seconds: float) -> bool:
        """Whether no message but `status` comes for that long."""
        end = time.monotonic() + seconds
        try:
            while (left := end - time.monotonic()) > 0:
                self._connection.settimeout(left)
                raw = self._connection.recv()
                if isinstance(raw, bytes) or json.loads(raw)["type"] != "status":
                    return False
        except websocket.WebSocketTimeoutException:
            return True
        finally:
            self._connection.settimeout(PATIENCE_S)
        return True

    def close(self) -> None:
        self._connection.close()
        # After a reset, close() thinks there is nothing left to close.
        self._connection.shutdown()

    def __enter__(self) -> Socket:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Run:
    """A prompt that came to its end, and all that was heard of it."""

    def __init__(self, prompt_id: str, answer: Json, messages: list[Json | bytes], history: Json) -> None:
        self.prompt_id = prompt_id
        self.answer = answer
        self.messages = [message for message in messages if not isinstance(message, bytes)]
        self.frames = [message for message in messages if isinstance(message, bytes)]
        self.history = history

    @property
    def types(self) -> list[str]:
        """Message types in order, without progress."""
        return [each["type"] for each in self.messages if not each["type"].startswith("progress")]

    def data_of(self, event: str) -> list[Json]:
        return [each["data"] for each in self.messages if each["type"] == event]

    def output(self, node_id: str) -> Json:
        outputs: Json = self.history["outputs"]
        result: Json = outputs[node_id]
        return result


class ComfyUI:
    """A server by its URL."""

    def __init__(self, url: str) -> None:
        self.url = url

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        # No connection is kept: the servers under test cut theirs now and then.
        with requests.Session() as session:
            return session.request(method, self.url + path, timeout=PATIENCE_S, **options)

    def get(self, path: str, **params: Any) -> requests.Response:
        return self.call("GET", path, params=params)

    def post(self, path: str, body: Any = None) -> requests.Response:
        return self.call("POST", path, json=body)

    def open(self, client_id: str | None = None, features: Json | None = None) -> Socket:
        return Socket(self.url, client_id or uuid.uuid4().hex, features)

    def queue(self, prompt: Json, socket: Socket | None = None, **more: Any) -> Json:
        """POST /prompt with our own prompt id; the answer of an accepted prompt."""
        body = {"prompt": prompt, "prompt_id": str(uuid.uuid4()), **more}
        if socket is not None:
            body["client_id"] = socket.client_id
        response = self.post("/prompt", body)
        assert response.status_code == 200, response.text
        answer: Json = response.json()
        return answer

    def run(self, prompt: Json, features: Json | None = None, **more: Any) -> Run:
        with self.open(features=features) as socket:
            answer = self.queue(prompt, socket, **more)
            messages = socket.until_done(answer["prompt_id"])
        return Run(answer["prompt_id"], answer, messages, self.history(answer["prompt_id"]))

    def history(self, prompt_id: str) -> Json:
        entries: Json = self.get(f"/history/{prompt_id}").json()
        entry: Json = entries.get(prompt_id, {})
        return entry

    def wait_until_idle(self) -> None:
        """Wait for a prompt nobody listens to."""
        end = time.monotonic() + PATIENCE_S
        while self.get("/prompt").json()["exec_info"]["queue_remaining"]:
            assert time.monotonic() < end, "the queue does not empty"
            time.sleep(0.02)

    def upload(self, name: str, content: bytes, **fields: str) -> requests.Response:
        files = {"image": (name, content, "image/png")}
        return self.call("POST", "/upload/image", files=files, data=fields)

    def picture(self, entry: Json) -> Image.Image:
        response = self.get("/view", **entry)
        assert response.status_code == 200
        return Image.open(io.BytesIO(response.content))


def png(color: tuple[int, ...] | int, size: tuple[int, int] = (16, 16), mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size, color).save(buffer, "PNG")
    return buffer.getvalue()


def unique(prefix: str = "contract") -> str:
    """A name nobody used before, also not on a server that lives for days."""
    return f"{prefix}-{uuid.uuid4().hex[:10]}"


def fresh_color() -> int:
    return random.randrange(0x1000000)


def one_picture(prefix: str = "contract", color: int | None = None, **size: int) -> Json:
    """EmptyImage into SaveImage."""
    inputs = {"width": 16, "height": 16, "batch_size": 1, "color": fresh_color() if color is None else color} | size
    return {
        "1": {"class_type": "EmptyImage", "inputs": inputs},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": prefix}},
    }


def slow_prompt(nodes: int, size: int = 512) -> Json:
    """A chain of the slowest node there is without a model; nothing of it is ever cached."""
    prompt: Json = {
        "0": {
            "class_type": "EmptyImage",
            "inputs": {"width": size, "height": size, "batch_size": 1, "color": fresh_color()},
        }
    }
    for number in range(1, nodes + 1):
        inputs = {"image": [str(number - 1), 0], "blur_radius": 31, "sigma": 1.0 + random.random() * 8}
        prompt[str(number)] = {"class_type": "ImageBlur", "inputs": inputs}
    save = {"images": [str(nodes), 0], "filename_prefix": unique("slow")}
    prompt[str(nodes + 1)] = {"class_type": "SaveImage", "inputs": save}
    return prompt
