"""What the end of a run means: the error to raise, and whether ComfyUI is sound after it."""

from __future__ import annotations

from typing import Any

import pytest
from worker_recordings import VERSIONS, load

from comfy_worker.comfyui import events
from comfy_worker.conclusion import breaks_process, raise_unless_succeeded, undelivered
from comfy_worker.errors import (
    ComfyUIUnavailable,
    ExecutionError,
    ExecutionFailed,
    ExecutionInterrupted,
    ExecutionLost,
    OutOfMemory,
    OutputUnavailable,
    ResultTooLarge,
    StorageFailed,
    WorkerError,
)
from comfy_worker.execution import Execution, State
from comfy_worker.response import MIB

WORKFLOW = {"31": {"class_type": "KSampler", "inputs": {}, "_meta": {"title": "Sampler, second pass"}}}


def ended(event: events.Event, websocket_nodes: tuple[str, ...] = ()) -> Execution:
    execution = Execution("p", websocket_nodes)
    execution.receive(event)
    return execution


def failed(message: str, exception_type: str = "RuntimeError", node_id: str = "31") -> Execution:
    return ended(events.Failed("p", node_id, "KSampler", message, exception_type))


def conclusion(execution: Execution, workflow: Any = WORKFLOW) -> WorkerError:
    with pytest.raises(WorkerError) as raised:
        raise_unless_succeeded(execution, workflow)
    return raised.value


def test_a_success_raises_nothing() -> None:
    raise_unless_succeeded(ended(events.Succeeded("p"), ("8",)), WORKFLOW)


def test_a_node_that_raised_to_the_letter() -> None:
    error = conclusion(failed("CUDA out of memory"))
    assert error.message == ("Workflow execution error: Node Type: KSampler, Node ID: 31, Message: CUDA out of memory")
    assert error.details == ["node title: Sampler, second pass", "exception type: RuntimeError"]


@pytest.mark.parametrize(
    ("message", "exception_type", "shown", "details"),
    [
        ("boom", "", "boom", []),
        ("", "AssertionError", "AssertionError", ["exception type: AssertionError"]),
        ("", "", "no message", []),
    ],
)
def test_an_exception_without_words(message: str, exception_type: str, shown: str, details: list[str]) -> None:
    error = conclusion(failed(message, exception_type), {})
    assert error.message.endswith(f"Message: {shown}")
    assert error.details == details


@pytest.mark.parametrize(
    "workflow", [{}, {"31": {}}, {"31": None}, {"31": {"_meta": None}}, {"31": {"_meta": {"title": None}}}]
)
def test_a_node_without_title(workflow: Any) -> None:
    assert conclusion(failed("boom", ""), workflow).details == []


@pytest.mark.parametrize(
    ("message", "exception_type"),
    [
        ("CUDA out of memory. Tried to allocate 20.00 MiB", "RuntimeError"),
        ("Allocation on device 0 would exceed allowed memory. (out of memory)", "torch.OutOfMemoryError"),
        ("Allocation on device", "torch.cuda.OutOfMemoryError"),
        ("HIP out of memory", "torch.OutOfMemoryError"),
        ("CUDA error: out of memory", "RuntimeError"),
        ("MPS backend out of memory", "RuntimeError"),
    ],
)
def test_out_of_memory_reaches_the_client_and_needs_no_new_process(message: str, exception_type: str) -> None:
    error = conclusion(failed(message, exception_type))
    assert isinstance(error, OutOfMemory)
    assert error.code == "OUT_OF_MEMORY"
    assert error.message.endswith(f"Message: {message}")
    assert not breaks_process(error)


@pytest.mark.parametrize(
    ("message", "breaks"),
    [
        ("CUDA error: an illegal memory access was encountered", True),
        ("CUDA error: device-side assert triggered", True),
        ("CUDA error: unspecified launch failure", True),
        ("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED", True),
        ("mat1 and mat2 shapes cannot be multiplied", False),
        ("cannot identify image file '/comfyui/input/x.png'", False),
        ("Expected all tensors to be on the same device, but found cuda:0 and cpu", False),
    ],
)
def test_only_a_broken_cuda_context_needs_a_new_process(message: str, breaks: bool) -> None:
    error = conclusion(failed(message))
    assert type(error) is ExecutionFailed
    assert breaks_process(error) is breaks


