"""One embedded server: its parts put together, its start and its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from aiohttp import web

from local_comfyui.cache import OutputCache
from local_comfyui.execution import Surroundings
from local_comfyui.faults import Faults
from local_comfyui.folders import Folders
from local_comfyui.interruption import Interruption
from local_comfyui.journal import Journal
from local_comfyui.messages import Message, text_body
from local_comfyui.middleware import middlewares
from local_comfyui.nodes import node_types
from local_comfyui.prompt_queue import HISTORY_LIMIT, PromptQueue
from local_comfyui.routes.files import FileRoutes
from local_comfyui.routes.information import MAX_UPLOAD_BYTES, InformationRoutes
from local_comfyui.routes.prompts import PromptRoutes
from local_comfyui.routes.websocket import WebsocketRoute
from local_comfyui.runner import PromptRunner
from local_comfyui.sockets import Sockets, reset

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServerOptions:
    folders: Folders
    test_nodes: bool = False
    strict_prompt_ids: bool = False
    history_limit: int = HISTORY_LIMIT
    argv: Sequence[str] = field(default_factory=tuple)


class ComfyServer:
    """Lives in one event loop; prompts run in a thread of their own."""

    def __init__(
        self, options: ServerOptions, journal: Journal, faults: Faults, exit_process: Callable[[int], None]
    ) -> None:
        self._options = options
        self._journal = journal
        self._faults = faults
        self._exit_process = exit_process
        self._runner: web.AppRunner | None = None
        self._publisher: asyncio.Task[None] | None = None
        self._prompts: PromptRunner | None = None
        self.sockets: Sockets | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen and return the port, which matters when `port` is 0."""
        folders = self._options.folders
        folders.empty_temp()
        folders.create()
        sockets = self.sockets = Sockets(asyncio.get_running_loop(), self._faults)
        app = self._application(sockets)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await self._runner.setup()
        for address in host.split(","):
            await web.TCPSite(self._runner, address, port).start()
        self._publisher = asyncio.create_task(sockets.publish())
        assert self._prompts is not None
        self._prompts.start()
        return int(self._runner.addresses[0][1])

    def _application(self, sockets: Sockets) -> web.Application:
        options = self._options
        nodes = node_types(test_nodes=options.test_nodes)
        interruption = Interruption()
        queue = PromptQueue(lambda left: sockets.send_soon(_status(left)), options.history_limit)
        around = Surroundings(nodes, options.folders, OutputCache(), interruption, self._journal, self._exit_process)
        self._prompts = PromptRunner(queue, around, sockets, self._faults)
        tables = (
            WebsocketRoute(sockets, queue, self._faults, self._prompts.current_node_for).table(),
            PromptRoutes(
                nodes,
                options.folders,
                queue,
                interruption,
                self._journal,
                self._faults,
                options.strict_prompt_ids,
            ).table(),
            FileRoutes(options.folders, self._faults).table(),
            InformationRoutes(nodes, options.folders, options.argv).table(),
        )
        app = web.Application(client_max_size=MAX_UPLOAD_BYTES, middlewares=middlewares(self._journal, self._faults))
        for route in (route for table in tables for route in table):
            for path in (route.path, f"/api{route.path}"):
                app.router.add_route(route.method, path, route.handler)
                if route.method == "GET":
                    app.router.add_route("HEAD", path, route.handler)
        return app

    async def close_sockets(self) -> None:
        if self.sockets is not None:
            await self.sockets.close_all()

    async def reset_sockets(self) -> None:
        if self.sockets is not None:
            self.sockets.reset_all()

    async def stop(self, *, abruptly: bool = False) -> None:
        """End for good. Abruptly: every connection gets a TCP reset, as if the process had been killed."""
        runner, self._runner = self._runner, None
        if runner is None:
            return
        for site in list(runner.sites):
            await site.stop()
        if abruptly:
            self._reset_connections(runner)
        else:
            await self.close_sockets()
        if self._prompts is not None:
            await asyncio.to_thread(self._prompts.stop)
        if self._publisher is not None:
            self._publisher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._publisher
        await runner.cleanup()
        self._options.folders.empty_temp()

    @staticmethod
    def _reset_connections(runner: web.AppRunner) -> None:
        connections = [] if runner.server is None else runner.server.connections
        for connection in connections:
            if connection.transport is not None:
                reset(connection.transport)


def _status(left: int) -> Message:
    return Message(text_body("status", {"status": {"exec_info": {"queue_remaining": left}}}), None)
