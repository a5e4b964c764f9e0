"""Input files by URL, from servers that mean well, ill, or nothing at all."""

from __future__ import annotations

import gzip
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from tcp_server import Connection, Eventually, Request, StartServer, answering, free_port

from comfy_worker.download import Limits, NotFetched, download

#: In the query and in the password of every URL here; no text may repeat it.
TOKEN = "t0ken-of-the-caller"
MOST = 1_000_000
CONTENT = bytes(range(256)) * 100
PATIENT = Limits(connect_s=20.0, read_s=20.0, whole_s=40.0)

Answer = Callable[[Connection, Request], None]


def fetch(url: str, limits: Limits = PATIENT) -> bytes:
    return download(url, most_bytes=MOST, allow_private=True, limits=limits)


def refusal(url: str, limits: Limits = PATIENT, allow_private: bool = True) -> str:
    with pytest.raises(NotFetched) as caught:
        download(url, most_bytes=MOST, allow_private=allow_private, limits=limits)
    assert TOKEN not in str(caught.value)
    return str(caught.value)


def whole(connection: Connection, request: Request) -> None:
    connection.respond(200, CONTENT)


def endless(connection: Connection) -> None:
    """Sends until the client has had enough."""
    while True:
        connection.send(b"10000\r\n", bytes(65536), b"\r\n")


# --- private networks


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "0.0.0.0", "2130706433", "0x7f.1", "127.1", "[::ffff:127.0.0.1]", "[::]"]
)
def test_our_own_machine_is_refused_and_not_even_touched(start_server: StartServer, host: str) -> None:
    server = start_server(answering(whole))
    text = refusal(f"http://{host}:{server.port}/x.png?token={TOKEN}", allow_private=False)
    assert text == f"could not be fetched from {host.strip('[]')}: it leads to a private address"
    assert server.connections == 0


@pytest.mark.parametrize(
    "host",
    [
        "[::1]", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "224.0.0.1",
        "255.255.255.255", "[fe80::1]", "[fd00:ec2::254]", "[ff02::1]", "[::ffff:10.0.0.1]", "[64:ff9b::a9fe:a9fe]",
        "[2002:a9fe:a9fe::1]", "[64:ff9b:1::1]", "[::127.0.0.1]", "[fec0::1]",
    ],
)  # fmt: skip
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_private_addresses_are_refused(host: str, scheme: str) -> None:
    assert "private address" in refusal(f"{scheme}://{host}/latest/meta-data?token={TOKEN}", allow_private=False)


def test_a_closed_port_of_a_private_network_looks_like_an_open_one() -> None:
    assert "private address" in refusal(f"http://127.0.0.1:{free_port()}/?{TOKEN}", allow_private=False)


def test_private_addresses_can_be_allowed(start_server: StartServer) -> None:
    assert fetch(start_server(answering(whole)).url + "/x.png") == CONTENT


def test_ipv6(start_server: StartServer) -> None:
    try:
        server = start_server(answering(whole), "::1")
    except OSError:
        pytest.skip("this machine has no IPv6")
    url = f"http://[::1]:{server.port}/x.png"
    assert "private address" in refusal(url, allow_private=False)
    assert server.connections == 0
    assert fetch(url) == CONTENT


# --- bodies


def test_any_kind_of_body_arrives_whole(start_server: StartServer) -> None:
    def answer(connection: Connection, request: Request) -> None:
        match request.path:
            case "/gzip":
                connection.respond(200, gzip.compress(CONTENT), Content_Encoding="gzip")
            case "/chunked":
                connection.respond(200, Content_Length=None, Transfer_Encoding="chunked")
                for start in range(0, len(CONTENT), 1000):
                    piece = CONTENT[start : start + 1000]
                    connection.send(f"{len(piece):x}\r\n".encode(), piece, b"\r\n")
                connection.send(b"0\r\n\r\n")
            case "/until-closed":
                connection.respond(200, Content_Length=None, Connection="close")
                connection.send(CONTENT)
                connection.close()
            case "/empty":
                connection.respond(200)

    server = start_server(answering(answer))
    assert [fetch(f"{server.url}/{path}") for path in ("gzip", "chunked", "until-closed")] == [CONTENT] * 3
    assert fetch(f"{server.url}/empty") == b""


def test_exactly_the_largest_size_is_taken(start_server: StartServer) -> None:
    server = start_server(answering(lambda connection, request: connection.respond(200, bytes(MOST))))
    assert len(fetch(server.url)) == MOST


