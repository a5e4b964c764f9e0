"""The shape of the code: imports point down only, and each third-party package has its door."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src"
#: From the bottom up; a module may import its own layer, as long as that makes no circle, and those above it here.
LAYERS = (
    {"errors", "timing"},
    {"bucket", "job", "logs", "config", "comfyui.events"},
    {"execution", "outputs", "comfyui.prompt_errors", "response", "workflow", "conclusion", "progress", "prefetch"},
    {
        "comfyui.client",
        "comfyui.listener",
        "comfyui.child",
        "comfyui.process",
        "comfyui.folders",
        "download",
        "inputs",
        "storage",
    },
    {"attempt", "staging", "delivery", "submission", "tracking", "reporter", "forgetting", "recovery"},
    {"worker"},
)
#: Operator's tools beside the way of a job: `python -m comfy_worker doctor`.
TOOLS = {"__main__", "doctor", "volume", "model_folders"}
DOORS = {
    "runpod": {"handler"},
    "requests": {"comfyui.client", "download"},
    "urllib3": {"comfyui.client", "download"},
    "websocket": {"comfyui.listener"},
    "boto3": {"storage"},
    "botocore": {"storage"},
    "PIL": {"inputs"},
    "subprocess": {"comfyui.child"},
}
PURE = LAYERS[0] | LAYERS[1] | LAYERS[2]
NOT_PURE = {"socket", "subprocess", "threading", "asyncio", "os", "http"}
PROGRAMS = {"comfy_worker", "local_runpod", "local_comfyui"}


def modules(package: str) -> dict[str, ast.Module]:
    """Dotted name below the package -> its syntax tree."""
    return {
        str(path.relative_to(SOURCE / package).with_suffix("")).replace("/", "."): ast.parse(path.read_text())
        for path in sorted((SOURCE / package).rglob("*.py"))
        if path.name != "__init__.py"
    }


def imports(tree: ast.AST) -> Iterator[str]:
    """Every absolute name that is imported, wherever in the module."""
    for item in ast.walk(tree):
        if isinstance(item, ast.Import):
            yield from (alias.name for alias in item.names)
        elif isinstance(item, ast.ImportFrom) and not item.level and item.module:
            yield item.module
            yield from (f"{item.module}.{alias.name}" for alias in item.names)


WORKER = modules("comfy_worker")
LAYER = {name: number for number, names in enumerate(LAYERS) for name in names}


def test_every_module_has_its_layer() -> None:
    assert set(WORKER) == set(LAYER) | TOOLS & set(WORKER)
    assert set(LAYER) <= set(WORKER)


@pytest.mark.parametrize("name", sorted(LAYER))
def test_imports_point_down(name: str) -> None:
    own = {found.removeprefix("comfy_worker.") for found in imports(WORKER[name]) if found.startswith("comfy_worker.")}
    upwards = {found for found in own & set(LAYER) if LAYER[found] > LAYER[name]}
    assert not upwards
    assert not own & TOOLS


def test_no_import_goes_round_in_a_circle() -> None:
    graph = {
        name: {found.removeprefix("comfy_worker.") for found in imports(tree)} & set(WORKER)
        for name, tree in WORKER.items()
    }
    while leaves := [name for name, needs in graph.items() if not needs - {name}]:
        for leaf in leaves:
            del graph[leaf]
        for needs in graph.values():
            needs.difference_update(leaves)
    assert not graph


@pytest.mark.parametrize("package", sorted(DOORS))
def test_a_package_has_only_its_door(package: str) -> None:
    users = {
        name for name, tree in WORKER.items() if any(found.partition(".")[0] == package for found in imports(tree))
    }
    handler = ast.parse((ROOT / "handler.py").read_text())
    if any(found.partition(".")[0] == package for found in imports(handler)):
        users.add("handler")
    assert users - TOOLS == DOORS[package]


@pytest.mark.parametrize("name", sorted(PURE - {"timing"}))
def test_what_decides_touches_nothing(name: str) -> None:
    assert not {found.partition(".")[0] for found in imports(WORKER[name])} & NOT_PURE


@pytest.mark.parametrize("program", sorted(PROGRAMS))
def test_no_program_imports_another(program: str) -> None:
    found = {name.partition(".")[0] for tree in modules(program).values() for name in imports(tree)}
    assert not found & (PROGRAMS - {program})


def test_third_party_packages_are_the_five_and_what_runpod_brings() -> None:
    found = {name.partition(".")[0] for tree in WORKER.values() for name in imports(tree)}
    third_party = found - set(sys.stdlib_module_names) - PROGRAMS
    assert third_party <= {*DOORS, "runpod"}
