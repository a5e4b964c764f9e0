"""Read-only routes, and the declarations of the nodes both kinds of server know."""

from __future__ import annotations

from typing import Any

import pytest
from comfyui_conversation import ComfyUI
from comfyui_recording import normal

from local_comfyui.folders import Folders
from local_comfyui.nodes import node_types

Json = dict[str, Any]

KNOWN = node_types()


@pytest.mark.parametrize(
    "path",
    ["/prompt", "/queue", "/history", "/system_stats", "/features", "/models", "/embeddings", "/object_info/SaveImage"],
)
def test_every_route_is_also_under_api(comfyui: ComfyUI, path: str) -> None:
    plain, prefixed = comfyui.get(path), comfyui.get(f"/api{path}")
    assert plain.status_code == prefixed.status_code == 200
    assert type(plain.json()) is type(prefixed.json())


def test_the_system_tells_its_arguments_and_its_devices(comfyui: ComfyUI) -> None:
    stats = comfyui.get("/system_stats").json()
    assert isinstance(stats["system"]["argv"], list)
    assert stats["devices"][0]["type"] == "cpu"
    assert set(stats["devices"][0]) >= {"name", "index", "vram_total", "vram_free"}


def test_unknown_things(comfyui: ComfyUI) -> None:
    # Also the old names of two folders.
    for folder in ("nosuchfolder", "unet", "clip"):
        assert comfyui.get(f"/models/{folder}").status_code == 404
    assert comfyui.get("/object_info/NoSuchNode").json() == {}
    assert comfyui.get("/history/00000000-0000-0000-0000-000000000000").json() == {}
    assert comfyui.get("/no/such/route").status_code == 404


def test_what_can_be_got_can_be_asked_for_its_head(comfyui: ComfyUI) -> None:
    head = comfyui.call("HEAD", "/api/queue")
    assert (head.status_code, head.headers["Content-Type"], head.content) == (
        200,
        "application/json; charset=utf-8",
        b"",
    )
    assert comfyui.call("OPTIONS", "/prompt").status_code == 200


@pytest.mark.parametrize("header", [{"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}])
def test_a_foreign_page_is_turned_away(comfyui: ComfyUI, release: str, header: dict[str, str]) -> None:
    if release == "0.3.64" and "Origin" not in header:
        pytest.skip("this release looks at the origin only")
    assert comfyui.call("GET", "/queue", headers=header).status_code == 403
    assert comfyui.call("GET", "/queue", headers={"Origin": comfyui.url}).status_code == 200


def _comparable(entry: Json) -> Json:
    """Types, order and limits; not the files of one installation, nor what a release renamed or reworded."""
    inputs: Json = {}
    for category in ("required", "optional"):
        for name, declared in entry["input"].get(category, {}).items():
            kind, options = declared[0], normal(declared[1] if len(declared) > 1 else {})
            if "options" in options:
                kind = options["options"]
            limits = {key: options[key] for key in ("default", "min", "max", "step") if key in options}
            inputs[name] = [category, kind, limits]
    return {"inputs": inputs, "output": entry["output"], "output_node": entry["output_node"]}


# Lists that differ from installation to installation, and from release to release.
INSTALLED = {
    "image",
    "ckpt_name",
    "unet_name",
    "clip_name",
    "vae_name",
    "lora_name",
    "type",
    "sampler_name",
    "scheduler",
}


@pytest.mark.parametrize("name", KNOWN)
def test_a_node_is_declared_as_the_embedded_server_declares_it(
    comfyui: ComfyUI, release: str, name: str, tmp_path: Any
) -> None:
    shown = comfyui.get(f"/object_info/{name}").json()
    if name not in shown:
        pytest.skip(f"this release has no {name}")
    theirs = _comparable(shown[name])
    ours = _comparable(KNOWN[name].describe(Folders.under(tmp_path)))
    for entry in (theirs, ours):
        for input_name in INSTALLED & set(entry["inputs"]):
            if isinstance(entry["inputs"][input_name][1], list):
                entry["inputs"][input_name][1] = "<a list>"
        if release == "0.3.64":
            # Two nodes have other limits there.
            entry["inputs"] = {key: declared[:2] for key, declared in entry["inputs"].items()}
    assert theirs["inputs"] == ours["inputs"]
    assert list(theirs["inputs"]) == list(ours["inputs"])
    assert theirs["output_node"] == ours["output_node"]
    # Older save nodes have no output to go on with.
    assert theirs["output"] == ours["output"] or (theirs["output"] == [] and ours["output_node"])
