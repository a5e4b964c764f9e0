"""ComfyUI's refusals in the words that a caller reads."""

from __future__ import annotations

from typing import Any

import pytest
from worker_recordings import VERSIONS, load

from comfy_worker.comfyui.prompt_errors import Problem, combo_values, describe, unlisted
from comfy_worker.errors import WorkflowInvalid

NO_OUTPUT = "the workflow has no output node: add one that saves or previews, such as SaveImage"
NO_CLASS_TYPE = "Node 1: has no class_type (in ComfyUI use Workflow > Export (API))"
NO_MODEL = "Node 30 (ckpt_name): 'flux1-dev-fp8.safetensors' not in available models"
MODELS = "Node 30 (ckpt_name): available models: random-sd15.safetensors"
SAMPLERS = ["euler", "euler_ancestral", "heun"]

#: Each refusal of invalid_prompts.json by its note: the texts (and details) where both versions agree ...
REFUSALS: dict[str, list[Problem]] = {
    "empty prompt": [Problem(NO_OUTPUT)],
    "a node without class_type": [Problem(NO_CLASS_TYPE)],
    "unknown node type": [Problem("Node 1: node type 'NoSuchNode' is not installed on this worker")],
    "no output node": [Problem(NO_OUTPUT)],
    "model file not in the list": [Problem(NO_MODEL, MODELS)],
    "two problems in one workflow": [
        Problem(NO_MODEL, MODELS),
        Problem("Node 31 (sampler_name): 'nosuch' is not one of: euler, euler_ancestral, heun"),
        Problem("Node 31 (steps): value 0 smaller than min of 1"),
    ],
    "value under the minimum": [
        Problem("Node 1 (width): value 0 smaller than min of 1"),
        Problem("Node 1 (height): value 0 smaller than min of 1"),
    ],
    "value over the maximum": [
        Problem("Node 1 (width): value 99999 bigger than max of 16384"),
        Problem("Node 1 (height): value 99999 bigger than max of 16384"),
    ],
    "value of the wrong type": [Problem("Node 1 (width): 'wide' is not a valid INT")],
    "link to a missing node": [Problem("Node 2: ComfyUI could not check this node (KeyError: '77')")],
    "link of the wrong type": [Problem("Node 2 (images): node 5 hands out LATENT, but IMAGE is needed here")],
    "link index out of range": [
        Problem(
            "Node 2: ComfyUI could not check this node (IndexError: tuple index out of range);"
            " does one of its links name an output that its node does not have?"
        )
    ],
    "malformed link": [Problem("Node 2 (images): malformed link ['1']: a link is [\"node id\", output index]")],
    "LoadImage of a file that was not uploaded": [Problem("Node 1 (image): Invalid image file: never_uploaded.png")],
    "inputs missing": [Problem("Node 1 (images): ComfyUI could not check this node (KeyError: 'inputs')")],
    "no prompt key": [Problem("No prompt provided")],
}
#: ... and where they do not.
REFUSALS_OF: dict[str, dict[str, list[Problem]]] = {
    "0.3.64": {
        "required input missing": [
            Problem("Node 1 (color): required input is missing"),
            Problem("Node 1 (batch_size): required input is missing"),
        ],
        "a cycle": [Problem("Prompt outputs failed validation")],
        "node is a list": [Problem(NO_CLASS_TYPE)],
    },
    "0.26.0": {
        "required input missing": [
            Problem("Node 1 (batch_size): required input is missing"),
            Problem("Node 1 (color): required input is missing"),
        ],
        "a cycle": [
            Problem(
                "Node 2: is part of a cycle (2 (ImageInvert) -> 1 (ImageInvert) -> 2 (ImageInvert)):"
                " remove one of these links"
            )
        ],
    },
}
#: Answered with a bare 500, which carries nothing to describe (trap 16): our own check comes before it.
BARE_500 = {
    "a workflow saved for the editor, not for the API",
    "prompt is a list",
    "prompt is a string",
    "prompt is null",
    "body is no JSON",
}
ACCEPTED = {"a link where a list of two is needed"}


def recorded(version: str) -> dict[str, Any]:
    """Note -> the response of every case of invalid_prompts.json."""
    return {request["note"]: response for request, response in load(version, "invalid_prompts").exchanges}


@pytest.mark.parametrize(
    ("version", "note", "problems"),
    [(version, note, rows) for version in VERSIONS for note, rows in {**REFUSALS, **REFUSALS_OF[version]}.items()],
)
def test_a_recorded_refusal(version: str, note: str, problems: list[Problem]) -> None:
    response = recorded(version)[note]
    assert response["status"] == 400
    assert describe(response["json"], {("KSampler", "sampler_name"): SAMPLERS}) == problems


