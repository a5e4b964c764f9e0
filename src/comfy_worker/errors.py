"""Every error a caller can receive.

    WorkerError
     +- InvalidInput           the request itself is wrong
     +- InputUploadFailed      an input file could not be decoded, fetched or handed to ComfyUI
     +- ComfyUIUnavailable     nothing answers on COMFY_HOST
     |   +- ComfyUIDied        the ComfyUI that ran the job exited
     +- WorkflowInvalid        ComfyUI (or our own check before it) refuses the workflow
     +- ExecutionError         the prompt did not end well
     |   +- ExecutionFailed    a node raised
     |   |   +- OutOfMemory    ... because the GPU memory did not suffice
     |   +- ExecutionInterrupted
     |   +- ExecutionLost      ComfyUI no longer knows the prompt
     |   +- ExecutionTimedOut  the time limit for the whole prompt
     |   +- ExecutionStalled   nothing was heard and nothing moved for too long
     +- OutputUnavailable      ComfyUI made a file that it then did not hand over
     +- StorageFailed          the bucket did not take a file
     +- ResultTooLarge         the response would be over RunPod's limit

The text of an error is the API: it goes to the caller as the one `error` string. `code` becomes `error_type`, `details`
the list beside it. ConfigError is for the operator: it stops the start and never meets a caller.
"""

from __future__ import annotations

from collections.abc import Sequence

#: Named in one text; a workflow of junk has thousands.
MOST_PROBLEMS = 50


class ConfigError(Exception):
    """A setting is missing or wrong; the text names the variable and the value."""


class WorkerError(Exception):
    """Base of all errors that a caller receives."""

    code = "WORKER_ERROR"

    def __init__(self, message: str, details: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.message = message
        #: One line each: what exactly is wrong, where, and what to do.
        self.details = list(details)


class InvalidInput(WorkerError):
    code = "INVALID_INPUT"


class InputUploadFailed(WorkerError):
    code = "INPUT_UPLOAD_FAILED"

    def __init__(self, details: Sequence[str]) -> None:
        super().__init__("Failed to upload one or more input images", details)


class ComfyUIUnavailable(WorkerError):
    code = "COMFYUI_UNAVAILABLE"

    def __init__(self, host: str, details: Sequence[str] = ()) -> None:
        super().__init__(f"ComfyUI server ({host}) not reachable after multiple retries", details)


class ComfyUIDied(ComfyUIUnavailable):
    code = "COMFYUI_DIED"

    def __init__(self, how: str, node: str = "") -> None:
        at = f" while running {node}" if node else ""
        WorkerError.__init__(
            self, f"ComfyUI stopped during the job{at}: {how}. It is being restarted; send the job again"
        )


class WorkflowInvalid(WorkerError):
    code = "WORKFLOW_INVALID"

    def __init__(self, problems: Sequence[str], details: Sequence[str] = ()) -> None:
        told = "; ".join(problems[:MOST_PROBLEMS])
        more = f"; and {len(problems) - MOST_PROBLEMS} more" if len(problems) > MOST_PROBLEMS else ""
        super().__init__(f"Workflow validation failed: {told}{more}", details)


class ExecutionError(WorkerError):
    code = "EXECUTION_ERROR"


class ExecutionFailed(ExecutionError):
    def __init__(self, node_type: str, node_id: str, message: str, details: Sequence[str] = ()) -> None:
        super().__init__(
            f"Workflow execution error: Node Type: {node_type}, Node ID: {node_id}, Message: {message}", details
        )


class OutOfMemory(ExecutionFailed):
    code = "OUT_OF_MEMORY"


class ExecutionInterrupted(ExecutionError):
    code = "EXECUTION_INTERRUPTED"


class ExecutionLost(ExecutionError):
    code = "EXECUTION_LOST"


class ExecutionTimedOut(ExecutionError):
    code = "EXECUTION_TIMEOUT"


class ExecutionStalled(ExecutionError):
    code = "EXECUTION_STALLED"


class OutputUnavailable(WorkerError):
    code = "OUTPUT_UNAVAILABLE"


class StorageFailed(WorkerError):
    code = "STORAGE_FAILED"


class ResultTooLarge(WorkerError):
    code = "RESULT_TOO_LARGE"
