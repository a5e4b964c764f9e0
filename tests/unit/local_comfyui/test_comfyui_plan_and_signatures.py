"""The order in which nodes run, and what makes two of them alike."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from local_comfyui.cache import ENTRY_WEIGHT, CacheEntry, OutputCache, Signatures
from local_comfyui.folders import Folders
from local_comfyui.graph import ExecutionPlan, is_link, linked_nodes
from local_comfyui.nodes import node_types
from local_comfyui.nodes.pictures import Images

Json = dict[str, Any]

NODES = node_types()


def node(class_type: str, **inputs: Any) -> Json:
    return {"class_type": class_type, "inputs": inputs}


def order(prompt: Json, outputs: list[str], cached: tuple[str, ...] = ()) -> list[str]:
    plan = ExecutionPlan(
        prompt, lambda node_id: NODES[prompt[node_id]["class_type"]].output_node, lambda node_id: node_id in cached
    )
    plan.add_outputs(outputs)
    seen = []
    while (node_id := plan.next()) is not None:
        seen.append(node_id)
        plan.done(node_id)
    return seen


def signature(prompt: Json, node_id: str, folder: Path) -> Any:
    return Signatures(prompt, NODES, Folders.under(folder)).of(node_id)


def test_links() -> None:
    assert is_link(["1", 0])
    assert not any(is_link(value) for value in ("1", ["1"], [1, 0], ["1", "0"], ["1", 0, 0], {"1": 0}, None))
    assert linked_nodes(node("X", a=["1", 0], b=3, c=["2", 1])) == ["1", "2"]


def test_a_result_is_shown_before_more_is_computed() -> None:
    prompt = {
        "1": node("EmptyImage"),
        "2": node("ImageInvert", image=["1", 0]),
        "3": node("SaveImage", images=["2", 0]),
        "4": node("ImageInvert", image=["2", 0]),
        "5": node("ImageInvert", image=["4", 0]),
        "6": node("SaveImage", images=["5", 0]),
    }
    assert order(prompt, ["3", "6"]) == ["1", "2", "3", "4", "5", "6"]
    assert order(prompt, ["3"]) == ["1", "2", "3"]


def test_cached_nodes_are_left_out_but_cached_outputs_are_visited() -> None:
    prompt = {"1": node("EmptyImage"), "2": node("SaveImage", images=["1", 0])}
    assert order(prompt, ["2"], cached=("1",)) == ["2"]
    assert order(prompt, ["2"], cached=("1", "2")) == ["2"]


@given(st.integers(2, 14), st.randoms(use_true_random=False))
def test_every_needed_node_runs_once_and_after_what_it_needs(count: int, chance: random.Random) -> None:
    prompt: Json = {}
    for number in range(count):
        sources = chance.sample(range(number), min(number, chance.randrange(3)))
        kind = "PreviewAny" if number == count - 1 or chance.random() < 0.2 else "ImageInvert"
        prompt[str(number)] = node(kind, **{f"in{source}": [str(source), 0] for source in sources})
    outputs = [node_id for node_id, each in prompt.items() if each["class_type"] == "PreviewAny"]
    seen = order(prompt, outputs)
    assert len(seen) == len(set(seen))
    assert set(outputs) <= set(seen)
    for position, node_id in enumerate(seen):
        assert set(linked_nodes(prompt[node_id])) <= set(seen[:position])


def test_ids_do_not_count_and_everything_else_does(tmp_path: Path) -> None:
    base = {"1": node("EmptyImage", width=1), "2": node("ImageInvert", image=["1", 0])}
    renamed = {"a": node("EmptyImage", width=1), "b": node("ImageInvert", image=["a", 0])}
    assert signature(base, "2", tmp_path) == signature(renamed, "b", tmp_path)
    for changed in (
        {"1": node("EmptyImage", width=2), "2": base["2"]},
        {"1": node("EmptyImage", width=1, unknown="x"), "2": base["2"]},
        {"1": base["1"], "2": node("ImageInvert", image=["1", 1])},
        {"1": base["1"], "2": node("ImageInvert", image=["1", 0], unknown={"a": [1, {"b": None}]})},
    ):
        assert signature(changed, "2", tmp_path) != signature(base, "2", tmp_path)


def test_the_same_source_twice_is_not_two_sources(tmp_path: Path) -> None:
    one = {"1": node("EmptyImage"), "3": node("ImageBatch", image1=["1", 0], image2=["1", 0])}
    two = {
        "1": node("EmptyImage"),
        "2": node("EmptyImage", width=9),
        "3": node("ImageBatch", image1=["1", 0], image2=["2", 0]),
    }
    assert signature(one, "3", tmp_path) != signature(two, "3", tmp_path)


def test_a_file_counts_by_its_content_and_a_missing_one_is_like_nothing(tmp_path: Path) -> None:
    (tmp_path / "input").mkdir()
    prompt = {"1": node("LoadImage", image="x.png")}
    assert signature(prompt, "1", tmp_path) != signature(prompt, "1", tmp_path)
    (tmp_path / "input" / "x.png").write_bytes(b"one")
    first = signature(prompt, "1", tmp_path)
    assert first == signature(prompt, "1", tmp_path)
    (tmp_path / "input" / "x.png").write_bytes(b"two")
    assert first != signature(prompt, "1", tmp_path)


def test_a_sender_is_never_like_itself(tmp_path: Path) -> None:
    prompt = {"1": node("EmptyImage"), "2": node("SaveImageWebsocket", images=["1", 0])}
    assert signature(prompt, "2", tmp_path) != signature(prompt, "2", tmp_path)


def test_the_cache_forgets_what_was_not_used_for_longest() -> None:
    cache = OutputCache(capacity=3 * (30_000 + ENTRY_WEIGHT))
    picture = Images((Image.new("RGB", (100, 100)),))
    for name in ("a", "b", "c"):
        cache.put(name, CacheEntry((picture,), None))
    assert cache.get("a") is not None
    cache.put("d", CacheEntry((picture,), None))
    assert [name for name in "abcd" if cache.get(name)] == ["a", "c", "d"]
    cache.clear()
    assert cache.get("d") is None


def test_results_without_pictures_are_forgotten_too() -> None:
    cache = OutputCache(capacity=3 * ENTRY_WEIGHT)
    for number in range(4):
        cache.put(number, CacheEntry(("a text",), None))
    assert [number for number in range(4) if cache.get(number)] == [1, 2, 3]
