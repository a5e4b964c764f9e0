"""Who hears of a running prompt: the socket of its client, or everybody when it has none."""

from __future__ import annotations

from typing import Any

from local_comfyui.messages import Message, preview_body, preview_with_metadata_body, text_body
from local_comfyui.sockets import Sockets

Json = dict[str, Any]


class Audience:
    """The client of the prompt that runs, and the node it was told of last."""

    def __init__(self, sockets: Sockets, client_id: str | None) -> None:
        self._sockets = sockets
        self.client_id = client_id
        self.current_node: str | None = None
        """What a client that reconnects is told (recording `socket_lost_and_reopened_while_running`)."""

    def send(self, event: str, data: Json) -> None:
        self._sockets.send_soon(Message(text_body(event, data), self.client_id))

    def executing(self, node_id: str, prompt_id: str) -> None:
        if self.client_id is not None:
            self.current_node = node_id
            self.send("executing", {"node": node_id, "display_node": node_id, "prompt_id": prompt_id})

    def finished(self, prompt_id: str) -> None:
        if self.client_id is not None:
            self.send("executing", {"node": None, "prompt_id": prompt_id})

    def send_preview(self, picture: Any) -> None:
        """The old form of a preview, for clients that did not announce the new one."""
        if picture is not None and not self._wants_metadata:
            self._sockets.send_soon(Message(preview_body(picture), self.client_id))

    def send_preview_with_metadata(self, picture: Any, metadata: Json) -> None:
        if picture is not None and self._wants_metadata:
            self._sockets.send_soon(Message(preview_with_metadata_body(picture, metadata), self.client_id))

    @property
    def _wants_metadata(self) -> bool:
        return self._sockets.supports(self.client_id, "supports_preview_metadata")
