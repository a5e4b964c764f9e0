"""Returns or raises what the input says. Takes jobs in batches, which spares the SDK's pause of a second per job."""

import runpod


async def handler(job):
    told = job["input"]
    if "raise" in told:
        raise ValueError(told["raise"])
    if "characters" in told:
        return "x" * told["characters"]
    if "not_json" in told:
        return {"bytes": b"x"} if told["not_json"] == "bytes" else {"number": float("nan")}
    return told["return"]


runpod.serverless.start({"handler": handler, "concurrency_modifier": lambda current: 8})
