"""The example requests hang together: links, pictures, models. A real ComfyUI accepted them: examples/README.md."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from comfy_image.fetch import read_manifest
from PIL import Image

from comfy_worker import workflow
from comfy_worker.comfyui.prompt_errors import MODEL_SUFFIXES
from comfy_worker.job import parse_job

ROOT = Path(__file__).parents[3]
EXAMPLES = {path.stem: json.loads(path.read_text()) for path in sorted((ROOT / "examples").glob("*.json"))}
MANIFESTS = {path.stem: read_manifest(path) for path in sorted((ROOT / "image/models").glob("*.json"))}
#: Which manifests bring the models of an example that is not named after its manifest.
NEEDS = {"image-to-image": "sdxl", "upscale": "real-esrgan", "text-to-video": "wan2.1-t2v"}
FOLDERS = {
    **dict.fromkeys(("clip_name", "clip_name1", "clip_name2"), "text_encoders"),
    "ckpt_name": "checkpoints",
    "unet_name": "diffusion_models",
    "vae_name": "vae",
    "model_name": "upscale_models",
}


def links(nodes: dict[str, Any]) -> Iterator[tuple[str, str, list[Any]]]:
    for node_id, node in nodes.items():
        for name, value in node["inputs"].items():
            if isinstance(value, list):
                yield node_id, name, value


def test_there_is_an_example_for_every_manifest() -> None:
    assert set(MANIFESTS) <= {NEEDS.get(name, name) for name in EXAMPLES}


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_request_is_one_that_the_worker_takes(name: str) -> None:
    job = parse_job({"id": "example", **EXAMPLES[name]})
    workflow.check(job.workflow)
    assert job.warnings == ()


@pytest.mark.parametrize("name", EXAMPLES)
def test_links_lead_to_nodes_and_every_node_leads_to_an_output(name: str) -> None:
    nodes = EXAMPLES[name]["input"]["workflow"]
    for node_id, field, (source, slot) in links(nodes):
        assert source in nodes, f"{node_id}.{field}"
        assert isinstance(slot, int)
    used = {source for _, _, (source, _) in links(nodes)}
    ends = {nodes[node_id]["class_type"] for node_id in nodes if node_id not in used}
    assert ends <= {"SaveImage", "SaveVideo"}


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_pictures_are_sent_along(name: str) -> None:
    request = EXAMPLES[name]["input"]
    sent = {image["name"]: base64.b64decode(image["image"], validate=True) for image in request.get("images", [])}
    loaded = {node["inputs"]["image"] for node in request["workflow"].values() if node["class_type"] == "LoadImage"}
    assert loaded == set(sent)
    for content in sent.values():
        Image.open(io.BytesIO(content)).verify()


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_models_are_those_of_a_manifest(name: str) -> None:
    files = MANIFESTS.get(NEEDS.get(name, name), [])
    offered = {(file.folder, file.name) for file in files}
    wanted = {
        (FOLDERS[field], value)
        for node in EXAMPLES[name]["input"]["workflow"].values()
        for field, value in node["inputs"].items()
        if isinstance(value, str) and value.endswith(MODEL_SUFFIXES)
    }
    assert wanted == offered
