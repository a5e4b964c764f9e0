"""Open websockets, by client id, and the one place that sends on them."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Mapping
from typing import Any

from aiohttp import WSCloseCode, web

from local_comfyui.faults import Faults
from local_comfyui.messages import Message

log = logging.getLogger(__name__)


class Sockets:
    """Messages of a prompt go to the socket registered for its client id, `status` goes to all."""

    def __init__(self, loop: asyncio.AbstractEventLoop, faults: Faults) -> None:
        self._loop = loop
        self._faults = faults
        self._outbox: asyncio.Queue[Message] = asyncio.Queue()
        self._registered: dict[str, web.WebSocketResponse] = {}
        self._features: dict[str, Mapping[str, Any]] = {}
        self._open: dict[web.WebSocketResponse, asyncio.Transport | None] = {}

    @property
    def count(self) -> int:
        """Open connections, also those no longer registered."""
        return len(self._open)

    def opened(self, client_id: str, connection: web.WebSocketResponse, transport: asyncio.Transport | None) -> None:
        """The newest socket of a client takes the place of the older one (recording `two_sockets_same_client_id`)."""
        self._open[connection] = transport
        self._registered[client_id] = connection
        self._features[client_id] = {}

    def closed(self, client_id: str, connection: web.WebSocketResponse) -> None:
        """Forget the client id, whichever socket is registered for it.

        That is ComfyUI's own flaw, kept on purpose: the late clean-up of an old connection makes a reopened one deaf.
        """
        self._open.pop(connection, None)
        self._registered.pop(client_id, None)
        self._features.pop(client_id, None)

    def announce_features(self, client_id: str, features: Mapping[str, Any]) -> None:
        if client_id in self._features:
            self._features[client_id] = features

    def supports(self, client_id: str | None, feature: str) -> bool:
        return client_id is not None and self._features.get(client_id, {}).get(feature) is True

    def send_soon(self, message: Message) -> None:
        """Queue a message from any thread."""
        try:
            self._loop.call_soon_threadsafe(self._outbox.put_nowait, message)
        except RuntimeError:
            # The loop is closed: nobody is left to hear it.
            log.debug("dropped a message of a server that is gone")

    async def publish(self) -> None:
        """Send what is queued, in order, for ever."""
        while True:
            message = await self._outbox.get()
            try:
                await self.send(message)
            except Exception:
                # A client id that is a list, say: everybody else is still to be heard.
                log.exception("cannot send to client %r", message.client_id)

    async def send(self, message: Message) -> None:
        if message.client_id is None:
            receivers = list(self._registered.values())
        else:
            receivers = [one for one in [self._registered.get(message.client_id)] if one is not None]
        for connection in receivers:
            await self._send_to(connection, message.body)

    async def _send_to(self, connection: web.WebSocketResponse, body: str | bytes) -> None:
        if self._faults.deaf:
            return
        try:
            if isinstance(body, str):
                await connection.send_str(body)
            else:
                await connection.send_bytes(body)
        except ConnectionError as error:
            log.warning("send error: %s", error)

    async def close_all(self) -> None:
        for connection in list(self._open):
            await connection.close(code=WSCloseCode.GOING_AWAY)

    def reset_all(self) -> None:
        for transport in list(self._open.values()):
            if transport is not None:
                reset(transport)


def reset(transport: asyncio.BaseTransport) -> None:
    """End a connection with RST: a socket that lingers for no time at all."""
    raw = transport.get_extra_info("socket")
    if raw is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if isinstance(transport, asyncio.WriteTransport):
        transport.abort()
