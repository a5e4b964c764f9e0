"""The reconnecting websocket, against scripted sockets for byte-level faults and the embedded ComfyUI for the rest."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tcp_server import (
    BINARY,
    CLOSE,
    PATIENCE_S,
    PING,
    PONG,
    TEXT,
    Connection,
    Eventually,
    StartServer,
    frame,
    free_port,
)

from comfy_worker.comfyui.events import CLIENT_FEATURES, Executing, Picture, Started, Status, Unknown
from comfy_worker.comfyui.listener import Dropped, Heard, Listener, Reconnected, Silent
from comfy_worker.errors import ComfyUIUnavailable
from local_comfyui import LocalComfyUI

STARTED = frame(TEXT, json.dumps({"type": "execution_start", "data": {"prompt_id": "p"}}).encode())
#: The first byte of FIN without a close frame, RST, a close frame: all the ways in which a socket ends.
ENDS: dict[str, Callable[[Connection], None]] = {
    "close frame": lambda connection: connection.send(frame(CLOSE, b"\x03\xe8")),
    "close frame without code": lambda connection: connection.send(frame(CLOSE, b"")),
    "FIN": lambda connection: connection.close(),
    "RST": lambda connection: connection.reset(),
    "FIN within a frame": lambda connection: connection.send(STARTED[:7]),
    "no websocket frame": lambda connection: connection.send(b"\xff\xff\xff\xff"),
}


class Time:
    """A clock that only waiting moves."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.waits: list[float] = []

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def make_listener(time: Time) -> Iterator[Callable[..., Listener]]:
    listeners: list[Listener] = []

    def make(host: str, attempts: int = 3, delay_s: float = 3.0) -> Listener:
        listeners.append(Listener(host, "client-1", attempts, delay_s, time.wait, time))
        return listeners[-1]

    yield make
    for listener in listeners:
        listener.close()


MakeListener = Callable[..., Listener]


def hear(listener: Listener) -> Heard:
    """What comes next, silence aside."""
    for _ in range(200):
        heard = listener.receive(PATIENCE_S / 200)
        if not isinstance(heard, Silent):
            return heard
    raise AssertionError("nothing was heard")


def open_listener(start_server: StartServer, make_listener: MakeListener, *scripts: Callable[[Connection], Any]) -> Any:
    """An open listener whose connections go by the scripts, one each, and then stay open."""

    def serve(connection: Connection, number: int) -> None:
        connection.accept_websocket()
        connection.read_frame()
        if number < len(scripts):
            scripts[number](connection)
        else:
            connection.wait_closed()

    listener = make_listener(start_server(serve).host)
    listener.open()
    return listener


# --- receiving


def test_it_says_who_it_is_and_what_it_understands(start_server: StartServer, make_listener: MakeListener) -> None:
    said: list[Any] = []

    def serve(connection: Connection, _: int) -> None:
        said.append(connection.accept_websocket().path)
        said.append(connection.read_frame())
        connection.send(STARTED)
        connection.wait_closed()

    listener = make_listener(start_server(serve).host)
    listener.open()
    assert hear(listener) == Started("p")
    assert said[0] == "/ws?clientId=client-1"
    assert (said[1][0], json.loads(said[1][1])) == (TEXT, CLIENT_FEATURES)


def test_frames_become_events(start_server: StartServer, make_listener: MakeListener) -> None:
    def script(connection: Connection) -> None:
        connection.message("executing", {"node": "3", "prompt_id": "p"})
        connection.send(frame(BINARY, b"\0\0\0\x01\0\0\0\x02PNG"), frame(TEXT, b"no json"), frame(TEXT, b"\xff\xfe"))
        # One message in three frames, with a ping in between.
        connection.send(frame(TEXT, b'{"type": "exec', final=False), frame(PING, b""))
        connection.send(frame(0, b'ution_start", "data": {"promp', final=False), frame(0, b't_id": "p"}}'))
        connection.wait_closed()

    listener = open_listener(start_server, make_listener, script)
    assert hear(listener) == Executing("p", "3")
    assert hear(listener) == Picture("image/png", b"PNG")
    assert isinstance(hear(listener), Unknown)
    assert isinstance(hear(listener), Unknown)
    assert hear(listener) == Started("p")


def test_a_big_picture_arrives_whole(start_server: StartServer, make_listener: MakeListener) -> None:
    content = bytes(range(256)) * 65536

    def script(connection: Connection) -> None:
        connection.send(frame(BINARY, b"\0\0\0\x01\0\0\0\x02" + content))
        connection.wait_closed()

    listener = open_listener(start_server, make_listener, script)
    picture = hear(listener)
    assert isinstance(picture, Picture)
    assert picture.content == content


@pytest.mark.parametrize("cut", [1, 2, 5, len(STARTED) - 1])
def test_a_frame_that_comes_in_pieces_is_not_lost_to_a_timeout(
    start_server: StartServer, make_listener: MakeListener, released: threading.Event, cut: int
) -> None:
    def script(connection: Connection) -> None:
        connection.send(STARTED[:cut])
        released.wait(PATIENCE_S)
        connection.send(STARTED[cut:], STARTED)
        connection.wait_closed()

    listener = open_listener(start_server, make_listener, script)
    assert [listener.receive(0.02) for _ in range(3)] == [Silent()] * 3
    released.set()
    assert hear(listener) == Started("p")
    assert hear(listener) == Started("p")