@pytest.mark.parametrize("known", [True, False])
def test_too_large(start_server: StartServer, eventually: Eventually, known: bool) -> None:
    hung_up = threading.Event()

    def answer(connection: Connection, request: Request) -> None:
        try:
            if known:
                connection.respond(200, Content_Length=MOST + 1)
                connection.wait_closed()
            else:
                connection.respond(200, Content_Length=None, Transfer_Encoding="chunked")
                endless(connection)
        finally:
            hung_up.set()

    text = refusal(start_server(answering(answer)).url + f"/?{TOKEN}")
    assert text == "is larger than 1 MB, the most that ComfyUI takes per file"
    eventually(hung_up.is_set)


def test_a_compressed_bomb_is_too_large(start_server: StartServer) -> None:
    bomb = gzip.compress(bytes(50 * MOST), compresslevel=1)
    assert len(bomb) < MOST
    server = start_server(answering(lambda connection, _: connection.respond(200, bomb, Content_Encoding="gzip")))
    assert "is larger than" in refusal(server.url)


# --- failures


def _breaks(connection: Connection, request: Request) -> None:
    match request.path.partition("?")[0]:
        case "/early-end":
            connection.respond(200, CONTENT, Content_Length=len(CONTENT) + 1)
            connection.close()
        case "/reset":
            connection.respond(200, CONTENT, Content_Length=2 * len(CONTENT))
            connection.reset()
        case "/broken-chunk":
            connection.respond(200, b"5\r\nab", Content_Length=None, Transfer_Encoding="chunked")
            connection.close()
        case "/broken-gzip":
            connection.respond(200, b"no gzip", Content_Encoding="gzip")
        case "/no-answer":
            connection.close()
        case "/no-http":
            connection.send(b"220 smtp ready\r\n")
            connection.close()
        case "/silent":
            connection.wait_closed()


@pytest.mark.parametrize(
    "path", ["early-end", "reset", "broken-chunk", "broken-gzip", "no-answer", "no-http", "silent"]
)
def test_what_breaks_off_is_not_taken_for_the_file(start_server: StartServer, path: str) -> None:
    server = start_server(answering(_breaks))
    limits = Limits(read_s=0.2) if path == "silent" else PATIENT
    text = refusal(f"http://user:{TOKEN}@{server.host}/{path}?token={TOKEN}", limits)
    assert text.startswith("could not be fetched from 127.0.0.1: ")


@pytest.mark.parametrize("status", [204, 206, 304, 401, 403, 404, 500])
def test_any_other_status_than_200(start_server: StartServer, status: int) -> None:
    server = start_server(answering(lambda connection, _: connection.respond(status, TOKEN.encode())))
    assert refusal(f"{server.url}/?{TOKEN}") == f"could not be fetched: 127.0.0.1 answered {status}"


def test_nothing_listens() -> None:
    text = refusal(f"http://127.0.0.1:{free_port()}/?{TOKEN}")
    assert text == "could not be fetched from 127.0.0.1: ConnectionError"


@pytest.mark.parametrize(
    "url",
    [
        f"http://user:{TOKEN}@[bad/x", f"http://user:{TOKEN}@\u2100.example/x", f"http://{'a' * 70}.invalid/{TOKEN}",
        f"http:///{TOKEN}", f"http://host:99999/{TOKEN}", f"http://host:port/{TOKEN}", f"http://nowhere.invalid/{TOKEN}",
        f"http://*.invalid/{TOKEN}", f"http://\udc80/{TOKEN}", f"http://./{TOKEN}",
    ],
)  # fmt: skip
@pytest.mark.parametrize("allow_private", [True, False])
def test_urls_that_lead_nowhere(url: str, allow_private: bool) -> None:
    refusal(url, allow_private=allow_private)


