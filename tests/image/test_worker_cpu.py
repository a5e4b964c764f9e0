"""The image as an engine runs it: jobs, signals, orphans, several workers, and RunPod's Hub."""

from __future__ import annotations

import base64
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import botocore.exceptions
import pytest
from container import Image
from image_stage import ROOT, Stage, free_port
from PIL import Image as Picture

pytestmark = pytest.mark.timeout(180)
#: A workflow of the embedded ComfyUI that keeps it busy for a few seconds.
SLOW = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 2000, "height": 2000, "batch_size": 1, "color": 255}},
    "2": {"class_type": "ImageBlur", "inputs": {"image": ["1", 0], "blur_radius": 31, "sigma": 10.0}},
    "3": {"class_type": "ImageScale", "inputs": {"image": ["2", 0], "upscale_method": "lanczos", "width": 64,
                                                 "height": 64, "crop": "disabled"}},
    "4": {"class_type": "SaveImage", "inputs": {"images": ["3", 0], "filename_prefix": "slow"}},
}  # fmt: skip


def pictures(job: dict[str, Any]) -> list[Picture.Image]:
    assert job["status"] == "COMPLETED", job
    return [Picture.open(io.BytesIO(base64.b64decode(file["data"]))) for file in job["output"]["images"]]


def inside(image: Image, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["chroot", str(image.tree), *command], capture_output=True, text=True, check=False)


def test_a_runsync_through_the_image_returns_pictures(stage: Stage, test_input: Any) -> None:
    endpoint = stage.endpoint()
    stage.worker(endpoint)
    job = endpoint.call("POST", "/runsync?wait=60000", test_input)
    assert [picture.format for picture in pictures(job)] == ["PNG", "PNG", "WEBP"]
    assert job["workerId"] == "worker-one"


def test_two_workers_of_one_service_are_told_apart_by_their_host_names(stage: Stage, test_input: Any) -> None:
    endpoint = stage.endpoint()
    for name in ("worker-one", "worker-two"):
        stage.worker(endpoint, name)
    endpoint.wait_for("/health", lambda health: health["workers"]["idle"] == 2)
    ids = [endpoint.call("POST", "/run", test_input)["id"] for _ in range(6)]
    jobs = [endpoint.wait_for(f"/status/{id}", lambda job: job["status"] == "COMPLETED") for id in ids]
    assert {job["workerId"] for job in jobs} == {"worker-one", "worker-two"}


@pytest.fixture
def minio() -> Iterator[Any]:
    """An S3 server in MinIO's place, with the bucket that the compose file makes: a client of it."""
    url = f"http://127.0.0.1:{free_port()}"
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", url.rpartition(":")[2]],
        stderr=subprocess.DEVNULL,
    )
    try:
        client = boto3.client("s3", "us-east-1", endpoint_url=url, aws_access_key_id="x", aws_secret_access_key="x")
        deadline = time.monotonic() + 30
        while True:
            try:
                client.create_bucket(Bucket="results")
                break
            except botocore.exceptions.EndpointConnectionError:
                assert time.monotonic() < deadline
        yield client
    finally:
        server.terminate()
        server.wait()


def test_the_s3_worker_answers_with_urls(stage: Stage, minio: Any, test_input: Any) -> None:
    endpoint = stage.endpoint()
    stage.worker(endpoint, service="worker-s3", minio=minio.meta.endpoint_url)
    job = endpoint.call("POST", "/runsync?wait=60000", test_input)
    assert job["status"] == "COMPLETED", job
    for file in job["output"]["images"]:
        assert file["type"] == "s3_url"
        base, _, key = file["data"].partition("/results/")
        assert base == "http://localhost:9000"
        assert len(minio.get_object(Bucket="results", Key=key)["Body"].read()) == file["size"]


def test_a_worker_told_to_stop_finishes_its_job_and_leaves_nothing_behind(stage: Stage) -> None:
    endpoint = stage.endpoint()
    worker = stage.worker(endpoint)
    id = endpoint.call("POST", "/run", {"input": {"workflow": SLOW}})["id"]
    endpoint.wait_for(f"/status/{id}", lambda job: job["status"] == "IN_PROGRESS")
    processes = list(worker.processes())
    worker.signal(signal.SIGTERM)
    assert worker.wait(120) == 0
    assert endpoint.call("GET", f"/status/{id}")["status"] == "COMPLETED"
    assert not [pid for pid in processes if Path(f"/proc/{pid}").exists()]


