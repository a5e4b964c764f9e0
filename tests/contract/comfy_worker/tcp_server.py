"""Scripted servers on loopback: each connection is handed to a function that says byte by byte what happens on it."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from typing import Any

#: Longer than anything takes; a test that waits this long has failed.
PATIENCE_S = 20.0

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10

Serve = Callable[["Connection", int], None]


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Connection:
    def __init__(self, opened: socket.socket) -> None:
        self.socket = opened
        self.closed = False
        self._reader = opened.makefile("rb")

    def send(self, *parts: bytes) -> None:
        self.socket.sendall(b"".join(parts))

    def close(self) -> None:
        self.closed = True
        # close() alone sends no FIN while the reader is open.
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self._reader.close()
        self.socket.close()

    def reset(self) -> None:
        """RST instead of FIN."""
        self.closed = True
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._reader.close()
        self.socket.close()

    def wait_closed(self) -> None:
        """Until the other side hangs up."""
        with suppress(OSError):
            while self._reader.read(65536):
                pass

    # --- HTTP

    def request(self) -> Request | None:
        """The next request; None when the client hung up instead."""
        line = self._reader.readline()
        if not line:
            return None
        method, path, _ = line.decode("latin-1").split(" ", 2)
        headers = {}
        while (line := self._reader.readline().strip()) != b"":
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        if headers.get("expect") == "100-continue":
            # botocore waits a second for it.
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        return Request(method, path, headers, self._reader.read(int(headers.get("content-length", 0))))

    def respond(self, status: int = 200, body: bytes | Mapping[str, Any] = b"", **headers: Any) -> None:
        """A whole answer. A mapping goes out as JSON; `Content_Length=9` and the like replace or add headers."""
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
            headers.setdefault("Content_Type", "application/json")
        headers.setdefault("Content_Length", len(body))
        lines = [f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items() if value is not None]
        self.send(f"HTTP/1.1 {status} Scripted\r\n{''.join(lines)}\r\n".encode(), body)

    # --- websocket

    def accept_websocket(self) -> Request:
        request = self.request()
        assert request is not None
        key = request.headers["sec-websocket-key"].encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(key).digest()).decode()
        self.respond(101, Content_Length=None, Upgrade="websocket", Connection="Upgrade", Sec_WebSocket_Accept=accept)
        return request

    def message(self, kind: str, data: Any) -> None:
        self.send(frame(TEXT, json.dumps({"type": kind, "data": data}).encode()))

    def read_frame(self) -> tuple[int, bytes]:
        """-> (opcode, payload) of one masked frame of a client."""
        first, length = self._reader.read(2)
        length &= 0x7F
        if length == 126:
            (length,) = struct.unpack(">H", self._reader.read(2))
        mask, payload = self._reader.read(4), self._reader.read(length)
        return first & 0x0F, bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))


def frame(opcode: int, payload: bytes, final: bool = True) -> bytes:
    if len(payload) < 126:
        length = bytes([len(payload)])
    elif len(payload) < 65536:
        length = b"\x7e" + struct.pack(">H", len(payload))
    else:
        length = b"\x7f" + struct.pack(">Q", len(payload))
    return bytes([opcode | (0x80 if final else 0)]) + length + payload


class TcpServer:
    """Calls `serve(connection, number of the connection from 0)` in a thread for each connection."""

    def __init__(self, serve: Serve, address: str = "127.0.0.1", port: int = 0) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._serve = serve
        self._listening = socket.create_server((address, port), family=family)
        self.port: int = self._listening.getsockname()[1]
        self.host = f"{address}:{self.port}"
        self.url = f"http://{self.host}"
        self.connections = 0
        self._open: list[Connection] = []
        self._failures: list[BaseException] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        """Hang up everywhere. Raises what a script raised."""
        # shutdown() wakes accept(), which close() does not.
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._threads[0].join(PATIENCE_S)
        for connection in self._open:
            with suppress(OSError):
                connection.socket.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive(), "a script of this server does not end when its connection does"
        if self._failures:
            raise self._failures[0]

    def _accept(self) -> None:
        for number in count():
            try:
                opened, _ = self._listening.accept()
            except OSError:
                return
            self.connections += 1
            connection = Connection(opened)
            self._open.append(connection)
            thread = threading.Thread(target=self._run, args=(connection, number), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _run(self, connection: Connection, number: int) -> None:
        try:
            self._serve(connection, number)
        except OSError:
            # The client hung up, which the tests of clients that do so expect.
            pass
        except BaseException as error:  # noqa: BLE001
            self._failures.append(error)
        finally:
            connection.close()


#: What the fixtures of these names give.
StartServer = Callable[..., TcpServer]
Eventually = Callable[[Callable[[], object]], None]


@contextmanager
def serving(serve: Serve, address: str = "127.0.0.1", port: int = 0) -> Iterator[TcpServer]:
    server = TcpServer(serve, address, port)
    try:
        yield server
    finally:
        server.close()


def answering(answer: Callable[[Connection, Request], None]) -> Serve:
    """One `answer(connection, request)` for every request, on kept-alive connections."""

    def serve(connection: Connection, _: int) -> None:
        while not connection.closed and (request := connection.request()) is not None:
            answer(connection, request)

    return serve


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        return int(bound.getsockname()[1])
