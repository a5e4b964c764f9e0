"""What happens around every request: counting, faults, foreign origins, a bare 500."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Middleware

from local_comfyui.faults import Faults, RouteFault
from local_comfyui.journal import Journal

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def middlewares(journal: Journal, faults: Faults) -> list[Middleware]:
    return [_counting(journal), _faulty(faults), refuse_foreign_origin, bare_500]


def route_name(request: web.Request) -> str:
    """`"GET /history/{prompt_id}"`, the same with and without `/api`."""
    resource = request.match_info.route.resource
    path = resource.canonical if resource is not None else request.path
    return f"{request.method} {path.removeprefix('/api')}"


def _counting(journal: Journal) -> Middleware:
    @web.middleware
    async def count(request: web.Request, handler: Handler) -> web.StreamResponse:
        journal.count(route_name(request))
        return await handler(request)

    return count


def _faulty(faults: Faults) -> Middleware:
    @web.middleware
    async def apply_fault(request: web.Request, handler: Handler) -> web.StreamResponse:
        fault = faults.take_route_fault(route_name(request))
        return await handler(request) if fault is None else await _with_fault(fault, request, handler)

    return apply_fault


async def _with_fault(fault: RouteFault, request: web.Request, handler: Handler) -> web.StreamResponse:
    if not fault.late:
        # Read first: a busy server finds request and hang-up in its buffer together, and carries the request out.
        await request.read()
        await asyncio.sleep(fault.seconds)
    response: web.StreamResponse | None = None
    if fault.status is None or fault.handled:
        response = await handler(request)
    else:
        # Read what the client sends: a server that hangs up early would be another fault.
        await request.read()
    if fault.late:
        await asyncio.sleep(fault.seconds)
    return response if fault.status is None and response is not None else _failed(fault.status or 500, fault.body)


def _failed(status: int, body: Any) -> web.Response:
    return web.Response(status=status, text=body) if isinstance(body, str) else web.json_response(body, status=status)


@web.middleware
async def refuse_foreign_origin(request: web.Request, handler: Handler) -> web.StreamResponse:
    """A web page the user happens to visit must not queue prompts on a server that listens on loopback."""
    if request.headers.get("Sec-Fetch-Site") == "cross-site" or _origin_differs(request):
        return web.Response(status=403)
    # A page of the same origin may ask first what it may send.
    return web.Response() if request.method == "OPTIONS" else await handler(request)


def _origin_differs(request: web.Request) -> bool:
    host, origin = urlsplit(f"//{request.host}"), urlsplit(request.headers.get("Origin", ""))
    if not host.hostname or not origin.hostname or not _is_loopback(host.hostname):
        return False
    ports_differ = None not in (host.port, origin.port) and host.port != origin.port
    return host.hostname != origin.hostname or ports_differ


def _is_loopback(name: str) -> bool:
    try:
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


@web.middleware
async def bare_500(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Malformed bodies end in a 500 without details, as in recording `invalid_prompts`."""
    try:
        return await handler(request)
    except (web.HTTPException, ConnectionError):
        raise
    except Exception:
        log.exception("Error handling request %s %s", request.method, request.path)
        return web.Response(status=500, text="500 Internal Server Error\n\nServer got itself in trouble")
