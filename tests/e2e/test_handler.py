"""handler.py as a process: what a client of the endpoint sees."""

from __future__ import annotations

import base64
import io
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests
from deployment import ROOT, Deployment, sleeping
from moto.server import ThreadedMotoServer
from PIL import Image
from runpod_stage import RunningEndpoint, until

Deploy = Callable[..., Deployment]
SMALL = sleeping(0.05, color=3)


def test_the_shipped_test_input_gives_its_pictures(shared: Deployment) -> None:
    request = json.loads((ROOT / "test_input.json").read_text())
    answer = shared.endpoint.http("POST", "/runsync", json=request).json()
    assert answer["status"] == "COMPLETED", answer
    assert answer["delayTime"] >= 0
    assert answer["executionTime"] > 0
    assert set(answer["output"]) == {"images"}
    names = [item["filename"] for item in answer["output"]["images"]]
    assert names == ["dusk_00001_.png", "negative_00001_.png", "dusk_slideshow_00001_.webp"]
    for item in answer["output"]["images"]:
        with Image.open(io.BytesIO(base64.b64decode(item["data"]))) as image:
            assert image.size == (720, 540)


def test_an_error_is_one_string_with_its_code_beside_it(shared: Deployment) -> None:
    answer = shared.endpoint.runsync({"workflow": {"1": {"class_type": "KSampler", "inputs": {"model": ["7", 0]}}}})
    assert answer["status"] == "FAILED"
    assert answer["error"] == (
        "Workflow validation failed: Node 1 (model): links to node 7, which is not in the workflow:"
        " add that node or remove the link"
    )
    assert answer["output"]["error_type"] == "WORKFLOW_INVALID"
    assert "Traceback" not in json.dumps(answer)


def test_trap_18_cancel_stops_the_prompt_and_the_next_job_works(shared: Deployment) -> None:
    job_id = shared.endpoint.run(sleeping(60, color=11))
    until(lambda: shared.queue() == (1, 0), what="the prompt runs")
    assert shared.endpoint.http("POST", f"/cancel/{job_id}").json()["status"] == "CANCELLED"
    until(lambda: shared.queue() == (0, 0), what="the prompt is gone")
    assert shared.endpoint.runsync(SMALL)["status"] == "COMPLETED"
    assert shared.endpoint.status(job_id)["status"] == "CANCELLED"
    assert not list((shared.directory / "output").rglob("*.png"))


def test_trap_17_progress_is_seen_and_never_after_the_result(shared: Deployment) -> None:
    job_id = shared.endpoint.run(sleeping(3.0, color=12))
    seen: list[dict[str, Any]] = []

    def over() -> bool:
        status = shared.endpoint.status(job_id)
        if status["status"] == "IN_PROGRESS" and "output" in status:
            seen.append(status["output"]["progress"])
        return status["status"] == "COMPLETED"

    until(over, what="the job is over")
    running = [progress for progress in seen if progress.get("node") == "2"]
    assert running[0]["node_title"] == "Nap"
    assert running[0]["node_type"] == "TestSleep"
    assert running[0]["steps"] == 30
    steps = [progress["step"] for progress in running]
    assert steps == sorted(steps)
    assert all(0 < progress["percent"] < 100 for progress in running)
    time.sleep(1.2)  # longer than the reporter's pause: a late update would have arrived
    assert "images" in shared.endpoint.status(job_id)["output"]


def test_trap_19_the_next_prompt_is_in_comfyuis_queue_before_the_current_one_ends(shared: Deployment) -> None:
    jobs = [shared.endpoint.run(sleeping(2.0, color=20 + number)) for number in range(4)]
    until(lambda: shared.queue()[1] >= 1, what="a second prompt waits inside ComfyUI")
    assert [shared.endpoint.final(job_id)["status"] for job_id in jobs] == ["COMPLETED"] * 4


def test_a_comfyui_that_dies_is_named_and_the_next_job_works(shared: Deployment) -> None:
    job_id = shared.endpoint.run(sleeping(60, color=13))
    until(lambda: '"node": "2"' in json.dumps(shared.endpoint.status(job_id)), what="the node runs")
    os.kill(shared.comfyui_pid(), signal.SIGKILL)
    answer = shared.endpoint.final(job_id)
    assert answer["error"] == (
        "ComfyUI stopped during the job while running node 2 (TestSleep): exit signal 9 (SIGKILL)."
        " It is being restarted; send the job again"
    )
    assert answer["output"]["error_type"] == "COMFYUI_DIED"
    assert shared.endpoint.runsync(SMALL)["status"] == "COMPLETED"


def test_trap_05_a_job_that_only_waited_when_comfyui_died_runs_on_the_next_one(
    endpoint: RunningEndpoint, deploy: Deploy
) -> None:
    worker = deploy(WORKER_CONCURRENCY="2").ready()
    first, second = endpoint.run(sleeping(60, color=14)), endpoint.run(sleeping(0.1, color=15))
    until(lambda: worker.queue() == (1, 1), what="one runs and one waits")
    until(lambda: '"node": "2"' in json.dumps(endpoint.status(first)), what="the node runs")
    os.kill(worker.comfyui_pid(), signal.SIGKILL)
    assert endpoint.final(first)["output"]["error_type"] == "COMFYUI_DIED"
    assert endpoint.final(second, 40)["status"] == "COMPLETED"


