from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from local_runpod.environment import worker_environment
from local_runpod.settings import Oversize, Settings, SettingsError, TimeoutStatus, describe


def test_nothing_set_gives_the_defaults() -> None:
    assert Settings.from_env({"PATH": "/bin", "LOCAL_RUNPOD_PORT": "  "}) == Settings()


def test_each_kind_of_value_is_read() -> None:
    settings = Settings.from_env(
        {
            "LOCAL_RUNPOD_PORT": "9000",
            "LOCAL_RUNPOD_LOST_JOB_S": "1.5",
            "LOCAL_RUNPOD_WEBHOOK_ON_CANCEL": "False",
            "LOCAL_RUNPOD_OVERSIZE": "fail",
            "LOCAL_RUNPOD_TIMEOUT_STATUS": "timed_out",
            "LOCAL_RUNPOD_LOG_LEVEL": "debug",
            "LOCAL_RUNPOD_API_KEY": "one, two",
        }
    )
    assert (settings.port, settings.lost_job_s, settings.webhook_on_cancel) == (9000, 1.5, False)
    assert (settings.oversize, settings.timeout_status) == (Oversize.FAIL, TimeoutStatus.TIMED_OUT)
    assert settings.log_level == "DEBUG"
    assert settings.client_keys == {"one", "two"}


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("PORT", "http", "LOCAL_RUNPOD_PORT=http: must be a whole number"),
        ("PORT", "-1", "LOCAL_RUNPOD_PORT=-1: must be at least 0"),
        ("PORT", "65536", "LOCAL_RUNPOD_PORT=65536: must be at most 65535"),
        ("PORT", "8.5", "LOCAL_RUNPOD_PORT=8.5: must be a whole number"),
        ("LOST_JOB_S", "nan", "LOCAL_RUNPOD_LOST_JOB_S=nan: must be a finite number"),
        ("LOST_JOB_S", "soon", "LOCAL_RUNPOD_LOST_JOB_S=soon: must be a number"),
        ("PING_INTERVAL_MS", "999", "LOCAL_RUNPOD_PING_INTERVAL_MS=999: must be at least 1000"),
        ("WEBHOOK_ON_CANCEL", "1", "LOCAL_RUNPOD_WEBHOOK_ON_CANCEL=1: must be true or false"),
        ("PING", "maybe", "LOCAL_RUNPOD_PING=maybe: must be one of required, optional"),
        ("LOG_LEVEL", "loud", "LOCAL_RUNPOD_LOG_LEVEL=loud: must be one of DEBUG, INFO, WARNING, ERROR"),
        ("API_KEY", " , ", "LOCAL_RUNPOD_API_KEY=,: names no key; leave it empty if no key is to be asked for"),
        ("ENDPOINT_ID", "a/b", "LOCAL_RUNPOD_ENDPOINT_ID=a/b: must be letters, digits, - and _"),
        ("PROT", "1", "LOCAL_RUNPOD_PROT is not a setting; `python -m local_runpod --help` lists them"),
    ],
)
def test_a_bad_value_is_named(variable: str, value: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({"LOCAL_RUNPOD_" + variable: value})
    assert str(caught.value) == message


def test_keys_are_not_shown() -> None:
    assert "s3cret" not in repr(Settings(api_key="s3cret", worker_key="s3cret"))


def test_every_knob_is_described() -> None:
    rows = list(describe())
    assert len(rows) == len(fields(Settings))
    assert all(about for _, _, about in rows)
    assert ("LOCAL_RUNPOD_PORT", "8000", "port to listen on; 0 picks a free one") in rows


def test_the_documentation_lists_every_knob_as_it_is() -> None:
    page = (Path(__file__).parents[3] / "docs" / "runpod-endpoint.md").read_text()
    rows = [
        f"| `{variable}` | {f'`{default}`' if default else '-'} | {about} |" for variable, default, about in describe()
    ]
    assert page.split("|---|---|---|\n")[-1].splitlines() == rows


def test_a_worker_is_given_the_urls_the_sdk_can_use() -> None:
    environment = worker_environment("http://h:1/", Settings(endpoint_id="ep"), "w7", start="3")
    assert environment["RUNPOD_WEBHOOK_GET_JOB"] == "http://h:1/v2/ep/job-take/$ID?gpu=local&start=3"
    assert environment["RUNPOD_WEBHOOK_PING"] == "http://h:1/v2/ep/ping/$RUNPOD_POD_ID?gpu=local&start=3"
    assert environment["RUNPOD_POD_ID"] == "w7"
    assert environment["RUNPOD_AI_API_KEY"] == "local-worker-key"
    assert worker_environment("http://h", Settings(worker_key="k"), "w")["RUNPOD_AI_API_KEY"] == "k"
