"""Routes around prompts: `/prompt`, `/queue`, `/history`, `/interrupt`, `/free`."""

from __future__ import annotations

import copy
import json
import logging
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from local_comfyui.faults import Faults
from local_comfyui.folders import Folders
from local_comfyui.interruption import Interruption
from local_comfyui.journal import Journal
from local_comfyui.nodes.declaration import Json, NodeType
from local_comfyui.prompt_queue import PromptQueue
from local_comfyui.validation import Validation, validate_prompt
from local_comfyui.validation_errors import error_entry

log = logging.getLogger(__name__)

# Never shown by /queue or /history.
_SECRET_KEYS = ("auth_token_comfy_org", "api_key_comfy_org")


@dataclass
class PromptRoutes:
    node_types: Mapping[str, NodeType]
    folders: Folders
    queue: PromptQueue
    interruption: Interruption
    journal: Journal
    faults: Faults
    strict_prompt_ids: bool = False
    _next_number: int = field(default=0, init=False)

    def table(self) -> list[web.RouteDef]:
        return [
            web.get("/prompt", self.get_prompt),
            web.post("/prompt", self.post_prompt),
            web.get("/queue", self.get_queue),
            web.post("/queue", self.post_queue),
            web.get("/history", self.get_history),
            web.get("/history/{prompt_id}", self.get_history_of),
            web.post("/history", self.post_history),
            web.post("/interrupt", self.post_interrupt),
            web.post("/free", self.post_free),
        ]

    async def get_prompt(self, request: web.Request) -> web.Response:
        return web.json_response({"exec_info": {"queue_remaining": self.queue.remaining()}})

    async def post_prompt(self, request: web.Request) -> web.Response:
        log.info("got prompt")
        body = await _body(request)
        self.journal.note(self.journal.prompts, copy.deepcopy(body))
        number = self._number(body)
        if "prompt" not in body:
            return _refused(error_entry("no_prompt", "No prompt provided", "No prompt provided"))
        prompt_id = body.get("prompt_id")
        if prompt_id is not None and self.strict_prompt_ids and not _is_canonical_uuid(prompt_id):
            details = "prompt_id must be a UUID in canonical lowercase hyphenated form, or left out"
            return _refused(error_entry("invalid_prompt_id", "prompt_id must be a valid UUID", details))
        only = body.get("partial_execution_targets")
        found = validate_prompt(body["prompt"], self.node_types, self.folders, only)
        if found.error is not None:
            log.warning("invalid prompt: %s", found.error)
            return _refused(found.error, found.node_errors)
        return self._queue(body, str(prompt_id or uuid.uuid4()), number, found)

    def _queue(self, body: Json, prompt_id: str, number: float, found: Validation) -> web.Response:
        extra_data = body.get("extra_data", {})
        if "client_id" in body:
            extra_data["client_id"] = body["client_id"]
        secrets = {key: extra_data.pop(key) for key in _SECRET_KEYS if key in extra_data}
        extra_data["create_time"] = int(time.time() * 1000)
        self.queue.put(number, prompt_id, body["prompt"], extra_data, found.outputs, secrets)
        return web.json_response({"prompt_id": prompt_id, "number": number, "node_errors": found.node_errors})

    def _number(self, body: Json) -> float:
        """The place in the queue. Also a refused prompt uses one up (recording `invalid_prompts`)."""
        if "number" in body:
            return float(body["number"])
        number = -self._next_number if body.get("front") else self._next_number
        self._next_number += 1
        return number

    async def get_queue(self, request: web.Request) -> web.Response:
        return web.json_response(self.queue.shown())

    async def post_queue(self, request: web.Request) -> web.Response:
        body = await _body(request)
        if body.get("clear"):
            self.queue.clear()
        for prompt_id in body.get("delete", []):
            self.queue.delete(prompt_id)
        return web.Response(status=200)

    async def get_history(self, request: web.Request) -> web.Response:
        limit, offset = request.query.get("max_items"), request.query.get("offset")
        shown = self.queue.history(None if limit is None else int(limit), -1 if offset is None else int(offset))
        return web.json_response({} if self.faults.history_lost else shown)

    async def get_history_of(self, request: web.Request) -> web.Response:
        shown = self.queue.history_of(request.match_info["prompt_id"])
        return web.json_response({} if self.faults.history_lost else shown)

    async def post_history(self, request: web.Request) -> web.Response:
        body = await _body(request)
        if body.get("clear"):
            self.queue.clear_history()
        for prompt_id in body.get("delete", []):
            self.queue.delete_history(prompt_id)
        return web.Response(status=200)

    async def post_interrupt(self, request: web.Request) -> web.Response:
        """With a prompt_id only that prompt is interrupted, and only while it runs."""
        try:
            body = await request.json()
        except json.JSONDecodeError:
            body = {}
        prompt_id = body.get("prompt_id")
        if not prompt_id or self.queue.is_running(prompt_id):
            log.info("Interrupting %s", f"prompt {prompt_id}" if prompt_id else "whatever runs")
            self.interruption.request()
        return web.Response(status=200)

    async def post_free(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.journal.note(self.journal.free_calls, body)
        if body.get("free_memory"):
            self.queue.want_free_memory()
        return web.Response(status=200)


async def _body(request: web.Request) -> Json:
    """Neither a list nor a text has the keys that ComfyUI looks for, and that is no error there; a number is one."""
    body = await request.json()
    return {} if isinstance(body, list | str) else body


def _refused(error: Json, node_errors: Json | None = None) -> web.Response:
    return web.json_response({"error": error, "node_errors": node_errors or {}}, status=400)


def _is_canonical_uuid(value: Any) -> bool:
    try:
        return isinstance(value, str) and str(uuid.UUID(value)) == value
    except ValueError:
        return False
