"""What the end of a run means for the caller: the error to raise, and whether ComfyUI survived it sound. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from comfy_worker.comfyui import events
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
    OutOfMemory,
    ResultTooLarge,
    WorkerError,
)
from comfy_worker.execution import Execution, State
from comfy_worker.response import MIB, remedy

_OUT_OF_MEMORY = ("out of memory", "outofmemory", "memoryerror", "status_alloc_failed")
#: PyTorch's texts for a CUDA context that no later call can use; only a new process helps.
_BROKEN_CUDA = (
    "cuda error:", "device-side assert", "illegal memory access", "unspecified launch failure", "cudnn_status_execution"
)  # fmt: skip


def raise_unless_succeeded(execution: Execution, workflow: Mapping[str, Any]) -> None:
    """Return for a settled success that lost nothing; raise what the caller is to read otherwise."""
    match execution.state:
        case State.SUCCEEDED:
            _raise_for_lost_pictures(execution)
        case State.FAILED:
            raise _failure(execution.failure, workflow)
        case State.INTERRUPTED:
            node = execution.interruption
            at = f" at node {node.node_id} ({node.node_type})" if node else ""
            raise ExecutionInterrupted(f"The workflow was interrupted{at} by someone else; send the job again")
        case _:
            raise ExecutionLost("ComfyUI no longer knows the prompt (was it restarted?); send the job again")


def breaks_process(error: WorkerError) -> bool:
    """Whether ComfyUI needs a new process after this. A node's own error never does, nor does too little memory."""
    text = error.message.lower()
    return (
        isinstance(error, ExecutionFailed)
        and not isinstance(error, OutOfMemory)
        and any(sign in text for sign in _BROKEN_CUDA)
    )


def may_mean_hanging(error: WorkerError) -> bool:
    """Whether it is worth asking if ComfyUI still answers. One that died is started again without being asked."""
    kinds = (ComfyUIUnavailable, InputUploadFailed, ExecutionStalled, ExecutionTimedOut)
    return isinstance(error, kinds) and not isinstance(error, ComfyUIDied)


def undelivered(failures: Sequence[WorkerError], limit: int) -> WorkerError:
    """One error for all files that were made but are not in the response; `failures` is not empty."""
    too_large = [error for error in failures if isinstance(error, ResultTooLarge)]
    others = [error for error in failures if not isinstance(error, ResultTooLarge)]
    details = [error.message for error in failures]
    if others:
        first = others[0]
        if len(failures) > 1:
            first.details = details
        return first
    return ResultTooLarge(
        f"The result is over RunPod's limit of {limit / MIB:.0f} MiB; not delivered: {'; '.join(details)}:"
        f" {remedy(limit)}",
        [error.message for error in too_large],
    )


def _raise_for_lost_pictures(execution: Execution) -> None:
    if execution.lost_pictures:
        nodes = ", ".join(execution.lost_pictures)
        raise ExecutionError(
            f"The connection to ComfyUI dropped while SaveImageWebsocket (node {nodes}) may have been sending: its"
            " pictures are lost. Send the job again, or use SaveImage, which keeps them"
        )


def _failure(failure: events.Failed | None, workflow: Mapping[str, Any]) -> ExecutionError:
    if failure is None:
        return ExecutionError("The workflow failed and ComfyUI gave no reason; see its log")
    message = failure.message or failure.exception_type or "no message"
    kind = f"{failure.exception_type} {message}".lower()
    cls = OutOfMemory if any(sign in kind for sign in _OUT_OF_MEMORY) else ExecutionFailed
    title = _title(workflow, failure.node_id)
    details = [f"exception type: {failure.exception_type}"] if failure.exception_type else []
    return cls(failure.node_type, failure.node_id, message, [*([f"node title: {title}"] if title else []), *details])


def _title(workflow: Mapping[str, Any], node_id: str) -> str:
    node = workflow.get(node_id)
    meta = node.get("_meta") if isinstance(node, Mapping) else None
    return str(meta.get("title") or "") if isinstance(meta, Mapping) else ""
