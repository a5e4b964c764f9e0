"""Whether a prompt may run: the answers of recording `invalid_prompts`.

Malformed prompts (an editor's workflow, a list, null) raise, as in ComfyUI, and become a bare 500.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from local_comfyui.folders import Folders
from local_comfyui.graph import Prompt, is_link
from local_comfyui.nodes.declaration import Json, NodeType
from local_comfyui.validation_errors import (
    custom_check_failed,
    error_entry,
    exception_name,
    inner_exception,
    input_error,
    number_limits_error,
    value_not_in_list,
)


@dataclass(frozen=True)
class Validation:
    """`error` is None when at least one output may run; `node_errors` may name others even then."""

    error: Json | None
    outputs: list[str]
    node_errors: Json


@dataclass(frozen=True)
class NodeVerdict:
    """`valid` False without errors: something before this node is wrong."""

    valid: bool
    errors: list[Json]


def validate_prompt(
    prompt: Prompt,
    node_types: Mapping[str, NodeType],
    folders: Folders,
    only_outputs: list[str] | None = None,
) -> Validation:
    """Check every node an output needs. Literal inputs are converted in place, as in ComfyUI."""
    outputs: list[str] = []
    for node_id in prompt:
        unknown = _unknown_node_type(node_id, prompt[node_id], node_types)
        if unknown is not None:
            return Validation(unknown, [], {})
        is_output = node_types[prompt[node_id]["class_type"]].output_node
        if is_output and (only_outputs is None or node_id in only_outputs):
            outputs.append(node_id)
    if not outputs:
        return Validation(error_entry("prompt_no_outputs", "Prompt has no outputs", ""), [], {})
    return _validate_outputs(prompt, outputs, PromptValidator(prompt, node_types, folders))


def _unknown_node_type(node_id: str, node: Any, node_types: Mapping[str, NodeType]) -> Json | None:
    if "class_type" not in node:
        title = node.get("_meta", {}).get("title")
        shown = title or f"ID #{node_id}"
        message = f"Node '{shown}' has no class_type. The workflow may be corrupted or a custom node is missing."
        class_type = None
    else:
        class_type = node["class_type"]
        if class_type in node_types:
            return None
        title = node.get("_meta", {}).get("title", class_type)
        message = f"Node '{title}' not found. The custom node may not be installed."
    info = {"node_id": node_id, "class_type": class_type, "node_title": title}
    return error_entry("missing_node_type", message, f"Node ID '#{node_id}'", info)


def _validate_outputs(prompt: Prompt, outputs: list[str], validator: PromptValidator) -> Validation:
    good: list[str] = []
    node_errors: Json = {}
    reasons: list[Json] = []
    for output in outputs:
        verdict = validator.output_verdict(output)
        if verdict.valid:
            good.append(output)
            continue
        reasons.extend(verdict.errors)
        for node_id, found in validator.verdicts.items():
            if found.valid or not found.errors:
                continue
            entry = {"errors": found.errors, "dependent_outputs": [], "class_type": prompt[node_id]["class_type"]}
            node_errors.setdefault(node_id, entry)["dependent_outputs"].append(output)
    if good:
        return Validation(None, good, node_errors)
    details = "\n".join(f"{reason['message']}: {reason['details']}" for reason in reasons)
    failed = error_entry("prompt_outputs_failed_validation", "Prompt outputs failed validation", details)
    return Validation(failed, [], node_errors)


class PromptValidator:
    """Goes backwards through the links, looking at each node once."""

    def __init__(self, prompt: Prompt, node_types: Mapping[str, NodeType], folders: Folders) -> None:
        self._prompt = prompt
        self._node_types = node_types
        self._folders = folders
        self._visiting: list[str] = []
        self.verdicts: dict[str, NodeVerdict] = {}

    def output_verdict(self, output: str) -> NodeVerdict:
        try:
            return self._verdict(output)
        except Exception as error:  # noqa: BLE001 - whatever a malformed node raises is the client's answer
            details = {"exception_type": exception_name(error), "traceback": traceback.format_tb(error.__traceback__)}
            reason = error_entry("exception_during_validation", "Exception when validating node", str(error), details)
            self.verdicts[output] = NodeVerdict(False, [reason])
            return self.verdicts[output]

    def _verdict(self, node_id: str) -> NodeVerdict:
        if node_id in self.verdicts:
            return self.verdicts[node_id]
        if node_id in self._visiting:
            return self._cycle(node_id)
        inputs = self._prompt[node_id]["inputs"]
        node = self._node_types[self._prompt[node_id]["class_type"]]
        errors: list[Json] = []
        valid = True
        for entry in node.inputs:
            if entry.name not in inputs:
                if not entry.optional:
                    info = {"input_name": entry.name}
                    errors.append(error_entry("required_input_missing", "Required input is missing", entry.name, info))
            elif isinstance(inputs[entry.name], list):
                valid = self._check_link(node_id, node, entry.name, errors) and valid
            else:
                self._check_literal(inputs, node, entry.name, errors)
        if node.check is not None:
            errors.extend(self._custom_errors(node, inputs))
        return self._settle(node_id, valid, errors)

    def _settle(self, node_id: str, valid: bool, errors: list[Json]) -> NodeVerdict:
        # A cycle found further back may already have put its error here.
        known = self.verdicts.get(node_id, NodeVerdict(True, []))
        merged = known.errors + [error for error in errors if error not in known.errors]
        self.verdicts[node_id] = NodeVerdict(known.valid and valid and not errors, merged)
        return self.verdicts[node_id]

    def _cycle(self, node_id: str) -> NodeVerdict:
        path = [*self._visiting[self._visiting.index(node_id) :], node_id]
        members = list(dict.fromkeys(path))
        shown = " -> ".join(f"{each} ({self._prompt[each]['class_type']})" for each in path)
        for member in members:
            info = {"node_id": member, "cycle_nodes": members}
            error = error_entry("dependency_cycle", "Dependency cycle detected", shown, info)
            self.verdicts[member] = NodeVerdict(False, [error])
        return self.verdicts[node_id]

    def _check_link(self, node_id: str, node: NodeType, name: str, errors: list[Json]) -> bool:
        """False when something before the link is wrong. What is wrong with the link itself goes into `errors`."""
        link = self._prompt[node_id]["inputs"][name]
        resolved = node.resolve(self._input(node, name), self._folders)
        config = [resolved.type, resolved.options]
        if len(link) != 2:
            message = "Bad linked input, must be a length-2 list of [node_id, slot_index]"
            errors.append(input_error("bad_linked_input", message, name, name, config, received_value=link))
            return True
        source = link[0]
        received = self._node_types[self._prompt[source]["class_type"]].return_types[link[1]]
        if not _types_fit(received, resolved.type):
            message = "Return type mismatch between linked nodes"
            details = f"{name}, received_type({received}) mismatch input_type({resolved.type})"
            extra = {"received_type": received, "linked_node": link}
            errors.append(input_error("return_type_mismatch", message, details, name, config, **extra))
            return True
        return self._check_source(node_id, source, name, config, link)

    def _check_source(self, node_id: str, source: str, name: str, config: list[Any], link: list[Any]) -> bool:
        self._visiting.append(node_id)
        try:
            return self._verdict(source).valid
        except Exception as error:  # noqa: BLE001 - as above; here the node behind the link is to blame
            self.verdicts[source] = NodeVerdict(False, [inner_exception(error, name, config, link)])
            return False
        finally:
            self._visiting.pop()

    def _check_literal(self, inputs: Json, node: NodeType, name: str, errors: list[Json]) -> None:
        resolved = node.resolve(self._input(node, name), self._folders)
        config = [resolved.type, resolved.options]
        value = inputs[name]
        if isinstance(value, dict) and "__value__" in value:
            # The editor's way to pass a list that is no link.
            value = inputs[name] = value["__value__"]
        convert = _CONVERSIONS.get(resolved.type) if isinstance(resolved.type, str) else None
        try:
            value = inputs[name] = convert(value) if convert else value
        except Exception as error:  # noqa: BLE001 - the message of whatever was raised is part of the answer
            message = f"Failed to convert an input value to a {resolved.type} value"
            extra = {"received_value": value, "exception_message": str(error)}
            details = f"{name}, {value}, {error}"
            errors.append(input_error("invalid_input_type", message, details, name, config, **extra))
            return
        if name in node.checked_inputs:
            return
        found = number_limits_error(name, value, config) or value_not_in_list(name, value, config, resolved.choices)
        if found is not None:
            errors.append(found)

    def _custom_errors(self, node: NodeType, inputs: Json) -> list[Json]:
        assert node.check is not None
        given = {name: inputs[name] for name in node.checked_inputs if name in inputs}
        missing = [name for name in node.checked_inputs if name not in given]
        if missing:
            # ComfyUI calls its check without the argument and reports what Python says to that.
            raise TypeError(f"{node.name}.VALIDATE_INPUTS() missing 1 required positional argument: '{missing[0]}'")
        values = [None if is_link(value) else value for value in given.values()]
        answer = node.check(self._folders, *values)
        return [custom_check_failed(name, answer) for name in given if answer is not True]

    def _input(self, node: NodeType, name: str) -> Any:
        return node.input_named(name)


_CONVERSIONS: dict[str, Any] = {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}


def _types_fit(received: str, wanted: str | list[str]) -> bool:
    """Types may be unions like `STRING,INT`; `*` fits everything."""
    if received == wanted or "*" in (received, wanted):
        return True
    if not isinstance(wanted, str):
        return False
    offered = {part.strip() for part in received.split(",")}
    accepted = {part.strip() for part in wanted.split(",")}
    return "*" in offered | accepted or bool(offered & accepted)
