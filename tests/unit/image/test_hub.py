"""RunPod's Hub accepts our files, and the check would notice if it did not."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hub_schema import problems_of_hub, problems_of_tests

from comfy_worker.config import VARIABLES

ROOT = Path(__file__).parents[3]
HUB: dict[str, Any] = json.loads((ROOT / ".runpod/hub.json").read_text())
TESTS: dict[str, Any] = json.loads((ROOT / ".runpod/tests.json").read_text())
#: Read by image/start, before the worker.
OF_THE_IMAGE = {"NETWORK_VOLUME_DEBUG", "VOLUME_CUSTOM_NODES"}


def test_our_files_are_what_the_hub_asks_for() -> None:
    assert list(problems_of_hub(HUB)) == []
    assert list(problems_of_tests(TESTS)) == []


def test_every_setting_of_the_hub_page_is_one_of_ours() -> None:
    keys = {entry["key"] for entry in HUB["config"]["env"]}
    assert keys <= {variable.name for variable in VARIABLES} | OF_THE_IMAGE


def test_the_image_start_reads_its_own_settings() -> None:
    start = (ROOT / "image/start").read_text()
    assert all(name in start for name in OF_THE_IMAGE)


def test_the_hub_test_needs_no_model() -> None:
    types = {node["class_type"] for node in TESTS["tests"][0]["input"]["workflow"].values()}
    assert types == {"EmptyImage", "ImageInvert", "SaveImage"}


def test_the_hub_allows_the_cuda_version_that_the_image_is_built_for() -> None:
    version = re.search(r"nvidia/cuda:(\d+\.\d+)", (ROOT / "Dockerfile").read_text())
    assert version
    assert HUB["config"]["allowedCudaVersions"][0] == version[1]
    assert TESTS["config"]["allowedCudaVersions"] == HUB["config"]["allowedCudaVersions"]


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        (["title"], "", "title is missing"),
        (["type"], "pod", "type must be serverless"),
        (["category"], "pictures", "category must be one of"),
        (["config", "gpuIds"], "ADA_24,RTX", "RTX is no pool"),
        (["config", "runsOn"], "TPU", "runsOn"),
        (["config", "containerDiskInGb"], "30", "containerDiskInGb"),
        (["config", "allowedCudaVersions"], [12.8], "allowedCudaVersions"),
        (["config", "env", 0, "input", "type"], "text", "unknown type text"),
        (["config", "env", 5, "input", "default"], "LOUD", "none of the options"),
        (["config", "env", 6, "input", "trueValue"], "", "trueValue"),
        (["config", "presets", 0, "defaults"], {"NO_SUCH": 1}, "NO_SUCH"),
    ],
)
def test_what_the_hub_would_refuse_is_named(path: list[Any], value: Any, problem: str) -> None:
    document = copy.deepcopy(HUB)
    place = document
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    assert any(problem in text for text in problems_of_hub(document))


def test_what_the_hub_would_refuse_in_the_tests_is_named() -> None:
    wrong = {"tests": [{"name": "x"}], "config": {"gpuCount": 1, "disk": 3, "env": [{"key": "A"}]}}
    found = "\n".join(problems_of_tests(wrong))
    assert "needs a name and an input" in found
    assert "gpuTypeId is missing" in found
    assert "config.disk is not supported" in found
    assert "needs a key and a value" in found
