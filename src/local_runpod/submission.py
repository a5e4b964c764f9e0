"""What a client sends to /run and /runsync: `input`, `webhook`, `policy`, `s3Config` (RunPod documentation).

Other top-level keys are discarded, as the documentation says. The input is kept as the bytes it came in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from .json_text import NotJson, RawJson, cut, members, outline
from .problems import bad_request
from .settings import OutOfRangePolicy, Settings

_WEEK_MS = 7 * 24 * 3600 * 1000
# The ranges of the documentation, in milliseconds.
_EXECUTION_TIMEOUT_RANGE = (5_000, _WEEK_MS)
_TTL_RANGE = (10_000, _WEEK_MS)


@dataclass(frozen=True)
class Policy:
    """Limits of one job, in seconds."""

    execution_timeout: float
    ttl: float
    low_priority: bool = False


@dataclass(frozen=True)
class Submission:
    """One accepted request body."""

    policy: Policy
    input: RawJson | None = field(repr=False)
    input_is_empty: bool = False
    webhook: str | None = None
    s3_config: RawJson | None = field(default=None, repr=False)

    @property
    def size(self) -> int:
        return len(self.input or b"") + len(self.s3_config or b"")


def read_submission(body: bytes | bytearray, settings: Settings) -> Submission:
    """Check a request body. The `detail` texts are this project's own: RunPod's are not published."""
    try:
        document = outline(body)
    except NotJson as error:
        raise bad_request(f"bad request: body is not valid JSON: {error}") from None
    if not isinstance(document, dict):
        raise bad_request("bad request: body must be a JSON object with an `input`")
    if document.get("input") is None:
        raise bad_request("bad request: `input` is missing from the body")
    spans = members(body)
    s3_config = document.get("s3Config")
    if s3_config is not None and not isinstance(s3_config, dict):
        raise bad_request("bad request: `s3Config` must be an object")
    return Submission(
        policy=_policy(document.get("policy"), settings),
        input=cut(body, spans["input"]),
        input_is_empty=document["input"] == {},
        webhook=_webhook(document.get("webhook")),
        s3_config=cut(body, spans["s3Config"]) if s3_config is not None else None,
    )


def _webhook(value: Any) -> str | None:
    if value is None or value == "":
        return None
    if not isinstance(value, str) or not _is_web_url(value):
        raise bad_request("bad request: `webhook` must be an http or https URL")
    return value


def _is_web_url(text: str) -> bool:
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        return False
    return url.scheme in ("http", "https") and bool(url.hostname) and port != 0


def _policy(value: Any, settings: Settings) -> Policy:
    if value is None:
        value = {}
    if not isinstance(value, dict):
        raise bad_request("bad request: `policy` must be an object")
    low_priority = value.get("lowPriority")
    if low_priority is None:
        low_priority = False
    if not isinstance(low_priority, bool):
        raise bad_request("bad request: `policy.lowPriority` must be true or false")
    timeout = _milliseconds(value, "executionTimeout", _EXECUTION_TIMEOUT_RANGE, settings)
    ttl = _milliseconds(value, "ttl", _TTL_RANGE, settings)
    return Policy(
        execution_timeout=(settings.execution_timeout_ms if timeout is None else timeout) / 1000,
        ttl=(settings.ttl_ms if ttl is None else ttl) / 1000,
        low_priority=low_priority,
    )


def _milliseconds(policy: dict[str, Any], key: str, limits: tuple[int, int], settings: Settings) -> float | None:
    """A value out of range is clamped; whether RunPod clamps or refuses is unknown, so LOCAL_RUNPOD_POLICY decides."""
    value = policy.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise bad_request(f"bad request: `policy.{key}` must be a number of milliseconds")
    lowest, highest = limits
    if not lowest <= value <= highest and settings.policy is OutOfRangePolicy.REJECT:
        raise bad_request(f"bad request: `policy.{key}` must be between {lowest} and {highest} milliseconds")
    return min(max(value, lowest), highest)
