"""RunPod's job dict: what is refused and in which words, and what is understood."""

from __future__ import annotations

import json
import math
from dataclasses import FrozenInstanceError
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from comfy_worker import workflow
from comfy_worker.errors import InvalidInput, WorkflowInvalid
from comfy_worker.job import BucketOverride, ImageEntry, Job, parse_job

WORKFLOW = {"1": {"class_type": "EmptyImage", "inputs": {}}}
EXPORT = "(in ComfyUI use Workflow > Export (API))"
SEND = 'send {"input": {"workflow": {...}}}'
PLAIN = "use a plain file name, or folder/name"
BUCKET_TEXT = "s3Config needs endpointUrl, accessId, accessSecret and bucketName, all of them strings"


def job(**request: Any) -> dict[str, Any]:
    return {"id": "sync-1-e1", "input": {"workflow": WORKFLOW, **request}}


def named(name: Any) -> dict[str, Any]:
    return job(images=[{"name": name, "image": "aGk="}])


REFUSED: list[tuple[Any, str]] = [
    (None, "The job must be a JSON object with an 'input' object"),
    ([], "The job must be a JSON object with an 'input' object"),
    ({}, f"input is missing: {SEND}"),
    ({"input": None}, f"input is missing: {SEND}"),
    ({"input": ""}, f"input is missing: {SEND}"),
    ({"input": {}}, f"input is empty: {SEND}"),
    ({"input": "{}"}, f"input is empty: {SEND}"),
    ({"input": []}, "input must be an object with a 'workflow', not an array"),
    ({"input": 7}, "input must be an object with a 'workflow', not a number"),
    ({"input": True}, "input must be an object with a 'workflow', not a boolean"),
    ({"input": "null"}, "input must be an object with a 'workflow', not null"),
    ({"input": '"{}"'}, "input must be an object with a 'workflow', not a string"),
    ({"input": "{'a': 1}"}, "input is a string but not valid JSON: Expecting property name enclosed in double quotes"),
    ({"input": "[" * 100_000}, "input is a string but not valid JSON: maximum recursion depth exceeded"),
    (
        {"input": {"images": []}},
        f"input.workflow is missing: send the workflow in API format {EXPORT}",
    ),
    (
        {"input": {"prompt": WORKFLOW}},
        "input.workflow is missing (found 'prompt': rename it to 'workflow'): send the workflow in API format"
        f" {EXPORT}",
    ),
    (
        {"input": {"Work_Flow": WORKFLOW}},
        "input.workflow is missing (found 'Work_Flow': rename it to 'workflow'): send the workflow in API format"
        f" {EXPORT}",
    ),
    (job(workflow=None), f"input.workflow is missing: send the workflow in API format {EXPORT}"),
    (job(workflow={}), f"input.workflow is empty: send at least one node in API format {EXPORT}"),
    (job(workflow=""), f"input.workflow is empty: send at least one node in API format {EXPORT}"),
    (job(workflow=[]), f"input.workflow must be an object of nodes in API format, not an array {EXPORT}"),
    (job(workflow=1.5), f"input.workflow must be an object of nodes in API format, not a number {EXPORT}"),
    (job(workflow="[1]"), f"input.workflow must be an object of nodes in API format, not an array {EXPORT}"),
    (job(workflow="{"), "input.workflow is a string but not valid JSON: Expecting property name"),
    (job(images={}), 'input.images must be an array of {"name", "image"} objects, not an object'),
    (job(images="a.png"), 'input.images must be an array of {"name", "image"} objects, not a string'),
    (job(images=False), 'input.images must be an array of {"name", "image"} objects, not a boolean'),
    (job(images=["aGk="]), 'input.images[0] must be an object {"name", "image"}, not a string'),
    (job(images=[None]), 'input.images[0] must be an object {"name", "image"}, not null'),
    (job(images=[{}]), "input.images[0].name is missing"),
    (job(images=[{"image": "aGk="}]), "input.images[0].name is missing"),
    (job(images=[{"name": "a.png"}]), "input.images[0].image is missing"),
    (job(images=[{"name": "a.png", "image": None}]), "input.images[0].image is missing"),
    (job(images=[{"name": 1, "image": "aGk="}]), "input.images[0].name must be a string, not a number"),
    (job(images=[{"name": "a.png", "image": ["aGk="]}]), "input.images[0].image must be a string, not an array"),
    (job(images=[{"name": " ", "image": "aGk="}]), "input.images[0].name is empty"),
    (job(images=[{"name": "a.png", "image": "\n"}]), "input.images[0].image is empty"),
    (
        job(images=[{"name": "a.png", "image": "aGk="}, {"name": "b.png", "image": ""}]),
        "input.images[1].image is empty",
    ),
    (
        job(images=[{"name": "a.png", "image": "aGk="}, {"name": "./a.png", "image": "aGk="}]),
        "input.images[1].name 'a.png' is used twice (also by images[0]): give every image its own name",
    ),
    (job(comfy_org_api_key=7), "input.comfy_org_api_key must be a string, not a number"),
    (job(comfy_org_api_key=["k"]), "input.comfy_org_api_key must be a string, not an array"),
    *(
        (job(timeout_s=value), "input.timeout_s must be a number of seconds greater than 0")
        for value in (0, -1, True, "30", [], math.nan, math.inf, 10**400)
    ),
    *(
        ({**job(), "s3Config": value}, BUCKET_TEXT)
        for value in (
            "bucket",
            [1],
            {"bucketName": "b"},
            {"endpointUrl": "https://s3.amazonaws.com", "accessId": "a", "accessSecret": "s", "bucketName": ""},
            {"endpointUrl": "https://s3.amazonaws.com", "accessId": "a", "accessSecret": 1, "bucketName": "b"},
        )
    ),
]


