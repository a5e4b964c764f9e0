"""One delivery in a process of its own, and by how much its memory grew: `python -m benchmarks.memory CASE ...`.

Prints a line of JSON: {"seconds", "growth" in bytes}. The growth is the peak of the resident memory during the delivery
(VmHWM, reset just before) over what was resident before it.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from comfy_worker.bucket import Bucket
from comfy_worker.comfyui.client import ComfyUIClient
from comfy_worker.comfyui.folders import Folders
from comfy_worker.delivery import Delivery, OutputSource
from comfy_worker.execution import NodeOutput
from comfy_worker.job import Job
from comfy_worker.response import LIMIT_SYNC
from comfy_worker.storage import S3Storage

MB = 1_000_000


def resident(what: str) -> int:
    """Bytes of VmRSS or VmHWM."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith(what)))


def grown(run: Callable[[], object]) -> dict[str, float]:
    before, started = resident("VmRSS"), time.perf_counter()
    # Linux: sets the peak to what is resident now.
    Path("/proc/self/clear_refs").write_text("5")
    run()
    return {"seconds": time.perf_counter() - started, "growth": resident("VmHWM") - before}


def bucket_at(port: int) -> Bucket:
    return Bucket(
        endpoint_url=f"http://127.0.0.1:{port}", name="b", region="us-east-1", access_key_id="k", secret_access_key="s"
    )


def deliver(storage: Any, folder: Path, names: list[str], transfers: ThreadPoolExecutor) -> dict[str, Any]:
    """Files of ComfyUI's output folder, as after a run; nothing else of a job."""
    source = OutputSource(ComfyUIClient("127.0.0.1:9"), Folders.of(folder, ()))
    job = Job(id="sync-bench-u1", workflow={"1": {}})
    delivery = Delivery("bench", job, source, storage, LIMIT_SYNC, transfers)
    files = [{"filename": name, "subfolder": "", "type": "output"} for name in names]
    delivery.take(NodeOutput("1", {"images": files}))
    delivery.finish()
    fields, failures = delivery.collect()
    if failures:
        raise failures[0]
    return fields


def to_bucket(port: int, folder: Path, name: str) -> dict[str, float]:
    storage = S3Storage(bucket_at(port))
    with ThreadPoolExecutor(16) as transfers:
        warm_up = folder / "output" / "warm_up.png"
        warm_up.write_bytes(b"x")
        deliver(storage, folder, [warm_up.name], transfers)
        return grown(lambda: deliver(storage, folder, [name], transfers))


def as_base64(host: str, folder: Path, size: int, *, posted: bool) -> dict[str, float]:
    """A whole job whose one file is `size` bytes; `posted`: under the SDK, until its result is with the endpoint."""
    from benchmarks import workflows
    from benchmarks.overhead import worker_on

    def job(size: int) -> dict[str, Any]:
        return workflows.request(workflows.made_files(1, size, tag=f"_{size}"))

    with worker_on(host, folder) as worker:
        if not posted:
            worker.run(job(1000))
            return grown(lambda: _checked(worker.run(job(size))))
        from handler import async_handler
        from runpod.http_client import AsyncClientSession
        from runpod.serverless.modules.rp_job import handle_job

        async def both() -> dict[str, float]:
            config = {"handler": async_handler(worker, lambda answered: None)}
            async with AsyncClientSession() as session:
                await handle_job(session, config, job(1000))
                before, started = resident("VmRSS"), time.perf_counter()
                Path("/proc/self/clear_refs").write_text("5")
                await handle_job(session, config, job(size))
                return {"seconds": time.perf_counter() - started, "growth": resident("VmHWM") - before}

        return asyncio.run(both())


def _checked(body: dict[str, Any]) -> None:
    if "error" in body:
        raise RuntimeError(str(body)[:500])


def main(case: str, *arguments: str) -> None:
    if case == "bucket":
        port, folder, name = arguments
        found = to_bucket(int(port), Path(folder), name)
    else:
        host, at, size = arguments
        found = as_base64(host, Path(at), int(size), posted=case == "posted")
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()
    # The SDK's threads are of no interest any more.
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
