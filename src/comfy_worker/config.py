"""The worker's settings, read once from the environment into a frozen object.

Every variable is one row of VARIABLES, from which the README's table is checked. A value that cannot be used raises
ConfigError with the variable's name and the value (secrets excepted), so that a wrong setting stops the start.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from comfy_worker.bucket import LONGEST_URL_EXPIRY_S, Bucket, parse_endpoint
from comfy_worker.errors import ConfigError
from comfy_worker.job import BucketOverride
from comfy_worker.logs import LEVELS

T = TypeVar("T")
#: Jobs that one worker may hold at once.
MOST_CONCURRENT = 16


@dataclass(frozen=True)
class Variable:
    name: str
    default: str
    about: str


VARIABLES = (
    Variable("BUCKET_ENDPOINT_URL", "", "S3 endpoint; with it, files are answered as `s3_url` instead of `base64`"),
    Variable("BUCKET_ACCESS_KEY_ID", "", "S3 access key"),
    Variable("BUCKET_SECRET_ACCESS_KEY", "", "S3 secret key"),
    Variable("BUCKET_NAME", "", "bucket, where the endpoint URL does not name it"),
    Variable("BUCKET_REGION", "", "region, where the endpoint URL does not name it (`us-east-1`)"),
    Variable("BUCKET_KEY_PREFIX", "", "folder inside the bucket"),
    Variable("BUCKET_URL_EXPIRES_S", "604800", "life of a presigned URL in seconds, at most 7 days"),
    Variable("BUCKET_PUBLIC_URL", "", "public base URL of the bucket; URLs are then not signed"),
    Variable("REFRESH_WORKER", "false", "`true`: a fresh worker after each job"),
    Variable("COMFY_LOG_LEVEL", "INFO", "DEBUG, INFO, WARNING or ERROR, for the worker and its ComfyUI"),
    Variable("WORKER_CONCURRENCY", "auto", "jobs held at once; `auto`: one, and more while jobs are waiting"),
    Variable("WEBSOCKET_RECONNECT_ATTEMPTS", "5", "tries to reopen a lost websocket before falling back to polling"),
    Variable("WEBSOCKET_RECONNECT_DELAY_S", "3", "seconds between two of these tries"),
    Variable("COMFY_HOST", "127.0.0.1:8188", "where ComfyUI answers"),
    Variable("COMFYUI_PATH", "", "ComfyUI's folder; launched from there when nothing answers on COMFY_HOST"),
    Variable("COMFY_ARGS", "", "more arguments for the launched ComfyUI"),
    Variable("COMFY_PYTHON", "", "Python that runs ComfyUI (default: its own `venv` or `.venv`, else the worker's)"),
    Variable("COMFY_START_TIMEOUT_S", "300", "seconds ComfyUI may take to answer after its launch"),
    Variable("COMFY_ORG_API_KEY", "", "key for ComfyUI's API nodes, where a request brings none"),
    Variable("EXECUTION_TIMEOUT_S", "3600", "seconds a whole prompt may take; `0`: without limit"),
    Variable("STALL_TIMEOUT_S", "600", "seconds in which nothing is heard and nothing moves; `0`: without limit"),
    Variable("INPUT_URL_ALLOW_PRIVATE", "false", "`true`: input URLs may point into private networks"),
)
_DEFAULTS = {variable.name: variable.default for variable in VARIABLES}


@dataclass(frozen=True, kw_only=True)
class Settings:
    bucket: Bucket | None = None
    refresh_worker: bool = False
    log_level: str = "INFO"
    #: Jobs held at once; None: as many as keep the GPU busy.
    concurrency: int | None = None
    reconnect_attempts: int = 5
    reconnect_delay_s: float = 3.0
    comfy_host: str = "127.0.0.1:8188"
    comfyui_path: Path | None = None
    comfy_args: tuple[str, ...] = ()
    comfy_python: str | None = None
    comfy_start_timeout_s: float = 300.0
    comfy_org_api_key: str | None = field(default=None, repr=False)
    #: None: without limit.
    execution_timeout_s: float | None = 3600.0
    stall_timeout_s: float | None = 600.0
    input_url_allow_private: bool = False

    @classmethod
    def from_env(cls, environment: Mapping[str, str]) -> Settings:
        """Read the variables of VARIABLES. Raises ConfigError."""
        env = _Reader(environment)
        refresh_worker = env.read("REFRESH_WORKER", _flag)
        concurrency = env.read("WORKER_CONCURRENCY", _concurrency)
        return cls(
            bucket=_bucket(env),
            refresh_worker=refresh_worker,
            # A worker that ends after each job must not hold a second one.
            concurrency=1 if refresh_worker else concurrency,
            log_level=env.read("COMFY_LOG_LEVEL", _log_level),
            reconnect_attempts=env.read("WEBSOCKET_RECONNECT_ATTEMPTS", _count),
            reconnect_delay_s=env.read("WEBSOCKET_RECONNECT_DELAY_S", _seconds),
            comfy_host=env.read("COMFY_HOST", _host),
            comfyui_path=env.read("COMFYUI_PATH", _comfyui_path),
            comfy_args=env.read("COMFY_ARGS", lambda text: tuple(shlex.split(text))),
            comfy_python=env.text("COMFY_PYTHON"),
            comfy_start_timeout_s=env.read("COMFY_START_TIMEOUT_S", _seconds),
            comfy_org_api_key=env.text("COMFY_ORG_API_KEY"),
            execution_timeout_s=env.read("EXECUTION_TIMEOUT_S", _seconds) or None,
            stall_timeout_s=env.read("STALL_TIMEOUT_S", _seconds) or None,
            input_url_allow_private=env.read("INPUT_URL_ALLOW_PRIVATE", _flag),
        )

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must not appear in any log line or response."""
        bucket = (self.bucket.access_key_id, self.bucket.secret_access_key) if self.bucket else ()
        return tuple(secret for secret in (*bucket, self.comfy_org_api_key) if secret)


