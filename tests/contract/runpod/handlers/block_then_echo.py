"""Sleeps for `seconds` in a plain function, which blocks the SDK's loop: it cannot be cancelled."""

import time

import runpod


def handler(job):
    time.sleep(job["input"].get("seconds", 0))
    return {"echo": job["input"]}


runpod.serverless.start({"handler": handler})
