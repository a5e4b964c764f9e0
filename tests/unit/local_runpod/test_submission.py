from __future__ import annotations

import json
from typing import Any

import pytest

from local_runpod.problems import Problem
from local_runpod.settings import OutOfRangePolicy, Settings
from local_runpod.submission import Submission, read_submission


def read(document: Any, **knobs: Any) -> Submission:
    return read_submission(json.dumps(document).encode(), Settings(**knobs))


def test_the_input_is_kept_byte_for_byte() -> None:
    assert (
        read_submission(b'{ "input" : {"b":1.0, "a" :"\xc3\xa9"} }', Settings()).input == b'{"b":1.0, "a" :"\xc3\xa9"}'
    )


def test_everything_documented_is_read() -> None:
    submission = read(
        {
            "input": [1],
            "webhook": "http://h/hook",
            "policy": {"executionTimeout": 120_000, "ttl": 3_600_000, "lowPriority": True},
            "s3Config": {"accessSecret": "s"},
            "somethingElse": 1,
        }
    )
    assert submission.webhook == "http://h/hook"
    assert submission.policy.execution_timeout == 120
    assert submission.policy.ttl == 3600
    assert submission.policy.low_priority
    assert submission.s3_config == b'{"accessSecret": "s"}'
    assert "accessSecret" not in repr(submission)


def test_null_stands_for_what_is_not_given() -> None:
    policy = {"executionTimeout": None, "ttl": None, "lowPriority": None}
    nothing = {"webhook": None, "s3Config": None, "policy": policy}
    assert read({"input": 1, **nothing}) == read({"input": 1})


def test_only_an_empty_object_counts_as_empty() -> None:
    assert read({"input": {}}).input_is_empty
    assert not any(read({"input": value}).input_is_empty for value in ([], "", 0, False, {"a": None}))


def test_policy_out_of_range_is_clamped_or_refused() -> None:
    policy = {"input": 1, "policy": {"executionTimeout": 1, "ttl": 10**12}}
    assert read(policy).policy.execution_timeout == 5
    assert read(policy).policy.ttl == 7 * 24 * 3600
    with pytest.raises(Problem, match="must be between 5000 and 604800000"):
        read(policy, policy=OutOfRangePolicy.REJECT)


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"", "body is not valid JSON"),
        (b"{", "body is not valid JSON"),
        (b'{"input":NaN}', "body is not valid JSON"),
        (b"[]", "must be a JSON object"),
        (b"{}", "`input` is missing"),
        (b'{"input":null}', "`input` is missing"),
        (b'{"input":1,"webhook":1}', "`webhook` must be"),
        (b'{"input":1,"webhook":"file:///etc/passwd"}', "`webhook` must be"),
        (b'{"input":1,"webhook":"http://"}', "`webhook` must be"),
        (b'{"input":1,"webhook":"http://[::1"}', "`webhook` must be"),
        (b'{"input":1,"webhook":"http://host:99999/"}', "`webhook` must be"),
        ('{"input":1,"webhook":"http://\u2100.example/"}'.encode(), "`webhook` must be"),
        (b'{"input":1,"policy":1}', "`policy` must be"),
        (b'{"input":1,"policy":{"ttl":"1"}}', "`policy.ttl` must be"),
        (b'{"input":1,"policy":{"ttl":true}}', "`policy.ttl` must be"),
        (b'{"input":1,"policy":{"lowPriority":1}}', "`policy.lowPriority` must be"),
        (b'{"input":1,"s3Config":"x"}', "`s3Config` must be"),
    ],
)
def test_a_bad_body_is_refused_with_the_reason(body: bytes, detail: str) -> None:
    with pytest.raises(Problem) as caught:
        read_submission(body, Settings())
    assert caught.value.status == 400
    assert detail in caught.value.detail
