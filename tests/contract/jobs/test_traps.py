"""The traps that need a server to go wrong: faults of the embedded ComfyUI, one test each."""

from __future__ import annotations

import json
import logging
import threading
from pathlib import Path
from typing import Any

import pytest
import requests
from job_requests import MakeWorker, empty, job, node, picture, pixels, save, wait_until

from comfy_worker.comfyui.client import ComfyUIClient
from comfy_worker.worker import Worker
from local_comfyui.embedded import LocalComfyUI


def slow(seconds: float = 1.0, steps: int = 10, color: int = 77) -> dict[str, Any]:
    """EmptyImage -> TestSleep -> SaveImage."""
    return {"1": empty(color), "2": node("TestSleep", image=["1", 0], seconds=seconds, steps=steps), "3": save("2")}


class Running:
    """A job in a thread of its own."""

    def __init__(self, worker: Worker, raw: Any) -> None:
        self.stop = threading.Event()
        self.body: dict[str, Any] = {}
        self._thread = threading.Thread(target=self._run, args=(worker, raw))
        self._thread.start()

    def _run(self, worker: Worker, raw: Any) -> None:
        self.body = worker.run(raw, self.stop)

    def wait(self, seconds: float) -> None:
        self._thread.join(seconds)

    def result(self) -> dict[str, Any]:
        self._thread.join(40)
        assert not self._thread.is_alive(), "the job hangs"
        return self.body


def is_running(comfyui: LocalComfyUI) -> bool:
    """A prompt is on the (pretended) GPU."""
    return bool(requests.get(f"{comfyui.url}/queue", timeout=5).json()["queue_running"])


def left_behind(comfyui: LocalComfyUI) -> list[Path]:
    return [
        path for name in ("input", "output", "temp") for path in (comfyui.directory / name).rglob("*") if path.is_file()
    ]


def test_trap_01_a_prompt_that_ends_while_the_socket_is_down(comfyui: LocalComfyUI, worker: Worker) -> None:
    running = Running(worker, job(slow(0.6)))
    wait_until(lambda: is_running(comfyui))
    comfyui.faults.refuse_sockets()
    comfyui.faults.drop_sockets()
    wait_until(lambda: not is_running(comfyui))
    comfyui.faults.allow_sockets()
    body = running.result()
    assert "error" not in body
    assert len(body["images"]) == 1


def test_trap_01_the_bustle_of_other_prompts_does_not_keep_us_from_looking(
    comfyui: LocalComfyUI, worker: Worker
) -> None:
    """Each change of the queue is told to everybody: that is no sign of life of a prompt that ended in a gap."""
    running = Running(worker, job(slow(0.6)))
    wait_until(lambda: is_running(comfyui))
    comfyui.faults.refuse_sockets()
    comfyui.faults.drop_sockets()
    wait_until(lambda: not is_running(comfyui))
    comfyui.faults.allow_sockets()
    for color in range(150):
        if running.body:
            break
        other = {"1": empty(color), "2": node("PreviewAny", source=["1", 0])}
        requests.post(f"{comfyui.url}/prompt", json={"prompt": other}, timeout=5).raise_for_status()
        running.wait(0.1)
    assert len(running.body.get("images", [])) == 1
    running.result()


def test_a_socket_that_never_comes_back_does_not_fail_the_job(comfyui: LocalComfyUI, make_worker: MakeWorker) -> None:
    worker = make_worker(comfyui.host, comfyui.directory, reconnect_attempts=2, reconnect_delay_s=0.1)
    running = Running(worker, job(slow(1.0)))
    wait_until(lambda: is_running(comfyui))
    comfyui.faults.refuse_sockets()
    comfyui.faults.drop_sockets()
    assert len(running.result()["images"]) == 1


def test_a_socket_that_cannot_be_opened_at_all_does_not_fail_the_job(comfyui: LocalComfyUI, worker: Worker) -> None:
    comfyui.faults.refuse_sockets()
    assert len(worker.run(job(slow(0.2)))["images"]) == 1


def test_pictures_that_may_have_passed_in_a_gap_fail_the_job(comfyui: LocalComfyUI, worker: Worker) -> None:
    workflow = {**slow(0.6), "4": node("SaveImageWebsocket", images=["2", 0])}
    running = Running(worker, job(workflow))
    wait_until(lambda: is_running(comfyui))
    comfyui.faults.refuse_sockets()
    comfyui.faults.drop_sockets()
    body = running.result()
    assert body["error_type"] == "EXECUTION_ERROR"
    assert "SaveImageWebsocket (node 4)" in body["error"]
    assert [item["node_id"] for item in body["images"]] == ["3"]