@pytest.mark.parametrize(("raw", "text"), REFUSED, ids=[f"{index}-{row[1][:60]}" for index, row in enumerate(REFUSED)])
def test_refused_in_these_words(raw: Any, text: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_job(raw)
    message = refused.value.message
    # What the json module adds differs between versions of Python.
    assert message == text or ("not valid JSON" in text and message.startswith(text))


OUTSIDE = "does not name a file inside ComfyUI's input folder"
ABSOLUTE = "is an absolute path"
ODD = "has a backslash or control character"


@pytest.mark.parametrize(
    ("name", "shown", "reason"),
    [
        ("../a.png", "'../a.png'", OUTSIDE),
        ("..", "'..'", OUTSIDE),
        ("a/../../b.png", "'a/../../b.png'", OUTSIDE),
        ("a/..", "'a/..'", OUTSIDE),
        ("folder/", "'folder/'", OUTSIDE),
        (".", "'.'", OUTSIDE),
        ("/etc/passwd", "'/etc/passwd'", ABSOLUTE),
        ("//host/a.png", "'//host/a.png'", ABSOLUTE),
        ("C:/a.png", "'C:/a.png'", ABSOLUTE),
        ("C:\\a.png", "'C:\\\\a.png'", ODD),
        ("..\\a.png", "'..\\\\a.png'", ODD),
        ("a\0.png", "'a\\x00.png'", ODD),
        ("a\nb.png", "'a\\nb.png'", ODD),
        ("a\x7f.png", "'a\\x7f.png'", ODD),
        ("\ud800.png", "'\\ud800.png'", "is not valid Unicode"),
    ],
)
def test_trap_12_input_names_that_escape_are_refused(name: str, shown: str, reason: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_job(named(name))
    assert refused.value.message == f"input.images[0].name {shown} {reason}: {PLAIN}"


@pytest.mark.parametrize("name", ["x" * 201, "é" * 101, "/".join("abcdefghijklmnopq")])
def test_trap_12_input_names_too_long_for_a_file_system_are_refused(name: str) -> None:
    with pytest.raises(
        InvalidInput, match=r"^input\.images\[0\]\.name '.*' is too long: at most 200 bytes between two"
    ):
        parse_job(named(name))


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("photo.png", "photo.png"),
        ("jobs/one/photo.png", "jobs/one/photo.png"),
        ("./a//b/./c.png", "a/b/c.png"),
        (" photo.png ", "photo.png"),
        ("übung 写真 🎨.png", "übung 写真 🎨.png"),
        ("..photo..png", "..photo..png"),
        (".hidden", ".hidden"),
        ("photo", "photo"),
        ("a:b.png", "a:b.png"),
        ("x" * 200, "x" * 200),
    ],
)
def test_trap_12_input_names_that_stay_inside(name: str, read: str) -> None:
    assert parse_job(named(name)).images[0].name == read


