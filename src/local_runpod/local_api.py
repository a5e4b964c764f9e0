"""What RunPod has no route for: the state of each worker, and stopping one gently. Used by `serve`."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response

from .exchange import RawJsonResponse
from .jobs import dumps
from .live import LiveEndpoint


class LocalApi:
    """Routes that exist on the local endpoint only."""

    def __init__(self, live: LiveEndpoint) -> None:
        self._fleet = live.endpoint.fleet

    def router(self) -> APIRouter:
        router = APIRouter(prefix="/local", tags=["local"])

        def add(path: str, route: Any, method: str, summary: str) -> None:
            router.add_api_route(path, route, methods=[method], summary=summary)

        add("/workers", self.workers, "GET", "The workers seen, and whether they get jobs")
        add("/workers/{name}/retire", self.retire, "POST", "Give a worker no more jobs until it is restarted")
        return router

    async def workers(self) -> Response:
        seen = [
            {
                "name": worker.name,
                "start": worker.start,
                "retired": worker.retired,
                "polls": worker.open_polls,
                "jobs": sorted(worker.jobs),
            }
            for worker in self._fleet.workers
        ]
        return RawJsonResponse([dumps({"workers": seen})])

    async def retire(self, name: str) -> Response:
        self._fleet.retire(name)
        return RawJsonResponse([b"{}"])