def test_pictures_that_a_dead_connection_swallowed_fail_the_job(comfyui: LocalComfyUI, worker: Worker) -> None:
    """Nothing drops, and nothing comes either; no history has these pictures."""
    comfyui.faults.go_deaf()
    body = worker.run(job({"1": empty(), "2": node("SaveImageWebsocket", images=["1", 0])}))
    assert body["error_type"] == "EXECUTION_ERROR"
    assert "SaveImageWebsocket (node 2)" in body["error"]


def test_trap_02_a_tcp_reset_is_a_drop(comfyui: LocalComfyUI, worker: Worker) -> None:
    running = Running(worker, job(slow(0.8)))
    wait_until(lambda: is_running(comfyui))
    comfyui.faults.reset_sockets()
    assert len(running.result()["images"]) == 1


def test_a_socket_that_goes_deaf_is_noticed(comfyui: LocalComfyUI, worker: Worker) -> None:
    running = Running(worker, job(slow(0.5)))
    wait_until(lambda: is_running(comfyui))
    comfyui.faults.go_deaf()
    assert len(running.result()["images"]) == 1


def test_trap_03_a_prompt_whose_post_got_no_answer_in_time_is_found_again(
    comfyui: LocalComfyUI, make_worker: MakeWorker
) -> None:
    comfyui.faults.slow_prompt(1.5)
    worker = make_worker(comfyui.host, comfyui.directory, ComfyUIClient(comfyui.host, prompt_timeout_s=0.3))
    body = worker.run(job(slow(0.2)))
    assert len(body["images"]) == 1
    assert len(comfyui.prompts) == 1


def test_trap_03_a_prompt_that_arrives_after_we_gave_up_does_not_stay_on_the_gpu(
    comfyui: LocalComfyUI, make_worker: MakeWorker
) -> None:
    comfyui.faults.slow_prompt(1.0, late=False)
    worker = make_worker(comfyui.host, comfyui.directory, ComfyUIClient(comfyui.host, prompt_timeout_s=0.2))
    body = worker.run(job(slow(30.0, steps=300)))
    assert body["error"].startswith("ComfyUI server (")
    assert "POST /prompt got no answer" in body["details"][0]
    wait_until(lambda: len(comfyui.prompts) == 1)
    wait_until(lambda: not is_running(comfyui))
    assert not [entry for entry in comfyui.executed_nodes if entry[1] == "3"]


def test_trap_04_a_time_limit_for_the_whole_prompt(comfyui: LocalComfyUI, worker: Worker) -> None:
    body = worker.run(job(slow(60.0, steps=600), timeout_s=0.5))
    assert body["error_type"] == "EXECUTION_TIMEOUT"
    assert body["error"].startswith("The workflow took longer than its limit of 0.5 s (at node 2 (TestSleep))")
    assert not is_running(comfyui)
    assert not left_behind(comfyui)


@pytest.mark.parametrize("fault", ["refuse_sockets", "go_deaf"])
def test_trap_04_the_time_limit_holds_without_any_event(comfyui: LocalComfyUI, worker: Worker, fault: str) -> None:
    getattr(comfyui.faults, fault)()
    body = worker.run(job(slow(10.0, steps=100), timeout_s=0.5))
    assert body["error_type"] == "EXECUTION_TIMEOUT"
    assert not is_running(comfyui)


def test_trap_04_who_waits_behind_a_running_job_has_not_stalled(comfyui: LocalComfyUI, make_worker: MakeWorker) -> None:
    worker = make_worker(comfyui.host, comfyui.directory, stall_timeout_s=2.0)
    first = Running(worker, job(slow(5.0, steps=50)))
    wait_until(lambda: is_running(comfyui))
    second = worker.run(job(slow(0.2, color=5)))
    assert len(second.get("images", [])) == 1, second
    assert len(first.result()["images"]) == 1


def test_trap_04_nobody_waits_for_ever_behind_a_prompt_that_hangs(
    comfyui: LocalComfyUI, make_worker: MakeWorker
) -> None:
    worker = make_worker(comfyui.host, comfyui.directory, stall_timeout_s=0.7)
    hanging = worker.run(job(slow(600.0, steps=1)))
    assert hanging["error_type"] == "EXECUTION_STALLED"
    assert is_running(comfyui), "no interrupt ends this node"
    behind = worker.run(job(slow(0.2, color=5)))
    assert behind["error"] == (
        "ComfyUI made no progress for 0.7 s: raise STALL_TIMEOUT_S if the node needs longer without a word"
    )
    comfyui.faults.die()


