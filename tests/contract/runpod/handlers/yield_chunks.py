"""Streams `count` chunks, `gap` seconds apart."""

import asyncio

import runpod


async def handler(job):
    for index in range(job["input"]["count"]):
        yield {"index": index}
        await asyncio.sleep(job["input"].get("gap", 0))


runpod.serverless.start({"handler": handler})
