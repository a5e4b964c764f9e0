"""What an API hands to the application: its routes as data."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import Depends, FastAPI
from fastapi.responses import Response

Handler = Callable[..., Awaitable[Response]]
#: Raises Problem for who may not pass.
Guard = Callable[..., Awaitable[None]]


@dataclass(frozen=True)
class Route:
    method: str
    path: str
    handler: Handler
    #: FastAPI's own keywords: summary, description, responses ...
    documented: Mapping[str, Any]


def add_routes(app: FastAPI, routes: Iterable[Route], *, tag: str, guards: Sequence[Guard], prefix: str = "") -> None:
    """Each route behind its guards.

    Straight into the application. The routes of an included router are built when a request first comes by, in the
    server's thread, and FastAPI then silences a warning by swapping the process's filters: two servers of one process
    (the tests run several) that did so at once lost a request to that warning.
    """
    for route in routes:
        app.add_api_route(
            prefix + route.path,
            route.handler,
            methods=[route.method],
            tags=[tag],
            dependencies=[Depends(guard) for guard in guards],
            **route.documented,
        )
