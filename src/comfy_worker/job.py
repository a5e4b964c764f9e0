"""What RunPod hands to the worker, read into a frozen Job or refused with a text that names the field.

Shapes: the request is `{"id", "input", "s3Config"?}`; `input` is documented in docs/api.md. `s3Config` is RunPod's own
per-request bucket (`accessId`, `accessSecret`, `bucketName`, `endpointUrl`, `objectPath`; RunPod's documentation of
/run).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from comfy_worker.errors import InvalidInput

EXPORT_HINT = "in ComfyUI use Workflow > Export (API)"
INPUT_KEYS = ("workflow", "images", "comfy_org_api_key", "timeout_s")
#: Linux file systems take 255 bytes; our content tag and ComfyUI's own suffixes need a few of them.
LONGEST_NAME_PART = 200
#: Unknown keys that are named one by one; a request may hold a million.
MOST_UNKNOWN_KEYS = 20


@dataclass(frozen=True, kw_only=True)
class ImageEntry:
    """One entry of `input.images`, not decoded yet."""

    #: Normalized relative path with `/`, as LoadImage names it in the workflow.
    name: str
    #: Base64, a data URI or an http(s) URL.
    source: str = field(repr=False)
    #: Where in the request it stood, for error texts: `images[0] 'photo.png'`.
    label: str


@dataclass(frozen=True, kw_only=True)
class BucketOverride:
    """RunPod's `s3Config`: the bucket this one job's files go to."""

    endpoint_url: str
    access_key_id: str = field(repr=False)
    secret_access_key: str = field(repr=False)
    bucket: str
    key_prefix: str = ""


@dataclass(frozen=True, kw_only=True)
class Job:
    #: RunPod's id; `sync-...` for /runsync.
    id: str
    #: API format: node id -> {"class_type", "inputs", "_meta"?}; not checked here.
    workflow: dict[str, Any] = field(repr=False)
    images: tuple[ImageEntry, ...] = ()
    comfy_org_api_key: str | None = field(default=None, repr=False)
    #: Seconds the whole prompt may take; None: the worker's own limit.
    timeout_s: float | None = None
    bucket: BucketOverride | None = None
    #: Non-fatal remarks for `errors` of the response.
    warnings: tuple[str, ...] = ()


def job_id(raw: Any) -> str:
    """RunPod's id, also of a job that is refused."""
    return _text(raw.get("id") or "local") if isinstance(raw, Mapping) else "local"


def parse_job(raw: Any) -> Job:
    """Read RunPod's job dict. Raises InvalidInput, and nothing else, whatever `raw` is."""
    if not isinstance(raw, Mapping):
        raise InvalidInput("The job must be a JSON object with an 'input' object")
    request = _request(raw.get("input"))
    return Job(
        id=job_id(raw),
        workflow=_workflow(request),
        images=_images(request.get("images")),
        comfy_org_api_key=_optional_text(request, "comfy_org_api_key"),
        timeout_s=_timeout(request.get("timeout_s")),
        bucket=_bucket(raw.get("s3Config")),
        warnings=tuple(_unknown_keys(request)),
    )


def _request(value: Any) -> Mapping[str, Any]:
    if value is None or value == "":
        raise InvalidInput('input is missing: send {"input": {"workflow": {...}}}')
    value = _unquoted("input", value)
    if not isinstance(value, Mapping):
        raise InvalidInput(f"input must be an object with a 'workflow', not {_kind(value)}")
    if not value:
        raise InvalidInput('input is empty: send {"input": {"workflow": {...}}}')
    return value


def _workflow(request: Mapping[str, Any]) -> dict[str, Any]:
    value = request.get("workflow")
    if value is None:
        others = [key for key in request if key not in INPUT_KEYS]
        near = next((key for key in others if key == "prompt" or _resembled(_text(key)) == "workflow"), None)
        found = f" (found '{_text(near)[:100]}': rename it to 'workflow')" if near is not None else ""
        raise InvalidInput(f"input.workflow is missing{found}: send the workflow in API format ({EXPORT_HINT})")
    value = _unquoted("input.workflow", value) if value != "" else {}
    if not isinstance(value, dict):
        raise InvalidInput(
            f"input.workflow must be an object of nodes in API format, not {_kind(value)} ({EXPORT_HINT})"
        )
    if not value:
        raise InvalidInput(f"input.workflow is empty: send at least one node in API format ({EXPORT_HINT})")
    return value