def test_a_killed_worker_takes_its_container_with_it(stage: Stage) -> None:
    """The SDK's heartbeat process would go on telling RunPod that the worker is alive."""
    endpoint = stage.endpoint()
    worker = stage.worker(endpoint)
    endpoint.wait_for("/health", lambda health: health["workers"]["idle"] == 1)
    processes = worker.processes()
    assert [line for line in processes.values() if line.startswith("/usr/bin/tini")]
    assert len([line for line in processes.values() if "handler.py" in line]) >= 2
    assert len([line for line in processes.values() if "main.py" in line]) == 1
    os.kill(worker.find("python /app/handler.py"), signal.SIGKILL)
    assert worker.wait(10) != 0
    assert not [pid for pid in processes if Path(f"/proc/{pid}").exists()]


def test_orphans_are_collected(stage: Stage) -> None:
    """A process that lost its parent becomes a child of tini, which leaves no zombies."""
    container = stage.bare_worker({}, ["/usr/bin/tini", "--", "sh", "-c", "(sleep 0.2 &) ; exec sleep 30"])
    time.sleep(1.5)
    assert [line for line in container.processes().values() if line.startswith("sleep")] == ["sleep 30"]


def test_a_dead_comfyui_is_started_again(stage: Stage, test_input: Any) -> None:
    endpoint = stage.endpoint()
    worker = stage.worker(endpoint)
    assert len(pictures(endpoint.call("POST", "/runsync?wait=60000", test_input))) == 3
    os.kill(worker.find("main.py"), signal.SIGKILL)
    assert len(pictures(endpoint.call("POST", "/runsync?wait=60000", test_input))) == 3


def test_the_image_starts_as_runpods_hub_starts_it(stage: Stage) -> None:
    """Its harness runs CMD with `sh -c`, knows no heartbeat, and gives a job-take URL without "?" and without a name.

    The SDK fills the worker's name into the result's URL alone. It is the placeholder here, because our endpoint takes
    a result from the worker that took the job only.
    """
    endpoint = stage.endpoint(LOCAL_RUNPOD_PING="optional")
    environment = {
        "RUNPOD_POD_ID": "$RUNPOD_POD_ID",
        "RUNPOD_WEBHOOK_GET_JOB": f"{endpoint.url}/v2/local/job-take/$RUNPOD_POD_ID",
        "RUNPOD_WEBHOOK_POST_OUTPUT": f"{endpoint.url}/v2/local/job-done/$RUNPOD_POD_ID/$ID?gpu=$RUNPOD_GPU_TYPE_ID",
        "RUNPOD_ENDPOINT_BASE_URL": f"{endpoint.url}/v2/local",
        "RUNPOD_LOG_LEVEL": "INFO",
        "RUNPOD_TEST": "true",
        "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true",
    }
    stage.bare_worker(environment, ["/usr/bin/tini", "--", "sh", "-c", *stage.image.config["Cmd"]])
    for test in json.loads((ROOT / ".runpod/tests.json").read_text())["tests"]:
        job = endpoint.call("POST", "/runsync?wait=60000", {"input": test["input"]})
        assert len(pictures(job)) == 1


def test_the_health_check_follows_comfyui(stage: Stage) -> None:
    endpoint = stage.endpoint()
    worker = stage.worker(endpoint)
    endpoint.wait_for("/health", lambda health: health["workers"]["idle"] == 1)
    kind, *check = stage.image.config["Healthcheck"]["Test"]
    assert kind == "CMD"
    host = f"COMFY_HOST={worker.environment['COMFY_HOST']}"
    deadline = time.monotonic() + 20
    while inside(stage.image, "env", host, *check).returncode != 0:
        assert time.monotonic() < deadline
    os.kill(worker.find("main.py"), signal.SIGKILL)
    assert inside(stage.image, "env", host, *check).returncode == 1


def test_compose_builds_each_image_in_one_service(compose: Any) -> None:
    """Two builds of one tag, side by side, fail with "already exists" where Docker keeps images in containerd."""
    services = compose["services"].values()
    built = [service["image"] for service in services if "build" in service]
    assert len(built) == len(set(built))
    assert {service["image"] for service in services if service.get("pull_policy") == "never"} <= set(built)


def test_the_workers_own_python_has_no_torch(image: Image) -> None:
    found = inside(image, "/opt/worker/bin/python", "-c", "import torch")
    assert "No module named 'torch'" in found.stderr


def test_the_doctor_runs_in_the_image(image: Image) -> None:
    found = inside(image, "/opt/worker/bin/python", "-m", "comfy_worker", "doctor")
    assert "/runpod-volume:" in found.stdout


def test_the_image_says_what_it_is(image: Image) -> None:
    assert image.command == ["/usr/bin/tini", "--", "/app/image/start"]
    assert set(image.config["ExposedPorts"]) == {"8000/tcp", "8188/tcp"}
    assert image.labels["org.opencontainers.image.title"].startswith("comfyui-serverless-worker")
