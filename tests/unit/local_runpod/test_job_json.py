from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable

import pytest
from runpod_desk import Desk

from local_runpod.jobs import dumps, json_array, json_object, new_job_id
from local_runpod.json_text import NotJson
from local_runpod.results import Progress, Result, read_result
from local_runpod.settings import EmptyInput


def test_ids_have_the_form_of_runpods() -> None:
    for sync, prefix in ((False, ""), (True, "sync-")):
        match = re.fullmatch(prefix + r"([0-9a-f-]{36})-u1", new_job_id(sync))
        assert match is not None
        assert uuid.UUID(match.group(1)).version == 4


def test_a_queued_job_has_an_id_and_a_status_only(desk: Desk) -> None:
    job = desk.submit()
    assert desk.shown(job) == {"id": job.id, "status": "IN_QUEUE"}


def test_keys_are_alphabetical_and_absent_ones_left_out(desk: Desk) -> None:
    job = desk.submit()
    desk.clock.now += 0.214
    desk.take()
    assert list(desk.shown(job)) == ["delayTime", "id", "status", "workerId"]
    desk.clock.now += 3.391
    desk.finish(job)
    assert desk.shown(job) == {
        "delayTime": 214,
        "executionTime": 3391,
        "id": job.id,
        "output": {"ok": 1},
        "status": "COMPLETED",
        "workerId": "w1",
    }
    text = b"".join(desk.endpoint.document(job))
    assert text.startswith(b'{"delayTime":214,"executionTime":3391,"id":')
    assert list(json.loads(text)) == sorted(json.loads(text))


def test_the_worker_gets_s3_config_and_webhook_and_the_client_never_does(desk: Desk) -> None:
    job = desk.running({"input": {"n": 1}, "webhook": "http://h/hook", "s3Config": {"accessSecret": "s"}, "x": 1})
    assert json.loads(b"".join(desk.fleet.worker_document(job))) == {
        "id": job.id,
        "input": {"n": 1},
        "s3Config": {"accessSecret": "s"},
        "webhook": "http://h/hook",
    }
    desk.finish(job)
    assert b"accessSecret" not in b"".join(desk.endpoint.document(job))


def test_an_empty_input_is_dropped_as_on_runpod_or_passed(make_desk: Callable[..., Desk]) -> None:
    for knob, seen in ((EmptyInput.DROP, False), (EmptyInput.PASS, True)):
        desk = make_desk(empty_input=knob)
        job = desk.running({"input": {}})
        assert ("input" in json.loads(b"".join(desk.fleet.worker_document(job)))) is seen


def test_pieces_make_valid_json() -> None:
    assert b"".join(json_object({})) == b"{}"
    assert b"".join(json_array([])) == b"[]"
    assert b"".join(json_array([json_object({"b": b"1", "a": b"2"}), [b"3"]])) == b'[{"a":2,"b":1},3]'
    assert dumps("\ud800é") == '"?é"'.encode()


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"output": {"a": 1}}', Result(output=b'{"a": 1}')),
        (b'{"output": null}', Result(output=b"null")),
        (b"{}", Result()),
        (b'{"error": "bad"}', Result(error="bad")),
        (b'{"output": {"d": 1}, "error": "bad"}', Result(output=b'{"d": 1}', error="bad")),
        (b'{"output": 1, "error": null}', Result(output=b"1")),
        (b'{"error": {"code": 1}}', Result(error='{"code":1}')),
        (b'{"output": 1, "stopPod": true}', Result(output=b"1", stop_pod=True)),
        (b'{"status": "IN_PROGRESS", "output": {"percent": 40}}', Progress(output=b'{"percent": 40}')),
        (b'{"status": "IN_PROGRESS"}', Progress()),
        (b'"bare"', Result(output=b'"bare"')),
    ],
)
def test_what_the_sdk_posts_is_read(body: bytes, expected: object) -> None:
    assert read_result(body) == expected


def test_a_long_error_text_is_kept() -> None:
    assert read_result(b'{"error": "%b"}' % (b"x" * 100_000)) == Result(error="x" * 100_000)


@pytest.mark.parametrize("body", [b'{"output": {"x": NaN}}', b"", b"output=1"])
def test_a_result_that_is_not_json_is_refused(body: bytes) -> None:
    with pytest.raises(NotJson):
        read_result(body)
