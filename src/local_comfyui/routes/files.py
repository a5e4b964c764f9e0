"""Routes for files: `/upload/image`, `/upload/mask`, `/view` (recordings `upload_routes` and `view_routes`)."""

from __future__ import annotations

import asyncio
import io
import json
import mimetypes
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.web_request import FileField
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from local_comfyui.faults import Faults
from local_comfyui.folders import Folders, inside

# A browser shall not run what somebody uploaded.
_ONLY_DOWNLOADED = {
    "text/html",
    "text/html-sandboxed",
    "application/xhtml+xml",
    "text/javascript",
    "text/css",
}


@dataclass(frozen=True)
class FileRoutes:
    folders: Folders
    faults: Faults

    def table(self) -> list[web.RouteDef]:
        return [
            web.post("/upload/image", self.upload_image),
            web.post("/upload/mask", self.upload_mask),
            web.get("/view", self.view),
        ]

    async def upload_image(self, request: web.Request) -> web.Response:
        post = await request.post()
        return await asyncio.to_thread(self._store, post, _write_bytes)

    async def upload_mask(self, request: web.Request) -> web.Response:
        """The uploaded picture's alpha becomes the alpha of an earlier picture, stored under a new name."""
        post = await request.post()
        original = self._find(json.loads(str(post["original_ref"])))
        return await asyncio.to_thread(self._store, post, lambda image, path: _write_masked(original, image, path))

    def _store(self, post: Any, write: Callable[[FileField, Path], None]) -> web.Response:
        image = post.get("image")
        kind = post.get("type") or "input"
        base = self.folders.of_type(kind)
        if not isinstance(image, FileField) or not image.filename or base is None:
            return web.Response(status=400)
        subfolder = post.get("subfolder", "")
        folder = inside(base, os.path.normpath(subfolder))
        path = None if folder is None else inside(base, os.path.join(folder, image.filename))
        if folder is None or path is None:
            return web.Response(status=400)
        folder.mkdir(parents=True, exist_ok=True)
        if post.get("overwrite") not in ("true", "1"):
            path, is_there = _free_name(path, image)
            if not is_there:
                write(image, path)
        else:
            write(image, path)
        name = path.relative_to(folder).as_posix()
        return web.json_response({"name": name, "subfolder": subfolder, "type": kind})

    def _find(self, reference: Any) -> Path | int:
        """The file a reference names, or the HTTP status that says why not."""
        name, folder = self.folders.annotated(str(reference.get("filename", "")))
        if not name or name.startswith("/") or ".." in name:
            return 400
        folder = folder or self.folders.of_type(reference.get("type", "output"))
        if folder is None:
            return 400
        if "subfolder" in reference:
            folder = inside(folder, reference["subfolder"])
            if folder is None:
                return 403
        path = folder / os.path.basename(name)
        # Path.is_file() raises for a name that is too long.
        return path if os.path.isfile(path) else 404

    async def view(self, request: web.Request) -> web.StreamResponse:
        if "filename" not in request.query:
            return web.Response(status=404)
        found = self._find(request.query)
        if isinstance(found, int):
            return web.Response(status=found)
        headers = {"Content-Disposition": f'filename="{found.name}"'}
        if self.faults.take_truncation():
            return await _truncated(request, found)
        converted = await asyncio.to_thread(_converted, found, request.query)
        if converted is not None:
            body, content_type = converted
            return web.Response(body=body, content_type=content_type, headers=headers)
        content_type = mimetypes.guess_type(found.name)[0] or "application/octet-stream"
        if content_type in _ONLY_DOWNLOADED:
            content_type = "application/octet-stream"
        return web.FileResponse(found, headers=headers | {"Content-Type": content_type})


def _free_name(path: Path, image: FileField) -> tuple[Path, bool]:
    """The first name not taken by other content, and whether the same content is there already."""
    content = image.file.read()
    image.file.seek(0)
    candidate, count = path, 1
    while candidate.exists():
        if candidate.read_bytes() == content:
            return candidate, True
        candidate = path.with_name(f"{path.stem} ({count}){path.suffix}")
        count += 1
    return candidate, False


def _write_bytes(image: FileField, path: Path) -> None:
    with path.open("wb") as target:
        while block := image.file.read(1 << 20):
            target.write(block)


def _write_masked(original: Path | int, mask: FileField, path: Path) -> None:
    """Without an original nothing is written; ComfyUI's answer is the same."""
    if isinstance(original, int):
        return
    with Image.open(original) as picture, Image.open(mask.file) as with_alpha:
        metadata = PngInfo()
        for key, text in getattr(picture, "text", {}).items():
            metadata.add_text(key, text)
        masked = picture.convert("RGBA")
        masked.putalpha(with_alpha.convert("RGBA").getchannel("A"))
        masked.save(path, compress_level=4, pnginfo=metadata)


def _converted(path: Path, query: Any) -> tuple[bytes, str] | None:
    """The picture as `preview` or `channel` ask for it; None when the file goes out as it is."""
    channel = query.get("channel", "rgba")
    if "preview" in query:
        return _preview(path, query["preview"].split(";"), query.get("channel", ""))
    if channel == "rgb":
        with Image.open(path) as picture:
            return _encoded(picture.convert("RGB"), "PNG"), "image/png"
    if channel == "a":
        with Image.open(path) as picture:
            alpha = picture.getchannel("A") if picture.mode == "RGBA" else Image.new("L", picture.size, 255)
            only_alpha = Image.new("RGBA", picture.size)
            only_alpha.putalpha(alpha)
            return _encoded(only_alpha, "PNG"), "image/png"
    return None


def _preview(path: Path, wanted: list[str], channel: str) -> tuple[bytes, str]:
    kind = wanted[0] if wanted[0] in ("webp", "jpeg") and "a" not in channel else "webp"
    quality = int(wanted[-1]) if wanted[-1].isdigit() else 90
    with Image.open(path) as picture:
        shown = picture.convert("RGB") if kind == "jpeg" or channel == "rgb" else picture
        return _encoded(shown, kind, quality=quality), f"image/{kind}"


def _encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format=kind, **options)
    return buffer.getvalue()


async def _truncated(request: web.Request, path: Path) -> web.StreamResponse:
    content = path.read_bytes()
    response = web.StreamResponse(headers={"Content-Length": str(len(content))})
    response.content_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    await response.prepare(request)
    await response.write(content[: len(content) // 2])
    if request.transport is not None:
        request.transport.close()
    return response
