"""Read-only routes about the server itself (recording `probes`)."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from aiohttp import web

from local_comfyui.folders import MODEL_FOLDERS, Folders
from local_comfyui.nodes.declaration import Json, NodeType

MAX_UPLOAD_BYTES = 100 * 1024 * 1024

# The release whose answers this server imitates.
COMFYUI_VERSION = "0.26.0"

FEATURES: Json = {
    "supports_preview_metadata": True,
    "max_upload_size": MAX_UPLOAD_BYTES,
    "extension": {},
    "node_replacements": False,
    "assets": False,
}

_PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Embedded ComfyUI server</title></head>
<body>
<h1>Embedded ComfyUI server</h1>
<p>This is a stand-in for <a href="https://github.com/comfyanonymous/ComfyUI">ComfyUI</a>: it speaks ComfyUI's HTTP and
websocket API and really runs its nodes for images, masks and plain values, on the CPU. It has no editor and no
models.</p>
<p>See <a href="/object_info">the nodes it knows</a>, <a href="/queue">its queue</a>,
<a href="/history">its history</a> and <a href="/system_stats">its statistics</a>.</p>
</body>
</html>
"""


@dataclass(frozen=True)
class InformationRoutes:
    node_types: Mapping[str, NodeType]
    folders: Folders
    argv: Sequence[str]

    def table(self) -> list[web.RouteDef]:
        return [
            web.get("/", self.page),
            web.get("/object_info", self.object_info),
            web.get("/object_info/{node_class}", self.object_info_of),
            web.get("/models", self.model_folders),
            web.get("/models/{folder}", self.models),
            web.get("/embeddings", self.embeddings),
            web.get("/system_stats", self.system_stats),
            web.get("/features", self.features),
        ]

    async def page(self, request: web.Request) -> web.Response:
        return web.Response(text=_PAGE, content_type="text/html")

    async def object_info(self, request: web.Request) -> web.Response:
        return web.json_response({name: node.describe(self.folders) for name, node in self.node_types.items()})

    async def object_info_of(self, request: web.Request) -> web.Response:
        node = self.node_types.get(request.match_info["node_class"])
        return web.json_response({} if node is None else {node.name: node.describe(self.folders)})

    async def model_folders(self, request: web.Request) -> web.Response:
        return web.json_response(list(MODEL_FOLDERS))

    async def models(self, request: web.Request) -> web.Response:
        files = self.folders.model_files(request.match_info["folder"])
        return web.Response(status=404) if files is None else web.json_response(files)

    async def embeddings(self, request: web.Request) -> web.Response:
        files = self.folders.model_files("embeddings") or []
        return web.json_response([str(PurePosixPath(name).with_suffix("")) for name in files])

    async def features(self, request: web.Request) -> web.Response:
        return web.json_response(FEATURES)

    async def system_stats(self, request: web.Request) -> web.Response:
        total, free = _memory()
        system = {
            "os": sys.platform,
            "ram_total": total,
            "ram_free": free,
            "comfyui_version": COMFYUI_VERSION,
            "embedded": True,
            "python_version": sys.version,
            "pytorch_version": "none",
            "embedded_python": False,
            "argv": list(self.argv),
        }
        device = {
            "name": f"cpu {platform.machine()} (no models)",
            "type": "cpu",
            "index": None,
            "vram_total": total,
            "vram_free": free,
            "torch_vram_total": total,
            "torch_vram_free": free,
        }
        return web.json_response({"system": system, "devices": [device]})


def _memory() -> tuple[int, int]:
    """Total and free bytes; zeros where the system does not tell (macOS has no count of free pages)."""
    try:
        page = os.sysconf("SC_PAGE_SIZE")
        return page * os.sysconf("SC_PHYS_PAGES"), page * os.sysconf("SC_AVPHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return 0, 0