def test_trap_04_a_time_limit_without_any_progress(comfyui: LocalComfyUI, make_worker: MakeWorker) -> None:
    worker = make_worker(comfyui.host, comfyui.directory, stall_timeout_s=0.7)
    alive = worker.run(job(slow(1.4, steps=14)))
    assert "error" not in alive
    stalled = worker.run(job(slow(3.0, steps=1, color=5)))
    assert stalled["error_type"] == "EXECUTION_STALLED"
    assert "no progress for 0.7 s (at node 2 (TestSleep))" in stalled["error"]


def test_trap_06_every_kind_of_file_is_returned(comfyui: LocalComfyUI, worker: Worker) -> None:
    files = [
        {"key": "images", "filename": "a.png", "content": "a"},
        {"key": "images", "filename": "clip.mp4", "subfolder": "video", "content": "bb"},
        {"key": "gifs", "filename": "anim.gif", "content": "ccc"},
        {"key": "gifs", "filename": "movie.webm", "content": "dddd"},
        {"key": "audio", "filename": "sound.flac", "content": "e"},
        {"key": "3d", "filename": "mesh.glb", "content": "f"},
        {"key": "latents", "filename": "x.latent", "content": "g"},
        {"key": "whatever", "filename": "data.json", "content": "{}"},
    ]
    body = worker.run(job({"1": node("TestFiles", files=json.dumps(files), text="said", strings='["plain"]')}))
    names = {
        field: [item["filename"] for item in body.get(field, [])] for field in ("images", "videos", "audio", "files")
    }
    assert names == {
        "images": ["a.png", "anim.gif"],
        "videos": ["clip.mp4", "movie.webm"],
        "audio": ["sound.flac"],
        "files": ["mesh.glb", "x.latent", "data.json"],
    }
    assert [item["text"] for item in body["text"]] == ["said", "plain"]
    assert "errors" not in body


def test_trap_11_a_result_over_the_limit_is_an_error_that_says_what_to_do(
    comfyui: LocalComfyUI, worker: Worker
) -> None:
    mib = 1024 * 1024
    files = [{"filename": "small.png", "size": mib}, {"filename": "large.png", "size": 11 * mib}]
    workflow = {"1": node("TestFiles", files=json.dumps(files), text="", strings="")}
    body = worker.run(job(workflow, id="abc-u1"))
    assert body["error_type"] == "RESULT_TOO_LARGE"
    assert body["error"].startswith(
        "The result is over RunPod's limit of 10 MiB; not delivered: 'large.png' of node 1 (11.0 MiB): "
    )
    for remedy in ("BUCKET_ENDPOINT_URL", "/runsync"):
        assert remedy in body["error"]
    assert [item["filename"] for item in body["images"]] == ["small.png"]
    assert len(json.dumps({"output": body})) < 10 * mib
    sync = worker.run(job(workflow, id="sync-abc-u1"))
    assert [item["filename"] for item in sync["images"]] == ["small.png", "large.png"]


def test_trap_11_text_alone_can_be_too_large(comfyui: LocalComfyUI, worker: Worker) -> None:
    text = "x" * (11 * 1024 * 1024)
    body = worker.run(job({"1": node("TestFiles", files="[]", text=text, strings="")}))
    assert body["error_type"] == "RESULT_TOO_LARGE"
    assert "11.0 MiB, over RunPod's limit of 10 MiB" in body["error"]


def test_trap_12_names_that_clash_or_lead_elsewhere(comfyui: LocalComfyUI, worker: Worker) -> None:
    outside = comfyui.directory / "secret.png"
    outside.write_text("secret")
    files = [
        {"filename": "same.png", "subfolder": "a", "content": "1"},
        {"filename": "same.png", "subfolder": "b", "content": "2"},
        {"filename": "ünï çødé 画像.png", "content": "3"},
    ]
    body = worker.run(job({"1": node("TestFiles", files=json.dumps(files), text="", strings="")}))
    assert [(item["subfolder"], item["filename"]) for item in body["images"]] == [
        ("a", "same.png"),
        ("b", "same.png"),
        ("", "ünï çødé 画像.png"),
    ]
    escaping = json.dumps([{"filename": "../secret.png", "content": "x", "missing": True}])
    refused = worker.run(job({"1": node("TestFiles", files=escaping, text="", strings="")}))
    assert refused["error_type"] == "OUTPUT_UNAVAILABLE"
    assert "secret.png" in refused["error"]
    assert outside.read_text() == "secret"