def test_silence_is_no_drop(start_server: StartServer, make_listener: MakeListener) -> None:
    listener = open_listener(start_server, make_listener)
    assert [listener.receive(0.01) for _ in range(5)] == [Silent()] * 5
    assert listener.receive(0.0) == Silent()
    assert repr(listener) == "<Listener client-1 open>"


def test_pings_are_answered(start_server: StartServer, make_listener: MakeListener) -> None:
    answers: list[Any] = []

    def script(connection: Connection) -> None:
        connection.send(frame(PING, b"are you there"))
        answers.append(connection.read_frame())
        connection.send(STARTED)
        connection.wait_closed()

    listener = open_listener(start_server, make_listener, script)
    assert hear(listener) == Started("p")
    assert answers == [(PONG, b"are you there")]


def test_pings_without_end_do_not_hold_the_caller(
    start_server: StartServer, make_listener: MakeListener, released: threading.Event
) -> None:
    def script(connection: Connection) -> None:
        while not released.wait(0.01):
            connection.send(frame(PING, b""))

    listener = open_listener(start_server, make_listener, script)
    assert listener.receive(5.0) == Silent()
    released.set()


# --- dropping


@pytest.mark.parametrize("end", [pytest.param(end, id=name) for name, end in ENDS.items()])
def test_trap_02_every_end_of_a_socket_is_a_drop_and_is_followed_by_a_new_one(
    start_server: StartServer, make_listener: MakeListener, time: Time, end: Callable[[Connection], None]
) -> None:
    def second(connection: Connection) -> None:
        connection.send(STARTED)
        connection.wait_closed()

    listener = open_listener(start_server, make_listener, end, second)
    assert isinstance(hear(listener), Dropped)
    assert repr(listener) == "<Listener client-1 closed, 0 of 3 tries>"
    assert hear(listener) == Reconnected(1)
    assert time.waits == []
    assert hear(listener) == Started("p")


def test_events_sent_before_a_drop_are_still_heard(start_server: StartServer, make_listener: MakeListener) -> None:
    def script(connection: Connection) -> None:
        connection.send(STARTED, STARTED, frame(CLOSE, b"\x03\xe8"))

    listener = open_listener(start_server, make_listener, script)
    assert [type(hear(listener)) for _ in range(4)] == [Started, Started, Dropped, Reconnected]


def test_it_is_tried_again_at_once_then_after_each_delay_and_given_up(
    start_server: StartServer, make_listener: MakeListener, time: Time
) -> None:
    tries: list[float] = []

    def serve(connection: Connection, number: int) -> None:
        if number == 0:
            connection.accept_websocket()
            connection.read_frame()
        else:
            tries.append(time.now - 1000.0)
            connection.request()
            connection.respond(503, b"<html>starting</html>")

    server = start_server(serve)
    listener = make_listener(server.host, attempts=3, delay_s=3.0)
    listener.open()
    assert isinstance(hear(listener), Dropped)
    assert not listener.given_up
    while not listener.given_up:
        assert listener.receive(0.5) == Silent()
    assert tries == [0.0, 3.0, 6.0]
    assert set(time.waits) == {0.5}
    assert repr(listener) == "<Listener client-1 closed, 3 of 3 tries>"
    # From now on it only lets time pass.
    time.waits.clear()
    assert [listener.receive(0.5) for _ in range(4)] == [Silent()] * 4
    assert time.waits == [0.5] * 4
    assert server.connections == 4


def test_a_refused_connection_is_a_failed_try(start_server: StartServer, make_listener: MakeListener) -> None:
    server = start_server(lambda connection, _: connection.accept_websocket() and connection.read_frame())
    listener = make_listener(server.host, attempts=5, delay_s=1.0)
    listener.open()
    assert isinstance(hear(listener), Dropped)
    server.close()
    for _ in range(4):
        assert listener.receive(0.5) == Silent()

    def serve(connection: Connection, _: int) -> None:
        connection.accept_websocket()
        connection.wait_closed()

    start_server(serve, port=server.port)
    heard = hear(listener)
    assert isinstance(heard, Reconnected)
    assert heard.attempt > 1
    assert not listener.given_up


def test_without_attempts_it_stays_closed(start_server: StartServer, make_listener: MakeListener) -> None:
    server = start_server(lambda connection, _: connection.accept_websocket() and connection.read_frame())
    listener = make_listener(server.host, attempts=0)
    listener.open()
    assert isinstance(hear(listener), Dropped)
    assert listener.given_up
    assert listener.receive(0.5) == Silent()
    assert server.connections == 1


