"""The websocket to ComfyUI, reopened when it drops. The one door to `websocket`.

Policy and schedule: everything in LOST counts as a drop, a TCP reset included. The first try to reopen comes at once,
further ones every `delay_s`, `attempts` in all; after that the listener stays closed and only reports silence, so that
the caller goes on by looking at the history. A connection that drops again within `delay_s` counts as a failed try. A
reopened socket keeps the client id, since ComfyUI sends a prompt's events to that id only; it may be deaf for ever
(recording two_sockets_same_client_id), which shows as silence too.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import websocket

from comfy_worker.comfyui import events
from comfy_worker.errors import ComfyUIUnavailable
from comfy_worker.timing import Clock

CONNECT_S = 5.0
#: A connection that holds shorter than this was none, however short `delay_s` is.
STEADY_S = 1.0
LOST = (websocket.WebSocketException, OSError, ValueError)

#: websocket-client logs each drop at ERROR by itself; here a drop is expected and reported once, by us.
logging.getLogger("websocket").setLevel(logging.CRITICAL)


@dataclass(frozen=True)
class Silent:
    """No event came; the time given is over, or something came that is none."""


@dataclass(frozen=True)
class Dropped:
    """The socket is gone; events may be missed from now on."""

    reason: str


@dataclass(frozen=True)
class Reconnected:
    """The socket is open again, on this try."""

    attempt: int


Heard = events.Event | Silent | Dropped | Reconnected


class Listener:
    """One socket of one client id. `wait(seconds)` sleeps and may return early."""

    def __init__(
        self,
        host: str,
        client_id: str,
        attempts: int,
        delay_s: float,
        wait: Callable[[float], object] = time.sleep,
        clock: Clock = time.monotonic,
    ) -> None:
        self.client_id = client_id
        self._host = host
        self._attempts = attempts
        self._delay_s = delay_s
        self._wait = wait
        self._clock = clock
        self._socket: websocket.WebSocket | None = None
        self._attempt = 0
        self._next_try = 0.0
        self._opened_at = clock()

    def __repr__(self) -> str:
        state = "open" if self._socket else f"closed, {self._attempt} of {self._attempts} tries"
        return f"<Listener {self.client_id} {state}>"

    @property
    def given_up(self) -> bool:
        """The socket is closed and no try is left."""
        return self._socket is None and self._attempt >= self._attempts

    def open(self) -> None:
        """First connection. Raises ComfyUIUnavailable."""
        try:
            self._connect()
        except LOST as error:
            raise ComfyUIUnavailable(self._host, [f"websocket: {_cause(error)}"]) from error

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close(timeout=0)
            # close() returns early, and keeps the descriptor, when the other side closed first.
            self._socket.shutdown()  # type: ignore[no-untyped-call]
            self._socket = None

    def receive(self, timeout_s: float) -> Heard:
        """What comes next, within `timeout_s` seconds. Does not raise."""
        if self._socket is None:
            return self._reopen(timeout_s)
        try:
            self._socket.settimeout(max(timeout_s, 0.001))
            # With control frames: it would go on waiting after each ping, however many come.
            opcode, data = self._socket.recv_data(control_frame=True)
        except websocket.WebSocketTimeoutException:
            return Silent()
        except LOST as error:
            return self._drop(_cause(error))
        if opcode in (websocket.ABNF.OPCODE_PING, websocket.ABNF.OPCODE_PONG):
            return Silent()
        if opcode == websocket.ABNF.OPCODE_TEXT:
            return events.parse_text(data)
        if opcode == websocket.ABNF.OPCODE_BINARY:
            return events.parse_binary(data)
        return self._drop("ComfyUI closed the socket")

    def _drop(self, reason: str) -> Dropped:
        self.close()
        now = self._clock()
        if now - self._opened_at >= max(self._delay_s, STEADY_S):
            self._attempt, self._next_try = 0, now
        return Dropped(reason)

    def _reopen(self, timeout_s: float) -> Heard:
        pause = timeout_s if self.given_up else min(timeout_s, self._next_try - self._clock())
        if pause > 0:
            self._wait(pause)
        if self.given_up or self._clock() < self._next_try:
            return Silent()
        self._attempt += 1
        self._next_try = self._clock() + self._delay_s
        try:
            self._connect()
        except LOST:
            return Silent()
        return Reconnected(self._attempt)

    def _connect(self) -> None:
        url = f"ws://{self._host}/ws?clientId={self.client_id}"
        opened = websocket.create_connection(
            url,
            timeout=CONNECT_S,
            skip_utf8_validation=True,
            # The environment's proxy is for the internet; "no proxy" is read only beside the name of one.
            http_proxy_host="none",
            http_no_proxy=["*"],
        )
        try:
            opened.send(json.dumps(events.CLIENT_FEATURES))
        except LOST:
            opened.close(timeout=0)
            raise
        self._socket, self._opened_at = opened, self._clock()


def _cause(error: BaseException) -> str:
    """One line; a refused handshake carries headers and body behind its status."""
    return f"{type(error).__name__}: {str(error).partition(' -+-+- ')[0]}"
