"""Load on the local endpoint: many small jobs from many clients, and /status while large bodies move.

    python benchmarks/endpoint_load.py [--jobs 2000] [--clients 50] [--workers 3]

Starts the endpoint and real workers (the SDK's loop) as processes of their own. Checks that no job is lost and none
is run twice, and prints the endpoint's memory and the times of /status.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import aiohttp

from local_runpod.environment import worker_environment
from local_runpod.listener import listening_socket
from local_runpod.settings import Settings

# Many jobs at a time: with one, the SDK asks for work once a second.
HANDLER = """
import os, runpod

async def handler(job):
    with open(os.environ["RAN"], "a") as ran:
        ran.write(job["id"] + "\\n")
    return "x" * job["input"].get("characters", 10)

runpod.serverless.start({"handler": handler, "concurrency_modifier": lambda current: 20})
"""
LARGE = 20_000_000


def start(command: list[str], stack: ExitStack, log: Path, **more: Any) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        command, stdout=stack.enter_context(log.open("wb")), stderr=subprocess.STDOUT, start_new_session=True, **more
    )
    stack.callback(lambda: (os.killpg(process.pid, signal.SIGKILL), process.wait()))
    return process


def resident_mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


def percentiles(seconds: list[float]) -> str:
    cuts = statistics.quantiles(seconds, n=100)
    shown = {"median": cuts[49], "95 %": cuts[94], "99 %": cuts[98], "slowest": max(seconds)}
    return ", ".join(f"{name} {value * 1000:.1f} ms" for name, value in shown.items())


async def small_jobs(
    session: aiohttp.ClientSession, url: str, jobs: int, clients: int
) -> tuple[list[str], list[float]]:
    """Each client submits a job, polls it to its end, and begins again. The ids, and the times of all calls."""
    left = iter(range(jobs))
    ids: list[str] = []
    times: list[float] = []

    async def call(method: str, path: str, **more: Any) -> Any:
        began = time.perf_counter()
        async with session.request(method, url + path, **more) as answer:
            document = await answer.json()
        times.append(time.perf_counter() - began)
        return document

    async def client() -> None:
        for number in left:
            job_id = (await call("POST", "/run", json={"input": {"n": number}}))["id"]
            ids.append(job_id)
            while (job := await call("GET", f"/status/{job_id}"))["status"] != "COMPLETED":
                assert job["status"] in ("IN_QUEUE", "IN_PROGRESS"), job
                await asyncio.sleep(0.1)
            assert job["output"] == "x" * 10, job

    await asyncio.gather(*(client() for _ in range(clients)))
    return ids, times


# In a process of its own, so that its work is not measured as the endpoint's.
LARGE_CLIENT = """
import sys, urllib.request
url, length, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
body = b'{"input":{"characters":%d,"filler":"%s"}}' % (length, b"x" * length)
for _ in range(rounds):
    with urllib.request.urlopen(urllib.request.Request(url, body), timeout=120) as answer:
        assert len(answer.read()) > length
"""


async def status_times(session: aiohttp.ClientSession, url: str, job_id: str, moving: Any) -> list[float]:
    """The times of /status, asked for again and again until the process `moving` ends."""
    times: list[float] = []
    while moving.poll() is None:
        began = time.perf_counter()
        async with session.get(f"{url}/status/{job_id}") as answer:
            await answer.read()
        times.append(time.perf_counter() - began)
        await asyncio.sleep(0.005)
    return times


async def measure(options: argparse.Namespace, url: str, endpoint: int, ran: Path) -> None:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def health() -> Any:
            async with session.get(f"{url}/health") as answer:
                return await answer.json()

        while (await health())["workers"]["idle"] < options.workers:
            await asyncio.sleep(0.1)
        await small_jobs(session, url, options.clients, options.clients)
        ran.write_text("")
        say(f"memory of the endpoint before: {resident_mib(endpoint):.1f} MiB")
        for round_ in range(2):
            began = time.perf_counter()
            ids, times = await small_jobs(session, url, options.jobs, options.clients)
            seconds = time.perf_counter() - began
            counts = Counter(ran.read_text().split())
            lost = [job_id for job_id in ids if counts[job_id] == 0]
            twice = [job_id for job_id in ids if counts[job_id] > 1]
            say(f"{len(ids)} jobs, {options.clients} clients, {options.workers} workers: {seconds:.1f} s")
            say(f"  lost {len(lost)}, run twice {len(twice)}; {len(times)} calls: {percentiles(times)}")
            say(f"  memory of the endpoint after round {round_ + 1}: {resident_mib(endpoint):.1f} MiB")
            assert not lost
            assert not twice
        for what, rounds in (("nothing else", 0), ("20 MB in, 20 MB through, 20 MB out", 5)):
            arguments = [f"{url}/runsync?wait=60000", str(LARGE), str(rounds)]
            client = [sys.executable, "-c", LARGE_CLIENT if rounds else "import time; time.sleep(3)", *arguments]
            moving = subprocess.Popen(client)
            times = await status_times(session, url, ids[0], moving)
            assert moving.returncode == 0
            say(f"/status beside {what}: {len(times)} calls: {percentiles(times)}")
        say(f"memory of the endpoint at the end: {resident_mib(endpoint):.1f} MiB")


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--workers", type=int, default=3)
    options = parser.parse_args()
    listener = listening_socket("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        ran, handler = folder / "ran", folder / "handler.py"
        ran.write_text("")
        handler.write_text(HANDLER)
        environment = {**os.environ, "LOCAL_RUNPOD_LOG_LEVEL": "WARNING"}
        command = [sys.executable, "-m", "local_runpod", "--fd", str(listener.fileno())]
        log = folder / "endpoint.log"
        endpoint = start(command, stack, log, env=environment, pass_fds=[listener.fileno()])
        listener.close()
        for number in range(options.workers):
            worker = worker_environment(url, Settings(), f"w{number + 1}")
            env = {**os.environ, **worker, "RUNPOD_LOG_LEVEL": "ERROR", "RAN": str(ran)}
            start([sys.executable, str(handler)], stack, folder / f"w{number}.log", env=env)
        asyncio.run(measure(options, url, endpoint.pid, ran))


if __name__ == "__main__":
    main()
