"""RunPod's entry point: launch ComfyUI, then hand the SDK an async handler around `Worker.run`.

What is imported at the top decides how soon ComfyUI starts; everything heavy is imported while it boots.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from comfy_worker.comfyui.process import ComfyUIServer
from comfy_worker.config import Settings
from comfy_worker.errors import ConfigError
from comfy_worker.logs import configure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from comfy_worker.worker import Worker

#: How long a cancelled job may take to clean up behind itself.
CLEAN_UP_S = 15.0


def main() -> None:
    """Serve jobs until the SDK's loop ends."""
    try:
        settings = Settings.from_env(os.environ)
    except ConfigError as error:
        sys.exit(f"The worker cannot start: {error}")
    configure(settings.log_level, settings.secrets)
    server = ComfyUIServer(settings)
    atexit.register(server.stop)
    server.start()
    serve(settings, server)


def serve(settings: Settings, server: ComfyUIServer) -> None:
    with without_processor_survey():
        import runpod
    from runpod.serverless.modules.worker_state import JobsProgress

    from comfy_worker.comfyui.client import ComfyUIClient
    from comfy_worker.comfyui.folders import Folders
    from comfy_worker.doctor import volume_hints
    from comfy_worker.model_folders import model_folders
    from comfy_worker.prefetch import Prefetch, Slots
    from comfy_worker.volume import survey
    from comfy_worker.worker import Worker

    # A ComfyUI that somebody else started may have its folders anywhere.
    ours = settings.comfyui_path if server.launched else None
    folders = Folders.of(ours, settings.comfy_args) if ours else None
    prefetch = Prefetch(lambda: [job.id for job in JobsProgress()])
    client = ComfyUIClient(settings.comfy_host)

    def explain_missing(models: Sequence[tuple[str, str]]) -> list[str]:
        return volume_hints(models, survey(ours), model_folders(ours)) if ours else []

    worker = Worker(settings, server, client, folders, prefetch.prepared, prefetch.ran, explain_missing)
    jobs = settings.concurrency or Slots.of(prefetch)
    config: dict[str, Any] = {"concurrency_modifier": lambda _: jobs}

    def give_back(answered: bool) -> None:
        # The answer's own flag only asks the platform to stop the pod; this one also ends the SDK's loop.
        config["refresh_worker"] = prefetch.closed = True
        if not answered:
            # It looks at the flag after an answer only, and a cancelled job has none.
            signal.raise_signal(signal.SIGTERM)

    config["handler"] = async_handler(worker, give_back)
    runpod.serverless.start(config)


@contextmanager
def without_processor_survey() -> Iterator[None]:
    """py-cpuinfo takes over a second of processor time to tell the processor's name, which the SDK asks for when it is
    imported, for a report of its debugger. ComfyUI starts meanwhile and needs the processor."""
    import types

    stand_in = types.ModuleType("cpuinfo")
    stand_in.__dict__["get_cpu_info"] = lambda: {"brand_raw": "unknown"}
    kept = sys.modules.setdefault("cpuinfo", stand_in)
    try:
        yield
    finally:
        if kept is stand_in:
            del sys.modules["cpuinfo"]


def async_handler(worker: Worker, give_back: Callable[[bool], None]) -> Any:
    """The SDK's handler: jobs run in threads, so that its loop goes on polling, prefetching and hearing of cancels.

    `give_back` is called when this worker is to take no more jobs, with whether the job that says so has an answer."""
    import asyncio
    import threading
    from concurrent.futures import ThreadPoolExecutor

    from runpod.http_client import AsyncClientSession
    from runpod.serverless.modules.rp_http import send_result

    from comfy_worker.config import MOST_CONCURRENT
    from comfy_worker.reporter import Reporter

    threads = ThreadPoolExecutor(2 * MOST_CONCURRENT, "job")
    on_runpod = "RUNPOD_WEBHOOK_POST_OUTPUT" in os.environ

    async def handler(job: dict[str, Any]) -> dict[str, Any]:
        async def post(progress: dict[str, Any]) -> None:
            if on_runpod:
                async with AsyncClientSession() as session:
                    await send_result(session, {"status": "IN_PROGRESS", "output": progress}, job)

        stop, reporter = threading.Event(), Reporter(post)
        run = asyncio.get_running_loop().run_in_executor(threads, worker.run, job, stop, reporter.tell)
        try:
            body = await asyncio.shield(run)
        except asyncio.CancelledError:
            stop.set()
            await asyncio.wait([run], timeout=CLEAN_UP_S)
            if run.done() and run.result().get("refresh_worker"):
                give_back(False)
            raise
        finally:
            await reporter.finish()
        if body.get("refresh_worker"):
            give_back(True)
        return body

    return handler


if __name__ == "__main__":
    main()
