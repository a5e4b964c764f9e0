"""Troubles a test can ask the server for, by name.

The methods may be called from any thread. Those that touch sockets or the server's life wait until it is done.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any, Protocol

POST_PROMPT = "POST /prompt"
GET_VIEW = "GET /view"
UPLOAD_ROUTES = ("POST /upload/image", "POST /upload/mask")


@dataclass(frozen=True)
class RouteFault:
    """What happens to the next `times` requests of a route; None means every one until `heal()`."""

    seconds: float = 0.0
    status: int | None = None
    body: Any = None
    handled: bool = True
    """With a status: whether the request is carried out although the client is told that it failed."""
    late: bool = True
    """With seconds: wait after the work is done (the client may have given up by then), else before it."""
    times: int | None = None


class ServerControl(Protocol):
    """What the faults need of a running server. Called from foreign threads; each waits until done."""

    def close_sockets(self) -> None: ...

    def reset_sockets(self) -> None: ...

    def die(self) -> None: ...

    def restart_empty(self) -> None: ...


class Faults:
    """All faults of one server. They survive `restart_empty()` and end with `heal()`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._control: ServerControl | None = None
        self._routes: dict[str, RouteFault] = {}
        self._refusals: int | None = 0
        self._truncations: int | None = 0
        self._history_shown = threading.Event()
        self._history_shown.set()
        self.deaf = False
        self.history_delay = 0.0

    def control(self, server: ServerControl) -> None:
        self._control = server

    def heal(self) -> None:
        """Everything works again (a dead server stays dead; see `restart_empty`)."""
        with self._lock:
            self._routes.clear()
            self._refusals = self._truncations = 0
        self.deaf, self.history_delay = False, 0.0
        self._history_shown.set()

    # --- sockets

    def drop_sockets(self) -> None:
        """Close every open websocket in an orderly way."""
        self._server.close_sockets()

    def reset_sockets(self) -> None:
        """Cut every open websocket with a TCP reset."""
        self._server.reset_sockets()

    def go_deaf(self) -> None:
        """Sockets stay open, but nothing is sent on them any more, not even the answer to a ping."""
        self.deaf = True

    def hear_again(self) -> None:
        """Sockets get messages again. What was to be sent meanwhile is lost."""
        self.deaf = False

    def refuse_sockets(self, times: int | None = None) -> None:
        """Answer the next `times` requests for a websocket with 503 (None: until `allow_sockets`)."""
        self._refusals = times

    def allow_sockets(self) -> None:
        self._refusals = 0

    # --- history

    def delay_history(self, seconds: float) -> None:
        """Leave that much time between `execution_success` and the history (a real server: up to 0.3 s)."""
        self.history_delay = seconds

    def lose_history(self) -> None:
        """The history knows no prompt until `keep_history`."""
        self._history_shown.clear()

    def keep_history(self) -> None:
        self._history_shown.set()

    # --- routes

    def slow_prompt(self, seconds: float, times: int | None = None, *, late: bool = True) -> None:
        """`POST /prompt` answers late, after it queued the prompt (`late=False`: before it looks at it)."""
        self.slow_route(POST_PROMPT, seconds, times, late=late)

    def fail_prompt(self, status: int = 500, body: Any = "", times: int | None = 1, *, queued: bool = False) -> None:
        """`POST /prompt` answers with that status; `queued=True` queues the prompt all the same."""
        self._set_route(POST_PROMPT, RouteFault(status=status, body=body, handled=queued, times=times))

    def slow_view(self, seconds: float, times: int | None = None) -> None:
        self.slow_route(GET_VIEW, seconds, times)

    def fail_view(self, status: int = 500, times: int | None = 1) -> None:
        self.fail_route(GET_VIEW, status, times)

    def truncate_view(self, times: int | None = 1) -> None:
        """Announce the whole length, send half, hang up."""
        self._truncations = times

    def slow_upload(self, seconds: float, times: int | None = None) -> None:
        for route in UPLOAD_ROUTES:
            self.slow_route(route, seconds, times)

    def fail_upload(self, status: int = 500, times: int | None = 1) -> None:
        for route in UPLOAD_ROUTES:
            self.fail_route(route, status, times)

    def slow_route(self, route: str, seconds: float, times: int | None = None, *, late: bool = True) -> None:
        """Any route by its name in `Journal.requests`, `"GET /history/{prompt_id}"` for example."""
        self._set_route(route, RouteFault(seconds=seconds, late=late, times=times))

    def fail_route(self, route: str, status: int, times: int | None = 1, body: Any = "") -> None:
        self._set_route(route, RouteFault(status=status, body=body, handled=False, times=times))

    # --- the process

    def die(self) -> None:
        """Cut every connection, stop listening, forget what was queued and running."""
        self._server.die()

    def restart_empty(self) -> None:
        """Die if still alive, and come back on the same port with no queue, no history, no cache, no previews."""
        self._server.restart_empty()

    # --- asked by the server

    def take_route_fault(self, route: str) -> RouteFault | None:
        with self._lock:
            fault = self._routes.get(route)
            if fault is not None and fault.times is not None:
                if fault.times <= 1:
                    del self._routes[route]
                else:
                    self._routes[route] = _counted_down(fault)
            return fault

    def take_refusal(self) -> bool:
        with self._lock:
            self._refusals, taken = _take(self._refusals)
            return taken

    def take_truncation(self) -> bool:
        with self._lock:
            self._truncations, taken = _take(self._truncations)
            return taken

    @property
    def history_lost(self) -> bool:
        return not self._history_shown.is_set()

    def _set_route(self, route: str, fault: RouteFault) -> None:
        with self._lock:
            self._routes[route] = fault

    @property
    def _server(self) -> ServerControl:
        if self._control is None:
            raise RuntimeError("These faults belong to no running server")
        return self._control


def _counted_down(fault: RouteFault) -> RouteFault:
    assert fault.times is not None
    return RouteFault(fault.seconds, fault.status, fault.body, fault.handled, fault.late, fault.times - 1)


def _take(left: int | None) -> tuple[int | None, bool]:
    if left is None:
        return None, True
    return max(0, left - 1), left > 0
