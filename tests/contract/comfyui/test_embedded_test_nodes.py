"""The nodes for tests, and the model nodes that refuse to run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from comfyui_conversation import ComfyUI, one_picture, unique

from local_comfyui import LocalComfyUI

Json = dict[str, Any]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LocalComfyUI]:
    with LocalComfyUI(tmp_path, test_nodes=True) as server:
        yield server


@pytest.fixture
def comfyui(server: LocalComfyUI) -> ComfyUI:
    return ComfyUI(server.url)


def with_node(class_type: str, **inputs: Any) -> Json:
    """EmptyImage, the node, SaveImage."""
    prompt = one_picture(unique())
    prompt["x"] = {"class_type": class_type, "inputs": {"image": ["1", 0], **inputs}}
    prompt["2"]["inputs"]["images"] = ["x", 0]
    return prompt


def files(entries: list[Json], **more: str) -> Json:
    inputs = {"files": json.dumps(entries), "text": "", "strings": "", **more}
    return {"f": {"class_type": "TestFiles", "inputs": inputs}}


def test_they_are_unknown_unless_asked_for(tmp_path: Path) -> None:
    with LocalComfyUI(tmp_path) as server:
        comfyui = ComfyUI(server.url)
        response = comfyui.post("/prompt", {"prompt": with_node("TestSleep", seconds=0, steps=1)})
        assert response.json()["error"]["type"] == "missing_node_type"


def test_a_sleeper_reports_every_step(comfyui: ComfyUI) -> None:
    run = comfyui.run(with_node("TestSleep", seconds=0.03, steps=3))
    assert [(each["value"], each["max"], each["node"]) for each in run.data_of("progress")] == [
        (1, 3, "x"),
        (2, 3, "x"),
        (3, 3, "x"),
    ]
    seen = [each["nodes"].get("x", {}) for each in run.data_of("progress_state")]
    assert [(each["value"], each["max"]) for each in seen if each.get("state") == "running"][1:] == [
        (1, 3),
        (2, 3),
        (3, 3),
    ]
    assert run.output("2")["images"]


def test_a_sleeper_can_be_interrupted_between_its_steps(server: LocalComfyUI, comfyui: ComfyUI) -> None:
    with comfyui.open() as client:
        prompt_id = comfyui.queue(with_node("TestSleep", seconds=60, steps=6000), client)["prompt_id"]
        client.until("progress")
        comfyui.post("/interrupt", {"prompt_id": prompt_id})
        stopped = client.until("execution_interrupted")
        client.until_done(prompt_id)
    assert stopped["data"]["node_id"] == "x"
    assert [node_id for _, node_id in server.executed_nodes] == ["1"]


@pytest.mark.parametrize("name", ["ValueError", "my_nodes.CustomError", "torch.cuda.OutOfMemoryError"])
def test_a_raiser_raises_what_it_is_told(comfyui: ComfyUI, name: str) -> None:
    error = comfyui.run(with_node("TestRaise", message="nö", exception_type=name)).data_of("execution_error")[0]
    assert (error["node_id"], error["node_type"], error["exception_type"]) == ("x", "TestRaise", name)
    assert error["exception_message"] == "nö\n"
    assert error["current_inputs"]["image"] == ["1 image(s) of 16x16"]


def test_out_of_memory_looks_like_the_real_thing(comfyui: ComfyUI) -> None:
    error = comfyui.run(with_node("TestOutOfMemory")).data_of("execution_error")[0]
    assert error["exception_type"] == "torch.OutOfMemoryError"
    assert error["exception_message"].startswith("CUDA out of memory. Tried to allocate")
    assert len(error["exception_message"].splitlines()) > 1


def test_files_of_any_kind_under_any_key(comfyui: ComfyUI) -> None:
    wanted = [
        {"filename": "a.png", "content": "first"},
        {"key": "gifs", "filename": "クリップ.mp4", "subfolder": "vid/eo", "size": 1000, "format": "video/h264-mp4"},
        {"key": "audio", "filename": "t.flac", "type": "temp", "size": 3},
        {"key": "images", "filename": "gone.png", "missing": True},
        {"key": "3d", "filename": "../escape.glb", "size": 5},
    ]
    run = comfyui.run(files(wanted, text="hello", strings='["x", "y"]'))
    output = run.output("f")
    assert output["images"][0] == {"filename": "a.png", "subfolder": "", "type": "output"}
    assert output["gifs"][0]["format"] == "video/h264-mp4"
    assert (output["text"], output["strings"]) == (["hello"], ["x", "y"])

    def content(entry: Json) -> tuple[int, bytes]:
        keys = {key: entry[key] for key in ("filename", "subfolder", "type")}
        response = comfyui.get("/view", **keys)
        return response.status_code, response.content

    assert content(output["images"][0]) == (200, b"first")
    assert len(content(output["gifs"][0])[1]) == 1000
    assert len(content(output["audio"][0])[1]) == 3
    assert content(output["images"][1])[0] == 404
    assert content(output["3d"][0])[0] == 400


def test_an_exit_node_ends_the_server(server: LocalComfyUI, comfyui: ComfyUI) -> None:
    with comfyui.open() as client:
        comfyui.queue(with_node("TestExit", signal_number=9), client)
        with pytest.raises(ConnectionError):
            while True:
                client.receive()
    server.faults.restart_empty()
    assert comfyui.run(one_picture()).types[-2] == "execution_success"


def test_a_model_node_never_pretends(server: LocalComfyUI, comfyui: ComfyUI) -> None:
    (server.directory / "models" / "checkpoints" / "deep").mkdir(parents=True)
    (server.directory / "models" / "checkpoints" / "deep" / "m.safetensors").write_bytes(b"")
    assert comfyui.get("/models/checkpoints").json() == ["deep/m.safetensors"]
    prompt = {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "deep/m.safetensors"}},
        "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}},
    }
    error = comfyui.run(prompt).data_of("execution_error")[0]
    assert (error["node_type"], error["exception_type"]) == ("CheckpointLoaderSimple", "RuntimeError")
    assert "without models" in error["exception_message"]


def test_models_in_old_folders_and_embeddings(server: LocalComfyUI, comfyui: ComfyUI) -> None:
    for path in ("unet/a.safetensors", "diffusion_models/b.sft", "embeddings/e.pt", "embeddings/readme.txt"):
        target = server.directory / "models" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(b"")
    assert comfyui.get("/models/diffusion_models").json() == ["a.safetensors", "b.sft"]
    assert comfyui.get("/embeddings").json() == ["e"]