def _images(value: Any) -> tuple[ImageEntry, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise InvalidInput(f'input.images must be an array of {{"name", "image"}} objects, not {_kind(value)}')
    entries = tuple(_image(index, entry) for index, entry in enumerate(value))
    seen: dict[str, int] = {}
    for index, entry in enumerate(entries):
        if entry.name in seen:
            raise InvalidInput(
                f"input.images[{index}].name '{entry.name}' is used twice (also by images[{seen[entry.name]}]):"
                " give every image its own name"
            )
        seen[entry.name] = index
    return entries


def _image(index: int, value: Any) -> ImageEntry:
    where = f"input.images[{index}]"
    if not isinstance(value, Mapping):
        raise InvalidInput(f'{where} must be an object {{"name", "image"}}, not {_kind(value)}')
    name, source = value.get("name"), value.get("image")
    for key, text in (("name", name), ("image", source)):
        if text is None:
            raise InvalidInput(f"{where}.{key} is missing")
        if not isinstance(text, str):
            raise InvalidInput(f"{where}.{key} must be a string, not {_kind(text)}")
        if not text.strip():
            raise InvalidInput(f"{where}.{key} is empty")
    clean = _name(f"{where}.name", str(name))
    return ImageEntry(name=clean, source=str(source), label=f"images[{index}] '{clean}'")


def _name(where: str, name: str) -> str:
    """The name as a relative path below ComfyUI's input folder; anything that could leave it is refused."""
    advice = "use a plain file name, or folder/name"
    shown = ascii(name[:100])
    if "\\" in name or any(ord(char) < 32 or ord(char) == 127 for char in name):
        raise InvalidInput(f"{where} {shown} has a backslash or control character: {advice}")
    if not _encodable(name):
        raise InvalidInput(f"{where} {shown} is not valid Unicode: {advice}")
    if name.startswith("/") or name[1:3] == ":/":
        raise InvalidInput(f"{where} {shown} is an absolute path: {advice}")
    parts = [part for part in name.strip().split("/") if part not in ("", ".")]
    if not parts or ".." in parts or name.rstrip().endswith("/"):
        raise InvalidInput(f"{where} {shown} does not name a file inside ComfyUI's input folder: {advice}")
    if any(len(part.encode()) > LONGEST_NAME_PART for part in parts) or len(parts) > 16:
        raise InvalidInput(f"{where} {shown} is too long: at most {LONGEST_NAME_PART} bytes between two slashes")
    return "/".join(parts)


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _optional_text(request: Mapping[str, Any], key: str) -> str | None:
    value = request.get(key)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise InvalidInput(f"input.{key} must be a string, not {_kind(value)}")
    return value


def _timeout(value: Any) -> float | None:
    if value is None:
        return None
    # Compared and not asked for isfinite: that raises for integers too large for a float.
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= sys.float_info.max:
        raise InvalidInput("input.timeout_s must be a number of seconds greater than 0")
    return float(value)


def _bucket(value: Any) -> BucketOverride | None:
    if not value:
        return None
    keys = ("endpointUrl", "accessId", "accessSecret", "bucketName")
    if not isinstance(value, Mapping) or not all(isinstance(value.get(key), str) and value[key] for key in keys):
        raise InvalidInput("s3Config needs endpointUrl, accessId, accessSecret and bucketName, all of them strings")
    path = value.get("objectPath")
    return BucketOverride(
        endpoint_url=value["endpointUrl"],
        access_key_id=value["accessId"],
        secret_access_key=value["accessSecret"],
        bucket=value["bucketName"],
        key_prefix=path.strip("/") if isinstance(path, str) else "",
    )


def _unknown_keys(request: Mapping[str, Any]) -> list[str]:
    unknown = [key for key in request if key not in INPUT_KEYS]
    warnings = []
    for key in map(_text, unknown[:MOST_UNKNOWN_KEYS]):
        near = _resembled(key)
        hint = f"; did you mean '{near}'?" if near else ""
        warnings.append(f"input.{key[:100]} is not an option of this worker and was ignored{hint}")
    if len(unknown) > MOST_UNKNOWN_KEYS:
        warnings.append(f"{len(unknown) - MOST_UNKNOWN_KEYS} more keys of input were ignored")
    return warnings


def _resembled(key: str) -> str | None:
    # For a request with a mistake only, and slow to load.
    import difflib

    near = difflib.get_close_matches(key[:100].lower(), INPUT_KEYS, n=1)
    return near[0] if near else None


def _unquoted(where: str, value: Any) -> Any:
    """The value itself, or what it holds when it is JSON in a string."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{where} is a string but not valid JSON: {error}") from error


def _text(value: Any) -> str:
    """`str` that never raises, as it does for integers of many digits and for deep nesting."""
    try:
        return str(value)
    except (ValueError, RecursionError):
        return f"<{type(value).__name__}>"


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
