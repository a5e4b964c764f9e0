"""Every variable: its default, what it takes, and the text that stops the start."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from comfy_worker.bucket import Bucket
from comfy_worker.config import MOST_CONCURRENT, VARIABLES, Settings, bucket_for_job
from comfy_worker.errors import ConfigError
from comfy_worker.job import BucketOverride

KEYS = {"BUCKET_ACCESS_KEY_ID": "AKIAEXAMPLE", "BUCKET_SECRET_ACCESS_KEY": "wJalrXUtnFEMI"}
S3 = {"BUCKET_ENDPOINT_URL": "https://files.s3.eu-west-1.amazonaws.com", **KEYS}


def text_of(environment: Mapping[str, str]) -> str:
    with pytest.raises(ConfigError) as refused:
        Settings.from_env(environment)
    return str(refused.value)


class Recorded(Mapping[str, str]):
    """An environment that remembers what was asked for."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self.values_, self.asked = values, set[str]()

    def __getitem__(self, name: str) -> str:
        self.asked.add(name)
        return self.values_[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_)

    def __len__(self) -> int:
        return len(self.values_)


def test_without_any_variable() -> None:
    assert Settings.from_env({}) == Settings()


def test_an_empty_value_is_no_value() -> None:
    assert Settings.from_env({variable.name: " " for variable in VARIABLES}) == Settings()


def test_the_table_of_variables_is_what_is_read() -> None:
    environment = Recorded(S3)
    Settings.from_env(environment)
    assert environment.asked == {variable.name for variable in VARIABLES}
    assert len({variable.name for variable in VARIABLES}) == len(VARIABLES)
    assert all(variable.about for variable in VARIABLES)


@pytest.mark.parametrize("variable", [v for v in VARIABLES if v.default], ids=lambda variable: variable.name)
def test_the_defaults_of_the_table_are_the_real_ones(variable: Any) -> None:
    assert Settings.from_env({**S3, variable.name: variable.default}) == Settings.from_env(S3)


@pytest.mark.parametrize(
    ("name", "value", "field", "read"),
    [
        *(
            ("INPUT_URL_ALLOW_PRIVATE", text, "input_url_allow_private", True)
            for text in ("TRUE", " True ", "1", "yes", "on")
        ),
        *(("REFRESH_WORKER", text, "refresh_worker", False) for text in ("false", "False", "0", "no", "off")),
        ("COMFY_LOG_LEVEL", "debug", "log_level", "DEBUG"),
        ("COMFY_LOG_LEVEL", "ERROR", "log_level", "ERROR"),
        ("WEBSOCKET_RECONNECT_ATTEMPTS", "0", "reconnect_attempts", 0),
        ("WEBSOCKET_RECONNECT_ATTEMPTS", "12", "reconnect_attempts", 12),
        ("WEBSOCKET_RECONNECT_DELAY_S", "0.5", "reconnect_delay_s", 0.5),
        ("WEBSOCKET_RECONNECT_DELAY_S", "0", "reconnect_delay_s", 0.0),
        ("COMFY_HOST", "comfyui:8188", "comfy_host", "comfyui:8188"),
        ("COMFY_HOST", "[::1]:8188", "comfy_host", "[::1]:8188"),
        ("COMFY_ARGS", "--lowvram --preview-method 'a b'", "comfy_args", ("--lowvram", "--preview-method", "a b")),
        ("COMFY_PYTHON", "/venv/bin/python", "comfy_python", "/venv/bin/python"),
        ("COMFY_START_TIMEOUT_S", "60", "comfy_start_timeout_s", 60.0),
        ("COMFY_ORG_API_KEY", " comfyui-key ", "comfy_org_api_key", "comfyui-key"),
        ("EXECUTION_TIMEOUT_S", "0", "execution_timeout_s", None),
        ("EXECUTION_TIMEOUT_S", "90.5", "execution_timeout_s", 90.5),
        ("STALL_TIMEOUT_S", "0", "stall_timeout_s", None),
        ("STALL_TIMEOUT_S", "60", "stall_timeout_s", 60.0),
        ("INPUT_URL_ALLOW_PRIVATE", "true", "input_url_allow_private", True),
    ],
)
def test_good_values(name: str, value: str, field: str, read: Any) -> None:
    settings = Settings.from_env({name: value})
    assert getattr(settings, field) == read
    assert dataclasses.replace(settings, **{field: getattr(Settings(), field)}) == Settings()


@pytest.mark.parametrize(("text", "read"), [("auto", None), ("AUTO", None), ("1", 1), ("3", 3)])
def test_concurrency(text: str, read: int | None) -> None:
    assert Settings.from_env({"WORKER_CONCURRENCY": text}).concurrency == read


def test_a_worker_that_ends_after_each_job_holds_one() -> None:
    settings = Settings.from_env({"REFRESH_WORKER": "true", "WORKER_CONCURRENCY": "3"})
    assert settings == Settings(refresh_worker=True, concurrency=1)