def test_trap_12_two_inputs_of_one_name_are_refused_and_folders_kept_apart(worker: Worker) -> None:
    red, blue = picture((255, 0, 0)), picture((0, 0, 255))
    twice = [{"name": "a.png", "image": red}, {"name": "./a.png", "image": blue}]
    workflow = {"1": node("LoadImage", image="a.png"), "2": save("1")}
    assert "images[1].name 'a.png' is used twice" in worker.run(job(workflow, twice))["error"]
    workflow = {
        "1": node("LoadImage", image="x/a.png"),
        "2": save("1", "one"),
        "3": node("LoadImage", image="y/a.png"),
        "4": save("3", "two"),
    }
    body = worker.run(job(workflow, [{"name": "x/a.png", "image": red}, {"name": "y/a.png", "image": blue}]))
    assert [pixels(item).getpixel((0, 0)) for item in body["images"]] == [(255, 0, 0), (0, 0, 255)]


def test_jobs_whose_inputs_share_a_name_do_not_meet(comfyui: LocalComfyUI, worker: Worker) -> None:
    workflow = {
        "1": node("LoadImage", image="in.png"),
        "2": node("TestSleep", image=["1", 0], seconds=0.3, steps=3),
        "3": save("2"),
    }
    colors = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 0, 0)]
    jobs = [
        Running(worker, job(workflow, [{"name": "in.png", "image": picture(color)}], id=f"j{index}"))
        for index, color in enumerate(colors)
    ]
    assert [pixels(running.result()["images"][0]).getpixel((0, 0)) for running in jobs] == colors
    assert not left_behind(comfyui)


def test_trap_12_jobs_whose_files_keep_their_names_do_not_meet(comfyui: LocalComfyUI, worker: Worker) -> None:
    """No node names these files, so a node may read their folder: it must find this job's files there and no others."""
    first = Running(worker, job(slow(1.5, steps=15), [{"name": "faces/1.png", "image": picture((1, 0, 0))}], id="a"))
    wait_until(lambda: is_running(comfyui))
    second = Running(worker, job(slow(0.2, color=5), [{"name": "faces/2.png", "image": picture((2, 0, 0))}], id="b"))
    third = Running(worker, job(slow(0.2, color=6), [{"name": "other/2.png", "image": picture((3, 0, 0))}], id="c"))
    cancelled = Running(worker, job(slow(0.2), [{"name": "faces/2.png", "image": picture()}], id="d"))
    wait_until(lambda: len(comfyui.prompts) == 2)
    cancelled.stop.set()
    assert cancelled.result()["error_type"] == "CANCELLED"
    assert is_running(comfyui)
    assert sorted(path.parent.name + "/" + path.name for path in (comfyui.directory / "input").rglob("*.png")) == [
        "faces/1.png",
        "other/2.png",
    ]
    assert [len(running.result()["images"]) for running in (first, second, third)] == [1, 1, 1]
    assert not left_behind(comfyui)


def test_trap_14_nothing_of_a_job_stays_behind(comfyui: LocalComfyUI, worker: Worker) -> None:
    workflow = {
        "1": node("LoadImage", image="folder/in.png"),
        "2": save("1", "sub/out"),
        "3": node("PreviewImage", images=["1", 0]),
        "4": node("TestFiles", files='[{"filename": "custom.bin", "subfolder": "own"}]', text="", strings=""),
    }
    body = worker.run(job(workflow, [{"name": "folder/in.png", "image": picture()}]))
    assert "error" not in body
    assert not left_behind(comfyui)
    assert not [path for name in ("input", "output", "temp") for path in (comfyui.directory / name).iterdir()]
    wait_until(lambda: requests.get(f"{comfyui.url}/history", timeout=5).json() == {})


def test_trap_14_what_a_stopped_prompt_made_unheard_is_delivered_and_removed(
    comfyui: LocalComfyUI, worker: Worker
) -> None:
    comfyui.faults.go_deaf()
    workflow = {
        **slow(60.0, steps=600),
        "4": save("1", "early"),
        "5": node("PreviewImage", images=["1", 0]),
    }
    body = worker.run(job(workflow, timeout_s=0.5))
    assert body["error_type"] == "EXECUTION_TIMEOUT"
    assert [item["filename"] for item in body["images"]] == ["early_00001_.png"]
    assert not left_behind(comfyui)


