"""Uses runpod.Endpoint and its asyncio twin as their documentation shows; prints what they returned as JSON.

Arguments: base URLs of an endpoint that echoes, of one that streams and of one without workers. The SDK is not told
about them in any way but its documented setting.
"""

import asyncio
import json
import sys

import runpod
from runpod.endpoint.asyncio import Endpoint as AsyncEndpoint
from runpod.http_client import AsyncClientSession

ECHO, STREAM, IDLE = sys.argv[1:]
seen = {}

runpod.api_key = "local"
runpod.endpoint_url_base = f"{STREAM}/v2"
streaming = runpod.Endpoint("local").run({"input": {"count": 3}})

runpod.endpoint_url_base = f"{IDLE}/v2"
waiting = runpod.Endpoint("local")
waiting.run({"input": {"n": 1}})
seen["purge_queue"] = waiting.purge_queue()

runpod.endpoint_url_base = f"{ECHO}/v2"
endpoint = runpod.Endpoint("local")
job = endpoint.run({"input": {"seconds": 0.1}})
seen["status"] = job.status()
seen["output"] = job.output(timeout=10)
seen["final status"] = job.status()
seen["run_sync"] = endpoint.run_sync({"input": {"n": 2}}, timeout=10)
seen["unwrapped"] = endpoint.run_sync({"prompt": "x"}, timeout=10)
cancelled = endpoint.run({"input": {"seconds": 60}})
seen["cancel"] = cancelled.cancel()
seen["cancelled"] = cancelled.status()
seen["health"] = endpoint.health()
seen["stream"] = list(streaming.stream())


async def asynchronously():
    async with AsyncClientSession() as session:
        endpoint = AsyncEndpoint("local", session)
        job = await endpoint.run({"seconds": 0.1})
        other = await endpoint.run({"seconds": 60})
        seen["async status"] = await job.status()
        seen["async output"] = await job.output(timeout=10)
        seen["async cancel"] = await other.cancel()
        seen["async health"] = await endpoint.health()
        runpod.endpoint_url_base = f"{IDLE}/v2"
        seen["async purge_queue"] = await AsyncEndpoint("local", session).purge_queue()


asyncio.run(asynchronously())

json.dump(seen, sys.stdout)
