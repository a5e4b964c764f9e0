"""Sleeps for `seconds`, then answers with what it was given. An async handler: it can be cancelled."""

import asyncio
import os

import runpod


async def handler(job):
    await asyncio.sleep(job["input"].get("seconds", 0))
    return {"echo": job["input"], "job_keys": sorted(job), "worker": os.environ["RUNPOD_POD_ID"]}


runpod.serverless.start({"handler": handler})