def test_trap_12_two_folders_may_hold_one_name() -> None:
    images = [{"name": name, "image": "aGk="} for name in ("a.png", "one/a.png", "two/a.png", "A.png")]
    assert [image.name for image in parse_job(job(images=images)).images] == [
        "a.png",
        "one/a.png",
        "two/a.png",
        "A.png",
    ]


def test_a_whole_job() -> None:
    raw = job(
        images=[{"name": "a.png", "image": "aGk=", "note": "unknown keys of an image do no harm"}],
        comfy_org_api_key="comfyui-1",
        timeout_s=30,
    )
    raw["s3Config"] = {
        "endpointUrl": "https://s3.eu-west-1.amazonaws.com",
        "accessId": "AKIA",
        "accessSecret": "wJalr",
        "bucketName": "results",
        "objectPath": "/team/a/",
    }
    assert parse_job(raw) == Job(
        id="sync-1-e1",
        workflow=WORKFLOW,
        images=(ImageEntry(name="a.png", source="aGk=", label="images[0] 'a.png'"),),
        comfy_org_api_key="comfyui-1",
        timeout_s=30.0,
        bucket=BucketOverride(
            endpoint_url="https://s3.eu-west-1.amazonaws.com",
            access_key_id="AKIA",
            secret_access_key="wJalr",
            bucket="results",
            key_prefix="team/a",
        ),
    )


@pytest.mark.parametrize(
    "request_input",
    [
        {"workflow": WORKFLOW},
        json.dumps({"workflow": WORKFLOW}),
        {"workflow": json.dumps(WORKFLOW)},
        json.dumps({"workflow": json.dumps(WORKFLOW)}),
        {"workflow": WORKFLOW, "images": None, "comfy_org_api_key": None, "timeout_s": None},
        {"workflow": WORKFLOW, "images": [], "comfy_org_api_key": ""},
    ],
)
def test_forms_of_the_same_job(request_input: Any) -> None:
    assert parse_job({"id": "j", "input": request_input, "s3Config": None}) == Job(id="j", workflow=WORKFLOW)


@pytest.mark.parametrize(
    ("raw_id", "read"),
    [("abc-u1", "abc-u1"), (None, "local"), ("", "local"), (7, "7"), pytest.param(10**5000, "<int>", id="huge")],
)
def test_every_job_has_an_id(raw_id: Any, read: str) -> None:
    assert parse_job({**job(), "id": raw_id}).id == read


@pytest.mark.parametrize("path", [None, 7, "", "/"])
def test_an_object_path_is_optional(path: Any) -> None:
    keys = {"endpointUrl": "http://minio:9000", "accessId": "a", "accessSecret": "s", "bucketName": "b"}
    bucket = parse_job({**job(), "s3Config": {**keys, "objectPath": path}}).bucket
    assert bucket is not None
    assert bucket.key_prefix == ""


@pytest.mark.parametrize(
    ("key", "warning"),
    [
        ("image", "input.image is not an option of this worker and was ignored; did you mean 'images'?"),
        ("timeout", "input.timeout is not an option of this worker and was ignored; did you mean 'timeout_s'?"),
        ("seed", "input.seed is not an option of this worker and was ignored"),
        ("x" * 300, f"input.{'x' * 100} is not an option of this worker and was ignored"),
    ],
)
def test_an_unknown_key_is_a_warning(key: str, warning: str) -> None:
    assert parse_job(job(**{key: 1})).warnings == (warning,)


def test_a_million_unknown_keys_are_not_a_million_warnings() -> None:
    warnings = parse_job(job(**{f"key{number}": 0 for number in range(1_000)})).warnings
    assert len(warnings) == 21
    assert warnings[-1] == "980 more keys of input were ignored"