@pytest.mark.parametrize("version", VERSIONS)
def test_every_recorded_refusal_has_a_row(version: str) -> None:
    responses = recorded(version)
    assert len(responses) == 25
    bare = {note for note, response in responses.items() if response["status"] == 500}
    assert bare == BARE_500 | ({"node is a list"} if version == "0.26.0" else set())
    assert set(responses) - bare - ACCEPTED == set(REFUSALS) | set(REFUSALS_OF[version])


@pytest.mark.parametrize("version", VERSIONS)
def test_trap_08_the_node_errors_of_a_200_are_described_too(version: str) -> None:
    (answer,) = (
        response["json"]
        for request, response in load(version, "partly_valid_prompt").exchanges
        if request["path"] == "/prompt"
    )
    assert answer["prompt_id"]
    described = describe({"node_errors": answer["node_errors"]}, {})
    assert described == [Problem("Node 3 (image): Invalid image file: never_uploaded.png")]


def not_in_list(name: str, value: Any, config: Any, class_type: str = "Loader") -> dict[str, Any]:
    error = {
        "type": "value_not_in_list",
        "message": "Value not in list",
        "details": "",
        "extra_info": {"input_name": name, "input_config": config, "received_value": value},
    }
    return {"error": {}, "node_errors": {"30": {"errors": [error], "class_type": class_type}}}


def test_the_documented_text_to_the_letter() -> None:
    (problem,) = describe(not_in_list("ckpt_name", "model.safetensors", [["a.safetensors", "b.safetensors"], {}]), {})
    assert WorkflowInvalid([problem.text]).message == (
        "Workflow validation failed: Node 30 (ckpt_name): 'model.safetensors' not in available models"
    )
    assert problem.detail == "Node 30 (ckpt_name): available models: a.safetensors, b.safetensors"


@pytest.mark.parametrize(
    ("name", "value", "config", "text", "detail"),
    [
        ("ckpt_name", "x", [[], {}], "'x' not in available models", "available models: none are installed"),
        ("lora_name", "", [["a"], {}], "'' not in available models", "available models: a"),
        ("ipadapter_file", "x.BIN", [["a"], {}], "'x.BIN' not in available models", "available models: a"),
        (
            "unet_name",
            "q.gguf",
            ["COMBO", {"options": ["b"]}],
            "'q.gguf' not in available models",
            "available models: b",
        ),
        ("scheduler", "nosuch", [["simple", "karras"], {}], "'nosuch' is not one of: simple, karras", ""),
        ("scheduler", "nosuch", ["COMBO", {"options": ["simple"]}], "'nosuch' is not one of: simple", ""),
        ("size", 3, [[1, 2], {}], "'3' is not one of: 1, 2", ""),
        ("mode", "nosuch", None, "'nosuch' is not an allowed value", ""),
        ("mode", "nosuch", ["COMBO", {}], "'nosuch' is not an allowed value", ""),
        ("mode", "nosuch", ["COMBO"], "'nosuch' is not an allowed value", ""),
        ("mode", None, [["a"], {}], "'None' is not one of: a", ""),
    ],
)
def test_values_not_in_a_list(name: str, value: Any, config: Any, text: str, detail: str) -> None:
    where = f"Node 30 ({name}): "
    assert describe(not_in_list(name, value, config), {}) == [Problem(where + text, where + detail if detail else "")]


def test_a_long_list_is_cut_in_the_text_and_whole_in_the_details() -> None:
    values = [f"style{number}" for number in range(50)]
    (problem,) = describe(not_in_list("style", "nosuch", [values, {}]), {})
    assert problem.text == f"Node 30 (style): 'nosuch' is not one of: {', '.join(values[:20])}, ... (50 values)"
    assert problem.detail == f"Node 30 (style): allowed values: {', '.join(values)}"


def test_a_list_that_comfyui_left_out_is_asked_for_and_used() -> None:
    body = not_in_list("ckpt_name", "x.safetensors", None, "CheckpointLoaderSimple")
    assert unlisted(body) == {"CheckpointLoaderSimple"}
    models = [f"m{number}.safetensors" for number in range(30)]
    (problem,) = describe(body, {("CheckpointLoaderSimple", "ckpt_name"): models})
    assert problem == Problem(
        "Node 30 (ckpt_name): 'x.safetensors' not in available models",
        f"Node 30 (ckpt_name): available models: {', '.join(models)}",
    )


