"""What a client hears of its prompt, in which order, and what the history says afterwards."""

from __future__ import annotations

import json
import struct
import uuid
from typing import Any

import pytest
from comfyui_conversation import ComfyUI, fresh_color, one_picture, png, slow_prompt, unique
from comfyui_recording import events_of

Json = dict[str, Any]

PLAIN = [
    "execution_start",
    "execution_cached",
    "executing",
    "executing",
    "executed",
    "execution_success",
    "executing",
]


def test_a_plain_run(comfyui: ComfyUI) -> None:
    run = comfyui.run(one_picture(unique()))
    assert run.types == PLAIN
    assert [each["node"] for each in run.data_of("executing")] == ["1", "2", None]
    assert all(each["prompt_id"] == run.prompt_id for each in (message["data"] for message in run.messages))
    assert run.data_of("executed")[0]["output"] == run.output("2")


def test_progress_state_lists_every_node_touched_so_far(comfyui: ComfyUI) -> None:
    run = comfyui.run(one_picture(unique()))
    states = [{name: node["state"] for name, node in each["nodes"].items()} for each in run.data_of("progress_state")]
    assert states == [
        {"1": "running"},
        {"1": "finished"},
        {"1": "finished", "2": "running"},
        {"1": "finished", "2": "finished"},
    ]


def test_the_history_of_a_success(comfyui: ComfyUI) -> None:
    prompt = one_picture(unique())
    run = comfyui.run(prompt, extra_data={"extra_pnginfo": {"workflow": {"x": 1}}, "api_key_comfy_org": "secret"})
    history = run.history
    assert sorted(history) == ["meta", "outputs", "prompt", "status"]
    assert history["status"]["status_str"] == "success"
    assert history["status"]["completed"] is True
    told = [name for name, _ in history["status"]["messages"]]
    assert told == ["execution_start", "execution_cached", "execution_success"]
    number, prompt_id, workflow, extra_data, outputs = history["prompt"]
    assert (number, prompt_id, workflow, outputs) == (run.answer["number"], run.prompt_id, prompt, ["2"])
    assert extra_data["extra_pnginfo"] == {"workflow": {"x": 1}}
    assert "secret" not in json.dumps(history)
    assert history["meta"] == {"2": {"node_id": "2", "display_node": "2", "parent_node": None, "real_node_id": "2"}}


def test_an_identical_prompt_is_answered_from_the_cache_with_the_old_file(comfyui: ComfyUI) -> None:
    prompt = one_picture(unique())
    first, second = comfyui.run(prompt), comfyui.run(prompt)
    assert second.types == ["execution_start", "execution_cached", "executed", "execution_success", "executing"]
    assert second.data_of("execution_cached")[0]["nodes"] == ["1", "2"]
    assert second.output("2") == first.output("2")


def test_a_new_prefix_saves_again_but_computes_nothing(comfyui: ComfyUI) -> None:
    color = fresh_color()
    comfyui.run(one_picture(unique(), color))
    second = comfyui.run(one_picture(unique(), color))
    assert second.data_of("execution_cached")[0]["nodes"] == ["1"]
    assert [each["node"] for each in second.data_of("executing")] == ["2", None]


def test_an_unknown_input_is_ignored_but_makes_the_node_run_again(comfyui: ComfyUI) -> None:
    prompt = one_picture(unique())
    first = comfyui.run(prompt)
    prompt["2"]["inputs"]["made_up_by_us"] = "job-1"
    second = comfyui.run(prompt)
    assert second.data_of("execution_cached")[0]["nodes"] == ["1"]
    assert second.output("2")["images"][0]["filename"] != first.output("2")["images"][0]["filename"]


