"""What a client sees of a running job."""

from __future__ import annotations

import pytest

from comfy_worker import progress
from comfy_worker.comfyui import events
from comfy_worker.execution import Execution

PROMPT = "p"
WORKFLOW = {
    "1": {"class_type": "EmptyLatentImage", "inputs": {}},
    "2": {"class_type": "KSampler", "inputs": {}, "_meta": {"title": "The sampler"}},
    "3": {"class_type": "SaveImage", "inputs": {}, "_meta": {"title": 7}},
    "4": {"class_type": "PreviewImage", "inputs": {}, "_meta": "odd"},
}


def after(*happened: events.Event) -> Execution:
    execution = Execution(PROMPT)
    for event in happened:
        execution.receive(event)
    return execution


def report(execution: Execution, queue_position: int | None = None) -> dict[str, object]:
    return progress.report(execution, WORKFLOW, queue_position)["progress"]


@pytest.mark.parametrize("position", [None, 0, 3])
def test_queued(position: int | None) -> None:
    expected = {"percent": 0, "nodes_done": 0, "nodes_total": 4}
    if position is not None:
        expected["queue_position"] = position
    assert report(after(), position) == expected


def test_a_node_with_title_and_steps() -> None:
    execution = after(
        events.Started(PROMPT),
        events.Executing(PROMPT, "1"),
        events.Executing(PROMPT, "2"),
        events.Progress(PROMPT, "2", 10, 20),
    )
    assert report(execution, 3) == {
        "percent": 37, "nodes_done": 1, "nodes_total": 4, "node": "2", "node_type": "KSampler",
        "node_title": "The sampler", "step": 10, "steps": 20,
    }  # fmt: skip


@pytest.mark.parametrize("node_id", ["3", "4", "made-at-run-time"])
def test_a_title_that_is_none(node_id: str) -> None:
    found = report(after(events.Started(PROMPT), events.Executing(PROMPT, node_id)))
    assert found["node"] == node_id
    assert "node_title" not in found


def test_the_steps_of_another_node_or_without_end_do_not_count() -> None:
    execution = after(events.Started(PROMPT), events.Executing(PROMPT, "2"), events.Progress(PROMPT, "1", 5, 10))
    assert "step" not in report(execution)
    execution = after(events.Started(PROMPT), events.Executing(PROMPT, "2"), events.Progress(PROMPT, "2", 5, 0))
    assert "step" not in report(execution)


def test_cached_nodes_are_done_and_it_is_never_100_before_the_result() -> None:
    execution = after(events.Started(PROMPT), events.Cached(PROMPT, ("1", "2", "3", "4", "not-in-the-workflow")))
    assert report(execution) == {"percent": 99, "nodes_done": 4, "nodes_total": 4}


def test_the_percentage_never_goes_back() -> None:
    execution = Execution(PROMPT)
    seen = []
    for event in (
        events.Started(PROMPT),
        events.Cached(PROMPT, ("1",)),
        events.Executing(PROMPT, "2"),
        *(events.Progress(PROMPT, "2", step, 4) for step in range(1, 5)),
        events.Executing(PROMPT, "3"),
        events.Executing(PROMPT, None),
    ):
        execution.receive(event)
        seen.append(report(execution)["percent"])
    assert seen == sorted(seen)  # type: ignore[type-var]


def test_steps_below_zero_are_no_progress() -> None:
    execution = after(events.Started(PROMPT), events.Executing(PROMPT, "2"), events.Progress(PROMPT, "2", -500, 10))
    assert report(execution)["percent"] == 0
