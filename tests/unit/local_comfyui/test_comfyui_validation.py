"""Whatever a prompt looks like, validation answers or raises what becomes a bare 500; it never hangs or half-runs."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from local_comfyui.folders import Folders
from local_comfyui.nodes import node_types
from local_comfyui.validation import validate_prompt

NODES = node_types()
FOLDERS = Folders.under("/nonexistent")

values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 70_000),
    st.floats(allow_nan=False),
    st.text(max_size=5),
    st.lists(st.one_of(st.sampled_from(["1", "2", "3"]), st.integers(-2, 3)), max_size=3),
    st.just({"__value__": 3}),
)


@st.composite
def nodes(draw: st.DrawFn) -> Any:
    kind = NODES[draw(st.sampled_from(sorted(NODES)))]
    links = st.tuples(st.sampled_from(["1", "2", "3"]), st.integers(0, 1)).map(list)
    inputs = {entry.name: draw(st.one_of(links, values)) for entry in kind.inputs if draw(st.integers(0, 9)) > 0}
    return {"class_type": kind.name, "inputs": inputs}


@settings(max_examples=150)
@given(st.fixed_dictionaries({"1": nodes(), "2": nodes(), "3": nodes()}))
def test_any_graph_of_known_nodes_gets_an_answer(prompt: Any) -> None:
    outputs = {node_id for node_id, node in prompt.items() if NODES[node["class_type"]].output_node}
    found = validate_prompt(prompt, NODES, FOLDERS)
    json.dumps([found.error, found.node_errors])
    assert (found.error is None) == bool(found.outputs)
    assert set(found.outputs) <= outputs
    assert not set(found.outputs) & {
        output for entry in found.node_errors.values() for output in entry["dependent_outputs"]
    }
    for entry in found.node_errors.values():
        assert entry["errors"]
        assert entry["dependent_outputs"]


def test_a_long_chain_is_no_problem() -> None:
    prompt: Any = {"0": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}}}
    for number in range(1, 200):
        prompt[str(number)] = {"class_type": "ImageInvert", "inputs": {"image": [str(number - 1), 0]}}
    prompt["end"] = {"class_type": "PreviewImage", "inputs": {"images": ["199", 0]}}
    assert validate_prompt(prompt, NODES, FOLDERS).outputs == ["end"]
