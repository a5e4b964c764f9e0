"""The worker's I/O modules over real sockets and processes. Byte-level faults come from `tcp_server`, ComfyUI's own
behaviour from `local_comfyui`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from tcp_server import PATIENCE_S, Eventually, Serve, StartServer, TcpServer, serving

from local_comfyui import LocalComfyUI


@pytest.fixture
def start_server() -> Iterator[StartServer]:
    """`start_server(script)` -> TcpServer, closed at the end."""
    with ExitStack() as stack:

        def start(serve: Serve, address: str = "127.0.0.1", port: int = 0) -> TcpServer:
            return stack.enter_context(serving(serve, address, port))

        yield start


@pytest.fixture
def comfyui() -> Iterator[LocalComfyUI]:
    with LocalComfyUI(test_nodes=True) as server:
        yield server


@pytest.fixture
def released() -> Iterator[threading.Event]:
    """Set by the test, or at its end, so that no script waits for ever."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def eventually() -> Eventually:
    """Waits until the condition holds, generously."""

    def wait(condition: Callable[[], object]) -> None:
        end = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < end, "this did not come true"
            time.sleep(0.01)

    return wait