def test_a_refused_workflow_is_not_looked_for_in_the_queue(comfyui: LocalComfyUI, worker: Worker) -> None:
    assert worker.run(job({"1": node("NoSuchNode"), "2": save("1")}))["error_type"] == "WORKFLOW_INVALID"
    assert "POST /interrupt" not in comfyui.requests


@pytest.mark.parametrize("kind", ["success", "error"])
def test_trap_14_a_history_that_is_written_after_the_end_was_told_is_forgotten_too(
    comfyui: LocalComfyUI, worker: Worker, kind: str
) -> None:
    comfyui.faults.history_delay = 0.4
    ends = {"2": save("1")} if kind == "success" else {"2": node("TestRaise", image=["1", 0]), "3": save("2")}
    body = worker.run(job({"1": empty(), **ends}))
    assert ("error" in body) == (kind == "error")
    wait_until(lambda: comfyui.requests["POST /history"] == 1)
    assert requests.get(f"{comfyui.url}/history", timeout=5).json() == {}


def test_trap_15_an_identical_second_job_returns_the_same_pictures_from_the_cache(
    comfyui: LocalComfyUI, worker: Worker
) -> None:
    workflow = {
        **slow(0.2),
        "4": node("PreviewImage", images=["2", 0]),
        "5": node("PrimitiveString", value="linked"),
        "6": node("SaveImage", images=["2", 0], filename_prefix=["5", 0]),
    }
    first, second = worker.run(job(workflow, id="a")), worker.run(job(workflow, id="b"))
    assert [item["filename"] for item in first["images"]] == ["ComfyUI_00001_.png", "linked_00001_.png"]
    for one, two in zip(first["images"], second["images"], strict=True):
        assert pixels(one).tobytes() == pixels(two).tobytes()
    sleeps = [entry for entry in comfyui.executed_nodes if entry[1] == "2"]
    assert len(sleeps) == 1, "the expensive node must come from the cache"
    assert not left_behind(comfyui)


def test_trap_15_previews_alone(comfyui: LocalComfyUI, worker: Worker) -> None:
    workflow = {"1": empty(), "2": node("PreviewImage", images=["1", 0])}
    bodies = [worker.run(job(workflow, id=name)) for name in "abc"]
    assert [len(body["images"]) for body in bodies] == [1, 1, 1]


def test_trap_22_out_of_memory_reaches_the_client_and_models_are_unloaded(
    comfyui: LocalComfyUI, worker: Worker
) -> None:
    body = worker.run(job({"1": empty(), "2": node("TestOutOfMemory", image=["1", 0]), "3": save("2")}))
    assert body["error"].startswith(
        "Workflow execution error: Node Type: TestOutOfMemory, Node ID: 2, Message: CUDA out of memory"
    )
    assert body["error_type"] == "OUT_OF_MEMORY"
    assert "refresh_worker" not in body
    assert len(comfyui.free_calls) == 1
    assert "error" not in worker.run(job({"1": empty(), "3": save("1")}))


def test_a_cuda_context_that_broke_gives_the_worker_back_when_comfyui_is_not_ours(
    comfyui: LocalComfyUI, worker: Worker
) -> None:
    broken = {
        "1": node(
            "TestRaise", message="CUDA error: an illegal memory access was encountered", exception_type="RuntimeError"
        )
    }
    assert worker.run(job({**broken, "2": save("1")}))["refresh_worker"] is True
    own = {"1": node("TestRaise", message="my own mistake", exception_type="ValueError")}
    assert "refresh_worker" not in worker.run(job({**own, "2": save("1")}))


def test_a_cancelled_job_leaves_the_gpu_free(comfyui: LocalComfyUI, worker: Worker) -> None:
    running = Running(worker, job(slow(60.0, steps=600)))
    wait_until(lambda: is_running(comfyui))
    running.stop.set()
    assert running.result()["error_type"] == "CANCELLED"
    assert not is_running(comfyui)
    assert not left_behind(comfyui)
    assert "error" not in worker.run(job({"1": empty(), "3": save("1")}))


