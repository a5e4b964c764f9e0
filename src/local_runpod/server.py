"""The endpoint as a process: uvicorn, logging and the end of it all."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

import uvicorn

from .app import create_app
from .live import LiveEndpoint
from .settings import Settings

_SHUTDOWN_S = 2
_SWITCH_S = 0.0005
# Longer than any client keeps an idle connection (aiohttp: 15 s). With uvicorn's 5 s a worker posted its result on a
# connection that had just been closed, and when several were stale, three tries were not enough: the result was lost.
_KEEP_ALIVE_S = 120


class Server(uvicorn.Server):
    """uvicorn, but a request to stop first answers all long polls, so that stopping takes no five seconds."""

    def __init__(self, config: uvicorn.Config, on_exit: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_exit = on_exit
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        self.release_polls()

    def release_polls(self) -> None:
        """May be called from a signal handler or another thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._on_exit)


def build_server(settings: Settings) -> Server:
    live = LiveEndpoint(settings)
    config = uvicorn.Config(
        create_app(live),
        log_config=None,
        access_log=settings.log_level == "DEBUG",
        timeout_graceful_shutdown=_SHUTDOWN_S,
        timeout_keep_alive=_KEEP_ALIVE_S,
        lifespan="on",
    )
    return Server(config, on_exit=live.close)


def configure_logging(level: str) -> None:
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S")
    if level != "DEBUG":
        logging.getLogger("uvicorn").setLevel(logging.WARNING)
    logging.getLogger("asyncio").setLevel(logging.WARNING)


def run(settings: Settings, listener: socket.socket) -> None:
    """Serve until SIGINT or SIGTERM."""
    configure_logging(settings.log_level)
    # A thread that parses a large body gives way to the event loop after half a millisecond, not after five.
    sys.setswitchinterval(_SWITCH_S)
    server = build_server(settings)
    # uvicorn stops in order and then raises the signal again.
    with suppress(KeyboardInterrupt):
        server.run(sockets=[listener])
