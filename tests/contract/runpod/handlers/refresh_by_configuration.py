"""Is configured to be a fresh worker for each job: the SDK ends the process after the first."""

import os

import runpod


async def handler(job):
    return {"pid": os.getpid()}


runpod.serverless.start({"handler": handler, "refresh_worker": True})
