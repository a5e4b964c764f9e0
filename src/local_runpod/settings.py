"""The knobs of the local endpoint: one frozen object, read from the environment once.

Times follow RunPod's documentation where it gives a number. Where it gives none, the default is this project's
choice and the knob is there to change it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import Annotated, Any, get_type_hints

PREFIX = "LOCAL_RUNPOD_"


class SettingsError(ValueError):
    """A variable holds a value that cannot be used; the text names both."""


class Oversize(Enum):
    """What becomes of a job whose result is over the limit."""

    DROP = "drop"
    FAIL = "fail"


class LateProgress(Enum):
    """What a progress update does that arrives after the result."""

    IGNORE = "ignore"
    OVERWRITE = "overwrite"


class EmptyInput(Enum):
    """How a job submitted with `{"input": {}}` reaches the worker."""

    DROP = "drop"
    PASS = "pass"


class OutOfRangePolicy(Enum):
    """What a `policy` value outside its documented range does."""

    CLAMP = "clamp"
    REJECT = "reject"


class Ping(Enum):
    """Whether a worker that never sent a heartbeat may keep a job."""

    REQUIRED = "required"
    OPTIONAL = "optional"


class TimeoutStatus(Enum):
    """Final status of jobs that ran into a time limit or whose worker was lost."""

    FAILED = "FAILED"
    TIMED_OUT = "TIMED_OUT"


@dataclass(frozen=True)
class Knob:
    """What --help says of a setting, and the least and greatest value it may have."""

    about: str
    minimum: float = 0
    maximum: float = math.inf


@dataclass(frozen=True)
class Settings:
    """Everything that can be set. Each field is read from the variable `LOCAL_RUNPOD_<FIELD NAME>`."""

    host: Annotated[str, Knob("address to listen on")] = "127.0.0.1"
    port: Annotated[int, Knob("port to listen on; 0 picks a free one", maximum=65535)] = 8000
    endpoint_id: Annotated[str, Knob("the <endpoint_id> in /v2/<endpoint_id>/...")] = "local"
    api_key: Annotated[str, Knob("client key(s), separated by commas; empty: no key is asked for")] = field(
        default="", repr=False
    )
    worker_key: Annotated[str, Knob("key the workers must send; empty: any key is accepted")] = field(
        default="", repr=False
    )
    workers: Annotated[int, Knob("workers expected (and started by `serve`); initializing in /health until seen")] = 0
    log_level: Annotated[str, Knob("DEBUG, INFO, WARNING or ERROR; DEBUG adds a line per request")] = "INFO"

    sync_wait_default_ms: Annotated[int, Knob("how long /runsync waits when ?wait= is absent")] = 90_000
    execution_timeout_ms: Annotated[int, Knob("executionTimeout of jobs whose policy names none", 1)] = 600_000
    ttl_ms: Annotated[int, Knob("ttl of jobs whose policy names none", 1)] = 86_400_000
    policy: Annotated[OutOfRangePolicy, Knob("policy value out of its range: clamp, or reject with 400")] = (
        OutOfRangePolicy.CLAMP
    )
    retention_async_s: Annotated[float, Knob("seconds a finished /run job is kept")] = 1800.0
    retention_sync_s: Annotated[float, Knob("seconds a finished /runsync job is kept")] = 60.0
    retained_mib: Annotated[int, Knob("finished jobs kept in memory; when there is more the oldest go", 1)] = 1024
    webhook_retry_s: Annotated[float, Knob("pause between two tries of a webhook; three tries in all")] = 10.0
    webhook_timeout_s: Annotated[float, Knob("how long one try of a webhook may take", 0.01)] = 10.0
    webhook_on_cancel: Annotated[bool, Knob("call the webhook of a cancelled job too")] = True

    poll_hold_s: Annotated[float, Knob("how long a worker's job-take and job-stop polls are held", 0.05)] = 5.0
    ping_interval_ms: Annotated[int, Knob("heartbeat interval given to the workers started by `serve`", 1000)] = 2000
    lost_job_s: Annotated[float, Knob("a job its worker has not confirmed for so long is lost", 0.05)] = 40.0
    max_retries: Annotated[int, Knob("how often a lost job is handed out again")] = 1
    ping: Annotated[Ping, Knob("required: no heartbeat, no job; optional: polls are enough")] = Ping.REQUIRED
    timeout_status: Annotated[TimeoutStatus, Knob("of timed-out and lost jobs: FAILED, or TIMED_OUT as documented")] = (
        TimeoutStatus.FAILED
    )
    oversize: Annotated[Oversize, Knob("result over the limit: drop (COMPLETED, no output) or fail")] = Oversize.DROP
    late_progress: Annotated[LateProgress, Knob("progress after the result: ignore or overwrite")] = LateProgress.IGNORE
    empty_input: Annotated[EmptyInput, Knob("an empty input object: drop, as RunPod does, or pass")] = EmptyInput.DROP
    stopped_worker_gap_s: Annotated[float, Knob("a stopped worker silent for so long is a new one")] = 2.0

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Settings:
        """Read the knobs; a variable that cannot be used, or that no knob has, is a SettingsError."""
        known = {PREFIX + spec.name.upper(): spec.name for spec in fields(cls)}
        unknown = sorted(name for name in environ if name.startswith(PREFIX) and name not in known)
        if unknown:
            raise SettingsError(f"{unknown[0]} is not a setting; `python -m local_runpod --help` lists them")
        given = {name: environ[name] for name in known if environ.get(name, "").strip()}
        values = {known[name]: _read(name, text.strip()) for name, text in given.items()}
        return cls(**values)

    @property
    def client_keys(self) -> frozenset[str]:
        return frozenset(key.strip() for key in self.api_key.split(",") if key.strip())


def _read(variable: str, text: str) -> Any:
    name = variable[len(PREFIX) :].lower()
    default = Settings.__dataclass_fields__[name].default
    if isinstance(default, Enum):
        return _choice(variable, text, type(default))
    if isinstance(default, bool):
        if text.lower() not in ("true", "false"):
            raise SettingsError(f"{variable}={text}: must be true or false")
        return text.lower() == "true"
    if isinstance(default, str):
        return _text(variable, text)
    number = _number(variable, text, whole=isinstance(default, int))
    knob = _knobs()[name]
    if number < knob.minimum:
        raise SettingsError(f"{variable}={text}: must be at least {knob.minimum}")
    if number > knob.maximum:
        raise SettingsError(f"{variable}={text}: must be at most {knob.maximum}")
    return number


def _knobs() -> dict[str, Knob]:
    return {name: hint.__metadata__[0] for name, hint in get_type_hints(Settings, include_extras=True).items()}


def _choice(variable: str, text: str, kind: type[Enum]) -> Enum:
    for member in kind:
        if text.lower() == member.value.lower():
            return member
    raise SettingsError(f"{variable}={text}: must be one of {', '.join(member.value for member in kind)}")


def _text(variable: str, text: str) -> str:
    if variable == PREFIX + "LOG_LEVEL":
        if text.upper() not in ("DEBUG", "INFO", "WARNING", "ERROR"):
            raise SettingsError(f"{variable}={text}: must be one of DEBUG, INFO, WARNING, ERROR")
        return text.upper()
    if variable == PREFIX + "API_KEY" and not text.replace(",", " ").strip():
        raise SettingsError(f"{variable}={text}: names no key; leave it empty if no key is to be asked for")
    if variable == PREFIX + "ENDPOINT_ID" and not text.replace("-", "").replace("_", "").isalnum():
        raise SettingsError(f"{variable}={text}: must be letters, digits, - and _")
    return text


def _number(variable: str, text: str, *, whole: bool) -> float:
    try:
        number = int(text) if whole else float(text)
    except ValueError:
        raise SettingsError(f"{variable}={text}: must be a {'whole ' if whole else ''}number") from None
    if not math.isfinite(number):
        raise SettingsError(f"{variable}={text}: must be a finite number")
    return number


def describe() -> Iterator[tuple[str, str, str]]:
    """(variable, default, meaning) of every knob, for --help and the documentation."""
    knobs = _knobs()
    for spec in fields(Settings):
        default = spec.default.value if isinstance(spec.default, Enum) else spec.default
        if isinstance(default, bool):
            default = str(default).lower()
        shown = f"{default:g}" if isinstance(default, float) else str(default)
        yield PREFIX + spec.name.upper(), shown, knobs[spec.name].about
