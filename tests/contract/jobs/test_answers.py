"""What a client gets: each success and each documented error, to the letter."""

from __future__ import annotations

import base64
import socket
from typing import Any

import pytest
from job_requests import MakeWorker, empty, job, node, picture, pixels, save

PHOTO = {"name": "photo.png", "image": picture((200, 30, 60))}
INVERT: dict[str, Any] = {
    "1": node("LoadImage", image="photo.png"),
    "2": node("ImageInvert", image=["1", 0]),
    "3": save("2", "made/ComfyUI"),
}
TEXT_TO_IMAGE: dict[str, Any] = {
    "30": node("CheckpointLoaderSimple", ckpt_name="model.safetensors"),
    "5": node("EmptyLatentImage", width=512, height=512, batch_size=1),
    "6": node("CLIPTextEncode", text="a cat", clip=["30", 1]),
    "31": node(
        "KSampler", seed=1, steps=4, cfg=1.0, sampler_name="euler", scheduler="simple", denoise=1.0,
        model=["30", 0], positive=["6", 0], negative=["6", 0], latent_image=["5", 0],
    ),
    "8": node("VAEDecode", samples=["31", 0], vae=["30", 2]),
    "9": save("8"),
}  # fmt: skip


def assert_color(item: dict[str, Any], expected: tuple[int, int, int]) -> None:
    """ComfyUI computes in floats and cuts, the embedded server in bytes: one step of difference is none."""
    found = pixels(item).getpixel((5, 5))
    assert isinstance(found, tuple)
    assert all(abs(one - other) <= 1 for one, other in zip(found, expected, strict=True)), found


def test_an_uploaded_image_goes_through_the_workflow(any_host: str, make_worker: MakeWorker) -> None:
    body = make_worker(any_host).run(job(INVERT, [PHOTO]))
    assert set(body) == {"images"}
    (item,) = body["images"]
    assert {key: item[key] for key in item if key not in ("data", "size")} == {
        "filename": "ComfyUI_00001_.png",
        "type": "base64",
        "node_id": "3",
        "subfolder": "made",
        "media_type": "image/png",
    }
    assert item["size"] == len(base64.b64decode(item["data"]))
    assert_color(item, (55, 225, 195))


@pytest.mark.parametrize(
    "form",
    [
        lambda text: "data:image/png;base64," + text,
        lambda text: "\n".join(text[i : i + 60] for i in range(0, len(text), 60)),
        lambda text: text.rstrip("="),
        lambda text: text.replace("+", "-").replace("/", "_"),
    ],
    ids=["data URI", "line breaks", "no padding", "URL-safe"],
)
def test_trap_13_every_spelling_of_base64_is_read(any_host: str, make_worker: MakeWorker, form: Any) -> None:
    body = make_worker(any_host).run(job(INVERT, [{**PHOTO, "image": form(PHOTO["image"])}]))
    assert_color(body["images"][0], (55, 225, 195))


def test_a_model_that_is_not_there(any_host: str, make_worker: MakeWorker) -> None:
    body = make_worker(any_host).run(job(TEXT_TO_IMAGE))
    assert body["error"] == (
        "Workflow validation failed: Node 30 (ckpt_name): 'model.safetensors' not in available models"
    )
    assert body["error_type"] == "WORKFLOW_INVALID"
    assert body["details"][0].startswith("Node 30 (ckpt_name): available models: ")


def test_several_refusals_are_joined(any_host: str, make_worker: MakeWorker) -> None:
    workflow = {**TEXT_TO_IMAGE, "31": {**TEXT_TO_IMAGE["31"], "inputs": {**TEXT_TO_IMAGE["31"]["inputs"], "steps": 0}}}
    workflow["31"]["inputs"]["sampler_name"] = "nosuch"
    body = make_worker(any_host).run(job(workflow))
    assert "Node 30 (ckpt_name): 'model.safetensors' not in available models; " in body["error"]
    assert "; Node 31 (sampler_name): 'nosuch' is not one of: euler, " in body["error"]
    assert "Node 31 (steps): value 0 smaller than min of 1" in body["error"]
    assert any(line.startswith("Node 31 (sampler_name): allowed values: euler, ") for line in body["details"])


def test_an_image_that_is_no_image(any_host: str, make_worker: MakeWorker) -> None:
    body = make_worker(any_host).run(job(INVERT, [{"name": "photo.png", "image": "bm90IGFuIGltYWdl"}]))
    assert body == {
        "error": "Failed to upload one or more input images",
        "error_type": "INPUT_UPLOAD_FAILED",
        "details": ["images[0] 'photo.png': is not an image, or its data is damaged"],
    }


def test_comfyui_that_never_answers(make_worker: MakeWorker) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        body = make_worker(f"127.0.0.1:{port}", comfy_start_timeout_s=0.3).run(job(INVERT, [PHOTO]))
    assert body["error"] == f"ComfyUI server (127.0.0.1:{port}) not reachable after multiple retries"
    assert body["error_type"] == "COMFYUI_UNAVAILABLE"


