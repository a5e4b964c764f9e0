"""What RunPod has no route for: the state of each worker, and stopping one gently. Used by `serve`."""

from __future__ import annotations

from fastapi.responses import Response

from .exchange import RawJsonResponse
from .jobs import dumps
from .live import LiveEndpoint
from .routes import Route


class LocalApi:
    """Routes that exist on the local endpoint only."""

    def __init__(self, live: LiveEndpoint) -> None:
        self._fleet = live.endpoint.fleet

    def routes(self) -> list[Route]:
        about_retire = "Give a worker no more jobs until it is restarted"
        return [
            Route("GET", "/workers", self.workers, {"summary": "The workers seen, and whether they get jobs"}),
            Route("POST", "/workers/{name}/retire", self.retire, {"summary": about_retire}),
        ]

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
