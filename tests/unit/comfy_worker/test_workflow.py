"""What is found wrong with a workflow before ComfyUI is asked, and what a job changes in it."""

from __future__ import annotations

import copy
import json
import time
from typing import Any

import pytest
from worker_recordings import Recording, load_all

from comfy_worker import workflow
from comfy_worker.errors import InvalidInput, WorkflowInvalid

EXPORT = "in ComfyUI use Workflow > Export (API)"
LINK = 'a link is ["node id", output index]'


def node(class_type: str = "A", **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def refusal(graph: Any) -> str:
    with pytest.raises((InvalidInput, WorkflowInvalid)) as refused:
        workflow.check(graph)
    return refused.value.message.removeprefix("Workflow validation failed: ")


def test_trap_16_the_editors_format_is_told() -> None:
    editor = {"last_node_id": 9, "nodes": [{"id": 1, "type": "LoadImage"}], "links": [], "version": 0.4}
    assert refusal(editor) == f"input.workflow is in the editor's format; the API needs the other one: {EXPORT}"
    with pytest.raises(InvalidInput):
        workflow.check(editor)


def test_a_whole_prompt_request_is_told() -> None:
    assert refusal({"prompt": {"1": node()}, "client_id": "c"}) == (
        "input.workflow holds a whole /prompt request: send only the value of its 'prompt' key"
    )


@pytest.mark.parametrize("name", ["prompt", "nodes"])
def test_a_node_may_have_any_id(name: str) -> None:
    workflow.check({name: node(), "2": node(x=[name, 0])})


@pytest.mark.parametrize(
    ("graph", "text"),
    [
        ({"1": []}, f"Node 1: must be an object with class_type and inputs ({EXPORT})"),
        ({"version": 0.4}, f"Node version: must be an object with class_type and inputs ({EXPORT})"),
        ({"1": {"inputs": {}}}, f"Node 1: has no class_type ({EXPORT})"),
        ({"1": {"class_type": "", "inputs": {}}}, f"Node 1: has no class_type ({EXPORT})"),
        ({"1": {"class_type": 7, "inputs": {}}}, f"Node 1: has no class_type ({EXPORT})"),
        ({"1": {"class_type": "A"}}, f"Node 1: has no inputs object ({EXPORT})"),
        ({"1": {"class_type": "A", "inputs": []}}, f"Node 1: has no inputs object ({EXPORT})"),
        ({"1": {}}, f"Node 1: has no class_type ({EXPORT}); Node 1: has no inputs object ({EXPORT})"),
        (
            {"2": node(images=["77", 0])},
            "Node 2 (images): links to node 77, which is not in the workflow: add that node or remove the link",
        ),
        (
            {"1": node(), "2": node(images=["1", -1])},
            "Node 2 (images): links to output -1 of node 1: outputs count from 0",
        ),
        ({"1": node(), "2": node(x=["1"])}, f"Node 2 (x): has a malformed link ['1']: {LINK}, such as [\"1\", 0]"),
        ({"1": node(), "2": node(x=[1, 0])}, f'Node 2 (x): has a malformed link [1, 0]: {LINK}, such as ["1", 0]'),
        (
            {"1": node(), "2": node(x=["1", "0"])},
            f"Node 2 (x): has a malformed link ['1', '0']: {LINK}, such as [\"1\", 0]",
        ),
        (
            {"1": node(), "2": node(x=["1", True])},
            f"Node 2 (x): has a malformed link ['1', True]: {LINK}, such as [\"1\", 0]",
        ),
        ({"1": node(seed=float("nan"))}, "Node 1 (seed): NaN, Infinity or too deeply nested: use plain JSON"),
        (
            {"1": node(a=[{"b": float("inf")}], c=1)},
            "Node 1 (a): NaN, Infinity or too deeply nested: use plain JSON",
        ),
        (
            {"1": {**node(), "_meta": {"x": float("nan")}}},
            "Node 1: NaN, Infinity or too deeply nested: use plain JSON",
        ),
        (
            {"1": node(width=1, x=["8", 0]), "2": node(x=["9", 0])},
            "Node 1 (x): links to node 8, which is not in the workflow: add that node or remove the link; "
            "Node 2 (x): links to node 9, which is not in the workflow: add that node or remove the link",
        ),
    ],
)
def test_problems_of_nodes_and_links(graph: Any, text: str) -> None:
    assert refusal(graph) == text


@pytest.mark.parametrize("value", [["77", 0], ["77", 0.5], ["77", True], {"__value__": ["77", 0]}])
def test_whatever_comfyui_would_follow_out_of_the_workflow_is_refused(value: Any) -> None:
    """In an input that the node does not declare, each of these kills the thread that runs prompts."""
    text = "Node 1 (x): links to node 77, which is not in the workflow: add that node or remove the link"
    assert refusal({"1": node(x=value)}) == text


@pytest.mark.parametrize("value", [["1", 0], ["red"], ["red", "green"], [], "77", None])
def test_a_wrapped_value_is_left_to_comfyui(value: Any) -> None:
    workflow.check({"1": node(), "2": node(x={"__value__": value})})


def test_a_huge_wrong_value_is_not_sent_back() -> None:
    graph = {"1": node(), "2": node(x=["1", 0, "A" * 1_000_000], filename_prefix="../" + "B" * 1_000_000)}
    assert len(refusal(graph)) < 1_000


@pytest.mark.parametrize("value", [[], [[1, 2], [3, 4]], ["red", "green"], [0.5, 0.5], ["a.png"], [None, 0], [True, 0]])
def test_a_list_that_is_no_link_is_left_to_comfyui(value: list[Any]) -> None:
    workflow.check({"1": node(x=value), "2": node()})


@pytest.mark.parametrize(
    "prefix",
    ["../x", "/tmp/x", "\\\\host\\x", "a/../../x", "a\\..\\x", "..", "C:\\x", "c:x"],
)
def test_a_prefix_that_leaves_the_output_folder_is_refused(prefix: str) -> None:
    assert refusal({"9": node("SaveImage", filename_prefix=prefix)}) == (
        f"Node 9 (filename_prefix): '{prefix}' leaves the output folder: use a relative path without '..'"
    )


@pytest.mark.parametrize(
    "prefix", ["ComfyUI", "a/b/c", "", "..x..", "%date:yyyy-MM-dd%/x", "%KSampler.seed%", "bilder/übung", "./x"]
)
def test_a_prefix_that_stays_inside_is_taken(prefix: str) -> None:
    workflow.check({"9": node("SaveImage", filename_prefix=prefix)})


@pytest.mark.parametrize(
    ("links", "path"),
    [
        ({"1": ["1"]}, "1 -> 1"),
        ({"1": ["2"], "2": ["1"]}, "1 -> 2 -> 1"),
        ({"0": ["1"], "1": ["2"], "2": ["3"], "3": ["1"]}, "1 -> 2 -> 3 -> 1"),
        ({"1": ["2", "3"], "2": ["4"], "3": ["4"], "4": ["5"], "5": ["3"]}, "4 -> 5 -> 3 -> 4"),
        ({"1": [], "2": ["1"], "3": ["2", "4"], "4": ["3"]}, "3 -> 4 -> 3"),
    ],
)
def test_trap_16_a_cycle_is_told_with_its_path(links: dict[str, list[str]], path: str) -> None:
    graph = {key: node(**{f"x{i}": [target, 0] for i, target in enumerate(targets)}) for key, targets in links.items()}
    first = path.partition(" ")[0]
    assert refusal(graph) == f"Node {first}: is part of a cycle ({path}): remove one of these links"


def test_a_diamond_is_no_cycle() -> None:
    workflow.check(
        {"1": node(), "2": node(x=["1", 0]), "3": node(x=["1", 0], y=["1", 1]), "4": node(x=["2", 0], y=["3", 0])}
    )


def chain(length: int, last: list[Any]) -> dict[str, Any]:
    """Node 0 links to 1, 1 to 2, ..."""
    graph = {str(number): node(x=[str(number + 1), 0]) for number in range(length - 1)}
    graph[str(length - 1)] = node(x=last)
    return graph


@pytest.mark.parametrize("backwards", [False, True])
def test_trap_16_a_chain_of_fifty_thousand_nodes_is_checked_in_no_time(backwards: bool) -> None:
    graph = chain(50_000, ["no", "link"])
    graph = dict(reversed(graph.items())) if backwards else graph
    started = time.process_time()
    workflow.check(graph)
    # About a second; a search that is quadratic in Python takes minutes.
    assert time.process_time() - started < 20.0


def test_trap_16_a_cycle_of_fifty_thousand_nodes_is_told_in_a_short_text() -> None:
    text = refusal(chain(50_000, ["0", 0]))
    assert text.startswith("Node 0: is part of a cycle (0 -> 1 -> 2 -> ")
    assert text.endswith(" -> 19 -> ... -> 0): remove one of these links")


@pytest.mark.parametrize("recording", load_all(), ids=lambda recording: recording.name)
def test_every_workflow_that_comfyui_accepted_passes(recording: Recording) -> None:
    for graph in recording.prompts.values():
        workflow.check(graph)


SAVING = {
    "1": node("LoadImage", image="photo.png"),
    "2": node("ImageInvert", image=["1", 0]),
    "3": node("SaveImage", images=["2", 0], filename_prefix="made/ComfyUI"),
    "4": node("PreviewImage", images=["2", 0]),
}


def test_trap_15_only_what_saves_differs_between_two_jobs() -> None:
    staged = {"photo.png": "photo.0123456789abcdef.png"}
    one, two = (workflow.prepare(SAVING, folder, staged) for folder in ("job-1", "job-2"))
    assert [key for key in SAVING if one[key] != two[key]] == ["3", "4"]
    assert one["3"]["inputs"] == {"images": ["2", 0], "filename_prefix": "job-1/made/ComfyUI"}
    assert one["4"]["inputs"] == {"images": ["2", 0], workflow.FRESH_KEY: "job-1"}


def test_trap_15_input_files_go_by_their_content() -> None:
    prepared = workflow.prepare(SAVING, "job-1", {"photo.png": "photo.0123456789abcdef.png"})
    assert prepared["1"]["inputs"] == {"image": "photo.0123456789abcdef.png"}


@pytest.mark.parametrize(
    ("graph", "fresh"),
    [
        ({"1": node("A"), "2": node("B", x=["1", 0])}, ["2"]),
        ({"1": node("A", filename_prefix="x"), "2": node("B", x=["1", 0], filename_prefix="y")}, []),
        ({"1": node("P"), "2": node("A", filename_prefix=["1", 0])}, ["2"]),
        ({"1": node("P"), "2": node("A", filename_prefix=["1", 0]), "3": node("B", x=["2", 0])}, ["2", "3"]),
        ({"1": node("WritesFiles"), "2": node("B", x=["1", 0])}, ["1", "2"]),
        ({"1": node("A"), "2": node("B", x="1")}, ["1", "2"]),
    ],
    ids=["the end of a graph", "literal prefixes", "a linked prefix", "in the middle", "a writer", "no link at all"],
)
def test_trap_15_the_fresh_key_stands_where_no_literal_prefix_does(graph: dict[str, Any], fresh: list[str]) -> None:
    prepared = workflow.prepare(graph, "job-1", {}, {"WritesFiles"})
    assert [key for key, value in prepared.items() if value["inputs"].get(workflow.FRESH_KEY) == "job-1"] == fresh


def test_prepare_leaves_the_original_as_it_was() -> None:
    before = copy.deepcopy(SAVING)
    workflow.prepare(SAVING, "job-1", {"photo.png": "photo.tag.png"}, {"ImageInvert"})
    assert before == SAVING


@pytest.mark.parametrize("meta", [None, "a title", ["a title"]])
def test_prepare_leaves_out_a_meta_that_is_no_object(meta: Any) -> None:
    """ComfyUI 0.26.0 would answer 500 instead of naming an unknown node type."""
    graph = {"1": {**node(), "_meta": meta}, "2": {**node(), "_meta": {"title": "T"}}}
    workflow.check(graph)
    prepared = workflow.prepare(graph, "job", {})
    assert ("_meta" in prepared["1"], prepared["2"]["_meta"]) == (False, {"title": "T"})


def test_prepare_keeps_what_else_a_node_carries() -> None:
    graph = {"9": {**node("SaveImage", filename_prefix="x", n=None, f=0.0, t=""), "_meta": {"title": "Save"}}}
    assert workflow.prepare(graph, "job-1", {}) == {
        "9": {
            "class_type": "SaveImage",
            "inputs": {"filename_prefix": "job-1/x", "n": None, "f": 0.0, "t": ""},
            "_meta": {"title": "Save"},
        }
    }


STAGED = {
    "photo.png": "photo.tag.png",
    "jobs/a.png": "jobs/a.tag.png",
    "mask": "mask.tag",
    "clip 1.mp4": "clip 1.tag.mp4",
}


@pytest.mark.parametrize(
    ("key", "value", "staged"),
    [
        ("image", "photo.png", "photo.tag.png"),
        ("image", "photo.png [input]", "photo.tag.png [input]"),
        ("image", " photo.png ", "photo.tag.png"),
        ("image", "jobs/a.png", "jobs/a.tag.png"),
        ("video", "clip 1.mp4", "clip 1.tag.mp4"),
        ("custom_key", "photo.png", "photo.tag.png"),
        ("mask", "mask", "mask.tag"),
        ("text", "mask", "mask"),
        ("text", "a photo.png on a table", "a photo.png on a table"),
        ("image", "photo.png [output]", "photo.png [output]"),
        ("image", "a.png", "a.png"),
        ("image", "Photo.png", "Photo.png"),
        ("filename_prefix", "photo.png", "job-1/photo.png"),
    ],
)
def test_where_a_name_is_an_input_files(key: str, value: str, staged: str) -> None:
    graph = {"1": node("LoadImage", **{key: value})}
    assert workflow.prepare(graph, "job-1", STAGED)["1"]["inputs"][key] == staged


def test_referenced() -> None:
    assert workflow.referenced(SAVING, "photo.png")
    assert not workflow.referenced(SAVING, "other.png")
    assert not workflow.referenced({"1": node(image="./photo.png")}, "photo.png")


def test_nodes_of_type() -> None:
    assert workflow.nodes_of_type(SAVING, "SaveImage") == ["3"]
    assert workflow.nodes_of_type(SAVING, "KSampler") == []


def test_what_is_prepared_is_json() -> None:
    json.dumps(workflow.prepare(SAVING, "job-1", STAGED), allow_nan=False)
