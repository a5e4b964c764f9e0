"""The texts and codes of all errors: they are the API."""

from __future__ import annotations

import importlib
import pkgutil
import re

import pytest

import comfy_worker
from comfy_worker import errors
from comfy_worker.errors import (
    ComfyUIDied,
    ComfyUIUnavailable,
    ExecutionError,
    ExecutionFailed,
    ExecutionInterrupted,
    ExecutionLost,
    ExecutionStalled,
    ExecutionTimedOut,
    InputUploadFailed,
    InvalidInput,
    OutOfMemory,
    OutputUnavailable,
    ResultTooLarge,
    StorageFailed,
    WorkerError,
    WorkflowInvalid,
)
from comfy_worker.tracking import Cancelled

TABLE: list[tuple[WorkerError, str, str]] = [
    (WorkerError("The worker failed"), "WORKER_ERROR", "The worker failed"),
    (InvalidInput("input is missing"), "INVALID_INPUT", "input is missing"),
    (
        InputUploadFailed(["images[0] 'a.png': holds no data"]),
        "INPUT_UPLOAD_FAILED",
        "Failed to upload one or more input images",
    ),
    (
        ComfyUIUnavailable("127.0.0.1:8188"),
        "COMFYUI_UNAVAILABLE",
        "ComfyUI server (127.0.0.1:8188) not reachable after multiple retries",
    ),
    (
        ComfyUIDied("killed by signal 9 (SIGKILL)", "node 31 (KSampler)"),
        "COMFYUI_DIED",
        "ComfyUI stopped during the job while running node 31 (KSampler): killed by signal 9 (SIGKILL)."
        " It is being restarted; send the job again",
    ),
    (
        ComfyUIDied("exit status 1"),
        "COMFYUI_DIED",
        "ComfyUI stopped during the job: exit status 1. It is being restarted; send the job again",
    ),
    (
        WorkflowInvalid(["Node 30 (ckpt_name): 'model.safetensors' not in available models"]),
        "WORKFLOW_INVALID",
        "Workflow validation failed: Node 30 (ckpt_name): 'model.safetensors' not in available models",
    ),
    (
        WorkflowInvalid(["Node 1: has no class_type", "Node 2: has no inputs object"]),
        "WORKFLOW_INVALID",
        "Workflow validation failed: Node 1: has no class_type; Node 2: has no inputs object",
    ),
    (ExecutionError("The workflow failed"), "EXECUTION_ERROR", "The workflow failed"),
    (
        ExecutionFailed("LoadImage", "1", "cannot identify image file"),
        "EXECUTION_ERROR",
        "Workflow execution error: Node Type: LoadImage, Node ID: 1, Message: cannot identify image file",
    ),
    (
        OutOfMemory("KSampler", "31", "CUDA out of memory"),
        "OUT_OF_MEMORY",
        "Workflow execution error: Node Type: KSampler, Node ID: 31, Message: CUDA out of memory",
    ),
    (ExecutionInterrupted("It was interrupted"), "EXECUTION_INTERRUPTED", "It was interrupted"),
    (Cancelled("The job was cancelled"), "CANCELLED", "The job was cancelled"),
    (ExecutionLost("ComfyUI lost it"), "EXECUTION_LOST", "ComfyUI lost it"),
    (ExecutionTimedOut("It took too long"), "EXECUTION_TIMEOUT", "It took too long"),
    (ExecutionStalled("It made no progress"), "EXECUTION_STALLED", "It made no progress"),
    (OutputUnavailable("It was not handed out"), "OUTPUT_UNAVAILABLE", "It was not handed out"),
    (StorageFailed("The bucket refused"), "STORAGE_FAILED", "The bucket refused"),
    (ResultTooLarge("It is too large"), "RESULT_TOO_LARGE", "It is too large"),
]

#: A node that raised is the plain case of an execution that did not end well; clients see one code for both.
SHARED_CODES = {ExecutionFailed: ExecutionError}


def all_errors() -> set[type[WorkerError]]:
    """Every WorkerError of the package, wherever it is defined."""
    for module in pkgutil.walk_packages(comfy_worker.__path__, "comfy_worker."):
        importlib.import_module(module.name)
    found, open_classes = set[type[WorkerError]](), [WorkerError]
    while open_classes:
        found.add(cls := open_classes.pop())
        open_classes.extend(cls.__subclasses__())
    return found


@pytest.mark.parametrize(("error", "code", "text"), TABLE, ids=[f"{type(row[0]).__name__}-{row[2]}" for row in TABLE])
def test_text_and_code(error: WorkerError, code: str, text: str) -> None:
    assert str(error) == error.message == text
    assert error.code == code


def test_every_error_has_a_row() -> None:
    assert all_errors() == {type(error) for error, _, _ in TABLE}


def test_every_error_has_a_code_of_its_own() -> None:
    owner: dict[str, type[WorkerError]] = {}
    for cls in all_errors() - set(SHARED_CODES):
        assert re.fullmatch("[A-Z]+(_[A-Z]+)*", cls.code)
        assert owner.setdefault(cls.code, cls) is cls
    for cls, base in SHARED_CODES.items():
        assert cls.code == base.code


def test_the_tree_in_the_documentation_is_the_real_one() -> None:
    drawn = re.findall(r"\+- (\w+)", errors.__doc__ or "")
    defined = [
        cls.__name__ for cls in all_errors() if cls.__module__ == "comfy_worker.errors" and cls is not WorkerError
    ]
    assert sorted(drawn) == sorted(defined)


def test_details_are_a_list_of_its_own() -> None:
    lines = ("one", "two")
    assert InputUploadFailed(lines).details == ["one", "two"]
    assert WorkerError("text").details == []


def test_a_caller_never_meets_the_operators_error() -> None:
    assert not issubclass(errors.ConfigError, WorkerError)


def test_a_workflow_of_junk_does_not_fill_the_error() -> None:
    error = WorkflowInvalid([f"Node {number}: bad" for number in range(1000)])
    assert error.message.startswith("Workflow validation failed: Node 0: bad; Node 1: bad; ")
    assert error.message.endswith("Node 49: bad; and 950 more")