def test_a_node_that_raises(any_host: str, make_worker: MakeWorker) -> None:
    broken = {"name": "not-an-image.bin", "image": base64.b64encode(b"not an image").decode()}
    workflow = {**INVERT, "1": node("LoadImage", image="not-an-image.bin")}
    body = make_worker(any_host).run(job(workflow, [broken]))
    start = "Workflow execution error: Node Type: LoadImage, Node ID: 1, Message: "
    assert body["error"].startswith(start)
    # What follows is ComfyUI's own text: 0.26.0 asks its video library, older ones and the embedded server Pillow.
    assert "Invalid data found" in body["error"] or "cannot identify image file" in body["error"]
    assert body["error_type"] == "EXECUTION_ERROR"


def test_trap_07_an_error_after_a_first_output_fails_the_job_and_keeps_the_output(
    any_host: str, make_worker: MakeWorker
) -> None:
    broken = {"name": "broken.bin", "image": base64.b64encode(b"not an image").decode()}
    workflow = {
        "1": empty(color=0x123456),
        "2": save("1", "first"),
        "3": node("ImageScale", image=["1", 0], upscale_method="nearest-exact", width=16, height=16, crop="disabled"),
        "4": node(
            "ImageCompositeMasked", destination=["1", 0], source=["3", 0], x=0, y=0, resize_source=False, mask=["5", 1]
        ),
        "5": node("LoadImage", image="broken.bin"),
        "6": save("4", "second"),
    }
    body = make_worker(any_host).run(job(workflow, [broken]))
    assert body["error"].startswith("Workflow execution error: Node Type: LoadImage, Node ID: 5, Message: ")
    assert [item["filename"] for item in body["images"]] == ["first_00001_.png"]
    assert pixels(body["images"][0]).getpixel((0, 0)) == (0x12, 0x34, 0x56)


def test_trap_08_outputs_that_comfyui_refuses_while_others_run_are_warnings(
    any_host: str, make_worker: MakeWorker
) -> None:
    workflow = {
        "1": empty(),
        "2": save("1", "good"),
        "3": node("LoadImage", image="never_uploaded.png"),
        "4": save("3", "never"),
    }
    body = make_worker(any_host).run(job(workflow))
    assert [item["node_id"] for item in body["images"]] == ["2"]
    assert body["errors"] == ["Not run: Node 3 (image): Invalid image file: never_uploaded.png"]


def test_trap_16_the_editors_format_is_named(any_host: str, make_worker: MakeWorker) -> None:
    body = make_worker(any_host).run(job({"nodes": [{"id": 1}], "links": [], "version": 0.4}))
    assert "editor's format" in body["error"]
    assert "Workflow > Export (API)" in body["error"]


def test_trap_06_a_workflow_that_only_previews_returns_its_previews(any_host: str, make_worker: MakeWorker) -> None:
    body = make_worker(any_host).run(job({"1": empty(), "2": node("PreviewImage", images=["1", 0])}))
    assert [item["media_type"] for item in body["images"]] == ["image/png"]
    both = make_worker(any_host).run(
        job({"1": empty(), "2": node("PreviewImage", images=["1", 0]), "3": save("1", "kept")})
    )
    assert [item["filename"] for item in both["images"]] == ["kept_00001_.png"]


def test_text_and_pictures_over_the_socket(any_host: str, make_worker: MakeWorker) -> None:
    workflow = {
        "1": empty(color=0x00FF00, batch=2),
        "ws": node("SaveImageWebsocket", images=["1", 0]),
        "s": node("PrimitiveString", value="hello"),
        "t": node("PreviewAny", source=["s", 0]),
    }
    body = make_worker(any_host).run(job(workflow))
    assert [pixels(item).getpixel((0, 0)) for item in body["images"]] == [(0, 255, 0)] * 2
    assert [item["filename"] for item in body["images"]] == ["websocket_00001_.png", "websocket_00002_.png"]
    assert body["text"] == [{"node_id": "t", "text": "hello"}]


def test_unknown_options_are_named(any_host: str, make_worker: MakeWorker) -> None:
    body = make_worker(any_host).run(job({"1": empty(), "2": save("1")}, comfyorg_api_key="x"))
    assert len(body["images"]) == 1
    assert body["errors"] == [
        "input.comfyorg_api_key is not an option of this worker and was ignored; did you mean 'comfy_org_api_key'?"
    ]


def test_an_unexpected_failure_is_one_clear_string(make_worker: MakeWorker) -> None:
    body = make_worker("127.0.0.1:1").run(["not", "a", "job"])
    assert body == {
        "error": "The job must be a JSON object with an 'input' object",
        "error_type": "INVALID_INPUT",
    }
