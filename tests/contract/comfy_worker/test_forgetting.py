"""Histories that are written after their job is over."""

from __future__ import annotations

import uuid
from pathlib import Path

from tcp_server import Eventually

from comfy_worker.comfyui.client import ComfyUIClient
from comfy_worker.forgetting import Forgetting
from local_comfyui import LocalComfyUI


def test_trap_14_a_prompt_that_goes_on_after_its_interrupt_leaves_nothing_either(
    comfyui: LocalComfyUI, tmp_path: Path, eventually: Eventually
) -> None:
    """A node in one long step hears of no interrupt; meanwhile the worker has other jobs to clean up after."""
    client, prompt_id = ComfyUIClient(comfyui.host), str(uuid.uuid4())
    cleaned_again: list[str] = []
    forgetting = Forgetting(client, cleaned_again.append, written_s=0.1)
    workflow = {
        "1": {"class_type": "TestSleep", "inputs": {"seconds": 4, "steps": 1}},
        "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
    }
    client.queue_prompt(workflow, prompt_id, "", {})
    eventually(lambda: client.queue() == ([prompt_id], []))
    client.discard(prompt_id)
    forgetting.add(prompt_id)
    forgetting.close()
    assert client.queue() == ([prompt_id], []), "the worker does not wait for it"
    eventually(lambda: cleaned_again == [prompt_id])
    assert client.queue() == ([], [])
    assert client.history(prompt_id) is None
    client.close()
