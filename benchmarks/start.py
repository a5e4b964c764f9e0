"""4. The start: from the process to ComfyUI's launch, and to the first job."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.endpoint import LocalEndpoint
from benchmarks.processes import ROOT, EmbeddedComfyUI, Process, free_port, until
from benchmarks.report import Aim, Report
from benchmarks.spread import Spread, ratios
from benchmarks.workflows import small_picture
from local_runpod.environment import worker_environment

AIM_S = 0.15
#: Stands in for ComfyUI's Python: says when it was started, and stays.
LAUNCHED = "#!/bin/sh\ndate +%s.%N > '{mark}'\nexec sleep 60\n"


def run(*, quick: bool) -> list[Report]:
    rounds = 3 if quick else 10
    report = Report("start", "seconds from the start of the process", ["what", "seconds", "ratio"])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _launch(report, folder, rounds)
        with EmbeddedComfyUI(folder / "comfyui") as comfyui, LocalEndpoint(round_trip_s=0) as endpoint:
            _first_job(report, endpoint, comfyui.host, folder, rounds)
    return [report]


def _launch(report: Report, folder: Path, rounds: int) -> None:
    """In a start of its own a bare interpreter is timed, which comes before anything that is ours."""
    comfyui, mark, python = folder / "pretended", folder / "mark", folder / "python"
    comfyui.mkdir()
    (comfyui / "main.py").touch()
    python.write_text(LAUNCHED.format(mark=mark))
    python.chmod(0o755)
    environment = {
        "COMFY_HOST": f"127.0.0.1:{free_port()}", "COMFYUI_PATH": str(comfyui), "COMFY_PYTHON": str(python),
    }  # fmt: skip

    def handler() -> float:
        mark.unlink(missing_ok=True)
        with Process([sys.executable, str(ROOT / "handler.py")], environment) as process:
            return (
                float(until(lambda: mark.exists() and mark.read_text(), 30, "ComfyUI is launched")) - process.started_at
            )

    def interpreter() -> float:
        with Process([sys.executable, "-c", "import time; print(time.time())"]) as process:
            return float(until(lambda: process.lines, 30, "the interpreter runs")[0][1]) - process.started_at

    measured = _in_turns(rounds, {"interpreter": interpreter, "launch": handler})
    own = [launch - bare for launch, bare in zip(measured["launch"], measured["interpreter"], strict=True)]
    report.rows.append(["a bare Python interpreter runs", Spread.of(measured["interpreter"]).show(1, 3), ""])
    report.rows.append(["ComfyUI is launched", Spread.of(measured["launch"]).show(1, 3), ""])
    report.rows.append(["of this our own", Spread.of(own).show(1, 3), ""])
    launched = Spread.of(measured["launch"])
    report.aims.append(Aim(f"seconds to ComfyUI's launch (below {AIM_S})", launched.median, at_most=AIM_S))
    report.data["launch"] = {name: Spread.of(values).as_json() for name, values in measured.items()}


def _first_job(report: Report, endpoint: LocalEndpoint, host: str, folder: Path, rounds: int) -> None:
    numbers = iter(range(10_000))

    def start(script: Path, **environment: str) -> Callable[[], float]:
        def taken() -> float:
            worker = worker_environment(endpoint.url, endpoint.settings, f"w{next(numbers)}")
            job_id = endpoint.submit(small_picture())
            submitted = time.time()
            with Process([sys.executable, str(script)], {**worker, "HOME": str(folder), **environment}) as process:
                status = endpoint.wait_for(job_id, 60)
                return submitted + float(status["delayTime"]) / 1000 - process.started_at

        return taken

    measured = _in_turns(
        rounds,
        {
            "plain": start(ROOT / "benchmarks" / "plain_handler.py"),
            "ours": start(ROOT / "handler.py", COMFY_HOST=host),
        },
    )
    ratio = ratios(measured["ours"], measured["plain"])
    report.rows.append(["a plain SDK handler takes its first job", Spread.of(measured["plain"]).show(1, 3), ""])
    report.rows.append(
        ["handler.py takes its first job, ComfyUI up", Spread.of(measured["ours"]).show(1, 3), ratio.show()]
    )
    report.data["first job"] = {name: Spread.of(values).as_json() for name, values in measured.items()}
    report.data["first job ratio"] = ratio.as_json()


def _in_turns(rounds: int, starts: dict[str, Callable[[], float]]) -> dict[str, list[float]]:
    """As `spread.interleaved`, for what measures itself; the first round warms the disk's cache."""
    measured: dict[str, list[float]] = {name: [] for name in starts}
    for number in range(rounds + 1):
        for name, start in starts.items():
            seconds = start()
            if number:
                measured[name].append(seconds)
    return measured
