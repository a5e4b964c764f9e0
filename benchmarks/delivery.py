"""3. Results on their way out: time to a bucket 100 ms away, and memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from benchmarks.memory import MB, bucket_at, deliver
from benchmarks.processes import ROOT, EmbeddedComfyUI, Process, until
from benchmarks.report import Aim, Report
from benchmarks.spread import Spread, interleaved, ratios
from comfy_worker.storage import S3Storage

LATENCY_S = 0.1
FILES = 8
FILE_MB = 4
LARGE_MB = 200
INLINE_MB = 15


def run(*, quick: bool) -> list[Report]:
    rounds = 2 if quick else 7
    report = Report(
        "delivery",
        f"a bucket {1000 * LATENCY_S:.0f} ms away, and base64",
        ["what", "seconds", "memory grows by, MB", "ratio"],
    )
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        (folder / "output").mkdir()
        port = _far_bucket(stack)
        _many(report, folder, port, 4 * rounds)
        _large(report, folder, port, rounds)
        _inline(report, stack.enter_context(EmbeddedComfyUI(folder / "comfyui")), rounds)
    report.notes.append("memory: peak of the process over what it held before, each measured in a new process")
    return [report]


def _far_bucket(stack: ExitStack) -> int:
    server = stack.enter_context(Process([sys.executable, "-m", "benchmarks.slow_bucket", str(LATENCY_S)]))
    line = until(lambda: next((text for _, text in server.lines if text.startswith("port ")), ""), 20, "the bucket")
    return int(line.split()[1])


def _many(report: Report, folder: Path, port: int, rounds: int) -> None:
    names = _files(folder, [f"{number}.png" for number in range(FILES)], FILE_MB)
    storage = S3Storage(bucket_at(port))
    with ThreadPoolExecutor(16) as transfers:
        measured = interleaved(
            rounds,
            {
                "one": lambda: deliver(storage, folder, names[:1], transfers),
                "all": lambda: deliver(storage, folder, names, transfers),
            },
        )
    ratio = ratios(measured["all"], measured["one"])
    report.rows.append([f"1 file of {FILE_MB} MB to S3", Spread.of(measured["one"]).show(1, 3), "", ""])
    report.rows.append(
        [f"{FILES} files of {FILE_MB} MB to S3", Spread.of(measured["all"]).show(1, 3), "", ratio.show()]
    )
    report.aims.append(Aim(f"{FILES} files, times one file (at most 1.3)", ratio.median, at_most=1.3))
    report.data["many"] = {name: Spread.of(values).as_json() for name, values in measured.items()}
    report.data["many ratio"] = ratio.as_json()


def _large(report: Report, folder: Path, port: int, rounds: int) -> None:
    (name,) = _files(folder, ["large.mp4"], LARGE_MB)
    growth = _measure(report, f"1 file of {LARGE_MB} MB to S3", ("bucket", str(port), str(folder), name), rounds, None)
    report.aims.append(Aim(f"MB that {LARGE_MB} MB to S3 take (below 32)", growth, at_most=32))


def _inline(report: Report, comfyui: EmbeddedComfyUI, rounds: int) -> None:
    """The worker's own part, and with the SDK's, which makes JSON text of it and sends that."""
    arguments = (comfyui.host, str(comfyui.folder), str(INLINE_MB * MB))
    own = _measure(report, f"{INLINE_MB} MB as base64", ("inline", *arguments), rounds, INLINE_MB)
    posted = _measure(report, f"{INLINE_MB} MB as base64, posted by the SDK", ("posted", *arguments), rounds, INLINE_MB)
    for how, growth in (("", own), (" and posted by the SDK", posted)):
        text = f"{INLINE_MB} MB as base64{how}, times the file (below 3.5)"
        report.aims.append(Aim(text, growth / INLINE_MB, at_most=3.5))
    report.notes.append(
        "with the SDK: beside the answer (20 MB) there is its JSON text (20 MB), and posting that grows by 56 MB more,"
        " measured step by step"
    )


def _measure(report: Report, what: str, arguments: Sequence[str], rounds: int, file_mb: float | None) -> float:
    """-> median growth in MB."""
    seconds, growths = [], []
    for _ in range(rounds):
        found = _in_own_process(arguments)
        seconds.append(found["seconds"])
        growths.append(found["growth"] / MB)
    grown = Spread.of(growths)
    ratio = Spread.of([growth / file_mb for growth in growths]).show() if file_mb else ""
    report.rows.append([what, Spread.of(seconds).show(1, 3), grown.show(1, 1), ratio])
    report.data[what] = {"seconds": Spread.of(seconds).as_json(), "growth_mb": grown.as_json()}
    return grown.median


def _in_own_process(arguments: Sequence[str]) -> dict[str, float]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("RUNPOD_")}
    sdk = {"RUNPOD_LOG_LEVEL": "INFO", "RUNPOD_WEBHOOK_GET_JOB": "http://127.0.0.1:9/job-take/w?x"}
    if arguments[0] == "posted":
        with ExitStack() as stack:
            sink = f"http://127.0.0.1:{_far_bucket(stack)}/job-done/$ID?x"
            return _child(arguments, {**kept, **sdk, "RUNPOD_WEBHOOK_POST_OUTPUT": sink})
    return _child(arguments, kept)


def _child(arguments: Sequence[str], environment: dict[str, str]) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.memory", *arguments]
    paths = {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    ended = subprocess.run(
        command, env={**environment, **paths}, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    if ended.returncode:
        raise RuntimeError(ended.stdout + ended.stderr)
    found: dict[str, float] = json.loads(ended.stdout.splitlines()[-1])
    return found


def _files(folder: Path, names: list[str], megabytes: int) -> list[str]:
    for name in names:
        (folder / "output" / name).write_bytes(os.urandom(megabytes * MB))
    return names
