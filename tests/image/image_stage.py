"""The compose file's services as containers on this machine."""

from __future__ import annotations

import json
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from container import Container, Image

ROOT = Path(__file__).parents[2]
START_S = 60


class Endpoint:
    """local_runpod in a container of the image, as the compose file starts it."""

    def __init__(self, container: Container, port: int) -> None:
        self.container = container
        self.url = f"http://127.0.0.1:{port}"

    def call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(
            f"{self.url}/v2/local{path}", data, {"Content-Type": "application/json"}, method=method
        )
        with urllib.request.urlopen(request, timeout=100) as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    def wait_for(self, path: str, satisfied: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            try:
                if satisfied(found := self.call("GET", path)):
                    return found
            except (urllib.error.URLError, ConnectionError):
                pass
            time.sleep(0.1)
        raise AssertionError(f"{path} did not get there within {START_S} s\n{self.container.text()[-2000:]}")


class Stage:
    """Starts containers as the compose file says, with ports and addresses of this machine instead of its network."""

    def __init__(self, image: Image, compose: dict[str, Any], folder: Path) -> None:
        self.image = image
        self._compose = compose
        self._folder = folder
        self._running: list[Container] = []

    def endpoint(self, **environment: str) -> Endpoint:
        port = free_port()
        service = self._compose["services"]["endpoint"]
        command = [*self.image.config["Entrypoint"], *service["command"], "--port", str(port)]
        command[command.index("0.0.0.0")] = "127.0.0.1"
        container = self._start("endpoint", {**service["environment"], **environment}, command)
        endpoint = Endpoint(container, port)
        endpoint.wait_for("/health", lambda health: True)
        return endpoint

    def worker(
        self, endpoint: Endpoint, name: str = "worker-one", service: str = "worker", minio: str = "", **environment: str
    ) -> Container:
        settings = {
            key: value.replace("$$", "$")
            .replace("http://endpoint:8000", endpoint.url)
            .replace("http://minio:9000", minio)
            for key, value in self._compose["services"][service]["environment"].items()
        }
        return self._start(name, {**settings, **environment})

    def bare_worker(self, environment: dict[str, str], command: list[str]) -> Container:
        return self._start("bare", environment, command)

    def stop(self) -> None:
        for container in reversed(self._running):
            container.stop()

    def _start(self, name: str, environment: dict[str, str], command: list[str] | None = None) -> Container:
        settings = {"COMFY_HOST": f"127.0.0.1:{free_port()}", **environment}
        log = self._folder / f"{name}.log"
        container = Container(self.image, name, settings, log, command, self._folder / "volume")
        self._running.append(container)
        return container


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
