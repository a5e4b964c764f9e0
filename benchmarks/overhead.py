"""1. What the worker adds to ComfyUI: `Worker.run` against the barest client, on the same ComfyUI."""

from __future__ import annotations

import base64
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import workflows
from benchmarks.bare_client import BareClient
from benchmarks.processes import EMBEDDED, free_port
from benchmarks.report import Aim, Report
from benchmarks.spread import Spread, interleaved, ratios
from comfy_worker.comfyui.client import ComfyUIClient
from comfy_worker.comfyui.folders import Folders
from comfy_worker.comfyui.process import ComfyUIServer
from comfy_worker.config import Settings
from comfy_worker.worker import Worker

AIM = 1.15
#: The worker has its prompts forgotten in the background.
SETTLED_S = 0.15
BARE, AS_BASE64, WORKER, BY_HTTP = "bare", "bare with base64", "worker", "worker, files by HTTP"


@contextmanager
def worker_on(host: str, folder: Path | None) -> Iterator[Worker]:
    """A worker on a ComfyUI that somebody started; with `folder` it reads and cleans files there."""
    settings = Settings(comfy_host=host)
    server = ComfyUIServer(settings)
    server.start()
    with closing(Worker(settings, server, ComfyUIClient(host), Folders.of(folder, ()) if folder else None)) as worker:
        yield worker


@contextmanager
def workers_with_own(folder: Path) -> Iterator[tuple[str, dict[str, Worker]]]:
    """As in production: the embedded ComfyUI is launched by the worker. -> its host; a worker with its folders, and one
    that knows it by HTTP only."""
    arguments = ("--base-directory", str(folder), "--test-nodes", "--verbose", "WARNING")
    host = f"127.0.0.1:{free_port()}"
    settings = Settings(comfy_host=host, comfyui_path=EMBEDDED, comfy_args=arguments)
    server = ComfyUIServer(settings)
    server.start()
    try:
        server.wait_ready()
        client, folders = ComfyUIClient(host), Folders.of(EMBEDDED, arguments)
        with (
            closing(Worker(settings, server, client, folders)) as worker,
            closing(Worker(settings, server, ComfyUIClient(host), None)) as by_http,
        ):
            yield host, {WORKER: worker, BY_HTTP: by_http}
    finally:
        server.stop()


def run(*, quick: bool) -> list[Report]:
    reports = []
    with tempfile.TemporaryDirectory() as folder, workers_with_own(Path(folder)) as (host, workers):
        reports.append(_measure("overhead", "the embedded ComfyUI", host, workers, quick))
    if real := os.environ.get("COMFYUI_URL", "").removeprefix("http://").rstrip("/"):
        with worker_on(real, None) as worker:
            reports.append(_measure("overhead-real", f"the ComfyUI on {real}", real, {WORKER: worker}, quick))
    return reports


def _measure(name: str, where: str, host: str, workers: dict[str, Worker], quick: bool) -> Report:
    report = Report(
        name,
        f"Worker.run against the barest client on {where}",
        ["job", "client", "milliseconds", "times the bare one", "times the bare one with base64"],
    )
    with closing(BareClient(host)) as bare:
        for case in _cases(bare):
            texts = {name: base64.b64encode(content).decode() for name, content in case.inputs.items()}
            request = workflows.request(case.workflow, case.inputs)
            contenders: dict[str, Callable[[], object]] = {
                BARE: partial(bare.run, case.workflow, case.inputs),
                AS_BASE64: partial(bare.run_as_base64, case.workflow, texts),
                **{kind: partial(_run, worker, request) for kind, worker in workers.items()},
            }
            rounds = max(5, case.rounds // 4) if quick else case.rounds
            _add(report, case, interleaved(rounds, contenders, SETTLED_S))
    report.notes.append("with base64: the bare client on RunPod's terms, base64 in the request and in the answer")
    return report


@dataclass(frozen=True)
class Case:
    name: str
    rounds: int
    workflow: dict[str, Any]
    inputs: dict[str, bytes]


def _cases(bare: BareClient) -> Iterator[Case]:
    yield Case("1 small picture", 60, workflows.small_picture(), {})
    names = [f"bench_noise_{number}.png" for number in range(4)]
    for number, name in enumerate(names):
        bare.upload(name, workflows.noise(1024, number))
    yield Case("4 pictures of 1024x1024 noise", 14, workflows.loaded_pictures(names), {})
    inputs = {f"bench_input_{number}.png": workflows.noise(512, number) for number in range(5)}
    yield Case("5 inputs of 512x512 noise", 24, workflows.blended_pictures(list(inputs)), inputs)


def _run(worker: Worker, request: dict[str, Any]) -> None:
    body = worker.run(request)
    if "error" in body or not body["images"]:
        raise RuntimeError(str(body)[:500])


def _add(report: Report, case: Case, measured: dict[str, list[float]]) -> None:
    found: dict[str, Any] = {}
    for kind, seconds in measured.items():
        spread, times, fair = (
            Spread.of(seconds), ratios(seconds, measured[BARE]), ratios(seconds, measured[AS_BASE64])
        )  # fmt: skip
        report.rows.append([case.name, kind, spread.show(1000, 1), times.show(), fair.show()])
        found[kind] = {"seconds": spread.as_json(), "ratio": times.as_json(), "ratio_base64": fair.as_json()}
        if kind == WORKER:
            text = f"{case.name}, times the bare client's (at most {AIM})"
            report.aims.append(Aim(text, times.median, at_most=AIM))
    report.data[case.name] = found
