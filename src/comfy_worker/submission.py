"""Hands a prompt to ComfyUI, and takes it back: nothing of ours may run on the GPU without a job behind it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from comfy_worker.comfyui import prompt_errors
from comfy_worker.comfyui.client import ComfyUIClient, PromptRefused, PromptUnanswered
from comfy_worker.errors import ComfyUIUnavailable, WorkflowInvalid
from comfy_worker.timing import Deadline

#: How long an interrupted prompt may take to leave the queue before its files are cleaned up all the same.
LEAVE_S = 5.0
LEAVE_POLL_S = 0.1
#: When a prompt whose POST got no answer is thrown out again: ComfyUI may still be reading it.
DISCARD_AGAIN_S = (1.0, 2.0, 5.0, 15.0, 30.0)


#: Takes (input name, file name) of models that ComfyUI does not have; gives hints, one line each.
ExplainMissing = Callable[[Sequence[tuple[str, str]]], list[str]]


def submit(
    client: ComfyUIClient,
    prompt: Mapping[str, Any],
    prompt_id: str,
    client_id: str,
    extra_data: Mapping[str, Any],
    explain_missing: ExplainMissing,
) -> list[str]:
    """Queue the prompt under `prompt_id`. -> warnings: outputs that ComfyUI refused while others run.

    Raises WorkflowInvalid, ComfyUIUnavailable.
    """
    try:
        answer = client.queue_prompt(prompt, prompt_id, client_id, extra_data)
    except PromptRefused as refused:
        problems = prompt_errors.describe(refused.body, client.choices(prompt_errors.unlisted(refused.body)))
        details = [problem.detail for problem in problems if problem.detail]
        missing = [problem.missing_model for problem in problems if problem.missing_model]
        hints = explain_missing(missing) if missing else []
        raise WorkflowInvalid([problem.text for problem in problems], details + hints) from refused
    except PromptUnanswered as error:
        if not is_known(client, prompt_id):
            _discard_again(client, prompt_id)
            raise ComfyUIUnavailable(client.host, [f"POST /prompt got no answer: {error}"]) from error
        return []
    if not answer.get("node_errors"):
        return []
    choices = client.choices(prompt_errors.unlisted(answer))
    problems = prompt_errors.describe({"node_errors": answer["node_errors"]}, choices)
    return [f"Not run: {problem.text}" for problem in problems]


def is_known(client: ComfyUIClient, prompt_id: str) -> bool:
    """Whether the queue or the history has the prompt."""
    try:
        running, pending = client.queue()
        return prompt_id in running or prompt_id in pending or client.history(prompt_id) is not None
    except ComfyUIUnavailable:
        return False


def withdraw(client: ComfyUIClient, prompt_id: str) -> bool:
    """Take a prompt out of the queue, interrupt it by id if it runs, and wait a little until it is really gone. Whether
    it is."""
    deadline = Deadline(LEAVE_S)
    pause = threading.Event()
    try:
        client.discard(prompt_id)
        while not deadline.expired:
            running, pending = client.queue()
            if prompt_id not in running and prompt_id not in pending:
                return True
            pause.wait(LEAVE_POLL_S)
    except ComfyUIUnavailable:
        # A ComfyUI that is gone runs nothing, and has nothing to tell either.
        return False
    return False


def _discard_again(client: ComfyUIClient, prompt_id: str) -> None:
    def run() -> None:
        for pause in DISCARD_AGAIN_S:
            threading.Event().wait(pause)
            try:
                client.discard(prompt_id)
                client.forget(prompt_id)
            except ComfyUIUnavailable:
                continue

    threading.Thread(target=run, name=f"discard-{prompt_id}", daemon=True).start()
