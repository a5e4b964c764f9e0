"""ComfyUI's websocket messages as frozen values; what is not understood is an Unknown, never an exception.

Shapes: recordings of ComfyUI 0.3.64 and 0.26.0 (tests/recordings). A text frame is `{"type", "data"}`; a binary frame
is a big-endian uint32 event type and its payload: 1 = picture (uint32 format: 1 JPEG, 2 PNG; then the file),
4 = picture with metadata (uint32 length, JSON, file), sent to clients that announced `supports_preview_metadata`.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

#: Sent as the first message: pictures then come as frames of type 4, which name their node and prompt.
CLIENT_FEATURES = {"type": "feature_flags", "data": {"supports_preview_metadata": True}}


@dataclass(frozen=True)
class Started:
    prompt_id: str


@dataclass(frozen=True)
class Cached:
    """These nodes are answered from ComfyUI's cache and do not run."""

    prompt_id: str
    node_ids: tuple[str, ...]


@dataclass(frozen=True)
class Executing:
    """A node starts. `node_id` None: the prompt is over and its history written. `prompt_id` None: only a hint, sent
    right after a reconnect."""

    prompt_id: str | None
    node_id: str | None


@dataclass(frozen=True)
class Progress:
    prompt_id: str | None
    node_id: str | None
    value: float
    maximum: float


@dataclass(frozen=True)
class ProgressState:
    """All nodes' states at once; `finished` counts those that are through."""

    prompt_id: str
    running: tuple[Progress, ...]
    finished: int


@dataclass(frozen=True)
class Executed:
    """A node handed out something for the client: `output` is its ui dict, e.g. {"images": [{"filename", ...}]}."""

    prompt_id: str
    node_id: str
    output: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True)
class Succeeded:
    prompt_id: str


@dataclass(frozen=True)
class Failed:
    prompt_id: str
    node_id: str
    node_type: str
    message: str
    exception_type: str
    traceback: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Interrupted:
    prompt_id: str
    node_id: str
    node_type: str


@dataclass(frozen=True)
class Picture:
    """A preview, or what SaveImageWebsocket saves. Node and prompt are None where the frame does not name them."""

    media_type: str
    content: bytes = field(repr=False)
    prompt_id: str | None = None
    node_id: str | None = None


@dataclass(frozen=True)
class Status:
    """Queue length; of no prompt."""

    queue_remaining: int


@dataclass(frozen=True)
class Unknown:
    type: str


Event = (
    Started | Cached | Executing | Progress | ProgressState | Executed | Succeeded | Failed | Interrupted
    | Picture | Status | Unknown
)  # fmt: skip


def parse_text(text: str | bytes) -> Event:
    """One text frame. Malformed messages become Unknown."""
    try:
        message = json.loads(text)
        kind, data = str(message["type"]), message["data"]
        return _PARSERS[kind](data) if kind in _PARSERS else Unknown(kind)
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError):
        return Unknown("malformed message")


def parse_binary(frame: bytes) -> Event:
    """One binary frame. Everything but pictures becomes Unknown."""
    if len(frame) < 8:
        return Unknown("malformed binary frame")
    event_type, detail = struct.unpack(">II", frame[:8])
    if event_type == 1:
        return Picture("image/png" if detail == 2 else "image/jpeg", frame[8:])
    if event_type == 4:
        return _described_picture(frame[8 : 8 + detail], frame[8 + detail :])
    return Unknown(f"binary frame of type {event_type}")


def _described_picture(metadata: bytes, content: bytes) -> Event:
    """`metadata` is {"node_id", "prompt_id", "image_type": "image/png", ...}."""
    try:
        data = json.loads(metadata)
        return Picture(str(data["image_type"]), content, _optional(data["prompt_id"]), _optional(data["node_id"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        return Unknown("malformed binary frame")


def failure_of(data: Mapping[str, Any]) -> Failed:
    """The data of `execution_error`, from the socket or from the history's messages."""
    traceback = data.get("traceback")
    return Failed(
        prompt_id=str(data["prompt_id"]),
        node_id=str(data.get("node_id")),
        node_type=str(data.get("node_type")),
        message=str(data.get("exception_message", "")).strip(),
        exception_type=str(data.get("exception_type", "")),
        traceback=tuple(str(line) for line in traceback) if isinstance(traceback, list) else (),
    )


def interruption_of(data: Mapping[str, Any]) -> Interrupted:
    """The data of `execution_interrupted`, from the socket or from the history's messages."""
    return Interrupted(str(data["prompt_id"]), str(data.get("node_id")), str(data.get("node_type")))


def _executing(data: Mapping[str, Any]) -> Executing:
    return Executing(_optional(data.get("prompt_id")), _optional(data.get("node")))


def _progress(data: Mapping[str, Any]) -> Progress:
    return Progress(
        _optional(data.get("prompt_id")), _optional(data.get("node")), _number(data["value"]), _number(data["max"])
    )


def _progress_state(data: Mapping[str, Any]) -> ProgressState:
    prompt_id, nodes = str(data["prompt_id"]), list(data["nodes"].values())
    running = tuple(
        Progress(prompt_id, str(node["node_id"]), _number(node["value"]), _number(node["max"]))
        for node in nodes
        if node["state"] == "running"
    )
    return ProgressState(prompt_id, running, sum(node["state"] == "finished" for node in nodes))


def _executed(data: Mapping[str, Any]) -> Executed:
    output = data.get("output")
    return Executed(str(data["prompt_id"]), str(data["node"]), output if isinstance(output, dict) else {})


def _number(value: Any) -> float:
    """Raises ValueError for NaN and Infinity, which a custom node may send and Python reads from JSON."""
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(number)
    return number


def _optional(value: Any) -> str | None:
    return None if value is None else str(value)


_PARSERS: Mapping[str, Any] = {
    "execution_start": lambda data: Started(str(data["prompt_id"])),
    "execution_cached": lambda data: Cached(str(data["prompt_id"]), tuple(str(node) for node in data["nodes"])),
    "executing": _executing,
    "progress": _progress,
    "progress_state": _progress_state,
    "executed": _executed,
    "execution_success": lambda data: Succeeded(str(data["prompt_id"])),
    "execution_error": failure_of,
    "execution_interrupted": interruption_of,
    "status": lambda data: Status(int(data["status"]["exec_info"]["queue_remaining"])),
}
