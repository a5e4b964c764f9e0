"""Asks for a fresh worker with its result. The SDK passes that on and polls on; the platform has to stop it."""

import os

import runpod


async def handler(job):
    return {"refresh_worker": True, "pid": os.getpid()}


runpod.serverless.start({"handler": handler})