def test_a_bad_value_that_is_not_used_stops_the_start_too() -> None:
    assert text_of({"REFRESH_WORKER": "true", "WORKER_CONCURRENCY": "x"}).startswith("WORKER_CONCURRENCY='x' cannot")


SECONDS = "use a number of seconds, 0 or more"
HOST = "use host:port, such as 127.0.0.1:8188"
EXPIRY = "use 1 to 604800 seconds (7 days, the longest that S3 signs)"


@pytest.mark.parametrize(
    ("name", "value", "advice"),
    [
        ("REFRESH_WORKER", "maybe", "use true or false"),
        ("INPUT_URL_ALLOW_PRIVATE", "2", "use true or false"),
        *(
            ("WORKER_CONCURRENCY", text, f"use auto or a number from 1 to {MOST_CONCURRENT}")
            for text in ("0", "-1", "1.5", "many", str(MOST_CONCURRENT + 1))
        ),
        ("COMFY_LOG_LEVEL", "LOUD", "use one of DEBUG, INFO, WARNING, ERROR"),
        *(
            ("WEBSOCKET_RECONNECT_ATTEMPTS", text, "use a whole number, 0 or more")
            for text in ("-1", "1.5", "many", "٣")
        ),
        *(("WEBSOCKET_RECONNECT_DELAY_S", text, SECONDS) for text in ("-1", "3s", "nan", "inf", "1,5")),
        ("COMFY_START_TIMEOUT_S", "soon", SECONDS),
        ("EXECUTION_TIMEOUT_S", "1e999", SECONDS),
        ("STALL_TIMEOUT_S", "-0.1", SECONDS),
        *(
            ("COMFY_HOST", text, HOST)
            for text in (
                "localhost",
                "http://127.0.0.1:8188",
                ":8188",
                "host:",
                "host:0",
                "host:99999",
                "host:x",
                "a b:1",
            )
        ),
        ("COMFY_HOST", "host:٨", HOST),
        ("COMFYUI_PATH", "/nowhere/comfyui", "there is no main.py in this folder"),
        ("COMFY_ARGS", "--x 'open", "No closing quotation"),
    ],
)
def test_bad_values_stop_the_start(name: str, value: str, advice: str) -> None:
    assert text_of({name: value}) == f"{name}={value!r} cannot be used: {advice}"


@pytest.mark.parametrize(
    ("name", "value", "advice"),
    [
        ("BUCKET_ENDPOINT_URL", "my-bucket", "it must be an http(s) URL such as https://s3.eu-west-1.amazonaws.com"),
        *(("BUCKET_URL_EXPIRES_S", text, EXPIRY) for text in ("0", "604801")),
        ("BUCKET_URL_EXPIRES_S", "7d", "use a whole number, 0 or more"),
        ("BUCKET_PUBLIC_URL", "cdn.example.org", "use an http(s) URL"),
    ],
)
def test_bad_values_of_the_bucket_stop_the_start(name: str, value: str, advice: str) -> None:
    assert text_of({**S3, name: value}) == f"{name}={value!r} cannot be used: {advice}"


def test_every_variable_that_can_be_wrong_is_refused_in_some_test() -> None:
    cases = (*_cases(test_bad_values_stop_the_start), *_cases(test_bad_values_of_the_bucket_stop_the_start))
    free_text = {
        *KEYS, "BUCKET_NAME", "BUCKET_REGION", "BUCKET_KEY_PREFIX", "COMFY_PYTHON", "COMFY_ORG_API_KEY"
    }  # fmt: skip
    assert {name for name, _, _ in cases} | free_text == {variable.name for variable in VARIABLES}


def _cases(test: Any) -> list[tuple[str, str, str]]:
    return list(test.pytestmark[0].args[1])


def test_comfyuis_folder(tmp_path: Path) -> None:
    (tmp_path / "main.py").touch()
    assert Settings.from_env({"COMFYUI_PATH": str(tmp_path)}).comfyui_path == tmp_path


def test_a_whole_bucket() -> None:
    environment = {
        **S3,
        "BUCKET_KEY_PREFIX": "/results/",
        "BUCKET_URL_EXPIRES_S": "3600",
        "BUCKET_PUBLIC_URL": "https://cdn.example.org/files/",
    }
    assert Settings.from_env(environment).bucket == Bucket(
        endpoint_url="https://s3.eu-west-1.amazonaws.com",
        name="files",
        region="eu-west-1",
        access_key_id="AKIAEXAMPLE",
        secret_access_key="wJalrXUtnFEMI",
        key_prefix="results",
        url_expires_s=3600,
        public_url="https://cdn.example.org/files",
    )


