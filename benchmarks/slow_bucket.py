"""An S3 server that is far away and keeps nothing: `python -m benchmarks.slow_bucket LATENCY_S` prints its port.

It answers what boto3 needs for uploads (PUT, and the three steps of a multipart upload), each answer LATENCY_S after
the request has come in whole. It also takes any other POST, such as RunPod's job-done. It does as little as it can: its
work would be measured as the worker's.
"""

from __future__ import annotations

import asyncio
import sys

_BEGUN = b"<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>"
_DONE = b"<CompleteMultipartUploadResult><ETag>1</ETag></CompleteMultipartUploadResult>"
_END = b"\r\n\r\n"


class _Connection(asyncio.Protocol):
    def __init__(self, latency_s: float) -> None:
        self._latency_s = latency_s
        self._head = b""
        self._left = 0
        self._answer = b""
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if not self._left:
            self._head += data
            head, end, data = self._head.partition(_END)
            if not end:
                return
            self._head = b""
            self._begin(head.decode("latin-1"))
        self._left -= len(data)
        if self._left <= 0:
            self._say(self._answer)

    def _begin(self, head: str) -> None:
        first, *lines = head.split("\r\n")
        method, target, _ = first.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        self._left = int(headers.get("content-length", 0))
        if headers.get("expect") == "100-continue":
            self._say(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = b"" if method != "POST" else _BEGUN if "uploads" in target else _DONE
        self._answer = b'HTTP/1.1 200 OK\r\nETag: "1"\r\nContent-Length: %d\r\n\r\n' % len(body) + body

    def _say(self, text: bytes) -> None:
        assert self._transport is not None
        asyncio.get_running_loop().call_later(self._latency_s, self._transport.write, text)


async def serve(latency_s: float) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(latency_s), "127.0.0.1", 0)
    sys.stdout.write(f"port {server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(float(sys.argv[1])))