def test_a_job_is_frozen_and_shows_neither_keys_nor_pictures() -> None:
    raw = job(images=[{"name": "a.png", "image": "c2VjcmV0"}], comfy_org_api_key="comfyui-key")
    raw["s3Config"] = {"endpointUrl": "http://minio", "accessId": "AKIA", "accessSecret": "wJalr", "bucketName": "b"}
    parsed = parse_job(raw)
    for hidden in ("c2VjcmV0", "comfyui-key", "AKIA", "wJalr", "EmptyImage"):
        assert hidden not in repr(parsed)
    with pytest.raises(FrozenInstanceError):
        parsed.id = "other"  # type: ignore[misc]


def huge(digits: int) -> int:
    """Beyond 4300 digits, Python refuses to print it."""
    return 10**digits


LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([400, 5000]).map(huge),
    st.floats(),
    st.text(st.characters(), max_size=8),
    st.sampled_from(["1", "a.png", "../x", "http://x", "{}", '{"workflow": {"1": NaN}}', "[" * 5_000, "\ud800"]),
    st.just(b"bytes"),
)
KEYS = st.one_of(
    st.sampled_from(
        ["1", "2", "workflow", "images", "timeout_s", "comfy_org_api_key", "class_type", "inputs", "prompt"]
    ),
    st.sampled_from(["nodes", "name", "image", "filename_prefix", "endpointUrl", "accessId", 1, None, ("t",)]),
    st.text(st.characters(), max_size=4),
)
LINKS = st.tuples(st.sampled_from(["1", "2", "3", 1]), st.integers(-1, 2)).map(list)
JSON = st.recursive(
    LEAVES | LINKS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=5
)


def everywhere(value: Any) -> list[Any]:
    """The value in each place of a job where a client could put it."""
    node = {"class_type": "A", "inputs": {"x": value, "y": ["2", 0]}}
    return [
        value,
        {"input": value},
        {"input": {"workflow": value}},
        {"input": {"workflow": value, "prompt": value}},
        {"input": {"workflow": {"1": value, "2": node}}},
        {"input": {"workflow": {"1": node, "2": {"class_type": "A", "inputs": value}}}},
        {"input": {"workflow": {"1": {"class_type": value, "inputs": {"filename_prefix": value}}}}},
        {"input": {"workflow": value if isinstance(value, dict) else {"1": node, "2": {**node, "_meta": value}}}},
        {"input": {"workflow": WORKFLOW, "images": value}},
        {"input": {"workflow": WORKFLOW, "images": [value, value]}},
        {"input": {"workflow": WORKFLOW, "images": [{"name": value, "image": value}]}},
        {"input": {"workflow": WORKFLOW, "timeout_s": value, "seed": value}},
        {"input": {"workflow": WORKFLOW, "comfy_org_api_key": value}},
        {"input": {"workflow": WORKFLOW}, "id": value},
        {"input": {"workflow": WORKFLOW}, "s3Config": value},
    ]


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def check_one(raw: Any) -> None:
    """It is a job or is refused with a text, and nothing else happens."""
    try:
        parsed = parse_job(raw)
        assert isinstance(parsed, Job)
        workflow.check(parsed.workflow)
    except (InvalidInput, WorkflowInvalid) as error:
        assert isinstance(error.message, str)
        assert error.message.strip()
    else:
        # What passed can be prepared for ComfyUI and posted.
        prepared = workflow.prepare(parsed.workflow, "folder", {})
        json.dumps(prepared, allow_nan=False, skipkeys=True)


@given(JSON)
@settings(max_examples=350, suppress_health_check=list(HealthCheck))
def test_ten_thousand_odd_requests(value: Any) -> None:
    """350 values, each also inside an object, in each of 15 places."""
    for raw in (*everywhere(value), *everywhere({"1": value})):
        check_one(raw)


@pytest.mark.parametrize(
    "raw",
    [
        {"id": nested(100_000), "input": {"workflow": WORKFLOW}},
        job(workflow={"1": {"class_type": "A", "inputs": {"x": nested(100_000)}}}),
        job(images=[nested(100_000)]),
        job(timeout_s=nested(100_000)),
        {**job(), "s3Config": nested(100_000)},
    ],
    ids=["id", "workflow", "images", "timeout_s", "s3Config"],
)
def test_a_hundred_thousand_brackets(raw: Any) -> None:
    check_one(raw)
