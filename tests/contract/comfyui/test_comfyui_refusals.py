"""What `POST /prompt` refuses, and how: the recorded cases and a few beside them."""

from __future__ import annotations

from typing import Any

import pytest
from comfyui_conversation import ComfyUI, fresh_color, one_picture, unique
from comfyui_recording import comparable_response, events_of, normal

Json = dict[str, Any]

CASES = [event["request"]["note"] for event in events_of("invalid_prompts")]


@pytest.mark.parametrize("case", CASES)
def test_a_refused_prompt_gets_the_recorded_answer(comfyui: ComfyUI, release: str, case: str) -> None:
    event = next(each for each in events_of("invalid_prompts", release) if each["request"]["note"] == case)
    request = event["request"]
    response = comfyui.call("POST", "/prompt", json=request.get("json"), data=request.get("body"))
    seen = {"status": response.status_code, "content_type": response.headers.get("Content-Type", "")}
    if "json" in event["response"]:
        seen["json"] = response.json()
    assert comparable_response(seen) == comparable_response(event["response"])
    comfyui.wait_until_idle()


def first_error(comfyui: ComfyUI, prompt: Json, node_id: str) -> Json:
    response = comfyui.post("/prompt", {"prompt": prompt})
    assert response.status_code == 400, response.text
    error: Json = response.json()["node_errors"][node_id]["errors"][0]
    return error


def saved(class_type: str, **inputs: Any) -> Json:
    """One node into a SaveImage."""
    return {
        "1": {"class_type": class_type, "inputs": inputs},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
    }


@pytest.mark.parametrize(
    ("value", "details"),
    [
        ("1.5", "width, 1.5, invalid literal for int() with base 10: '1.5'"),
        (None, "width, None, int() argument must be a string, a bytes-like object or a real number, not 'NoneType'"),
        ({}, "width, {}, int() argument must be a string, a bytes-like object or a real number, not 'dict'"),
    ],
)
def test_a_value_that_is_no_number(comfyui: ComfyUI, value: Any, details: str) -> None:
    error = first_error(comfyui, saved("EmptyImage", width=value, height=16, batch_size=1, color=0), "1")
    assert (error["type"], error["details"]) == ("invalid_input_type", details)


def test_a_list_that_is_no_link_may_come_wrapped(comfyui: ComfyUI) -> None:
    prompt = one_picture(unique(), width={"__value__": 24})  # type: ignore[arg-type]
    run = comfyui.run(prompt)
    assert comfyui.picture(run.output("2")["images"][0]).size == (24, 16)


def test_numbers_are_converted_and_the_history_shows_them_so(comfyui: ComfyUI) -> None:
    prompt = one_picture(unique(), width="24", height=18.9)  # type: ignore[arg-type]
    run = comfyui.run(prompt)
    assert comfyui.picture(run.output("2")["images"][0]).size == (24, 18)
    shown = run.history["prompt"][2]["1"]["inputs"]
    assert (shown["width"], shown["height"]) == (24, 18)


def test_a_choice_of_the_newer_form(comfyui: ComfyUI, release: str) -> None:
    if release == "0.3.64":
        pytest.skip("this release does not check such choices")
    picture = one_picture()["1"]
    prompt = {
        **saved("ImageBlend", image1=["3", 0], image2=["3", 0], blend_factor=0.5, blend_mode="burn"),
        "3": picture,
    }
    error = first_error(comfyui, prompt, "1")
    modes = ["normal", "multiply", "screen", "overlay", "soft_light", "difference"]
    assert error["type"] == "value_not_in_list"
    assert error["details"] == f"blend_mode: 'burn' not in {modes}"
    assert error["extra_info"]["input_config"][-1]["options"] == modes


def test_an_index_out_of_range_of_a_newer_node(comfyui: ComfyUI) -> None:
    picture = one_picture()["1"]
    prompt = {**saved("RepeatImageBatch", image=["3", 0], amount=1), "3": picture}
    prompt["2"]["inputs"]["images"] = ["1", 5]
    error = first_error(comfyui, prompt, "2")
    assert error["type"] == "exception_during_validation"
    # Of a list or of a tuple, which is the release's own affair.
    assert error["details"].endswith("index out of range")
    assert error["extra_info"]["exception_type"] == "IndexError"


def test_a_missing_node_further_back_is_blamed_on_the_node_that_links_to_it(comfyui: ComfyUI) -> None:
    error = first_error(comfyui, saved("ImageInvert", image=["77", 0]), "1")
    assert error["type"] == "exception_during_inner_validation"
    assert error["details"] == "'77'"
    assert error["extra_info"]["linked_node"] == ["1", 0]


