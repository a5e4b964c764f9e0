"""What would end or fill a real server, and must not do so to one that serves a laptop for days."""

from __future__ import annotations

import pytest
from comfyui_conversation import ComfyUI, one_picture

from local_comfyui import Journal, LocalComfyUI


@pytest.fixture
def comfyui(embedded: LocalComfyUI) -> ComfyUI:
    return ComfyUI(embedded.url)


def test_a_link_to_nowhere_in_an_undeclared_input_fails_its_own_prompt_only(comfyui: ComfyUI) -> None:
    """A real server's only runner dies of it."""
    prompt = one_picture()
    prompt["1"]["inputs"]["undeclared"] = ["77", 0]
    run = comfyui.run(prompt)
    assert (run.history["status"]["status_str"], run.history["outputs"]) == ("error", {})
    assert comfyui.run(one_picture()).types[-2] == "execution_success"


def test_an_unused_node_without_inputs_does_not_end_the_runner(comfyui: ComfyUI) -> None:
    comfyui.queue(one_picture() | {"3": {"class_type": "SaveImage"}})
    assert comfyui.run(one_picture()).types[-2] == "execution_success"


def test_a_client_id_that_is_no_text_silences_nobody_else(comfyui: ComfyUI) -> None:
    """A real server exits."""
    comfyui.queue(one_picture(), client_id=["a list"])
    assert comfyui.run(one_picture()).types[-2] == "execution_success"


def test_a_server_that_nobody_tests_notes_nothing() -> None:
    journal = Journal(keep=False)
    journal.count("GET /queue")
    journal.note(journal.prompts, {"prompt": {}})
    assert (journal.requests, journal.prompts) == ({}, [])
