"""ComfyUI's websocket frames, read into events; what is not understood is Unknown and never an exception."""

from __future__ import annotations

import dataclasses
import json
import struct
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from worker_recordings import Recording, heard, load_all

from comfy_worker.comfyui import events
from comfy_worker.comfyui.events import (
    Cached,
    Executed,
    Executing,
    Failed,
    Interrupted,
    Picture,
    Progress,
    ProgressState,
    Started,
    Status,
    Succeeded,
    Unknown,
    parse_binary,
    parse_text,
)

OUTPUT = {"images": [{"filename": "a.png", "subfolder": "", "type": "output"}]}


def text(kind: Any, data: Any) -> str:
    return json.dumps({"type": kind, "data": data})


@pytest.mark.parametrize(
    ("kind", "data", "event"),
    [
        ("status", {"status": {"exec_info": {"queue_remaining": 2}}, "sid": "c"}, Status(2)),
        ("execution_start", {"prompt_id": "p", "timestamp": 1}, Started("p")),
        ("execution_cached", {"nodes": ["1", 2], "prompt_id": "p"}, Cached("p", ("1", "2"))),
        ("executing", {"node": "1", "display_node": "1", "prompt_id": "p"}, Executing("p", "1")),
        ("executing", {"node": None, "prompt_id": "p"}, Executing("p", None)),
        ("executing", {"node": "1"}, Executing(None, "1")),
        ("executing", {"node": 7, "prompt_id": "p"}, Executing("p", "7")),
        ("progress", {"value": 1, "max": 20, "prompt_id": "p", "node": "3"}, Progress("p", "3", 1.0, 20.0)),
        ("progress", {"value": 1, "max": 20}, Progress(None, None, 1.0, 20.0)),
        (
            "progress_state",
            {
                "prompt_id": "p",
                "nodes": {
                    "1": {"value": 1, "max": 1, "state": "finished", "node_id": "1"},
                    "3": {"value": 2, "max": 20, "state": "running", "node_id": "3"},
                },
            },
            ProgressState("p", (Progress("p", "3", 2.0, 20.0),), 1),
        ),
        ("executed", {"node": "9", "output": OUTPUT, "prompt_id": "p"}, Executed("p", "9", OUTPUT)),
        ("executed", {"node": "9", "output": None, "prompt_id": "p"}, Executed("p", "9", {})),
        ("execution_success", {"prompt_id": "p", "timestamp": 1}, Succeeded("p")),
        (
            "execution_error",
            {
                "prompt_id": "p",
                "node_id": "31",
                "node_type": "KSampler",
                "executed": [],
                "exception_message": "CUDA out of memory\n",
                "exception_type": "torch.OutOfMemoryError",
                "traceback": ["  File ...\n"],
                "current_inputs": {},
            },
            Failed("p", "31", "KSampler", "CUDA out of memory", "torch.OutOfMemoryError", ("  File ...\n",)),
        ),
        ("execution_error", {"prompt_id": "p"}, Failed("p", "None", "None", "", "")),
        (
            "execution_interrupted",
            {"prompt_id": "p", "node_id": "3", "node_type": "KSampler", "executed": []},
            Interrupted("p", "3", "KSampler"),
        ),
        ("crystools.monitor", {"cpu": 1.0}, Unknown("crystools.monitor")),
        ("feature_flags", {"supports_preview_metadata": True}, Unknown("feature_flags")),
        (7, {}, Unknown("7")),
    ],
)
def test_text_frames(kind: Any, data: Any, event: events.Event) -> None:
    assert parse_text(text(kind, data)) == event
    assert parse_text(text(kind, data).encode()) == event


@pytest.mark.parametrize(
    "frame",
    [
        "",
        "no json",
        "null",
        "7",
        '"status"',
        "[]",
        "{}",
        '{"type": "status"}',
        '{"data": {}}',
        b"\xff\xfe\xfd",
        text("status", {}),
        text("status", {"status": {"exec_info": {"queue_remaining": "many"}}}),
        '{"type": "status", "data": {"status": {"exec_info": {"queue_remaining": Infinity}}}}',
        text("execution_start", None),
        text("execution_start", []),
        text("execution_start", "p"),
        text("execution_cached", {"prompt_id": "p", "nodes": None}),
        text("executing", []),
        text("progress", {"value": None, "max": 1}),
        text("progress", {"value": 10**400, "max": 1}),
        text("progress", {"value": float("nan"), "max": 1}),
        text("progress", {"value": 1, "max": float("inf")}),
        text(
            "progress_state",
            {"prompt_id": "p", "nodes": {"1": {"node_id": "1", "state": "running", "value": float("nan"), "max": 1}}},
        ),
        text("progress_state", {"prompt_id": "p", "nodes": []}),
        text("progress_state", {"prompt_id": "p", "nodes": {"1": None}}),
        text("executed", {"prompt_id": "p"}),
        text("execution_error", {"node_id": "1"}),
        "[" * 100_000,
        '{"type": ' + "[" * 100_000,
    ],
    ids=range(29),
)
def test_malformed_text_frames(frame: str | bytes) -> None:
    assert parse_text(frame) == Unknown("malformed message")


