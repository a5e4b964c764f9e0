"""A small client of the local endpoint, for the commands that start it. Standard library only: it starts at once."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from typing import Any

from .environment import UNCHECKED_KEY
from .settings import Settings


class Unreachable(Exception):
    """The endpoint did not answer, or not with JSON."""


class EndpointClient:
    """Requests to one endpoint, with the right key for each API."""

    def __init__(self, base_url: str, settings: Settings) -> None:
        self.base_url = base_url
        self._client_key = next(iter(sorted(settings.client_keys)), "")
        self._worker_key = settings.worker_key or UNCHECKED_KEY
        # A proxy named in the environment must not get requests to this machine.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    async def call(self, method: str, path: str, body: bytes | None = None, timeout: float = 5) -> Any:
        """The JSON of the answer, whatever its status."""
        return await asyncio.to_thread(self._call, method, path, body, timeout)

    def _call(self, method: str, path: str, body: bytes | None, timeout: float) -> Any:
        key = self._worker_key if path.startswith("/local/") else self._client_key
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        request = urllib.request.Request(self.base_url + path, data=body, headers=headers, method=method)
        try:
            with self._opener.open(request, timeout=timeout) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            try:
                return json.load(error)
            except ValueError:
                raise Unreachable(f"{method} {path}: HTTP {error.code}") from None
        except (OSError, ValueError) as error:
            raise Unreachable(f"{method} {path}: {error}") from None
