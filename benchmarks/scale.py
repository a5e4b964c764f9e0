"""5. How the cost of a job grows with the workflow, with its outputs and with the jobs side by side."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks import workflows
from benchmarks.overhead import SETTLED_S, worker_on
from benchmarks.processes import EmbeddedComfyUI
from benchmarks.report import Aim, Report
from benchmarks.spread import Spread, exponent, growth
from comfy_worker.worker import Worker

#: No worse than linear, but for what measuring itself is off.
AIM = 1.15
NODES = (16, 64, 256, 1024)
OUTPUTS = (1, 10, 50, 200)
SIDE_BY_SIDE = (1, 2, 4, 8)
JOBS = 8


def run(*, quick: bool) -> list[Report]:
    rounds = 3 if quick else 9
    report = Report(
        "scale",
        "milliseconds of the worker's own processor time, and of wall time, per job",
        ["grows", "size", "processor", "wall"],
    )
    trees = {size: workflows.blend_tree(size // 2) for size in NODES}
    files = {size: workflows.made_files(size, 2000) for size in OUTPUTS}
    with (
        tempfile.TemporaryDirectory() as name,
        EmbeddedComfyUI(Path(name)) as comfyui,
        worker_on(comfyui.host, Path(name)) as worker,
    ):
        _grow(report, worker, "nodes", trees, rounds)
        _grow(report, worker, "outputs", files, rounds)
        _side_by_side(report, worker, rounds)
    report.notes.append(
        "exponents: over the last step, of what is added to the smallest size; 1 is linear, 0 is none. Processor time"
        " is the worker's alone: ComfyUI runs in another process"
    )
    return [report]


def _grow(report: Report, worker: Worker, what: str, sizes: dict[int, dict[str, Any]], rounds: int) -> None:
    def job(workflow: dict[str, Any]) -> Callable[[], None]:
        return lambda: _run(worker, workflow)

    _add(report, what, {size: job(workflow) for size, workflow in sizes.items()}, rounds, per=1)


def _side_by_side(report: Report, worker: Worker, rounds: int) -> None:
    """The same 8 jobs, so many at a time."""
    small = workflows.small_picture()
    with ThreadPoolExecutor(max(SIDE_BY_SIDE)) as threads:

        def jobs(at_once: int) -> Callable[[], None]:
            def run() -> None:
                for _ in range(JOBS // at_once):
                    for future in [threads.submit(_run, worker, small) for _ in range(at_once)]:
                        future.result()

            return run

        _add(report, "jobs at once", {size: jobs(size) for size in SIDE_BY_SIDE}, rounds, per=JOBS)


def _add(report: Report, what: str, contenders: dict[int, Callable[[], None]], rounds: int, per: int) -> None:
    cpu: dict[int, list[float]] = {size: [] for size in contenders}
    wall: dict[int, list[float]] = {size: [] for size in contenders}
    for number in range(rounds + 1):
        for size, run in contenders.items():
            before = time.process_time(), time.perf_counter()
            run()
            passed = time.perf_counter() - before[1]
            # What a job leaves to do in the background is its cost too, and not that of the next one.
            time.sleep(SETTLED_S)
            if number:
                cpu[size].append((time.process_time() - before[0]) / per)
                wall[size].append(passed / per)
    sizes = list(contenders)
    spreads = {size: (Spread.of(cpu[size]), Spread.of(wall[size])) for size in sizes}
    for size, (own, passed) in spreads.items():
        report.rows.append([what, str(size), own.show(1000, 1), passed.show(1000, 1)])
    costs = [own.median for own, _ in spreads.values()]
    # Jobs at once: the cost per job is to stay as it is. Sizes: the cost per job is to grow like them at most.
    found = exponent(sizes, costs) + 1 if per > 1 else growth(sizes, costs)
    report.aims.append(Aim(f"exponent of processor time over {what} (at most {AIM})", found, at_most=AIM))
    report.data[what] = {
        str(size): {"processor": own.as_json(), "wall": passed.as_json()} for size, (own, passed) in spreads.items()
    }


def _run(worker: Worker, workflow: dict[str, Any]) -> None:
    body = worker.run(workflows.request(workflow))
    if "error" in body:
        raise RuntimeError(str(body)[:500])
