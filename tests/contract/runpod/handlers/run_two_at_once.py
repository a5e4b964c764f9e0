"""Takes two jobs at a time; each tells how many ran while it did."""

import asyncio

import runpod

running = 0


async def handler(job):
    global running
    running += 1
    await asyncio.sleep(job["input"]["seconds"])
    seen = running
    running -= 1
    return {"seen": seen}


runpod.serverless.start({"handler": handler, "concurrency_modifier": lambda current: 2})