def picture(metadata: Any, content: bytes = b"\x89PNG") -> bytes:
    packed = metadata if isinstance(metadata, bytes) else json.dumps(metadata).encode()
    return struct.pack(">II", 4, len(packed)) + packed + content


@pytest.mark.parametrize(
    ("frame", "event"),
    [
        (struct.pack(">II", 1, 1) + b"\xff\xd8", Picture("image/jpeg", b"\xff\xd8")),
        (struct.pack(">II", 1, 2) + b"\x89PNG", Picture("image/png", b"\x89PNG")),
        (struct.pack(">II", 1, 2), Picture("image/png", b"")),
        (
            picture({"node_id": "3", "prompt_id": "p", "display_node_id": "3", "image_type": "image/jpeg"}),
            Picture("image/jpeg", b"\x89PNG", "p", "3"),
        ),
        (
            picture({"node_id": None, "prompt_id": None, "image_type": "image/png"}),
            Picture("image/png", b"\x89PNG", None, None),
        ),
        (struct.pack(">II", 3, 1) + b"text", Unknown("binary frame of type 3")),
        (struct.pack(">II", 2, 1), Unknown("binary frame of type 2")),
    ],
)
def test_binary_frames(frame: bytes, event: events.Event) -> None:
    assert parse_binary(frame) == event


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\0\0\0\1",
        b"\0\0\0\1\0\0\0",
        picture(b""),
        picture(b"{"),
        picture(b"\xff\xff"),
        picture([1]),
        picture({"node_id": "3"}),
        picture({"node_id": "3", "prompt_id": "p", "image_type": "image/png"})[:30],
        picture(b"[" * 100_000),
    ],
    ids=range(10),
)
def test_malformed_binary_frames(frame: bytes) -> None:
    assert parse_binary(frame) == Unknown("malformed binary frame")


@given(st.binary(max_size=64))
@settings(max_examples=100)
def test_any_bytes_are_an_event(frame: bytes) -> None:
    for event in (parse_binary(frame), parse_binary(b"\0\0\0\4" + frame), parse_text(frame)):
        assert isinstance(event, get_args(events.Event))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=4,
)
FIELDS = ("prompt_id", "node", "nodes", "output", "value", "max", "status", "node_id", "node_type", "traceback")
DATA = st.one_of(VALUES, st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=5))


@given(st.sampled_from([*events._PARSERS, "other"]), DATA)
@settings(max_examples=200, suppress_health_check=list(HealthCheck))
def test_any_data_is_an_event(kind: str, data: Any) -> None:
    event = parse_text(text(kind, data))
    assert isinstance(event, get_args(events.Event))


def test_events_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Started("p").prompt_id = "q"  # type: ignore[misc]


def test_neither_pictures_nor_outputs_nor_tracebacks_are_in_the_repr() -> None:
    shown = repr([Picture("image/png", b"secret"), Executed("p", "9", {"text": ["secret"]})])
    shown += repr(Failed("p", "1", "A", "m", "E", ("secret",)))
    assert "secret" not in shown


def test_the_first_message_asks_for_pictures_that_name_their_node() -> None:
    assert events.CLIENT_FEATURES == {"type": "feature_flags", "data": {"supports_preview_metadata": True}}


@pytest.mark.parametrize("recording", load_all(), ids=lambda recording: recording.name)
def test_every_recorded_frame_is_understood(recording: Recording) -> None:
    for frame in recording.events:
        event = heard(frame)
        if frame["kind"] == "ws_text":
            assert not isinstance(event, Unknown) or frame["message"]["type"] == "feature_flags"
        if frame["kind"] == "ws_binary":
            # The recording holds the beginning only, which cuts the metadata of frames of type 4.
            assert isinstance(event, Picture if frame["event_type"] == 1 else Unknown)
