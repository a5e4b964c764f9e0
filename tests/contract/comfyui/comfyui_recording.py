"""Recordings of real servers, and the form in which two servers' answers can be compared."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Json = dict[str, Any]

RECORDINGS = Path(__file__).parents[2] / "recordings"

# Prose of the editor, and values that differ from run to run.
_LEFT_OUT = {
    "tooltip",
    "description",
    "search_aliases",
    "essentials_category",
    "timestamp",
    "create_time",
    "traceback",
    "number",
}

_VOLATILE = [
    (re.compile(r"_\d{5}_"), "_#_"),
    (re.compile(r"ComfyUI_temp_[a-z]{5}"), "ComfyUI_temp_xxxxx"),
    (re.compile(r"'[^']*[/\\]input[/\\]"), "'/comfyui/input/"),
    (re.compile(r"\(list of length \d+\)"), "(list of length #)"),
    # Which models lie on a server's disk.
    (re.compile(r"ckpt_name: '([^']*)' not in \[.*\]"), r"ckpt_name: '\1' not in [...]"),
    # An enum-like choice prints differently from release to release, plain lists do not.
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"), "<prompt id>"),
]

# Lists whose order is that of a Python set.
_UNORDERED = {"executed", "current_outputs", "errors"}


def events_of(scenario: str, version: str = "0.26.0") -> list[Json]:
    path = RECORDINGS / version / f"{scenario}.json"
    events: list[Json] = json.loads(path.read_text(encoding="utf-8"))["events"]
    return events


def normal(value: Any, key: str = "") -> Any:
    """Without what may differ between two servers, or between two runs of one."""
    if isinstance(value, Mapping):
        return {normal(name): _normal_entry(name, entry) for name, entry in value.items() if name not in _LEFT_OUT}
    if isinstance(value, list):
        entries = [normal(entry) for entry in value]
        if len(entries) == 2 and entries[1] == {}:
            # An input whose only option is a tooltip, and one declared without options.
            entries.pop()
        return sorted(entries, key=json.dumps) if key in _UNORDERED else entries
    if isinstance(value, str):
        for pattern, replacement in _VOLATILE:
            value = pattern.sub(replacement, value)
    return value


def _normal_entry(name: str, entry: Any) -> Any:
    if name == "input_config" and isinstance(entry, list) and isinstance(entry[0], list):
        # A list of files or models of that server.
        return ["<choices>", normal(entry[1])]
    if name == "prompt" and isinstance(entry, list) and len(entry) == 5:
        # The history's and the queue's tuple: number, id, workflow, extra data, outputs in the order of a set.
        return ["<number>", *normal(entry[1:4]), sorted(entry[4])]
    return normal(entry, name)


def comparable_response(response: Json) -> Json:
    """Of a recorded HTTP response: what another server must answer, too."""
    kept = {"status": response["status"], "content_type": response["content_type"]}
    if "json" in response:
        kept["json"] = normal(response["json"])
    if "headers" in response:
        kept["disposition"] = normal(response["headers"]["Content-Disposition"])
    return kept