def test_two_workers_share_a_backlog(endpoint: RunningEndpoint, deploy: Deploy) -> None:
    both = [deploy("w1"), deploy("w2")]
    for deployment in both:
        until(deployment.comfyui_answers, 60, "ComfyUI answers")
    endpoint.workers_ready(2)
    answers = [endpoint.run(sleeping(0.4, color=30 + number)) for number in range(8)]
    finals = [endpoint.final(job_id, 40) for job_id in answers]
    assert {final["status"] for final in finals} == {"COMPLETED"}
    assert {final["workerId"] for final in finals} == {"w1", "w2"}
    colors = [
        Image.open(io.BytesIO(base64.b64decode(final["output"]["images"][0]["data"]))).getpixel((0, 0))
        for final in finals
    ]
    assert colors == [(0, 0, 30 + number) for number in range(8)], "every client has its own picture"


def test_sigterm_finishes_the_job_in_hand_and_leaves_no_process(endpoint: RunningEndpoint, deploy: Deploy) -> None:
    worker = deploy().ready()
    job_id = endpoint.run(sleeping(2.0))
    until(lambda: worker.queue() == (1, 0), what="the prompt runs")
    worker.process.send_signal(signal.SIGTERM)
    assert endpoint.final(job_id)["status"] == "COMPLETED"
    assert worker.ended() == 0
    assert not worker.comfyui_answers()


def test_a_killed_worker_takes_its_comfyui_with_it(endpoint: RunningEndpoint, deploy: Deploy) -> None:
    worker = deploy().ready()
    os.kill(worker.process.pid, signal.SIGKILL)
    until(lambda: not worker.comfyui_answers(), what="ComfyUI is gone")


def test_refresh_worker_ends_the_process_after_its_job(endpoint: RunningEndpoint, deploy: Deploy) -> None:
    worker = deploy(REFRESH_WORKER="true").ready()
    assert endpoint.runsync(SMALL)["status"] == "COMPLETED"
    assert worker.ended() == 0
    assert not worker.comfyui_answers()


def test_refresh_worker_ends_the_process_after_a_cancelled_job_too(endpoint: RunningEndpoint, deploy: Deploy) -> None:
    worker = deploy(REFRESH_WORKER="true").ready()
    job_id = endpoint.run(sleeping(60, color=16))
    until(lambda: worker.queue() == (1, 0), what="the prompt runs")
    endpoint.http("POST", f"/cancel/{job_id}")
    assert worker.ended() == 0


def test_trap_05_a_comfyui_that_cannot_start_gives_the_worker_back(
    endpoint: RunningEndpoint, deploy: Deploy, tmp_path: Path
) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "main.py").write_text("raise SystemExit('no GPU here')")
    worker = deploy(COMFYUI_PATH=str(tmp_path / "broken"))
    answer = endpoint.runsync(SMALL)
    assert answer["error"] == f"ComfyUI server ({worker.host}) not reachable after multiple retries"
    assert answer["output"]["details"] == ["ComfyUI did not start 3 times in a row: exit code 1"]
    assert worker.ended() == 0


def test_a_wrong_setting_stops_the_start(endpoint: RunningEndpoint, deploy: Deploy) -> None:
    worker = deploy(BUCKET_ENDPOINT_URL="https://s3.example.com", BUCKET_SECRET_ACCESS_KEY="do-not-print-me")
    assert worker.ended() == 1
    assert "The worker cannot start: The S3 bucket is configured by halves: BUCKET_ACCESS_KEY_ID missing" in worker.log
    assert "do-not-print-me" not in worker.log


def test_files_go_to_a_bucket_and_its_keys_stay_secret(endpoint: RunningEndpoint, deploy: Deploy) -> None:
    s3 = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    s3.start()
    try:
        _, port = s3.get_host_and_port()
        url = f"http://127.0.0.1:{port}"
        requests.put(f"{url}/made", timeout=5).raise_for_status()
        secrets = {"BUCKET_ACCESS_KEY_ID": "key-id-do-not-print", "BUCKET_SECRET_ACCESS_KEY": "secret-do-not-print"}
        worker = deploy(
            BUCKET_ENDPOINT_URL=f"{url}/made", BUCKET_KEY_PREFIX="team", COMFY_LOG_LEVEL="DEBUG", **secrets
        ).ready()
        answer = endpoint.runsync(SMALL)
        (item,) = answer["output"]["images"]
        assert item["type"] == "s3_url"
        assert item["data"].startswith(f"{url}/made/team/{answer['id']}/ComfyUI_00001_.png?")
        fetched = requests.get(item["data"], timeout=5)
        assert fetched.headers["Content-Type"] == "image/png"
        assert len(fetched.content) == item["size"]
        requests.post(f"{url}/moto-api/reset", timeout=5).raise_for_status()
        failed = endpoint.runsync(sleeping(0.05, color=4))
        assert failed["status"] == "FAILED"
        assert "could not be stored in bucket 'made'" in failed["error"]
        for text in (json.dumps(failed), worker.log):
            assert "secret-do-not-print" not in text
        assert "key-id-do-not-print" not in json.dumps(failed) + worker.log
    finally:
        s3.stop()


def test_a_missing_model_comes_with_what_is_installed_and_where_it_belongs(shared: Deployment) -> None:
    loader = {"class_type": "UNETLoader", "inputs": {"unet_name": "flux.safetensors", "weight_dtype": "default"}}
    workflow = {"1": loader, "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}}}
    answer = shared.endpoint.runsync({"workflow": workflow})
    assert answer["error"] == (
        "Workflow validation failed: Node 1 (unet_name): 'flux.safetensors' not in available models"
    )
    available, hint = answer["output"]["details"]
    assert available == "Node 1 (unet_name): available models: none are installed"
    assert "'flux.safetensors'" in hint
    assert "volume" in hint
