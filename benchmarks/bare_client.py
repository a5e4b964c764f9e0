"""The barest client of ComfyUI that gets its pictures: no checks, no names of its own, no clean-up, no retry.

One kept connection for HTTP, a websocket per prompt, everything one after the other.
"""

from __future__ import annotations

import base64
import http.client
import itertools
import json
import uuid
from typing import Any
from urllib.parse import urlencode

import websocket


class BareClient:
    def __init__(self, host: str) -> None:
        self._host = host
        self._http = http.client.HTTPConnection(host, timeout=60)
        self._number = itertools.count()
        self._mark = uuid.uuid4().hex[:8]

    def close(self) -> None:
        self._http.close()

    def upload(self, name: str, content: bytes) -> None:
        boundary = "bench-boundary"
        head = (
            f"--{boundary}\r\n"
            f'Content-Disposition: form-data; name="image"; filename="{name}"\r\nContent-Type: image/png\r\n\r\n'
        )
        tail = f'\r\n--{boundary}\r\nContent-Disposition: form-data; name="overwrite"\r\n\r\ntrue\r\n--{boundary}--\r\n'
        body = head.encode() + content + tail.encode()
        self._call("POST", "/upload/image", body, f"multipart/form-data; boundary={boundary}")

    def run_as_base64(self, workflow: dict[str, Any], uploads: dict[str, str]) -> list[str]:
        """The same with what RunPod makes of it: base64 in, base64 out."""
        decoded = {name: base64.b64decode(text) for name, text in uploads.items()}
        return [base64.b64encode(content).decode() for content in self.run(workflow, decoded)]

    def run(self, workflow: dict[str, Any], uploads: dict[str, bytes] | None = None) -> list[bytes]:
        """The bytes of all pictures."""
        for name, content in (uploads or {}).items():
            self.upload(name, content)
        client_id = uuid.uuid4().hex
        socket = websocket.create_connection(f"ws://{self._host}/ws?clientId={client_id}", timeout=60)
        try:
            body = json.dumps({"prompt": self._own(workflow), "client_id": client_id}).encode()
            prompt_id = json.loads(self._call("POST", "/prompt", body, "application/json"))["prompt_id"]
            files = _files_of(socket, prompt_id)
        finally:
            socket.close(timeout=0)
        return [self._call("GET", "/view?" + urlencode(file)) for file in files]

    def _own(self, workflow: dict[str, Any]) -> dict[str, Any]:
        """ComfyUI would answer the same prompt from its cache, without saving anything."""
        prefix = f"bare_{self._mark}_{next(self._number)}"
        return {
            node_id: {**node, "inputs": {**node["inputs"], "filename_prefix": prefix}}
            if node["class_type"] == "SaveImage"
            else node
            for node_id, node in workflow.items()
        }

    def _call(self, method: str, path: str, body: bytes | None = None, content_type: str = "") -> bytes:
        self._http.request(method, path, body, {"Content-Type": content_type} if content_type else {})
        with self._http.getresponse() as answer:
            content = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{method} {path}: {answer.status} {content[:200]!r}")
        return content


def _files_of(socket: websocket.WebSocket, prompt_id: str) -> list[dict[str, str]]:
    """What the `executed` events name, until the run is over."""
    files: list[dict[str, str]] = []
    while True:
        message = socket.recv()
        if isinstance(message, bytes):
            continue
        event = json.loads(message)
        data = event["data"]
        if data.get("prompt_id") != prompt_id:
            continue
        if event["type"] == "executed":
            files += (data["output"] or {}).get("images", [])
        if event["type"] == "execution_success":
            return files
        if event["type"] in ("execution_error", "execution_interrupted"):
            raise RuntimeError(f"the prompt failed: {data}")