class _Reader:
    """The environment with defaults and with errors that name the variable. An empty value counts as not set."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def text(self, name: str) -> str | None:
        return self._environment.get(name, "").strip() or _DEFAULTS[name] or None

    def read(self, name: str, parse: Callable[[str], T]) -> T:
        text = self.text(name) or ""
        try:
            return parse(text)
        except ValueError as error:
            # A URL may carry a password.
            shown = re.sub(r"//[^/@]*@", "//***@", text)
            raise ConfigError(f"{name}={shown!r} cannot be used: {error}") from error


#: Of no use without a bucket: who sets one of these expects one.
_BUCKET_DETAILS = ("BUCKET_NAME", "BUCKET_REGION", "BUCKET_KEY_PREFIX", "BUCKET_PUBLIC_URL")


def _bucket(env: _Reader) -> Bucket | None:
    names = ("BUCKET_ENDPOINT_URL", "BUCKET_ACCESS_KEY_ID", "BUCKET_SECRET_ACCESS_KEY")
    url, key, secret = (env.text(name) for name in names)
    if not any(env.text(name) for name in (*names, *_BUCKET_DETAILS)):
        return None
    if not url or not key or not secret:
        missing = ", ".join(name for name in names if not env.text(name))
        raise ConfigError(
            f"The S3 bucket is configured by halves: {missing} missing. Set all three of {', '.join(names)}, or none"
        )
    endpoint = env.read("BUCKET_ENDPOINT_URL", parse_endpoint)
    name = env.text("BUCKET_NAME") or endpoint.bucket
    if not name:
        raise ConfigError(f"BUCKET_ENDPOINT_URL={url!r} names no bucket: set BUCKET_NAME")
    return Bucket(
        endpoint_url=endpoint.url,
        name=name,
        region=env.text("BUCKET_REGION") or endpoint.region or "us-east-1",
        access_key_id=key,
        secret_access_key=secret,
        key_prefix=(env.text("BUCKET_KEY_PREFIX") or "").strip("/"),
        url_expires_s=env.read("BUCKET_URL_EXPIRES_S", _url_expiry),
        public_url=env.read("BUCKET_PUBLIC_URL", _public_url),
    )


def bucket_for_job(override: BucketOverride, settings: Settings) -> Bucket:
    """The bucket of a job's own `s3Config`. Raises ValueError when its endpoint URL cannot be used."""
    endpoint = parse_endpoint(override.endpoint_url)
    return Bucket(
        endpoint_url=endpoint.url,
        name=override.bucket,
        region=endpoint.region or "us-east-1",
        access_key_id=override.access_key_id,
        secret_access_key=override.secret_access_key,
        key_prefix=override.key_prefix,
        url_expires_s=settings.bucket.url_expires_s if settings.bucket else LONGEST_URL_EXPIRY_S,
    )


def _flag(text: str) -> bool:
    values = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
    if text.lower() not in values:
        raise ValueError("use true or false")
    return values[text.lower()]


def _log_level(text: str) -> str:
    if text.upper() not in LEVELS:
        raise ValueError(f"use one of {', '.join(LEVELS)}")
    return text.upper()


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise ValueError("use a whole number, 0 or more")
    return int(text)


def _concurrency(text: str) -> int | None:
    if text.lower() == "auto":
        return None
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= MOST_CONCURRENT:
        raise ValueError(f"use auto or a number from 1 to {MOST_CONCURRENT}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0:
        raise ValueError("use a number of seconds, 0 or more")
    return value


def _host(text: str) -> str:
    host, _, port = text.rpartition(":")
    if re.search(r"[/\s]", text) or not host or not re.fullmatch("[0-9]{1,5}", port) or not 0 < int(port) < 65536:
        raise ValueError("use host:port, such as 127.0.0.1:8188")
    return text


def _comfyui_path(text: str) -> Path | None:
    if not text:
        return None
    path = Path(text).expanduser().absolute()
    if not (path / "main.py").is_file():
        raise ValueError("there is no main.py in this folder")
    return path


def _url_expiry(text: str) -> int:
    value = _count(text)
    if not 1 <= value <= LONGEST_URL_EXPIRY_S:
        raise ValueError(f"use 1 to {LONGEST_URL_EXPIRY_S} seconds (7 days, the longest that S3 signs)")
    return value


def _public_url(text: str) -> str | None:
    if text and not text.startswith(("http://", "https://")):
        raise ValueError("use an http(s) URL")
    return text.rstrip("/") or None
