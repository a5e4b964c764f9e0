"""`python -m local_runpod serve`: endpoint, workers and ComfyUI until Ctrl-C."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from .settings import Settings
from .stack import INTERRUPTED, Stack

_REQUEST = Path("test_input.json")


def serve(settings: Settings, stack: Stack) -> int:
    async def until_stopped(stack: Stack) -> int:
        sys.stdout.write(_banner(settings, stack))
        sys.stdout.flush()
        await asyncio.Event().wait()
        return 0

    code = asyncio.run(stack.run(until_stopped))
    return 0 if code == INTERRUPTED else code


def _banner(settings: Settings, stack: Stack) -> str:
    """What to do next, to be copied."""
    data = f"@{_REQUEST}" if _REQUEST.exists() else """'{"input": {}}'"""
    key = ' -H "Authorization: Bearer $LOCAL_RUNPOD_API_KEY"' if settings.client_keys else ""
    return f"""
Ready: {stack.base_url}  (the same with /v2/{settings.endpoint_id} in front of each path; documentation: /docs)

  curl -X POST {stack.base_url}/runsync{key} -H "Content-Type: application/json" -d {data}

Ctrl-C stops it.

"""