def test_tls_to_a_server_that_speaks_none(start_server: StartServer) -> None:
    server = start_server(lambda connection, _: connection.send(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
    text = refusal(f"https://{server.host}/?{TOKEN}")
    assert text == "could not be fetched from 127.0.0.1: SSLError"


# --- slow senders


@pytest.mark.parametrize("what", ["header", "body", "body until closed", "redirects", "tls"])
def test_a_slow_sender_is_cut_at_the_limit(start_server: StartServer, released: threading.Event, what: str) -> None:
    def serve(connection: Connection, _: int) -> None:
        if what != "tls":
            connection.request()
        match what:
            case "header":
                connection.send(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            case "body":
                connection.respond(200, Content_Length=MOST)
            case "body until closed":
                connection.respond(200, Content_Length=None, Connection="close")
            case "redirects":
                released.wait(0.2)
                connection.respond(302, Location=f"/again?{TOKEN}", Connection="close")
                return
            case "tls":
                # The header of a handshake record that is never complete.
                connection.send(b"\x16\x03\x03\x40\x00")
        while not released.wait(0.05):
            connection.send(b"\x00")

    scheme = "https" if what == "tls" else "http"
    limits = Limits(read_s=20.0, connect_s=20.0, whole_s=0.5, redirects=1000)
    text = refusal(f"{scheme}://{start_server(serve).host}/?{TOKEN}", limits)
    assert text == "could not be fetched within 0.5 s"


def test_the_download_of_a_cancelled_job_does_not_go_on(start_server: StartServer, released: threading.Event) -> None:
    """It would hold its thread, which the next job needs, for minutes."""
    cancelled = threading.Event()

    def serve(connection: Connection, _: int) -> None:
        connection.request()
        connection.respond(200, Content_Length=MOST)
        cancelled.set()
        while not released.wait(0.05):
            connection.send(b"\x00")

    with pytest.raises(NotFetched, match="the job was cancelled"):
        url = start_server(serve).url
        download(url, most_bytes=MOST, allow_private=True, limits=PATIENT, stopped=cancelled.is_set)


# --- redirects


def _redirecting(connection: Connection, request: Request) -> None:
    """/3 leads to /2, /1, /0."""
    left = int(request.path.strip("/"))
    if left:
        connection.respond(302, Location=f"/{left - 1}")
    else:
        whole(connection, request)


def test_redirects_are_followed_up_to_a_limit(start_server: StartServer) -> None:
    server = start_server(answering(_redirecting))
    assert fetch(f"{server.url}/5") == CONTENT
    assert refusal(f"{server.url}/6") == "could not be fetched from 127.0.0.1: TooManyRedirects"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("target", ["{url}/ok?{token}", "//{host}/ok", "ok", "/ok#fragment"])
def test_any_form_of_redirect(start_server: StartServer, status: int, target: str) -> None:
    def answer(connection: Connection, request: Request) -> None:
        if request.path.startswith("/ok"):
            whole(connection, request)
        else:
            location = target.format(url=server.url, host=server.host, token=TOKEN)
            connection.respond(status, b"moved", Location=location)

    server = start_server(answering(answer))
    assert fetch(f"{server.url}/start?x") == CONTENT


@pytest.mark.parametrize(
    "target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1/", "http://[bad/", "\xff\xfe", ""]
)
def test_redirects_to_anything_else_are_refused(start_server: StartServer, target: str) -> None:
    location = (target or "/").encode("latin-1") + TOKEN.encode()

    def answer(connection: Connection, request: Request) -> None:
        connection.send(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: " + location + b"\r\n\r\n")

    refusal(start_server(answering(answer)).url)


def test_the_body_of_a_redirect_is_not_read(start_server: StartServer) -> None:
    def serve(connection: Connection, _: int) -> None:
        request = connection.request()
        if request is not None and request.path == "/ok":
            whole(connection, request)
        elif request is not None:
            connection.respond(302, Content_Length=None, Transfer_Encoding="chunked", Location="/ok")
            endless(connection)

    assert fetch(start_server(serve).url) == CONTENT


# --- what the operator knows stays here


def test_no_proxy_and_no_credentials_of_the_environment(
    start_server: StartServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Request] = []

    def answer(connection: Connection, request: Request) -> None:
        asked.append(request)
        whole(connection, request)

    proxy = start_server(answering(answer))
    netrc = tmp_path / "netrc"
    netrc.write_text("default login operator password s3cret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, proxy.url)
    server = start_server(answering(answer))
    assert fetch(f"{server.url}/x.png") == CONTENT
    assert proxy.connections == 0
    assert "authorization" not in asked[0].headers


def test_a_url_with_credentials_uses_them_for_its_own_host_only(start_server: StartServer) -> None:
    asked: list[Request] = []

    def other(connection: Connection, request: Request) -> None:
        asked.append(request)
        whole(connection, request)

    second = start_server(answering(other))

    def answer(connection: Connection, request: Request) -> None:
        asked.append(request)
        connection.respond(302, Location=f"http://localhost:{second.port}/")

    first = start_server(answering(answer))
    assert fetch(f"http://user:{TOKEN}@{first.host}/") == CONTENT
    assert "authorization" in asked[0].headers
    assert "authorization" not in asked[1].headers
    assert TOKEN not in str(asked[1].headers)


def test_nothing_is_left_open(start_server: StartServer) -> None:
    hung_up = threading.Semaphore(0)

    def serve(connection: Connection, _: int) -> None:
        connection.request()
        whole(connection, Request("GET", "/", {}, b""))
        connection.wait_closed()
        hung_up.release()

    server = start_server(serve)
    for _ in range(3):
        fetch(server.url)
        assert hung_up.acquire(timeout=20)
    assert threading.active_count() < 20
    assert socket.getdefaulttimeout() is None
