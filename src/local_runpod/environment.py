"""The environment in which a worker takes its jobs from the local endpoint instead of RunPod."""

from __future__ import annotations

from urllib.parse import quote

from .settings import Settings

# The SDK sends no heartbeat without a key, so a worker gets one even when none is checked.
UNCHECKED_KEY = "local-worker-key"


def worker_environment(base_url: str, settings: Settings, worker: str, start: str = "") -> dict[str, str]:
    """The variables of runpod-python 1.12.0, for a worker that reaches the endpoint at `base_url`.

    `start` tells two processes of one worker name apart. The job-take URL must have a `?` (the SDK appends with `&`)
    and contain `/job-take/` (the SDK derives its other polls from it by replacing that part).
    """
    root = f"{base_url.rstrip('/')}/v2/{settings.endpoint_id}"
    query = "gpu=local" + (f"&start={quote(start)}" if start else "")
    return {
        "RUNPOD_WEBHOOK_GET_JOB": f"{root}/job-take/$ID?{query}",
        "RUNPOD_WEBHOOK_POST_OUTPUT": f"{root}/job-done/$RUNPOD_POD_ID/$ID?{query}",
        "RUNPOD_WEBHOOK_POST_STREAM": f"{root}/job-stream/$RUNPOD_POD_ID/$ID?{query}",
        "RUNPOD_WEBHOOK_PING": f"{root}/ping/$RUNPOD_POD_ID?{query}",
        "RUNPOD_AI_API_KEY": settings.worker_key or UNCHECKED_KEY,
        "RUNPOD_POD_ID": worker,
        "RUNPOD_ENDPOINT_ID": settings.endpoint_id,
        "RUNPOD_PING_INTERVAL": str(settings.ping_interval_ms),
        # The SDK's checks (4 GB of free memory, 10 % of the disk, a TCP connection to 8.8.8.8) end the worker on many
        # laptops. The third name is the one of the next SDK version.
        "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true",
        "RUNPOD_SKIP_GPU_CHECK": "true",
        "RUNPOD_SKIP_FITNESS_CHECKS": "true",
    }