@pytest.mark.parametrize("body", [[], "x"])
def test_a_body_without_keys(comfyui: ComfyUI, body: Any) -> None:
    response = comfyui.post("/prompt", body)
    assert (response.status_code, response.json()["error"]["type"]) == (400, "no_prompt")
    assert [comfyui.post(route, body).status_code for route in ("/queue", "/history")] == [200, 200]


def test_load_image_without_its_image(comfyui: ComfyUI) -> None:
    error = first_error(comfyui, saved("LoadImage"), "1")
    assert error["type"] == "exception_during_inner_validation"
    assert error["details"] == "LoadImage.VALIDATE_INPUTS() missing 1 required positional argument: 'image'"
    assert error["extra_info"]["exception_type"] == "TypeError"


def test_load_image_with_a_link_for_its_image(comfyui: ComfyUI) -> None:
    prompt = {**saved("LoadImage", image=["3", 0]), "3": {"class_type": "PrimitiveString", "inputs": {"value": "x"}}}
    error = first_error(comfyui, prompt, "1")
    assert error["type"] == "return_type_mismatch" or "NoneType" in error["details"], error


def test_a_shared_broken_node_names_all_outputs_that_need_it(comfyui: ComfyUI) -> None:
    prompt = saved("EmptyImage", width=0, height=16, batch_size=1, color=0)
    prompt["3"] = {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}
    response = comfyui.post("/prompt", {"prompt": prompt})
    assert sorted(response.json()["node_errors"]["1"]["dependent_outputs"]) == ["2", "3"]


def test_a_node_without_use_is_not_looked_at(comfyui: ComfyUI) -> None:
    prompt = one_picture(unique()) | {"9": {"class_type": "EmptyImage", "inputs": {"width": -1}}}
    run = comfyui.run(prompt)
    assert run.answer["node_errors"] == {}
    assert run.types[-2:] == ["execution_success", "executing"]


def test_only_the_wanted_outputs_run(comfyui: ComfyUI) -> None:
    prompt = one_picture(unique())
    prompt["3"] = {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}
    run = comfyui.run(prompt, partial_execution_targets=["3"])
    assert list(run.history["outputs"]) == ["3"]


def test_the_editors_number_and_front(comfyui: ComfyUI) -> None:
    first = comfyui.run(one_picture(unique()), number=-3)
    assert first.answer["number"] == -3.0
    counted = comfyui.run(one_picture(unique()))
    front = comfyui.run(one_picture(unique()), front=True)
    assert front.answer["number"] <= -counted.answer["number"]


def test_models_that_are_not_there(comfyui: ComfyUI) -> None:
    """The loaders' lists are those of `/models`, and `/object_info` shows them."""
    listed = comfyui.get("/models/loras").json()
    shown = comfyui.get("/object_info/LoraLoader").json()["LoraLoader"]["input"]["required"]["lora_name"][0]
    assert shown == listed
    prompt = one_picture()
    prompt["4"] = {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "no-such-model.safetensors"}}
    prompt["5"] = {
        "class_type": "LoraLoader",
        "inputs": {
            "model": ["4", 0],
            "clip": ["4", 1],
            "lora_name": "no-such-lora.safetensors",
            "strength_model": 1,
            "strength_clip": 101,
        },
    }
    prompt["6"] = {"class_type": "CLIPTextEncode", "inputs": {"text": "x", "clip": ["5", 1]}}
    prompt["7"] = {"class_type": "PreviewAny", "inputs": {"source": ["6", 0]}}
    response = comfyui.post("/prompt", {"prompt": prompt})
    # The picture is made all the same.
    assert response.status_code == 200
    errors = response.json()["node_errors"]
    assert sorted(errors) == ["4", "5"]
    found = {(error["type"], error["extra_info"]["input_name"]) for error in errors["5"]["errors"]}
    assert found == {("value_not_in_list", "lora_name"), ("value_bigger_than_max", "strength_clip")}
    assert normal(errors["4"]["dependent_outputs"]) == ["7"]
    comfyui.wait_until_idle()


def test_a_prompt_id_that_is_no_uuid_is_taken_or_refused_by_name(comfyui: ComfyUI) -> None:
    """Older servers take any text, newer ones only a canonical UUID."""
    name = f"job-{fresh_color()}"
    response = comfyui.post("/prompt", {"prompt": one_picture(unique()), "prompt_id": name})
    if response.status_code == 200:
        assert response.json()["prompt_id"] == name
    else:
        assert response.status_code == 400
        assert response.json()["error"]["type"] == "invalid_prompt_id"
        assert response.json()["node_errors"] == {}
    comfyui.wait_until_idle()
