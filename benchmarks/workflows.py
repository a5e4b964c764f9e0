"""Workflows and pictures that the benchmarks send."""

from __future__ import annotations

import base64
import io
import json
import random
from typing import Any

from PIL import Image

Workflow = dict[str, Any]


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def save(source: str, prefix: str = "bench") -> dict[str, Any]:
    return node("SaveImage", images=[source, 0], filename_prefix=prefix)


def noise(side: int, seed: int) -> bytes:
    """A PNG that cannot be compressed: 3.1 MB for 1024."""
    pixels = random.Random(seed).randbytes(side * side * 3)
    buffer = io.BytesIO()
    Image.frombytes("RGB", (side, side), pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def small_picture() -> Workflow:
    return {"1": node("EmptyImage", width=64, height=64, batch_size=1, color=77), "2": save("1")}


def loaded_pictures(names: list[str]) -> Workflow:
    """Each input picture saved again."""
    loads = {f"{number}": node("LoadImage", image=name) for number, name in enumerate(names, 1)}
    return {**loads, **{f"{int(load) + 100}": save(load) for load in loads}}


def blended_pictures(names: list[str]) -> Workflow:
    """All input pictures in one."""
    workflow = {f"{number}": node("LoadImage", image=name) for number, name in enumerate(names, 1)}
    last = "1"
    for number in range(2, len(names) + 1):
        workflow[f"b{number}"] = node(
            "ImageBlend", image1=[last, 0], image2=[f"{number}", 0], blend_factor=0.5, blend_mode="normal"
        )
        last = f"b{number}"
    return {**workflow, "s": save(last)}


def sleeping(seconds: float, color: int = 0) -> Workflow:
    """What only keeps the (pretended) GPU busy."""
    return {
        "1": node("EmptyImage", width=8, height=8, batch_size=1, color=color),
        "2": node("TestSleep", image=["1", 0], seconds=seconds, steps=max(1, round(seconds * 4))),
        "3": save("2"),
    }


def blend_tree(leaves: int) -> Workflow:
    """2 * `leaves` nodes, no path longer than log2(leaves): the same few colors, so that ComfyUI has them cached."""
    workflow = {f"e{n}": node("EmptyImage", width=8, height=8, batch_size=1, color=n % 4) for n in range(leaves)}
    level, number = list(workflow), 0
    while len(level) > 1:
        merged = []
        for one, other in zip(level[::2], level[1::2], strict=False):
            number += 1
            workflow[f"b{number}"] = node(
                "ImageBlend", image1=[one, 0], image2=[other, 0], blend_factor=0.5, blend_mode="normal"
            )
            merged.append(f"b{number}")
        level = merged + level[len(merged) * 2 :]
    return {**workflow, "s": save(level[0])}


def made_files(count: int, size: int, suffix: str = ".png", tag: str = "") -> Workflow:
    """`count` files of `size` bytes, written by one node."""
    files = [{"filename": f"file{tag}_{number:03}{suffix}", "size": size} for number in range(count)]
    return {"1": node("TestFiles", files=json.dumps(files), text="", strings="")}


def request(workflow: Workflow, images: dict[str, bytes] | None = None, id: str = "sync-bench-u1") -> dict[str, Any]:
    """RunPod's job dict."""
    entries = [{"name": name, "image": base64.b64encode(content).decode()} for name, content in (images or {}).items()]
    return {"id": id, "input": {"workflow": workflow, **({"images": entries} if entries else {})}}
