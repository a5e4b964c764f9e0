"""Bodies in and out of the endpoint without holding up anybody else: read in pieces, parsed aside, sent in pieces."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from .json_text import RawJson
from .problems import body_too_large

T = TypeVar("T")

_PIECE = 256 * 1024
# Parsing less than this takes less time than handing it to a thread.
_ASIDE_ABOVE = 64 * 1024
# How much of a body that is refused anyway is read, so that the client gets to see the answer.
_DISCARD_LIMIT = 256 * 1024 * 1024


async def read_body(request: Request, limit: int) -> bytearray:
    """The request's body. One over the limit is read to its end, unstored, and then refused."""
    announced = request.headers.get("content-length", "")
    refused = announced.isdigit() and int(announced) > limit
    # Grown piece by piece: making room for 20 MB at once would take 20 ms, in which nobody else is answered.
    body = bytearray()
    received = 0
    async for piece in request.stream():
        received += len(piece)
        refused = refused or received > limit
        if received > _DISCARD_LIMIT:
            break
        if refused:
            body.clear()
        else:
            body += piece
    if refused:
        raise body_too_large(limit)
    return body


async def aside(work: Callable[..., T], body: bytes | bytearray, *more: object) -> T:
    """`work(body, *more)`, on a thread when the body is large."""
    if len(body) <= _ASIDE_ABOVE:
        return work(body, *more)
    return await asyncio.to_thread(work, body, *more)


class RawJsonResponse(Response):
    """JSON given as pieces of text, sent in small portions so that other requests get their turn in between."""

    media_type = "application/json"

    def __init__(self, pieces: list[RawJson], status_code: int = 200) -> None:
        self._pieces = pieces
        super().__init__(status_code=status_code)

    def init_headers(self, headers: object = None) -> None:
        length = sum(map(len, self._pieces))
        self.raw_headers = [(b"content-length", str(length).encode()), (b"content-type", b"application/json")]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        portion = bytearray()
        for piece in self._pieces:
            for start in range(0, len(piece), _PIECE):
                portion += piece[start : start + _PIECE]
                if len(portion) >= _PIECE:
                    await send({"type": "http.response.body", "body": bytes(portion), "more_body": True})
                    portion.clear()
                    await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": bytes(portion)})
