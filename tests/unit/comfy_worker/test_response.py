"""The body that goes to RunPod: its shape, its size, and that the SDK can send it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfy_worker import response
from comfy_worker.errors import InputUploadFailed, InvalidInput, WorkerError
from comfy_worker.response import ENVELOPE, LIMIT_ASYNC, LIMIT_SYNC, MIB


def file(data: str = "aGk=", **more: Any) -> dict[str, Any]:
    return {"filename": "a.png", "type": "base64", "data": data, "node_id": "9", "subfolder": "", "size": 2, **more}


TEXT = {"node_id": "3", "text": "a cat"}


@pytest.mark.parametrize(
    ("job_id", "limit"),
    [
        ("sync-1-e1", 20 * 1024 * 1024),
        ("sync-", 20 * 1024 * 1024),
        ("1-e1", 10 * 1024 * 1024),
        ("async-1", 10 * 1024 * 1024),
        ("SYNC-1", 10 * 1024 * 1024),
        ("local", 10 * 1024 * 1024),
        ("", 10 * 1024 * 1024),
    ],
)
def test_trap_11_the_limit_depends_on_the_id(job_id: str, limit: int) -> None:
    assert response.limit_for(job_id) == limit


@pytest.mark.parametrize(
    ("delivered", "warnings", "body"),
    [
        ({}, [], {"images": []}),
        ({"images": [], "videos": [], "text": []}, [], {"images": []}),
        ({"images": [file()]}, [], {"images": [file()]}),
        ({"text": [TEXT]}, ["w"], {"images": [], "text": [TEXT], "errors": ["w"]}),
        (
            {"videos": [file()], "audio": [file()], "files": [file()]},
            [],
            {"images": [], "videos": [file()], "audio": [file()], "files": [file()]},
        ),
    ],
)
def test_success(delivered: dict[str, Any], warnings: list[str], body: dict[str, Any]) -> None:
    assert response.success(delivered, warnings) == body


@pytest.mark.parametrize(
    ("error", "delivered", "warnings", "body"),
    [
        (InvalidInput("input is missing"), {}, [], {"error": "input is missing", "error_type": "INVALID_INPUT"}),
        (
            InputUploadFailed(["images[0]: holds no data"]),
            {"images": []},
            [],
            {
                "error": "Failed to upload one or more input images",
                "error_type": "INPUT_UPLOAD_FAILED",
                "details": ["images[0]: holds no data"],
            },
        ),
        (
            WorkerError("boom"),
            {"images": [file()], "text": [TEXT]},
            ["w"],
            {"error": "boom", "error_type": "WORKER_ERROR", "images": [file()], "text": [TEXT], "errors": ["w"]},
        ),
        # A falsy error would make the job COMPLETED.
        (InvalidInput(""), {}, [], {"error": "INVALID_INPUT", "error_type": "INVALID_INPUT"}),
    ],
)
def test_failure(error: WorkerError, delivered: dict[str, Any], warnings: list[str], body: dict[str, Any]) -> None:
    assert response.failure(error, delivered, warnings) == body


def test_trap_07_a_failure_keeps_what_was_delivered_before_it() -> None:
    body = response.failure(WorkerError("boom"), {"images": [file()]})
    assert body["error"] == "boom"
    assert body["images"] == [file()]


BODIES: list[dict[str, Any]] = [
    {"images": []},
    {"images": [file()], "errors": ["w"]},
    {"images": [file("A" * 100_000), file("B" * 3)], "videos": [file("C" * 50)], "text": [TEXT]},
    {"images": [file("https://bucket/a.png?x=1", type="s3_url")]},
    {"images": [], "text": [{"node_id": "1", "text": 'ünï 写真 🎨 \n\t"\\\x00\x7f'}]},
    {"error": "boom", "error_type": "X", "details": ["a", "b"], "images": [file()]},
]


@pytest.mark.parametrize("body", BODIES)
def test_trap_11_the_size_is_that_of_the_json(body: dict[str, Any]) -> None:
    assert response.json_size(body) == len(json.dumps(body)) + ENVELOPE


@pytest.mark.parametrize("body", BODIES)
def test_trap_11_the_size_covers_what_the_sdk_posts(body: dict[str, Any]) -> None:
    """runpod-python 1.12.0 posts `{"output": body}` (errors on top) with ensure_ascii=False."""
    assert len(json.dumps({"output": body}, ensure_ascii=False).encode()) <= response.json_size(body)


@given(st.text(), st.text(st.characters(max_codepoint=127)))
@settings(max_examples=200)
def test_trap_11_the_size_of_any_text(text: str, data: str) -> None:
    body = {"images": [file("A" * len(data))], "text": [{"node_id": "1", "text": text}]}
    assert response.json_size(body) == len(json.dumps(body)) + ENVELOPE


def test_trap_11_measuring_does_not_change_the_body() -> None:
    body = {"images": [file("A" * 100)]}
    response.json_size(body)
    assert body == {"images": [file("A" * 100)]}


@pytest.mark.parametrize("limit", [LIMIT_ASYNC, LIMIT_SYNC])
def test_trap_11_the_largest_result_that_fits(limit: int) -> None:
    frame = response.json_size({"images": [file("")]})
    fits = {"images": [file("A" * (limit - frame))]}
    assert response.within_limit(fits, limit) == fits
    over = response.within_limit({"images": [file("A" * (limit - frame + 1))]}, limit)
    other_route = "send the job to /runsync (20 MiB), " if limit == LIMIT_ASYNC else ""
    assert over == {
        "error": f"The result is {limit / MIB:.1f} MiB, over RunPod's limit of {limit // MIB} MiB: configure an S3"
        f" bucket (BUCKET_ENDPOINT_URL), {other_route}or make fewer or smaller files",
        "error_type": "RESULT_TOO_LARGE",
    }


def test_trap_11_an_error_that_is_too_large_with_its_files_stays_the_cause() -> None:
    body = response.failure(WorkerError("node 3 raised " + "x" * 5_000), {"images": [file("A" * LIMIT_ASYNC)]})
    small = response.within_limit(body, LIMIT_ASYNC)
    assert small["error_type"] == "RESULT_TOO_LARGE"
    assert small["details"] == [("node 3 raised " + "x" * 5_000)[:1000]]
    assert response.json_size(small) < LIMIT_ASYNC


@pytest.mark.parametrize(
    "value", [b"bytes", float("nan"), float("inf"), {1, 2}, object()], ids=["bytes", "NaN", "Infinity", "set", "object"]
)
def test_trap_24_what_is_no_json_is_never_sent(value: Any) -> None:
    body = {"images": [file(size=value)]}
    with pytest.raises(ValueError, match="JSON"):
        response.json_size(body)
    sent = response.within_limit(body, LIMIT_ASYNC)
    assert sent["error"].startswith("The worker made a response that is no JSON (")
    assert sent["error_type"] == "WORKER_ERROR"
    json.dumps(sent, ensure_ascii=False, allow_nan=False).encode()


def test_trap_24_half_a_surrogate_pair_is_never_sent() -> None:
    """The SDK posts UTF-8, which has no form for it: nothing would be sent at all."""
    body = {
        "error": "input.\ud800 is not an option",
        "errors": ["\udfff"],
        "images": [file(filename="a\ud83c.png")],
        "text": [{"node_id": "1", "text": "🎨 ü \ud83c"}],
    }
    sent = response.within_limit(body, LIMIT_ASYNC)
    assert sent == {
        "error": "input.? is not an option",
        "errors": ["?"],
        "images": [file(filename="a?.png")],
        "text": [{"node_id": "1", "text": "🎨 ü ?"}],
    }
    json.dumps(sent, ensure_ascii=False).encode()


def test_the_data_of_a_file_is_not_copied() -> None:
    data = "A" * MIB
    assert response.within_limit({"images": [file(data)]}, LIMIT_ASYNC)["images"][0]["data"] is data


def test_trap_20_the_text_that_the_sdk_makes_for_its_log_is_short() -> None:
    """It makes one of the answer and one of a dict around it, whatever its log level."""
    body = response.within_limit({"images": [file("A" * MIB)], "errors": ["short"], "text": ["x" * 9_999]}, LIMIT_ASYNC)
    assert len(f"run_job return: { {'output': body} }") < 1500
    assert "AAAA... (1048576 characters)" in f"Handler output: {body}"
    assert "'errors': ['short']" in str(body)
    assert len(json.loads(json.dumps(body, ensure_ascii=False))["images"][0]["data"]) == MIB


def test_every_answer_has_a_short_text() -> None:
    long = [file("A" * 9_999)]
    for body in (response.success({"images": long}, []), response.failure(WorkerError("no"), {"images": long})):
        assert len(repr(body)) < 1000
        assert body == dict(body)