@pytest.mark.parametrize(
    ("environment", "name", "region"),
    [
        ({}, "files", "eu-west-1"),
        ({"BUCKET_NAME": "other"}, "other", "eu-west-1"),
        ({"BUCKET_REGION": "us-west-2"}, "files", "us-west-2"),
        ({"BUCKET_ENDPOINT_URL": "http://minio:9000/made"}, "made", "us-east-1"),
        ({"BUCKET_ENDPOINT_URL": "http://minio:9000", "BUCKET_NAME": "made"}, "made", "us-east-1"),
        ({"BUCKET_ENDPOINT_URL": f"https://{'0' * 32}.r2.cloudflarestorage.com/made"}, "made", "auto"),
    ],
)
def test_where_bucket_and_region_come_from(environment: dict[str, str], name: str, region: str) -> None:
    bucket = Settings.from_env({**S3, **environment}).bucket
    assert bucket is not None
    assert (bucket.name, bucket.region) == (name, region)


@pytest.mark.parametrize("missing", ["BUCKET_ENDPOINT_URL", *KEYS])
@pytest.mark.parametrize("empty", [False, True])
def test_trap_09_s3_by_halves_stops_the_start(missing: str, empty: bool) -> None:
    environment = {**S3, missing: " "} if empty else {key: value for key, value in S3.items() if key != missing}
    assert text_of(environment) == (
        f"The S3 bucket is configured by halves: {missing} missing. Set all three of BUCKET_ENDPOINT_URL,"
        " BUCKET_ACCESS_KEY_ID, BUCKET_SECRET_ACCESS_KEY, or none"
    )


def test_trap_09_two_missing_are_both_named() -> None:
    assert "BUCKET_ENDPOINT_URL, BUCKET_SECRET_ACCESS_KEY missing." in text_of({"BUCKET_ACCESS_KEY_ID": "AKIA"})


def test_a_bucket_without_a_name_stops_the_start() -> None:
    assert text_of({**S3, "BUCKET_ENDPOINT_URL": "http://minio:9000"}) == (
        "BUCKET_ENDPOINT_URL='http://minio:9000' names no bucket: set BUCKET_NAME"
    )


def test_trap_23_secrets_are_in_no_repr() -> None:
    settings = Settings.from_env({**S3, "COMFY_ORG_API_KEY": "comfyui-key"})
    assert settings.secrets == ("AKIAEXAMPLE", "wJalrXUtnFEMI", "comfyui-key")
    for secret in settings.secrets:
        assert secret not in repr(settings)
        assert secret not in str(settings)
    assert Settings().secrets == ()


@pytest.mark.parametrize(
    "environment",
    [
        {**S3, "BUCKET_ENDPOINT_URL": "my-bucket"},
        {**S3, "BUCKET_ENDPOINT_URL": "http://minio:9000"},
        {**S3, "BUCKET_URL_EXPIRES_S": "x"},
        {**KEYS},
        {"BUCKET_ENDPOINT_URL": "x", "BUCKET_SECRET_ACCESS_KEY": "wJalrXUtnFEMI"},
        {**S3, "BUCKET_ENDPOINT_URL": "https://AKIAEXAMPLE:wJalrXUtnFEMI@files.s3.eu-west-1.amazonaws.com"},
        {"COMFY_ORG_API_KEY": "wJalrXUtnFEMI", "COMFY_HOST": "x"},
    ],
)
def test_trap_23_secrets_are_in_no_error(environment: dict[str, str]) -> None:
    text = text_of(environment)
    assert "AKIAEXAMPLE" not in text
    assert "wJalrXUtnFEMI" not in text


def test_settings_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().log_level = "DEBUG"  # type: ignore[misc]


def test_every_setting_has_a_default() -> None:
    assert set(typing.get_type_hints(Settings)) == {field.name for field in dataclasses.fields(Settings())}


OVERRIDE = BucketOverride(
    endpoint_url="https://theirs.s3.us-west-2.amazonaws.com",
    access_key_id="A",
    secret_access_key="S",
    bucket="theirs",
    key_prefix="mine",
)


def test_a_jobs_own_bucket() -> None:
    settings = Settings.from_env({**S3, "BUCKET_URL_EXPIRES_S": "60", "BUCKET_PUBLIC_URL": "https://cdn.example.org"})
    bucket = bucket_for_job(OVERRIDE, settings)
    assert bucket == Bucket(
        endpoint_url="https://s3.us-west-2.amazonaws.com",
        name="theirs",
        region="us-west-2",
        access_key_id="A",
        secret_access_key="S",
        key_prefix="mine",
        url_expires_s=60,
    )
    assert bucket_for_job(OVERRIDE, Settings()).url_expires_s == 604_800


def test_a_jobs_own_bucket_with_a_bad_url() -> None:
    with pytest.raises(ValueError, match=r"^it must be an http\(s\) URL"):
        bucket_for_job(dataclasses.replace(OVERRIDE, endpoint_url="theirs"), Settings())


@pytest.mark.parametrize("name", ["BUCKET_NAME", "BUCKET_REGION", "BUCKET_KEY_PREFIX", "BUCKET_PUBLIC_URL"])
def test_trap_09_a_detail_of_a_bucket_without_the_bucket_stops_the_start(name: str) -> None:
    with pytest.raises(ConfigError, match=r"configured by halves: BUCKET_ENDPOINT_URL, .* missing"):
        Settings.from_env({name: "x"})
    assert Settings.from_env({name: " "}).bucket is None