def test_a_job_cancelled_in_comfyuis_queue_never_runs(comfyui: LocalComfyUI, worker: Worker) -> None:
    first = Running(worker, job(slow(1.0), id="first"))
    wait_until(lambda: is_running(comfyui))
    second = Running(worker, job(slow(5.0, color=99), id="second"))
    wait_until(lambda: len(comfyui.prompts) == 2)
    second.stop.set()
    assert second.result()["error_type"] == "CANCELLED"
    assert len(first.result()["images"]) == 1
    second_prompt = comfyui.prompts[1]["prompt_id"]
    assert not [entry for entry in comfyui.executed_nodes if entry[0] == second_prompt]


def test_interrupted_by_someone_else(comfyui: LocalComfyUI, worker: Worker) -> None:
    running = Running(worker, job(slow(60.0, steps=600)))
    wait_until(lambda: is_running(comfyui))
    requests.post(f"{comfyui.url}/interrupt", json={"prompt_id": comfyui.prompts[0]["prompt_id"]}, timeout=5)
    body = running.result()
    assert body["error_type"] == "EXECUTION_INTERRUPTED"
    assert body["error"].startswith("The workflow was interrupted at node 2 (TestSleep)")


def test_a_comfyui_that_was_restarted_empty_has_lost_the_prompt(comfyui: LocalComfyUI, worker: Worker) -> None:
    running = Running(worker, job(slow(60.0, steps=600)))
    wait_until(lambda: is_running(comfyui))
    comfyui.faults.restart_empty()
    assert running.result()["error_type"] == "EXECUTION_LOST"


def test_a_comfyui_that_dies_and_stays_away(comfyui: LocalComfyUI, make_worker: MakeWorker) -> None:
    worker = make_worker(comfyui.host, reconnect_attempts=2, reconnect_delay_s=0.1)
    running = Running(worker, job(slow(60.0, steps=600)))
    wait_until(lambda: is_running(comfyui))
    comfyui.faults.die()
    assert running.result()["error"] == f"ComfyUI server ({comfyui.host}) not reachable after multiple retries"


@pytest.mark.parametrize("fault", ["truncate_view", "fail_view"])
def test_an_output_that_breaks_off_once_is_fetched_again(
    comfyui: LocalComfyUI, make_worker: MakeWorker, fault: str
) -> None:
    worker = make_worker(comfyui.host)  # knows no folders: everything goes through /view
    getattr(comfyui.faults, fault)(times=1)
    assert len(worker.run(job({"1": empty(), "2": save("1")}))["images"]) == 1


def test_an_output_that_is_fetched_again_takes_its_room_in_the_response_once(
    comfyui: LocalComfyUI, make_worker: MakeWorker
) -> None:
    comfyui.faults.truncate_view(times=1)
    files = json.dumps([{"filename": "large.png", "size": 6 * 1024 * 1024}])
    body = make_worker(comfyui.host).run(job({"1": node("TestFiles", files=files, text="", strings="")}))
    assert [item["size"] for item in body["images"]] == [6 * 1024 * 1024]


def test_an_output_that_cannot_be_fetched_fails_the_job(comfyui: LocalComfyUI, make_worker: MakeWorker) -> None:
    comfyui.faults.fail_view(404, times=None)
    body = make_worker(comfyui.host).run(job({"1": empty(), "2": save("1")}))
    assert body["error_type"] == "OUTPUT_UNAVAILABLE"
    assert body["error"] == (
        "'ComfyUI_00001_.png' of node 2: ComfyUI made 'ComfyUI_00001_.png' but answers 404 when asked for it"
    )


def test_an_upload_that_comfyui_refuses(comfyui: LocalComfyUI, worker: Worker) -> None:
    comfyui.faults.fail_upload(500, times=None)
    body = worker.run(
        job({"1": node("LoadImage", image="a.png"), "2": save("1")}, [{"name": "a.png", "image": picture()}])
    )
    assert body["error"] == "Failed to upload one or more input images"
    assert body["details"] == ["images[0] 'a.png': ComfyUI refused the upload with status 500"]
    assert not left_behind(comfyui)


def test_trap_23_the_api_key_is_in_no_log_line_and_no_answer(
    comfyui: LocalComfyUI, worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("comfy_worker").propagate = True
    with caplog.at_level(logging.DEBUG):
        workflow = {"1": node("TestRaise", message="x", exception_type="ValueError"), "2": save("1")}
        body = worker.run(job(workflow, comfy_org_api_key="comfyui-very-secret"))
    assert comfyui.prompts[0]["extra_data"]["api_key_comfy_org"] == "comfyui-very-secret"
    assert "very-secret" not in caplog.text
    assert "very-secret" not in json.dumps(body)
    assert "queued" in caplog.text
