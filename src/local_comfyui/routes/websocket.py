"""The route `/ws`."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import WSMsgType, web

from local_comfyui.faults import Faults
from local_comfyui.messages import Message, text_body
from local_comfyui.prompt_queue import PromptQueue
from local_comfyui.routes.information import FEATURES
from local_comfyui.sockets import Sockets

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WebsocketRoute:
    sockets: Sockets
    queue: PromptQueue
    faults: Faults
    current_node_for: Callable[[str], str | None]

    def table(self) -> list[web.RouteDef]:
        return [web.get("/ws", self.websocket)]

    async def websocket(self, request: web.Request) -> web.StreamResponse:
        if self.faults.take_refusal():
            return web.Response(status=503)
        # Pings are answered here and not by aiohttp, because a deaf server answers none.
        connection = web.WebSocketResponse(autoping=False)
        await connection.prepare(request)
        client_id = request.query.get("clientId") or uuid.uuid4().hex
        self.sockets.opened(client_id, connection, request.transport)
        try:
            await self._greet(client_id)
            await self._listen(connection, client_id)
        finally:
            self.sockets.closed(client_id, connection)
        return connection

    async def _greet(self, client_id: str) -> None:
        """`status` always; the current node without prompt_id when this client's prompt is running."""
        status = {"exec_info": {"queue_remaining": self.queue.remaining()}}
        await self._send(client_id, "status", {"status": status, "sid": client_id})
        node_id = self.current_node_for(client_id)
        if node_id is not None:
            await self._send(client_id, "executing", {"node": node_id})

    async def _listen(self, connection: web.WebSocketResponse, client_id: str) -> None:
        first = True
        async for message in connection:
            if message.type is WSMsgType.PING and not self.faults.deaf:
                await connection.pong(message.data)
            elif message.type is WSMsgType.TEXT:
                first = first and not await self._first_message(client_id, message.data)

    async def _first_message(self, client_id: str, text: str) -> bool:
        """Only the first message may announce features (recording `feature_flags`). False: that was no message."""
        try:
            data = json.loads(text)
        except json.JSONDecodeError:
            log.warning("Invalid JSON from client %s", client_id)
            return False
        if not isinstance(data, dict):
            return False
        if data.get("type") == "feature_flags":
            features = data.get("data")
            self.sockets.announce_features(client_id, features if isinstance(features, dict) else {})
            await self._send(client_id, "feature_flags", FEATURES)
        return True

    async def _send(self, client_id: str, event: str, data: dict[str, object]) -> None:
        await self.sockets.send(Message(text_body(event, data), client_id))