def test_a_list_that_comfyui_sent_is_not_asked_for() -> None:
    assert unlisted(not_in_list("ckpt_name", "x", [["a"], {}])) == set()
    assert unlisted({}) == set()
    assert unlisted(recorded("0.26.0")["two problems in one workflow"]["json"]) == {"KSampler"}


def test_a_picture_in_the_place_of_a_number_is_not_sent_back() -> None:
    picture = "iVBORw0KGgo" * 100_000
    error = {
        "type": "invalid_input_type",
        "message": "Failed to convert an input value to a INT value",
        "details": picture,
    }
    error["extra_info"] = {"input_name": "width", "received_value": picture}  # type: ignore[assignment]
    body = {"node_errors": {"1": {"errors": [error], "class_type": "EmptyImage"}}}
    for problem in describe(body, {}) + describe(not_in_list("ckpt_name", picture, [["a"], {}]), {}):
        assert len(problem.text) < 300
        assert "..." in problem.text


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            {
                "type": "bad_linked_input",
                "message": "m",
                "extra_info": {"input_name": "x", "received_value": [1, 2, 3]},
            },
            'Node 5 (x): malformed link [1, 2, 3]: a link is ["node id", output index]',
        ),
        (
            {
                "type": "custom_validation_failed",
                "message": "Custom validation failed for node",
                "details": "x - too odd",
                "extra_info": {"input_name": "x"},
            },
            "Node 5 (x): too odd",
        ),
        (
            {
                "type": "custom_validation_failed",
                "message": "Custom validation failed for node",
                "details": "x",
                "extra_info": {"input_name": "x"},
            },
            "Node 5 (x): x",
        ),
        (
            {"type": "invalid_input_type", "message": "odd", "extra_info": {"received_value": {}}},
            "Node 5: {} is not a valid value",
        ),
        ({"type": "brand_new", "message": "Something new", "details": "in detail"}, "Node 5: Something new: in detail"),
        ({"type": "brand_new", "message": "Something new", "details": ""}, "Node 5: Something new"),
        (
            {"type": "return_type_mismatch", "extra_info": {}},
            "Node 5: node ? hands out None, but another type is needed here",
        ),
    ],
)
def test_other_errors_of_a_node(error: dict[str, Any], text: str) -> None:
    assert describe({"node_errors": {"5": {"errors": [error], "class_type": "A"}}}, {}) == [Problem(text)]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (
            {"error": {"type": "invalid_prompt_id", "message": "prompt_id must be a UUID", "details": "x"}},
            "prompt_id must be a UUID: x",
        ),
        (
            {"error": {"message": "ComfyUI answered 500", "details": "Server got itself in trouble"}},
            "ComfyUI answered 500: Server got itself in trouble",
        ),
        ({"error": "a bare string"}, "a bare string"),
        ({"error": {}}, "ComfyUI gave no reason"),
        ({"error": {}, "node_errors": []}, "ComfyUI gave no reason"),
        ({"error": {}, "node_errors": ["odd"]}, "ComfyUI gave no reason"),
        (
            {"error": {}, "node_errors": {"1": None, "2": {"errors": "odd"}, "3": {"errors": ["odd"]}}},
            "ComfyUI gave no reason",
        ),
    ],
)
def test_refusals_of_the_whole_prompt(body: dict[str, Any], text: str) -> None:
    assert describe(body, {}) == [Problem(text)]


@pytest.mark.parametrize(
    ("config", "values"),
    [
        (None, []),
        ([], []),
        ("COMBO", []),
        ([["a", "b"]], ["a", "b"]),
        ([["a", "b"], {"default": "a"}], ["a", "b"]),
        (["COMBO", {"options": ["a"]}], ["a"]),
        (["COMBO", {"options": None}], []),
        (["COMBO", None], []),
        (["INT", {"min": 0}], []),
    ],
)
def test_the_values_of_a_list_input(config: Any, values: list[str]) -> None:
    assert combo_values(config) == values


def test_a_missing_model_is_named_for_hints_and_a_wrong_choice_is_not() -> None:
    def refusal(name: str, value: str) -> dict[str, Any]:
        extra = {"input_name": name, "input_config": [["a"], {}], "received_value": value}
        return {"errors": [{"type": "value_not_in_list", "message": "", "details": "", "extra_info": extra}]}

    body = {"node_errors": {"1": refusal("lora_name", "x.safetensors"), "2": refusal("sampler_name", "y")}}
    assert [problem.missing_model for problem in describe(body, {})] == [("lora_name", "x.safetensors"), None]
