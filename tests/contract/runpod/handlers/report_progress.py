"""Reports progress: `slowly`, with pauses, or all at once right before the result, which races it."""

import asyncio

import runpod


async def handler(job):
    for percent in (10, 20, 30):
        runpod.serverless.progress_update(job, {"percent": percent})
        if job["input"]["slowly"]:
            await asyncio.sleep(0.5)
    return "done"


runpod.serverless.start({"handler": handler})
