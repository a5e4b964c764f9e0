"""What RunPod's Hub asks of .runpod/hub.json and .runpod/tests.json (runpod-contract, section 5)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

CATEGORIES = ("audio", "embedding", "language", "video", "image")
GPU_POOLS = frozenset(
    {"AMPERE_16", "AMPERE_24", "ADA_24", "AMPERE_48", "ADA_48_PRO", "AMPERE_80", "ADA_80_PRO", "HOPPER_141"}
)
INPUTS: Mapping[str, type | tuple[type, ...]] = {
    "string": str, "number": (int, float), "boolean": bool, "huggingface": str
}  # fmt: skip


def problems_of_hub(document: Mapping[str, Any]) -> Iterator[str]:
    for name in ("title", "description"):
        if not isinstance(document.get(name), str) or not document[name]:
            yield f"{name} is missing"
    if document.get("type") != "serverless":
        yield "type must be serverless"
    if document.get("category") not in CATEGORIES:
        yield f"category must be one of {CATEGORIES}"
    config = document.get("config", {})
    yield from _machine_problems(config, pools=True)
    if not isinstance(config.get("containerDiskInGb"), int):
        yield "config.containerDiskInGb must be a number"
    entries = config.get("env", [])
    for entry in entries:
        yield from (f"env {entry.get('key')}: {text}" for text in _env_problems(entry))
    inputs = {entry["key"]: entry["input"] for entry in entries if "input" in entry}
    for preset in config.get("presets", []):
        for key, value in preset["defaults"].items():
            kind = INPUTS[inputs[key]["type"]] if key in inputs else None
            if kind is None or not isinstance(value, kind):
                yield f"preset {preset['name']}: {key} has no such input"


def _env_problems(entry: Mapping[str, Any]) -> Iterator[str]:
    if not entry.get("key", "").replace("_", "").isalnum():
        yield "no usable key"
    if ("value" in entry) == ("input" in entry):
        yield "needs either a value or an input"
    field = entry.get("input")
    if field is None:
        return
    kind = INPUTS.get(field.get("type"))
    if kind is None:
        yield f"unknown type {field.get('type')}"
    elif not isinstance(field.get("default"), kind):
        yield "the default is not of its type"
    if not field.get("name") or not field.get("description"):
        yield "needs a name and a description"
    if "options" in field and field["default"] not in [option["value"] for option in field["options"]]:
        yield "the default is none of the options"
    if field.get("type") == "boolean" and not (field.get("trueValue") and field.get("falseValue")):
        yield "needs trueValue and falseValue"


def problems_of_tests(document: Mapping[str, Any]) -> Iterator[str]:
    if not document.get("tests"):
        yield "there is no test"
    for test in document.get("tests", []):
        if not test.get("name") or not isinstance(test.get("input"), dict):
            yield "a test needs a name and an input"
        if not isinstance(test.get("timeout", 0), int):
            yield "timeout must be in milliseconds"
    config = document.get("config", {})
    yield from _machine_problems(config, pools=False)
    for name in config:
        if name not in ("gpuTypeId", "gpuCount", "cpuFlavor", "runsOn", "env", "allowedCudaVersions"):
            yield f"config.{name} is not supported"
    for entry in config.get("env", []):
        if set(entry) != {"key", "value"}:
            yield f"env {entry} needs a key and a value"


def _machine_problems(config: Mapping[str, Any], pools: bool) -> Iterator[str]:
    if "cpuFlavor" in config:
        return
    if not isinstance(config.get("gpuCount"), int):
        yield "config.gpuCount must be a number"
    versions = config.get("allowedCudaVersions", [])
    if not all(isinstance(version, str) and version.count(".") == 1 for version in versions):
        yield "config.allowedCudaVersions must be texts such as 12.8"
    if not pools:
        if not config.get("gpuTypeId"):
            yield "config.gpuTypeId is missing"
        return
    if config.get("runsOn") != "GPU":
        yield "config.runsOn must be GPU or CPU"
    for pool in str(config.get("gpuIds", "")).split(","):
        if pool not in GPU_POOLS and not pool.startswith("-NVIDIA"):
            yield f"config.gpuIds: {pool} is no pool"
