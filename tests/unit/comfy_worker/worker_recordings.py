"""The recordings of real ComfyUI servers, as the worker's own modules take them in."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comfy_worker.comfyui import events

RECORDINGS = Path(__file__).parents[2] / "recordings"
VERSIONS = ("0.3.64", "0.26.0")

#: What ends an unbroken connection.
DROPS = ("ws_closed", "ws_exception", "server_killed")


@dataclass(frozen=True)
class Recording:
    name: str
    events: list[dict[str, Any]]

    @property
    def exchanges(self) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """HTTP requests and their responses."""
        return [(event["request"], event["response"]) for event in self.events if event["kind"] == "http"]

    @property
    def prompts(self) -> dict[str, dict[str, Any]]:
        """Every prompt that ComfyUI accepted: its id and its workflow."""
        return {
            response["json"]["prompt_id"]: request["json"]["prompt"]
            for request, response in self.exchanges
            if (request["method"], request["path"], response["status"]) == ("POST", "/prompt", 200)
        }

    @property
    def histories(self) -> dict[str, dict[str, Any]]:
        """Prompt id -> its entry of the history, where the recording asked for it."""
        found: dict[str, dict[str, Any]] = {}
        for request, response in self.exchanges:
            if request["method"] == "GET" and request["path"].startswith("/history/"):
                found.update(response["json"])
        return found

    @property
    def unbroken(self) -> bool:
        return not any(event["kind"] in DROPS for event in self.events)


def load(version: str, scenario: str) -> Recording:
    text = (RECORDINGS / version / f"{scenario}.json").read_text()
    return Recording(f"{version}-{scenario}", json.loads(text)["events"])


def load_all() -> list[Recording]:
    return [load(version, path.stem) for version in VERSIONS for path in sorted((RECORDINGS / version).glob("*.json"))]


def heard(event: dict[str, Any]) -> events.Event | None:
    """The event of a recorded frame; None for what is no frame. Binary frames are recorded without their end."""
    if event["kind"] == "ws_text":
        return events.parse_text(json.dumps(event["message"]))
    if event["kind"] == "ws_binary":
        return events.parse_binary(bytes.fromhex(event["first_64_bytes_hex"]))
    return None