@pytest.mark.parametrize(
    "error", [ExecutionError("cuda error: x"), ComfyUIUnavailable("cuda error:"), StorageFailed("device-side assert")]
)
def test_errors_of_others_never_need_a_new_process(error: WorkerError) -> None:
    assert not breaks_process(error)


def test_a_failure_without_reason() -> None:
    execution = Execution("p")
    execution.reconcile({"status": {"status_str": "error"}}, queued=False)
    assert conclusion(execution).message == "The workflow failed and ComfyUI gave no reason; see its log"


def test_interrupted() -> None:
    error = conclusion(ended(events.Interrupted("p", "31", "KSampler")))
    assert isinstance(error, ExecutionInterrupted)
    assert error.message == ("The workflow was interrupted at node 31 (KSampler) by someone else; send the job again")


@pytest.mark.parametrize("state", [State.LOST, State.QUEUED, State.RUNNING])
def test_lost(state: State) -> None:
    execution = Execution("p")
    execution.state = state
    error = conclusion(execution)
    assert isinstance(error, ExecutionLost)
    assert error.message == "ComfyUI no longer knows the prompt (was it restarted?); send the job again"


def test_trap_06_pictures_lost_on_the_socket_are_no_success() -> None:
    execution = Execution("p", ["7", "8"])
    execution.connection_lost()
    execution.reconcile({"status": {"status_str": "success"}, "outputs": {}}, queued=False)
    assert conclusion(execution).message == (
        "The connection to ComfyUI dropped while SaveImageWebsocket (node 7, 8) may have been sending: its pictures are"
        " lost. Send the job again, or use SaveImage, which keeps them"
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_a_recorded_error(version: str) -> None:
    ((prompt_id, history),) = load(version, "execution_error").histories.items()
    execution = Execution(prompt_id)
    execution.reconcile(history, queued=False)
    error = conclusion(execution, history["prompt"][2])
    assert error.message.startswith(
        "Workflow execution error: Node Type: LoadImage, Node ID: 1, Message: cannot identify image file"
    )
    assert error.details == ["exception type: PIL.UnidentifiedImageError"]


LARGE = ResultTooLarge("'a.png' of node 9 (8.0 MiB)")
LARGER = ResultTooLarge("'b.mp4' of node 10 (30.0 MiB)")


def test_trap_11_files_that_did_not_fit() -> None:
    error = undelivered([LARGE, LARGER], 10 * MIB)
    assert type(error) is ResultTooLarge
    assert error.message == (
        "The result is over RunPod's limit of 10 MiB; not delivered: 'a.png' of node 9 (8.0 MiB); 'b.mp4' of node 10"
        " (30.0 MiB): configure an S3 bucket (BUCKET_ENDPOINT_URL), send the job to /runsync (20 MiB), or make fewer or"
        " smaller files"
    )
    assert error.details == ["'a.png' of node 9 (8.0 MiB)", "'b.mp4' of node 10 (30.0 MiB)"]


def test_one_undelivered_file() -> None:
    error = undelivered([OutputUnavailable("'a.png' is gone", ["ComfyUI answered 404"])], 10 * MIB)
    assert (error.code, error.message, error.details) == (
        "OUTPUT_UNAVAILABLE",
        "'a.png' is gone",
        ["ComfyUI answered 404"],
    )


def test_the_bucket_or_comfyui_is_to_blame_before_the_size() -> None:
    error = undelivered([LARGE, StorageFailed("'b' was refused"), OutputUnavailable("'c' is gone")], 10 * MIB)
    assert (error.code, error.message) == ("STORAGE_FAILED", "'b' was refused")
    assert error.details == ["'a.png' of node 9 (8.0 MiB)", "'b' was refused", "'c' is gone"]


def test_an_error_with_a_constructor_of_its_own_keeps_its_text() -> None:
    error = undelivered([ComfyUIUnavailable("127.0.0.1:8188"), LARGE], 10 * MIB)
    assert error.message == "ComfyUI server (127.0.0.1:8188) not reachable after multiple retries"