def test_a_replaced_input_file_is_loaded_again(comfyui: ComfyUI) -> None:

    name = f"{unique()}.png"
    prompt = {
        "1": {"class_type": "LoadImage", "inputs": {"image": name}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": unique()}},
    }
    comfyui.upload(name, png((1, 2, 3)))
    comfyui.run(prompt)
    comfyui.upload(name, png((200, 2, 3)), overwrite="true")
    second = comfyui.run(prompt)
    assert second.data_of("execution_cached")[0]["nodes"] == []
    assert comfyui.picture(second.output("2")["images"][0]).getpixel((0, 0)) == (200, 2, 3)


def test_alike_nodes_share_one_result(comfyui: ComfyUI) -> None:
    """The second of two equal save nodes names the file of the first, in `executed` and in the history."""
    prompt = one_picture(unique())
    prompt["3"] = {"class_type": "SaveImage", "inputs": dict(prompt["2"]["inputs"])}
    run = comfyui.run(prompt)
    assert run.output("2") == run.output("3")
    assert len(run.data_of("executed")) == 2


def test_free_memory_forgets_all_results(comfyui: ComfyUI) -> None:
    prompt = one_picture(unique())
    comfyui.run(prompt)
    assert comfyui.post("/free", {"unload_models": True, "free_memory": True}).status_code == 200
    # The wish is fulfilled between two prompts: after this one it certainly has been.
    comfyui.run(one_picture(unique()))
    assert comfyui.run(prompt).data_of("execution_cached")[0]["nodes"] == []


def test_a_node_that_raises(comfyui: ComfyUI) -> None:
    name = f"{unique('broken')}.png"
    comfyui.upload(name, b"not a picture at all")
    prompt = {
        "1": {"class_type": "LoadImage", "inputs": {"image": name}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": unique()}},
    }
    run = comfyui.run(prompt)
    assert run.types == ["execution_start", "execution_cached", "executing", "execution_error", "executing"]
    error = run.data_of("execution_error")[0]
    assert (error["node_id"], error["node_type"], error["executed"]) == ("1", "LoadImage", [])
    assert error["exception_type"] == "PIL.UnidentifiedImageError"
    assert error["exception_message"].startswith("cannot identify image file")
    assert error["exception_message"].endswith(f"{name}'\n")
    assert error["current_inputs"] == {"image": [name]}
    assert sorted(error["current_outputs"]) == ["1", "2"]
    assert error["traceback"]
    assert run.history["outputs"] == {}
    assert run.history["status"]["status_str"] == "error"
    assert run.history["status"]["completed"] is False
    assert run.history["status"]["messages"][-1] == ["execution_error", error]


def test_a_text_in_the_place_of_a_link_fails_while_running(comfyui: ComfyUI) -> None:
    prompt = {"2": {"class_type": "SaveImage", "inputs": {"images": "1", "filename_prefix": unique()}}}
    error = comfyui.run(prompt).data_of("execution_error")[0]
    assert error["exception_type"] == "AttributeError"
    assert error["exception_message"] == "'str' object has no attribute 'shape'\n"
    assert error["current_inputs"]["images"] == ["1"]
    assert sorted(error["current_inputs"]) == ["extra_pnginfo", "filename_prefix", "images", "prompt"]


def test_the_first_output_survives_a_later_error(comfyui: ComfyUI) -> None:
    name = f"{unique('broken')}.png"
    comfyui.upload(name, b"not a picture at all")
    prompt = one_picture(unique())
    # The broken file comes last: behind two more nodes, while the first output is right behind its source.
    prompt["3"] = {"class_type": "LoadImage", "inputs": {"image": name}}
    prompt["4"] = {"class_type": "ImageInvert", "inputs": {"image": ["3", 0]}}
    prompt["5"] = {"class_type": "ImageBatch", "inputs": {"image1": ["1", 0], "image2": ["4", 0]}}
    prompt["6"] = {"class_type": "ImageInvert", "inputs": {"image": ["5", 0]}}
    prompt["7"] = {"class_type": "SaveImage", "inputs": {"images": ["6", 0], "filename_prefix": unique()}}
    run = comfyui.run(prompt)
    assert run.data_of("execution_error")[0]["node_id"] == "3"
    assert sorted(run.data_of("execution_error")[0]["executed"]) == ["1", "2"]
    assert list(run.history["outputs"]) == ["2"]


def test_save_image_websocket_sends_the_pictures_themselves(comfyui: ComfyUI) -> None:
    prompt = one_picture(batch_size=2)
    prompt["2"] = {"class_type": "SaveImageWebsocket", "inputs": {"images": ["1", 0]}}
    for _ in range(2):
        run = comfyui.run(prompt)
        assert len(run.frames) == 2
        assert all(struct.unpack(">II", frame[:8]) == (1, 2) for frame in run.frames)
        assert all(frame[8:16] == b"\x89PNG\r\n\x1a\n" for frame in run.frames)
        assert run.history["outputs"] == {}
        assert [each["value"] for each in run.data_of("progress")] == [0, 1]


def test_a_client_that_announces_it_gets_previews_with_metadata(comfyui: ComfyUI) -> None:
    prompt = one_picture()
    prompt["2"] = {"class_type": "SaveImageWebsocket", "inputs": {"images": ["1", 0]}}
    run = comfyui.run(prompt, features={"supports_preview_metadata": True})
    assert len(run.frames) == 1
    event, length = struct.unpack(">II", run.frames[0][:8])
    metadata = json.loads(run.frames[0][8 : 8 + length])
    assert event == 4
    assert metadata["image_type"] == "image/png"
    assert (metadata["node_id"], metadata["prompt_id"]) == ("2", run.prompt_id)
    assert run.frames[0][8 + length :].startswith(b"\x89PNG")


def test_the_server_answers_feature_flags_only_as_the_first_message(comfyui: ComfyUI) -> None:
    with comfyui.open(features={"supports_preview_metadata": True}) as socket:
        flags = socket.until("feature_flags")["data"]
        assert flags["supports_preview_metadata"] is True
        assert flags["max_upload_size"] == 104857600
    assert flags == comfyui.get("/features").json()
    with comfyui.open() as socket:
        socket.send({"type": "hello"})
        socket.send({"type": "feature_flags", "data": {}})
        run_id = comfyui.queue(one_picture(unique()), socket)["prompt_id"]
        messages = socket.until_done(run_id)
    assert all(isinstance(each, dict) and each["type"] != "feature_flags" for each in messages)


def test_what_is_no_message_does_not_count_as_the_first(comfyui: ComfyUI) -> None:
    with comfyui.open() as socket:
        socket.send_text("no JSON")
        socket.send_text("[]")
        socket.send({"type": "feature_flags", "data": {}})
        assert socket.until("feature_flags")


def test_a_cycle_that_shows_only_at_the_run(comfyui: ComfyUI) -> None:
    """The history calls it a success: its messages tell."""
    run = comfyui.run({"1": {"class_type": "PreviewAny", "inputs": {"source": {"__value__": ["1", 0]}}}})
    assert run.types == ["execution_start", "execution_cached", "execution_error", "executing"]
    [error] = run.data_of("execution_error")
    assert (error["node_id"], error["node_type"], error["executed"]) == ("1", "PreviewAny", [])
    assert error["exception_message"] == "Dependency cycle detected"
    assert error["exception_type"] == "graph.DependencyCycleError"
    assert (run.history["status"]["status_str"], run.history["outputs"]) == ("success", {})


def test_only_its_own_client_hears_of_a_prompt(comfyui: ComfyUI) -> None:
    with comfyui.open() as other:
        comfyui.run(one_picture(unique()))
        assert other.is_silent_for(0.1)


def test_a_prompt_without_client_has_a_history(comfyui: ComfyUI) -> None:
    answer = comfyui.queue(one_picture(unique()))
    comfyui.wait_until_idle()
    history = comfyui.history(answer["prompt_id"])
    assert history["status"]["status_str"] == "success"
    assert list(history["outputs"]) == ["2"]


def test_the_newer_of_two_sockets_with_one_client_id_hears_everything(comfyui: ComfyUI) -> None:
    client_id = uuid.uuid4().hex
    with comfyui.open(client_id) as first, comfyui.open(client_id) as second:
        answer = comfyui.queue(one_picture(unique()), second)
        second.until_done(answer["prompt_id"])
        assert first.is_silent_for(0.1)


def test_closing_the_older_of_two_sockets_makes_the_newer_one_deaf(comfyui: ComfyUI) -> None:
    """A flaw of ComfyUI that every client has to live with."""
    client_id = uuid.uuid4().hex
    first = comfyui.open(client_id)
    with comfyui.open(client_id) as second:
        first.close()
        # The server has noticed when it no longer routes to that id; its own answer to the close comes before.
        answer = comfyui.queue(one_picture(unique()), second)
        comfyui.wait_until_idle()
        assert second.is_silent_for(0.1)
    assert comfyui.history(answer["prompt_id"])["status"]["status_str"] == "success"


def test_a_prompt_interrupted_while_it_runs(comfyui: ComfyUI) -> None:
    """The tail of recording `interrupted_while_running`: the node ends, the next one begins and is cut off."""
    prompt = slow_prompt(40)
    with comfyui.open() as socket:
        answer = comfyui.queue(prompt, socket)
        prompt_id = answer["prompt_id"]
        socket.until("executing", node="1")
        assert [each[1] for each in comfyui.get("/queue").json()["queue_running"]] == [prompt_id]
        assert comfyui.post("/interrupt", {"prompt_id": str(uuid.uuid4())}).status_code == 200
        assert comfyui.post("/interrupt", {"prompt_id": prompt_id}).status_code == 200
        messages = [each for each in socket.until_done(prompt_id) if isinstance(each, dict)]
    recorded = [each["message"]["type"] for each in events_of("interrupted_while_running") if each["kind"] == "ws_text"]
    tail = [kind for kind in recorded if kind != "status"][-5:]
    assert [each["type"] for each in messages][-5:] == tail
    stopped = messages[-2]["data"]
    assert stopped["node_type"] == "ImageBlur"
    assert stopped["node_id"] == messages[-3]["data"]["node"]
    assert sorted(stopped) == ["executed", "node_id", "node_type", "prompt_id", "timestamp"]
    history = comfyui.history(prompt_id)
    assert history["status"]["status_str"] == "error"
    assert history["status"]["messages"][-1] == ["execution_interrupted", stopped]
    assert comfyui.get("/queue").json() == {"queue_running": [], "queue_pending": []}


def test_an_interrupt_without_id_stops_whatever_runs(comfyui: ComfyUI) -> None:
    with comfyui.open() as socket:
        prompt_id = comfyui.queue(slow_prompt(40), socket)["prompt_id"]
        socket.until("executing", node="1")
        assert comfyui.call("POST", "/interrupt").status_code == 200
        socket.until("execution_interrupted")
        socket.until_done(prompt_id)


def test_an_interrupt_of_an_idle_server_does_not_hit_the_next_prompt(comfyui: ComfyUI) -> None:
    comfyui.post("/interrupt", {})
    assert comfyui.run(one_picture(unique())).types == PLAIN


@pytest.mark.parametrize("how", ["delete", "clear"])
def test_a_prompt_deleted_from_the_queue_is_never_heard_of(comfyui: ComfyUI, how: str) -> None:
    with comfyui.open() as socket:
        running = comfyui.queue(slow_prompt(40), socket)["prompt_id"]
        socket.until("executing", node="1")
        waiting = comfyui.queue(one_picture(unique()), socket)["prompt_id"]
        shown = comfyui.get("/queue").json()["queue_pending"]
        assert [(each[1], len(each)) for each in shown] == [(waiting, 5)]
        body = {"delete": [waiting]} if how == "delete" else {"clear": True}
        assert comfyui.post("/queue", body).status_code == 200
        assert comfyui.get("/queue").json()["queue_pending"] == []
        comfyui.post("/interrupt", {"prompt_id": running})
        heard = socket.until_done(running)
    assert comfyui.history(waiting) == {}
    assert all(isinstance(each, dict) and each["data"].get("prompt_id") == running for each in heard)


def test_deleting_the_running_prompt_from_the_queue_does_nothing(comfyui: ComfyUI) -> None:
    with comfyui.open() as socket:
        prompt_id = comfyui.queue(slow_prompt(2, 256), socket)["prompt_id"]
        socket.until("executing", node="1")
        comfyui.post("/queue", {"delete": [prompt_id]})
        socket.until("execution_success")
        socket.until_done(prompt_id)


def test_a_reopened_socket_is_told_the_current_node_and_hears_the_rest(comfyui: ComfyUI) -> None:
    """Recording `socket_lost_and_reopened_while_running`: the hint carries no prompt_id."""
    client_id = uuid.uuid4().hex
    with comfyui.open(client_id) as socket:
        prompt_id = comfyui.queue(slow_prompt(40), socket)["prompt_id"]
        socket.until("executing", node="1")
    # Closing waited for the server's answer, so that its clean-up cannot hit the new socket.
    with comfyui.open(client_id) as socket:
        assert socket.receive_status()["data"]["sid"] == client_id
        hint = socket.receive()
        assert isinstance(hint, dict)
        assert hint["type"] == "executing"
        assert list(hint["data"]) == ["node"]
        comfyui.post("/interrupt", {"prompt_id": prompt_id})
        socket.until_done(prompt_id)


def test_a_socket_reopened_after_the_end_hears_nothing_but_the_history_knows(comfyui: ComfyUI) -> None:
    """Recording `socket_lost_prompt_ends_meanwhile`."""
    client_id = uuid.uuid4().hex
    with comfyui.open(client_id) as socket:
        prompt_id = comfyui.queue(slow_prompt(1, 256), socket)["prompt_id"]
    comfyui.wait_until_idle()
    with comfyui.open(client_id) as socket:
        assert socket.receive_status()["data"]["sid"] == client_id
        assert socket.is_silent_for(0.2)
    assert comfyui.history(prompt_id)["status"]["completed"] is True


def test_history_entries_can_be_deleted(comfyui: ComfyUI) -> None:
    run = comfyui.run(one_picture(unique()))
    assert comfyui.post("/history", {"delete": [run.prompt_id, "unknown"]}).status_code == 200
    assert comfyui.history(run.prompt_id) == {}


def test_the_newest_of_the_history(comfyui: ComfyUI) -> None:
    first, second = comfyui.run(one_picture(unique())), comfyui.run(one_picture(unique()))
    assert list(comfyui.get("/history", max_items=1).json()) == [second.prompt_id]
    assert list(comfyui.get("/history", max_items=2).json()) == [first.prompt_id, second.prompt_id]
