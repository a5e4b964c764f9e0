"""Nodes for tests, registered on demand only: slow, raising, out of memory, odd outputs, deadly.

Their inputs are strings and numbers, so that a test can write them into any workflow. `image` is optional everywhere:
a test node can stand alone or in the middle of a chain.
"""

from __future__ import annotations

import builtins
import json
import os
from typing import Any

from PIL import Image

from local_comfyui.folders import inside
from local_comfyui.nodes.declaration import Input, Json, NodeCall, NodeResult, NodeType, integer, number
from local_comfyui.nodes.pictures import Images


class OutOfMemoryError(RuntimeError):
    """Looks to a client like PyTorch's own: `exception_type` is built from module and name."""


OutOfMemoryError.__module__ = "torch"


def _passed_on(image: Images | None) -> tuple[Images]:
    return (image or Images((Image.new("RGB", (8, 8)),)),)


def _sleep(call: NodeCall, seconds: float, steps: int, image: Images | None = None) -> NodeResult:
    for step in range(1, steps + 1):
        call.pause(seconds / steps)
        call.report_progress(step, steps, None)
    return NodeResult(_passed_on(image))


def _raise(call: NodeCall, message: str, exception_type: str, image: Images | None = None) -> NodeResult:
    kind = getattr(builtins, exception_type, None)
    if not (isinstance(kind, type) and issubclass(kind, Exception)):
        module, _, name = exception_type.rpartition(".")
        kind = type(name, (Exception,), {"__module__": module or "custom_nodes"})
    raise kind(message)


def _out_of_memory(call: NodeCall, image: Images | None = None) -> NodeResult:
    raise OutOfMemoryError(
        "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 23.64 GiB of which 1.25 GiB "
        "is free."
    )


def _files(call: NodeCall, files: str, text: str, strings: str) -> NodeResult:
    """`files` is a JSON list of {"key", "filename", "subfolder", "type", "size", "content", ...}."""
    ui: Json = {}
    for wanted in json.loads(files):
        key = wanted.pop("key", "images")
        ui.setdefault(key, []).append(_write(call, wanted))
    if text:
        ui["text"] = [text]
    if strings:
        ui["strings"] = json.loads(strings)
    return NodeResult((), ui)


def _write(call: NodeCall, wanted: Json) -> Json:
    entry: Json = {"subfolder": "", "type": "output"} | wanted
    content, size = entry.pop("content", None), entry.pop("size", None)
    missing = entry.pop("missing", False)
    folder = call.folders.of_type(entry["type"])
    path = None if folder is None else inside(folder, os.path.join(entry["subfolder"], entry["filename"]))
    # A name that leaves the folder is announced all the same: a client has to cope with it.
    if path is not None and not missing:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_content(entry["filename"], content, size))
    return entry


def _content(name: str, content: str | None, size: int | None) -> bytes:
    if content is not None:
        return content.encode()
    pattern = name.encode() or b"x"
    wanted = len(pattern) if size is None else size
    return (pattern * (wanted // len(pattern) + 1))[:wanted]


def _exit(call: NodeCall, signal_number: int, image: Images | None = None) -> NodeResult:
    call.exit_process(signal_number)
    # The signal, or the thread that ends the server, needs a moment.
    call.pause(60.0)
    return NodeResult(_passed_on(image))


_IMAGE = Input("image", "IMAGE", optional=True)


def _node(name: str, run: Any, *inputs: Input, output_node: bool = False) -> NodeType:
    return NodeType(
        name=name,
        display_name=name,
        category="test",
        inputs=inputs,
        outputs=() if output_node else ("IMAGE",),
        run=run,
        output_node=output_node,
        module="custom_nodes.local_comfyui_test",
    )


def _text(name: str, default: str) -> Input:
    return Input(name, "STRING", {"default": default})


NODES = (
    _node("TestSleep", _sleep, number("seconds", 1.0, 0.0, 3600.0, 0.01), integer("steps", 10, 1, 10000), _IMAGE),
    _node("TestRaise", _raise, _text("message", "it broke"), _text("exception_type", "RuntimeError"), _IMAGE),
    _node("TestOutOfMemory", _out_of_memory, _IMAGE),
    _node("TestFiles", _files, _text("files", "[]"), _text("text", ""), _text("strings", ""), output_node=True),
    _node("TestExit", _exit, integer("signal_number", 9, 1, 64), _IMAGE),
)
