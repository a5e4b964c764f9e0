"""A TCP proxy with a long way: `python -m benchmarks.slow_link TARGET_PORT ROUND_TRIP_S` prints its own port.

Every byte is held back for half of the round trip, in each direction; a new connection costs a whole one, as TCP's
handshake does.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from contextlib import suppress


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float) -> None:
    """Bytes arrive in order `delay_s` after they came; reading goes on meanwhile."""
    loop = asyncio.get_running_loop()
    on_the_way: deque[tuple[float, bytes]] = deque()
    something = asyncio.Event()

    async def deliver() -> None:
        while True:
            while not on_the_way:
                something.clear()
                await something.wait()
            due, chunk = on_the_way.popleft()
            await asyncio.sleep(max(0.0, due - loop.time()))
            if not chunk:
                writer.close()
                return
            writer.write(chunk)
            await writer.drain()

    delivering = asyncio.create_task(deliver())
    with suppress(OSError):
        while chunk := await reader.read(1 << 16):
            on_the_way.append((loop.time() + delay_s, chunk))
            something.set()
    on_the_way.append((loop.time() + delay_s, b""))
    something.set()
    with suppress(OSError):
        await delivering


async def serve(target_port: int, round_trip_s: float) -> None:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await asyncio.sleep(round_trip_s)
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", target_port)
        except OSError:
            writer.close()
            return
        there = _carry(reader, far_writer, round_trip_s / 2)
        back = _carry(far_reader, writer, round_trip_s / 2)
        await asyncio.gather(there, back)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    sys.stdout.write(f"port {server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), float(sys.argv[2])))
