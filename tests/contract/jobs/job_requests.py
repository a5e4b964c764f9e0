"""Jobs, nodes and pictures for the tests of this folder."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Callable
from typing import Any

from PIL import Image

from comfy_worker.worker import Worker

MakeWorker = Callable[..., Worker]


def picture(color: tuple[int, int, int] = (200, 30, 60), size: tuple[int, int] = (32, 24)) -> str:
    """A PNG as base64."""
    buffer = io.BytesIO()
    Image.new("RGB", size, color).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def pixels(item: dict[str, Any]) -> Image.Image:
    """The picture of one entry of `images`."""
    return Image.open(io.BytesIO(base64.b64decode(item["data"]))).convert("RGB")


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def save(source: str, prefix: str = "ComfyUI") -> dict[str, Any]:
    return node("SaveImage", images=[source, 0], filename_prefix=prefix)


def empty(color: int = 255, side: int = 16, batch: int = 1) -> dict[str, Any]:
    return node("EmptyImage", width=side, height=side, batch_size=batch, color=color)


def job(workflow: dict[str, Any], images: list[dict[str, str]] | None = None, id: str = "job-u1", **more: Any) -> Any:
    return {"id": id, "input": {"workflow": workflow, **({"images": images} if images else {}), **more}}


def wait_until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """For what happens in other threads; generous, since it only ends a broken test."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "what the test waits for did not happen"
        time.sleep(0.01)
