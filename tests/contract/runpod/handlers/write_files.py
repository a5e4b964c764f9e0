"""Answers with a file, as an image worker does, and a warning beside it."""

import base64

import runpod


async def handler(job):
    image = {"filename": "../a.png", "type": "base64", "data": base64.b64encode(b"picture").decode()}
    return {"images": [image], "errors": ["a warning"]}


runpod.serverless.start({"handler": handler})
