"""Uploads, downloads, and the names of saved files."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from comfyui_conversation import ComfyUI, one_picture, png, unique
from PIL import Image

Json = dict[str, Any]


def test_an_upload_goes_into_its_subfolder_and_can_be_loaded(comfyui: ComfyUI) -> None:
    folder, content = unique(), png((9, 8, 7))
    answer = comfyui.upload("in.png", content, subfolder=f"{folder}/deep")
    assert answer.json() == {"name": "in.png", "subfolder": f"{folder}/deep", "type": "input"}
    seen = comfyui.get("/view", filename="in.png", subfolder=f"{folder}/deep", type="input")
    assert seen.content == content
    prompt = one_picture(unique())
    prompt["1"] = {"class_type": "LoadImage", "inputs": {"image": f"{folder}/deep/in.png"}}
    run = comfyui.run(prompt)
    assert comfyui.picture(run.output("2")["images"][0]).getpixel((3, 3)) == (9, 8, 7)


def test_a_taken_name_gets_a_number_unless_the_content_is_the_same(comfyui: ComfyUI) -> None:
    stem = unique()
    names = [comfyui.upload(f"{stem}.png", png((red, 0, 0))).json()["name"] for red in (1, 2, 3, 2, 1)]
    assert names == [f"{stem}.png", f"{stem} (1).png", f"{stem} (2).png", f"{stem} (1).png", f"{stem}.png"]
    over = comfyui.upload(f"{stem}.png", png((4, 0, 0)), overwrite="1")
    assert over.json()["name"] == f"{stem}.png"
    assert comfyui.get("/view", filename=f"{stem}.png", type="input").content == png((4, 0, 0))


@pytest.mark.parametrize("fields", [{"subfolder": "../../x"}, {"subfolder": "/etc"}])
def test_an_upload_cannot_leave_its_folder(comfyui: ComfyUI, fields: dict[str, str]) -> None:
    assert comfyui.upload("x.png", png(0), **fields).status_code == 400
    assert comfyui.upload("../../x.png", png(0)).status_code == 400


def test_an_upload_of_a_temporary_file_and_of_no_file(comfyui: ComfyUI) -> None:
    name = f"{unique()}.png"
    assert comfyui.upload(name, png(0), type="temp").json() == {"name": name, "subfolder": "", "type": "temp"}
    assert comfyui.get("/view", filename=name, type="temp").status_code == 200
    assert comfyui.call("POST", "/upload/image", files={"overwrite": (None, "true")}).status_code == 400


def test_a_mask_becomes_the_alpha_of_the_original(comfyui: ComfyUI) -> None:
    original, masked = f"{unique()}.png", f"{unique('mask')}.png"
    comfyui.upload(original, png((10, 20, 30)))
    reference = json.dumps({"filename": original, "subfolder": "", "type": "input"})
    mask = png((0, 0, 0, 77), mode="RGBA")
    answer = comfyui.call(
        "POST",
        "/upload/mask",
        files={"image": (masked, mask, "image/png")},
        data={"original_ref": reference, "subfolder": "clipspace"},
    )
    assert answer.json() == {"name": masked, "subfolder": "clipspace", "type": "input"}
    seen = comfyui.picture({"filename": masked, "subfolder": "clipspace", "type": "input"})
    assert seen.getpixel((0, 0)) == (10, 20, 30, 77)


@pytest.mark.parametrize("original", [{"filename": "nosuch.png"}, {"filename": "../x.png"}, {"filename": ""}])
def test_a_mask_for_no_original_is_answered_but_not_stored(comfyui: ComfyUI, original: Json) -> None:
    name = f"{unique('mask')}.png"
    answer = comfyui.call(
        "POST",
        "/upload/mask",
        files={"image": (name, png((0, 0, 0, 77), mode="RGBA"), "image/png")},
        data={"original_ref": json.dumps({"type": "input"} | original)},
    )
    assert (answer.status_code, answer.json()["name"]) == (200, name)
    assert comfyui.get("/view", filename=name, type="input").status_code == 404


@pytest.mark.parametrize("name", ["sp ace ünï.png", "日本.png", "a'b&c.png", "100%.png"])
def test_odd_names_survive(comfyui: ComfyUI, name: str) -> None:
    folder, content = unique(), png((1, 1, 1))
    assert comfyui.upload(name, content, subfolder=folder).json()["name"] == name
    assert comfyui.get("/view", filename=name, subfolder=folder, type="input").content == content


@pytest.mark.parametrize(
    ("params", "status"),
    [
        ({}, 404),
        ({"filename": "nosuch.png"}, 404),
        ({"filename": "n" * 300 + ".png"}, 404),
        ({"filename": ""}, 400),
        ({"filename": "../models.png"}, 400),
        ({"filename": "/etc/passwd"}, 400),
        ({"filename": "x.png", "subfolder": "../../"}, 403),
        ({"filename": "x.png", "type": "secret"}, 400),
    ],
)
def test_views_of_nothing(comfyui: ComfyUI, params: dict[str, str], status: int) -> None:
    assert comfyui.get("/view", **params).status_code == status


def test_previews_and_channels(comfyui: ComfyUI) -> None:
    name = f"{unique()}.png"
    comfyui.upload(name, png((200, 100, 50, 128), mode="RGBA"))

    def view(**params: str) -> tuple[str, Image.Image]:
        response = comfyui.get("/view", filename=name, type="input", **params)
        assert response.headers["Content-Disposition"] == f'filename="{name}"'
        return response.headers["Content-Type"], Image.open(io.BytesIO(response.content))

    assert view()[0] == "image/png"
    kind, picture = view(preview="webp;80")
    assert (kind, picture.format, picture.size) == ("image/webp", "WEBP", (16, 16))
    kind, picture = view(preview="jpeg;50")
    assert (kind, picture.format) == ("image/jpeg", "JPEG")
    assert view(preview="bmp")[0] == "image/webp"
    assert view(channel="rgb")[1].getpixel((0, 0)) == (200, 100, 50)
    assert view(channel="a")[1].getchannel("A").getpixel((0, 0)) == 128


def test_a_page_is_only_ever_downloaded(comfyui: ComfyUI) -> None:
    name = f"{unique()}.html"
    comfyui.upload(name, b"<script>alert(1)</script>")
    response = comfyui.get("/view", filename=name, type="input")
    assert response.headers["Content-Type"] == "application/octet-stream"


def test_saved_names_count_on_and_keep_their_subfolder(comfyui: ComfyUI) -> None:
    folder = unique()
    first = comfyui.run(one_picture(f"{folder}/a/pic", batch_size=2)).output("2")["images"]
    second = comfyui.run(one_picture(f"{folder}/a/pic")).output("2")["images"]
    assert [each["filename"] for each in first + second] == ["pic_00001_.png", "pic_00002_.png", "pic_00003_.png"]
    assert {each["subfolder"] for each in first + second} == {f"{folder}/a"}
    assert {each["type"] for each in first + second} == {"output"}


def test_placeholders_in_a_prefix(comfyui: ComfyUI) -> None:
    folder = unique()
    saved = comfyui.run(one_picture(f"{folder}/%width%x%height%-%batch_num%", width=24)).output("2")["images"]
    assert [each["filename"] for each in saved] == ["24x16-0_00001_.png"]
    dated = comfyui.run(one_picture(f"{folder}/%year%-%month%-%day%")).output("2")["images"][0]["filename"]
    assert len(dated) == len("2026-01-01_00001_.png")
    assert dated[:4].isdecimal()


@pytest.mark.parametrize("prefix", ["../escaped", "/tmp/escaped", "a/../../escaped"])
def test_a_prefix_that_leaves_the_output_folder_fails(comfyui: ComfyUI, prefix: str) -> None:
    error = comfyui.run(one_picture(prefix)).data_of("execution_error")[0]
    assert (error["node_id"], error["exception_type"]) == ("2", "Exception")
    assert "Saving image outside the output folder is not allowed" in error["exception_message"]


def test_a_saved_picture_carries_its_workflow(comfyui: ComfyUI) -> None:
    prompt = one_picture(unique())
    run = comfyui.run(prompt, extra_data={"extra_pnginfo": {"workflow": {"nodes": []}}})
    picture = comfyui.picture(run.output("2")["images"][0])
    assert json.loads(picture.info["prompt"]) == prompt
    assert json.loads(picture.info["workflow"]) == {"nodes": []}


def test_a_preview_is_a_temporary_file(comfyui: ComfyUI) -> None:
    prompt = one_picture()
    prompt["2"] = {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}
    entry = comfyui.run(prompt).output("2")["images"][0]
    assert entry["type"] == "temp"
    assert entry["filename"].startswith("ComfyUI_temp_")
    assert comfyui.picture(entry).size == (16, 16)


@pytest.mark.parametrize("frames", [1, 3])
def test_animations(comfyui: ComfyUI, release: str, frames: int) -> None:
    prompt = one_picture(batch_size=frames)
    picture = {"images": ["1", 0], "fps": 5.0}
    prompt["2"] = {
        "class_type": "SaveAnimatedWEBP",
        "inputs": picture | {"filename_prefix": unique(), "lossless": True, "quality": 80, "method": "fastest"},
    }
    prompt["3"] = {
        "class_type": "SaveAnimatedPNG",
        "inputs": picture | {"filename_prefix": unique(), "compress_level": 4},
    }
    run = comfyui.run(prompt)
    for node_id, suffix in (("2", ".webp"), ("3", ".png")):
        output = run.output(node_id)
        # What is said of a single frame depends on the release, and in the older one on the format.
        if frames > 1 or release == "0.26.0":
            assert output.get("animated") == ([True] if frames > 1 else None)
        assert output["images"][0]["filename"].endswith(f"_00001_{suffix}")
        assert comfyui.picture(output["images"][0]).size == (16, 16)


def test_text_and_numbers_are_shown(comfyui: ComfyUI) -> None:
    values: list[tuple[str, Any, str]] = [
        ("PrimitiveString", "héllo", "héllo"),
        ("PrimitiveStringMultiline", "a\nb", "a\nb"),
        ("PrimitiveInt", 7, "7"),
        ("PrimitiveFloat", 1.5, "1.5"),
        ("PrimitiveBoolean", True, "True"),
    ]
    prompt: Json = {}
    for index, (class_type, value, _) in enumerate(values):
        prompt[f"v{index}"] = {"class_type": class_type, "inputs": {"value": value}}
        prompt[f"p{index}"] = {"class_type": "PreviewAny", "inputs": {"source": [f"v{index}", 0]}}
    run = comfyui.run(prompt)
    assert [run.output(f"p{index}") for index in range(len(values))] == [{"text": [text]} for _, _, text in values]
