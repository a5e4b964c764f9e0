"""The web application: both APIs, who may call them, and the form of their errors."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Annotated

from fastapi import FastAPI, Path, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from .access import check_key
from .docs_page import docs_page
from .documentation import DESCRIPTION
from .exchange import RawJsonResponse
from .live import LiveEndpoint
from .local_api import LocalApi
from .problems import Problem, bad_request, endpoint_not_found
from .public_api import PublicApi
from .routes import Guard, Route, add_routes
from .worker_api import WorkerApi

log = logging.getLogger(__name__)

_ENDPOINT = "/v2/{endpoint_id}"
EndpointId = Annotated[str, Path(description="LOCAL_RUNPOD_ENDPOINT_ID", examples=["local"])]
# The SDK asks for work again at once after an error, for ever.
_REFUSED_TAKE_DELAY_S = 1.0


def create_app(live: LiveEndpoint) -> FastAPI:
    """The application that serves one endpoint."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with live.running():
            yield

    app = FastAPI(
        title="RunPod endpoint, local", description=DESCRIPTION, lifespan=lifespan, docs_url=None, redoc_url=None
    )
    settings = live.settings

    # Coroutines all of them: FastAPI runs plain functions on threads, which costs each request two hand-overs.
    async def client(request: Request) -> None:
        check_key(request.headers.get("authorization"), settings.client_keys)

    async def known(endpoint_id: EndpointId) -> None:
        if endpoint_id != settings.endpoint_id:
            raise endpoint_not_found()

    async def docs() -> Response:
        return HTMLResponse(docs_page(app.openapi()))

    public, worker_key = PublicApi(live).routes(), _worker_key(live)
    add_routes(app, public, tag="short paths", guards=[client])
    add_routes(app, public, tag="as on RunPod", guards=[client, known], prefix=_ENDPOINT)
    add_routes(app, WorkerApi(live).routes(), tag="worker API", guards=[_worker_guard(live)], prefix=_ENDPOINT)
    add_routes(app, LocalApi(live).routes(), tag="local", guards=[worker_key], prefix="/local")
    add_routes(app, [Route("GET", "/ping", _ping, {"summary": "Is the endpoint up?"})], tag="local", guards=[])
    app.add_api_route("/docs", docs, include_in_schema=False)
    _describe_errors(app)
    return app


def _worker_key(live: LiveEndpoint) -> Guard:
    keys = [live.settings.worker_key] if live.settings.worker_key else []

    async def check(request: Request) -> None:
        check_key(request.headers.get("authorization"), keys)

    return check


def _worker_guard(live: LiveEndpoint) -> Guard:
    check = _worker_key(live)

    async def guard(request: Request, endpoint_id: EndpointId) -> None:
        try:
            await check(request)
            if endpoint_id != live.settings.endpoint_id:
                raise endpoint_not_found()
        except Problem:
            if "/job-take" in request.url.path:
                await asyncio.sleep(_REFUSED_TAKE_DELAY_S)
            raise

    return guard


async def _ping() -> Response:
    return RawJsonResponse([b'{"status":"ok"}'])


def _describe_errors(app: FastAPI) -> None:
    @app.exception_handler(Problem)
    async def problem(_: Request, error: Problem) -> Response:
        return RawJsonResponse([error.body()], error.status)

    @app.exception_handler(HTTPException)
    async def routing(_: Request, error: HTTPException) -> Response:
        problem = Problem(HTTPStatus(error.status_code), error.detail.lower())
        return RawJsonResponse([problem.body()], problem.status)

    @app.exception_handler(RequestValidationError)
    async def parameter(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        problem = bad_request(f"bad request: {first['loc'][-1]}: {first['msg']}")
        return RawJsonResponse([problem.body()], problem.status)

    @app.exception_handler(ClientDisconnect)
    async def hung_up(_: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=HTTPStatus.BAD_REQUEST)

    @app.exception_handler(Exception)
    async def bug(_: Request, error: Exception) -> Response:
        """Starlette logs the traceback as well; the client gets no internals."""
        return RawJsonResponse([Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error").body()], 500)
