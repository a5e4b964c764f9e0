"""ComfyUI's refusals of a prompt, in readable form.

Shapes: recordings invalid_prompts.json and partly_valid_prompt.json of both versions. A refusal is
`{"error": {"type", "message", "details", "extra_info"}, "node_errors": {id: {"errors": [...], "class_type"}}}`; each
entry of `errors` has the form of `error`, with `extra_info.input_name`. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from comfy_worker.job import EXPORT_HINT

#: (class_type, input name) -> the values that ComfyUI's node takes.
Choices = Mapping[tuple[str, str], list[Any]]

MODEL_SUFFIXES = (".safetensors", ".sft", ".ckpt", ".pt", ".pth", ".bin", ".gguf", ".onnx")
MODEL_INPUTS = frozenset(
    {"ckpt_name", "unet_name", "vae_name", "lora_name", "clip_name", "clip_name1", "clip_name2", "clip_name3",
     "control_net_name", "style_model_name", "gligen_name", "model_name", "hypernetwork_name"}
)  # fmt: skip
MOST_VALUES_IN_TEXT = 20
#: Characters of a received value that a text repeats: clients put whole pictures where a number belongs.
LONGEST_VALUE_IN_TEXT = 200


@dataclass(frozen=True)
class Problem:
    """One thing ComfyUI found wrong: `text` for the caller, `detail` a further line or empty."""

    text: str
    detail: str = ""
    #: (input name, file name) of a model that ComfyUI does not have. It says nothing that `text` does not.
    missing_model: tuple[str, str] | None = field(default=None, compare=False)


def describe(body: Mapping[str, Any], choices: Choices) -> list[Problem]:
    """Every problem of a refusal (or of the `node_errors` of a 200), in the order ComfyUI gives them."""
    problems = list(_node_problems(body.get("node_errors"), choices))
    error = body.get("error")
    return problems or [_whole_prompt_problem(error if isinstance(error, Mapping) else {"message": str(error)})]


def unlisted(body: Mapping[str, Any]) -> set[str]:
    """The node types whose allowed values ComfyUI left out of its answer (it lists at most 20)."""
    return {
        str(node.get("class_type"))
        for _, node, error in _errors(body.get("node_errors"))
        if error.get("type") == "value_not_in_list" and not _config_values(error)
    }


def _node_problems(node_errors: Any, choices: Choices) -> Iterator[Problem]:
    cycles_told = False
    for node_id, node, error in _errors(node_errors):
        if error.get("type") == "dependency_cycle":
            if not cycles_told:
                yield Problem(f"Node {node_id}: is part of a cycle ({error.get('details')}): remove one of these links")
            cycles_told = True
        else:
            yield _node_problem(node_id, str(node.get("class_type")), error, choices)


def _errors(node_errors: Any) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
    for node_id, node in node_errors.items() if isinstance(node_errors, Mapping) else ():
        errors = node.get("errors") if isinstance(node, Mapping) else None
        for error in errors if isinstance(errors, list) else ():
            if isinstance(error, Mapping):
                yield str(node_id), node, error


def _node_problem(node_id: str, class_type: str, error: Mapping[str, Any], choices: Choices) -> Problem:
    extra = error.get("extra_info") or {}
    name = str(extra.get("input_name") or "")
    where = f"Node {node_id} ({name})" if name else f"Node {node_id}"
    if error.get("type") == "value_not_in_list":
        allowed = _config_values(error) or choices.get((class_type, name), [])
        return _not_in_list(where, name, extra.get("received_value"), allowed)
    return Problem(f"{where}: {_reason(error, name, extra)}")


def _reason(error: Mapping[str, Any], name: str, extra: Mapping[str, Any]) -> str:
    """One error of a node as a phrase that follows `Node 1 (width): `."""
    message, details = str(error.get("message", "")), str(error.get("details", ""))
    received = extra.get("received_value")
    match error.get("type"):
        case "required_input_missing":
            return "required input is missing"
        case "value_smaller_than_min" | "value_bigger_than_max":
            return message[:1].lower() + message[1:]
        case "invalid_input_type":
            _, known, expected = message.rpartition(" to a ")
            return f"{_shown(repr(received))} is not a valid {expected.removesuffix(' value') if known else 'value'}"
        case "bad_linked_input":
            return f'malformed link {_shown(repr(received))}: a link is ["node id", output index]'
        case "return_type_mismatch":
            source = (extra.get("linked_node") or ["?"])[0]
            expected = (extra.get("input_config") or ["another type"])[0]
            return f"node {source} hands out {extra.get('received_type')}, but {expected} is needed here"
        case "custom_validation_failed":
            return details.removeprefix(f"{name} - ") or message
        case "exception_during_validation" | "exception_during_inner_validation":
            hint = "; does one of its links name an output that its node does not have?"
            kind = extra.get("exception_type", "error")
            return f"ComfyUI could not check this node ({kind}: {details})" + (hint if kind == "IndexError" else "")
        case _:
            return f"{message}: {details}" if details else message


def _not_in_list(where: str, name: str, value: Any, allowed: list[Any]) -> Problem:
    text = _shown(str(value))
    if name in MODEL_INPUTS or text.lower().endswith(MODEL_SUFFIXES):
        available = ", ".join(map(str, allowed)) or "none are installed"
        told = f"{where}: '{text}' not in available models"
        return Problem(told, f"{where}: available models: {available}", (name, text))
    if not allowed:
        return Problem(f"{where}: '{text}' is not an allowed value")
    shown = ", ".join(map(str, allowed[:MOST_VALUES_IN_TEXT]))
    more = f", ... ({len(allowed)} values)" if len(allowed) > MOST_VALUES_IN_TEXT else ""
    return Problem(
        f"{where}: '{text}' is not one of: {shown}{more}",
        f"{where}: allowed values: {', '.join(map(str, allowed))}" if more else "",
    )


def _shown(text: str) -> str:
    return text if len(text) <= LONGEST_VALUE_IN_TEXT else f"{text[:LONGEST_VALUE_IN_TEXT]}..."


def _config_values(error: Mapping[str, Any]) -> list[Any]:
    """The allowed values as the refusal carries them: `input_config` is `[[...values], {...}]` or `["COMBO",
    {"options"}]`.
    """
    return combo_values((error.get("extra_info") or {}).get("input_config"))


def combo_values(config: Any) -> list[Any]:
    """The values of a list input, from its declaration in a refusal or in /object_info."""
    if not isinstance(config, list) or not config:
        return []
    if isinstance(config[0], list):
        return config[0]
    options = config[1].get("options") if len(config) > 1 and isinstance(config[1], Mapping) else None
    return options if isinstance(options, list) else []


def _whole_prompt_problem(error: Mapping[str, Any]) -> Problem:
    message, details = str(error.get("message", "")), str(error.get("details", ""))
    extra = error.get("extra_info") or {}
    node_id = extra.get("node_id") or details.partition("#")[2].rstrip("'")
    match error.get("type"):
        case "prompt_no_outputs":
            return Problem("the workflow has no output node: add one that saves or previews, such as SaveImage")
        case "missing_node_type" | "invalid_prompt" if node_id:
            if "class_type" in message:
                return Problem(f"Node {node_id}: has no class_type ({EXPORT_HINT})")
            kind = extra.get("class_type") or message.removeprefix("Cannot execute because node ").partition(" ")[0]
            return Problem(f"Node {node_id}: node type '{kind}' is not installed on this worker")
        case _:
            return Problem(": ".join(dict.fromkeys(filter(None, (message, details)))) or "ComfyUI gave no reason")
