"""The embedded server inside another Python process, in a thread: for tests and for trying things out."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections import Counter
from collections.abc import Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from local_comfyui.faults import Faults
from local_comfyui.folders import Folders
from local_comfyui.journal import Journal
from local_comfyui.prompt_queue import HISTORY_LIMIT
from local_comfyui.server import ComfyServer, ServerOptions

T = TypeVar("T")

# Longer than the longest uninterruptible step of a stop: one Pillow call.
_PATIENCE_S = 60


class LocalComfyUI:
    """A running server. Use it in a `with`, or call `close()`.

    `directory` gets the folders input, output, temp and models; without one they live in a temporary directory.
    """

    def __init__(
        self,
        directory: Path | str | None = None,
        port: int = 0,
        *,
        test_nodes: bool = False,
        strict_prompt_ids: bool = False,
        history_limit: int = HISTORY_LIMIT,
    ) -> None:
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        if directory is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="local_comfyui_")
            directory = self._temporary.name
        self.directory = Path(directory).absolute()
        self.folders = Folders.under(self.directory)
        self.journal = Journal()
        self.faults = Faults()
        self.faults.control(self)
        self._options = ServerOptions(
            self.folders,
            test_nodes=test_nodes,
            strict_prompt_ids=strict_prompt_ids,
            history_limit=history_limit,
            argv=("local_comfyui",),
        )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="local-comfyui", daemon=True)
        self._thread.start()
        self._server: ComfyServer | None = None
        # One at a time: a dying server still empties the temp folder when its port is free again.
        self._changing = asyncio.Lock()
        try:
            self.port = self._wait(self._start(port))
        except BaseException:
            self._end_loop()
            raise

    @property
    def host(self) -> str:
        """`127.0.0.1:PORT`, the form of COMFY_HOST."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    @property
    def alive(self) -> bool:
        return self._server is not None

    # --- what it did

    @property
    def executed_nodes(self) -> list[tuple[str, str]]:
        return self.journal.executed_nodes

    @property
    def prompts(self) -> list[Any]:
        return self.journal.prompts

    @property
    def free_calls(self) -> list[Any]:
        return self.journal.free_calls

    @property
    def requests(self) -> Counter[str]:
        return self.journal.requests

    @property
    def sockets(self) -> int:
        """How many websockets are open."""
        server = self._server
        return 0 if server is None or server.sockets is None else server.sockets.count

    # --- what Faults asks for

    def close_sockets(self) -> None:
        if self._server is not None:
            self._wait(self._server.close_sockets())

    def reset_sockets(self) -> None:
        if self._server is not None:
            self._wait(self._server.reset_sockets())

    def die(self) -> None:
        self._wait(self._stop(abruptly=True))

    def restart_empty(self) -> None:
        self._wait(self._restart())

    # --- its life

    def close(self) -> None:
        if self._loop.is_closed():
            return
        self._wait(self._stop(abruptly=False))
        self._end_loop()
        if self._temporary is not None:
            self._temporary.cleanup()

    def __enter__(self) -> LocalComfyUI:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def _start(self, port: int) -> int:
        server = ComfyServer(self._options, self.journal, self.faults, self._exit_process)
        bound = await server.start("127.0.0.1", port)
        self._server = server
        return bound

    async def _stop(self, *, abruptly: bool) -> None:
        async with self._changing:
            await self._stop_server(abruptly)

    async def _restart(self) -> None:
        async with self._changing:
            await self._stop_server(abruptly=True)
            await self._start(self.port)

    async def _stop_server(self, abruptly: bool) -> None:
        server, self._server = self._server, None
        if server is not None:
            await server.stop(abruptly=abruptly)

    def _exit_process(self, signal_number: int) -> None:
        """In its own process a TestExit node ends the process; here only the server dies."""
        asyncio.run_coroutine_threadsafe(self._stop(abruptly=True), self._loop)

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=_PATIENCE_S)

    def _end_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=_PATIENCE_S)
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()