@pytest.mark.parametrize("delay_s", [0.0, 3.0])
def test_a_server_that_takes_sockets_and_drops_them_is_not_asked_without_end(
    start_server: StartServer, make_listener: MakeListener, time: Time, delay_s: float
) -> None:
    server = start_server(lambda connection, _: connection.accept_websocket() and connection.read_frame())
    listener = make_listener(server.host, attempts=3, delay_s=delay_s)
    listener.open()
    heard = []
    while not listener.given_up:
        heard.append(listener.receive(PATIENCE_S))
        assert len(heard) < 50
    assert [event for event in heard if isinstance(event, Reconnected)] == [Reconnected(n) for n in (1, 2, 3)]
    assert server.connections == 4
    assert time.waits == ([] if delay_s == 0.0 else [3.0, 3.0])


def test_after_a_connection_that_held_the_tries_are_counted_anew(
    start_server: StartServer, make_listener: MakeListener, time: Time, released: threading.Event
) -> None:
    listener = open_listener(
        start_server, make_listener, lambda _: None, lambda _: released.wait(PATIENCE_S), lambda c: c.wait_closed()
    )
    assert isinstance(hear(listener), Dropped)
    assert hear(listener) == Reconnected(1)
    time.now += 60.0
    released.set()
    assert isinstance(hear(listener), Dropped)
    assert hear(listener) == Reconnected(1)
    assert time.waits == []


# --- opening


REFUSALS: dict[str, Callable[[Connection], None]] = {
    "status": lambda connection: connection.respond(403, b"<html>token=s3cret</html>", Set_Cookie="s3cret"),
    "no upgrade": lambda connection: connection.respond(200, b"hello"),
    "wrong key": lambda connection: connection.respond(
        101, Content_Length=None, Upgrade="websocket", Connection="Upgrade", Sec_WebSocket_Accept="s3cret"
    ),
    "garbage": lambda connection: connection.send(b"\r\n\x00garbage\r\n\r\n"),
    "garbage status": lambda connection: connection.send(b"HTTP/1.1 abc\r\n\r\n"),
    "half a header": lambda connection: connection.send(b"HTTP/1.1 101 Switching"),
    "nothing": lambda connection: None,
    "RST": lambda connection: connection.reset(),
}


@pytest.mark.parametrize("refuse", [pytest.param(refuse, id=name) for name, refuse in REFUSALS.items()])
def test_a_socket_that_cannot_be_opened_is_comfyui_unavailable(
    start_server: StartServer, make_listener: MakeListener, refuse: Callable[[Connection], None]
) -> None:
    def serve(connection: Connection, _: int) -> None:
        connection.request()
        refuse(connection)

    listener = make_listener(start_server(serve).host)
    with pytest.raises(ComfyUIUnavailable) as caught:
        listener.open()
    (detail,) = caught.value.details
    assert detail.startswith("websocket: ")
    assert "s3cret" not in detail
    assert "\n" not in detail


def test_nothing_listens(make_listener: MakeListener) -> None:
    port = free_port()
    with pytest.raises(ComfyUIUnavailable, match=rf"^ComfyUI server \(127.0.0.1:{port}\) not reachable") as caught:
        make_listener(f"127.0.0.1:{port}").open()
    assert "ConnectionRefusedError" in caught.value.details[0]


def test_a_proxy_of_the_environment_is_not_asked(
    start_server: StartServer, make_listener: MakeListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = start_server(lambda connection, _: None)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "https_proxy"):
        monkeypatch.setenv(name, proxy.url)
    open_listener(start_server, make_listener)
    assert proxy.connections == 0


# --- against the embedded ComfyUI


def test_trap_02_a_reset_by_comfyui(comfyui: LocalComfyUI, make_listener: MakeListener) -> None:
    listener = make_listener(comfyui.host)
    listener.open()
    assert hear(listener) == Status(0)
    comfyui.faults.reset_sockets()
    while not isinstance(heard := hear(listener), Dropped):
        assert isinstance(heard, Unknown)
    assert hear(listener) == Reconnected(1)
    assert hear(listener) == Status(0)


def test_comfyui_closes_refuses_and_takes_sockets_again(
    comfyui: LocalComfyUI, make_listener: MakeListener, time: Time
) -> None:
    listener = make_listener(comfyui.host, attempts=5)
    listener.open()
    comfyui.faults.refuse_sockets(2)
    comfyui.faults.drop_sockets()
    while not isinstance(hear(listener), Dropped):
        pass
    assert hear(listener) == Reconnected(3)
    assert sum(time.waits) == pytest.approx(6.0)


def test_a_deaf_socket_is_silent(comfyui: LocalComfyUI, make_listener: MakeListener) -> None:
    comfyui.faults.go_deaf()
    listener = make_listener(comfyui.host)
    listener.open()
    assert [listener.receive(0.02) for _ in range(3)] == [Silent()] * 3
    assert not listener.given_up


def test_close_hangs_up(comfyui: LocalComfyUI, make_listener: MakeListener, eventually: Eventually) -> None:
    listener = make_listener(comfyui.host)
    listener.open()
    eventually(lambda: comfyui.sockets == 1)
    listener.close()
    listener.close()
    eventually(lambda: comfyui.sockets == 0)
