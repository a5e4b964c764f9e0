"""Input files by URL. Private networks are refused, so that a request cannot read the machine's surroundings
(cloud metadata, ComfyUI itself): of every host, redirects included, all addresses are checked before anything is
connected to, and then the one that was connected to, since DNS may have changed its mind in between.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from comfy_worker.timing import Deadline

CHUNK = 1024 * 1024
#: These carry an IPv4 address in their last 32 bits: NAT64, and the "compatible" form of old.
_CARRIERS = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("::/96"))
#: Not all versions of Python know these as private: NAT64 of a network's own, and site-local addresses.
_LOCAL = (ipaddress.IPv6Network("64:ff9b:1::/48"), ipaddress.IPv6Network("fec0::/10"))
#: How long a cancelled job's download may go on.
STOP_LOOK_S = 0.5


@dataclass(frozen=True)
class Limits:
    connect_s: float = 10.0
    #: Between two pieces of an answer.
    read_s: float = 30.0
    #: For the whole file, redirects included, so that a slow sender cannot hold a worker.
    whole_s: float = 300.0
    redirects: int = 5


LIMITS = Limits()


class NotFetched(ValueError):
    """The text says why and does not repeat the URL, which may carry a key."""


class PrivateAddress(Exception):
    """The URL leads into a private network."""


def download(
    url: str,
    *,
    most_bytes: int,
    allow_private: bool = False,
    limits: Limits = LIMITS,
    stopped: Callable[[], bool] = lambda: False,
) -> bytes:
    """The body behind an http(s) URL. Raises NotFetched, also soon after `stopped` turns true."""
    try:
        host = urlsplit(url).hostname or "?"
    except ValueError:
        raise NotFetched("is not a valid URL") from None
    guard = _Guard(limits.whole_s, allow_private, stopped)
    with guard, _session(guard) as session:
        try:
            body = _fetch(session, url, most_bytes, limits)
        except NotFetched:
            raise
        except PrivateAddress as error:
            raise NotFetched(f"could not be fetched from {host}: it leads to a private address") from error
        except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError) as error:
            guard.check_time()
            raise NotFetched(f"could not be fetched from {host}: {type(error).__name__}") from error
        # A body without a length ends where the connection does.
        guard.check_time()
        return body


def _fetch(session: _Session, url: str, most_bytes: int, limits: Limits) -> bytes:
    for _ in range(limits.redirects + 1):
        with session.get(url, stream=True, timeout=(limits.connect_s, limits.read_s)) as answer:
            if answer.is_redirect:
                url = urljoin(answer.url, session.redirect_target(answer))
            elif answer.status_code == 200:
                return _read(answer, most_bytes)
            else:
                host = urlsplit(answer.url).hostname
                raise NotFetched(f"could not be fetched: {host} answered {answer.status_code}")
    raise requests.TooManyRedirects


def _read(answer: requests.Response, most_bytes: int) -> bytes:
    length = answer.headers.get("Content-Length", "")
    body = bytearray()
    too_large = length.isdecimal() and int(length) > most_bytes
    if not too_large:
        for chunk in answer.iter_content(CHUNK):
            body += chunk
            if too_large := len(body) > most_bytes:
                break
    if too_large:
        raise NotFetched(f"is larger than {most_bytes / 1e6:.0f} MB, the most that ComfyUI takes per file")
    return bytes(body)


class _Session(requests.Session):
    """Leaves redirects to us: requests reads the body of each one whole, however large it is."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        return None

    def redirect_target(self, answer: requests.Response) -> str:
        return super().get_redirect_target(answer) or ""


def _session(guard: _Guard) -> _Session:
    session = _Session()
    # No proxy and no .netrc: a caller's URL must not receive the operator's credentials.
    session.trust_env = False
    for scheme in ("http://", "https://"):
        session.mount(scheme, _GuardedAdapter(guard))
    return session


class _Guard:
    """Opens the sockets of one download: only to public addresses, and cut when the time is up, because a timeout of
    a socket starts anew with every byte."""

    def __init__(self, seconds: float, allow_private: bool, stopped: Callable[[], bool]) -> None:
        self._seconds = seconds
        self._stopped = stopped
        self._allow_private = allow_private
        self._opened: list[socket.socket] = []
        self._expired = False
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._watch = threading.Thread(target=self._run, name="download-watch", daemon=True)

    def __enter__(self) -> None:
        self._watch.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        with self._lock:
            while self._opened:
                self._opened.pop().close()

    def check_time(self) -> None:
        if self._stopped():
            raise NotFetched("is not fetched: the job was cancelled")
        if self._expired:
            raise NotFetched(f"could not be fetched within {self._seconds:g} s")

    def open(self, connect: Callable[[], socket.socket], host: str, port: int | None) -> socket.socket:
        """`connect()`, which connects to `host`. Raises PrivateAddress, NotFetched."""
        if not self._allow_private:
            for *_, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
                _refuse_private(str(address[0]))
        opened = connect()
        try:
            if not self._allow_private:
                _refuse_private(opened.getpeername()[0])
            with self._lock:
                self.check_time()
                # Of its own, since TLS takes the socket over.
                self._opened.append(opened.dup())
        except BaseException:
            opened.close()
            raise
        return opened

    def _run(self) -> None:
        deadline = Deadline(self._seconds)
        while not self._done.wait(deadline.left(STOP_LOOK_S)):
            if deadline.expired or self._stopped():
                self._expire()
                return

    def _expire(self) -> None:
        with self._lock:
            self._expired = True
            for opened in self._opened:
                with suppress(OSError):
                    opened.shutdown(socket.SHUT_RDWR)


def _refuse_private(text: str) -> None:
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        if any(address in network for network in _LOCAL):
            raise PrivateAddress
        carried = any(address in network for network in _CARRIERS)
        translated = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF) if carried else None
        address = address.ipv4_mapped or address.sixtofour or translated or address
    if not address.is_global or address.is_multicast:
        raise PrivateAddress


class _GuardedAdapter(HTTPAdapter):
    def __init__(self, guard: _Guard) -> None:
        self._guard = guard
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        guard = self._guard

        class Connection(HTTPConnection):
            def _new_conn(self) -> socket.socket:
                return guard.open(super()._new_conn, self._dns_host, self.port)

        class SecureConnection(HTTPSConnection):
            def _new_conn(self) -> socket.socket:
                return guard.open(super()._new_conn, self._dns_host, self.port)

        class Pool(HTTPConnectionPool):
            ConnectionCls = Connection

        class SecurePool(HTTPSConnectionPool):
            ConnectionCls = SecureConnection

        self.poolmanager.pool_classes_by_scheme = {"http": Pool, "https": SecurePool}
