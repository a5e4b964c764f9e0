"""Checks of the workflow made before ComfyUI is asked, and the names that are a job's own.

Pure: no sockets, no files. What only ComfyUI can know (node types, value ranges, models) is left to it.

Why a job gets names of its own: ComfyUI caches save nodes too, and answers an identical second prompt with the *file
name* of the first (recording success_all_cached). A prefix of the job's own makes only the saving run again; all nodes
before it stay cached. ComfyUI ignores input keys that a node does not declare but counts them in its cache key, so
FRESH_KEY does the same where there is no literal prefix: for a linked one, for the ends of the graph (PreviewImage),
and for node types that were seen to write files (`writers`).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from comfy_worker.errors import InvalidInput, WorkflowInvalid
from comfy_worker.job import EXPORT_HINT

FRESH_KEY = "_job"
PREFIX = "filename_prefix"
#: Nodes of a cycle that an error text names.
LONGEST_CYCLE = 20
#: Characters of a wrong value that an error text repeats.
SHOWN = 200
_JSON = json.JSONEncoder(allow_nan=False)
#: Inputs that name a file even when it has no extension; elsewhere a bare word could be a prompt text.
FILE_INPUTS = frozenset({"image", "images", "mask", "video", "audio", "file", "model_file", "latent"})


def check(workflow: Mapping[str, Any]) -> None:
    """Raises InvalidInput for another format, WorkflowInvalid with every problem that the graph itself shows."""
    if isinstance(workflow.get("nodes"), list):
        raise InvalidInput(f"input.workflow is in the editor's format; the API needs the other one: {EXPORT_HINT}")
    if isinstance(workflow.get("prompt"), Mapping) and "class_type" not in workflow["prompt"]:
        raise InvalidInput("input.workflow holds a whole /prompt request: send only the value of its 'prompt' key")
    problems = [problem for node_id, node in workflow.items() for problem in _node_problems(node_id, node, workflow)]
    if problems:
        raise WorkflowInvalid(problems)
    if cycle := _cycle(workflow):
        path = " -> ".join(cycle if len(cycle) <= LONGEST_CYCLE else [*cycle[:LONGEST_CYCLE], "...", cycle[-1]])
        raise WorkflowInvalid([f"Node {cycle[0]}: is part of a cycle ({path}): remove one of these links"])


def prepare(
    workflow: Mapping[str, Any], folder: str, staged: Mapping[str, str], writers: Collection[str] = ()
) -> dict[str, Any]:
    """The workflow as it is queued: save nodes write into `folder`, input files go by their `staged` names.

    `staged` maps the client's name of an input file to the one it was uploaded under.
    """
    linked = {target for node in workflow.values() for target in _links(node)}
    return {
        node_id: _prepared(node, folder, staged, fresh=node_id not in linked or node["class_type"] in writers)
        for node_id, node in workflow.items()
    }


def nodes_of_type(workflow: Mapping[str, Any], class_type: str) -> list[str]:
    return [node_id for node_id, node in workflow.items() if node["class_type"] == class_type]


def referenced(workflow: Mapping[str, Any], name: str) -> bool:
    """Whether any node names this input file."""
    return any(
        _file_reference(key, value, {name: name}) is not None
        for node in workflow.values()
        for key, value in node["inputs"].items()
    )


def _prepared(node: Mapping[str, Any], folder: str, staged: Mapping[str, str], *, fresh: bool) -> dict[str, Any]:
    inputs = {key: _file_reference(key, value, staged) or value for key, value in node["inputs"].items()}
    prefix = inputs.get(PREFIX)
    if isinstance(prefix, str):
        inputs[PREFIX] = f"{folder}/{prefix}"
    elif prefix is not None or fresh:
        inputs[FRESH_KEY] = folder
    # ComfyUI looks for a title in there to name an unknown node by, and answers a bare 500 when it is no object.
    kept = {key: value for key, value in node.items() if key != "_meta" or isinstance(value, Mapping)}
    return {**kept, "inputs": inputs}


def _file_reference(key: str, value: Any, staged: Mapping[str, str]) -> str | None:
    """The staged form of a value that names an input file: `photo.png` or `photo.png [input]`."""
    if not isinstance(value, str) or key == PREFIX:
        return None
    name, suffix = (value[: -len(" [input]")], " [input]") if value.endswith(" [input]") else (value, "")
    # As the names of `images` are read.
    name = name.strip()
    if name not in staged or ("." not in name and key not in FILE_INPUTS):
        return None
    return staged[name] + suffix


def _node_problems(node_id: Any, node: Any, workflow: Mapping[str, Any]) -> Iterator[str]:
    if not isinstance(node, Mapping):
        yield f"Node {node_id}: must be an object with class_type and inputs ({EXPORT_HINT})"
        return
    if not isinstance(node.get("class_type"), str) or not node["class_type"]:
        yield f"Node {node_id}: has no class_type ({EXPORT_HINT})"
    if not isinstance(node.get("inputs"), Mapping):
        yield f"Node {node_id}: has no inputs object ({EXPORT_HINT})"
        return
    if not _is_json(node):
        places = [f" ({key})" for key, value in node["inputs"].items() if not _is_json(value)] or [""]
        yield from (f"Node {node_id}{place}: NaN, Infinity or too deeply nested: use plain JSON" for place in places)
        return
    for key, value in node["inputs"].items():
        if problem := _link_problem(value, workflow):
            yield f"Node {node_id} ({key}): {problem}"
        if key == PREFIX and isinstance(value, str) and _leaves_folder(value):
            shown = value[:SHOWN]
            yield f"Node {node_id} ({key}): '{shown}' leaves the output folder: use a relative path without '..'"


def _is_json(value: Any) -> bool:
    """Whether it can be posted to ComfyUI: Python reads NaN from JSON text, but no server takes it."""
    try:
        _JSON.encode(value)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def _link_problem(value: Any, workflow: Mapping[str, Any]) -> str | None:
    """What is wrong with a link. A list that resembles none is left to ComfyUI: it may be a custom node's own value.

    ComfyUI follows a link out of the workflow even where it does not validate it (an input that the node does not
    declare, a wrapped list), and then its only prompt thread dies: it answers on, but runs nothing any more.
    """
    if isinstance(value, Mapping):
        # The editor's way to pass a list that is no link; ComfyUI unwraps it and may take it for one.
        value = value.get("__value__")
        if not _is_link(value) or value[0] in workflow:
            return None
    if not isinstance(value, list):
        return None
    target = value[0] if value else None
    if not isinstance(target, (str, int)) or isinstance(target, bool):
        return None
    if _is_link(value) and target not in workflow:
        return f"links to node {target}, which is not in the workflow: add that node or remove the link"
    if len(value) == 2 and isinstance(target, str) and type(value[1]) is int:
        return None if value[1] >= 0 else f"links to output {value[1]} of node {target}: outputs count from 0"
    if str(target) in workflow:
        shown = str(value)[:SHOWN]
        return f'has a malformed link {shown}: a link is ["node id", output index], such as ["{target}", 0]'
    return None


def _is_link(value: Any) -> bool:
    """What ComfyUI takes for a link: also one with a fraction or true as its output index."""
    return (
        isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], (int, float))
    )


def _leaves_folder(prefix: str) -> bool:
    return prefix.startswith(("/", "\\")) or prefix[1:2] == ":" or ".." in prefix.replace("\\", "/").split("/")


def _links(node: Mapping[str, Any]) -> Iterator[str]:
    for value in node["inputs"].values():
        if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and type(value[1]) is int:
            yield value[0]


def _cycle(workflow: Mapping[str, Any]) -> list[str]:
    """One cycle as the path [a, b, ..., a], or []. Iterative: a chain may be longer than Python's stack."""
    seen: set[str] = set()
    for start in workflow:
        if start in seen:
            continue
        path, open_links, on_path = [start], [_links(workflow[start])], {start}
        while path:
            target = next(open_links[-1], None)
            if target is None:
                on_path.discard(path.pop())
                open_links.pop()
            elif target in on_path:
                return [*path[path.index(target) :], target]
            elif target not in seen:
                path.append(target)
                open_links.append(_links(workflow[target]))
                on_path.add(target)
                seen.add(target)
    return []
