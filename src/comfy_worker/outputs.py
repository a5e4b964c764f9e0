"""ComfyUI's output dicts -> OutputFile and OutputText. Every kind, not only images. Pure.

Shapes (recordings output_*.json): a node's output is {key: list}. A file is any entry with a `filename`, under whatever
key: `images` (also SaveVideo and SaveWEBM), `audio`, `latents`, `3d`, `gifs` of VideoHelperSuite, a custom node's own.
Strings under any key are text (PreviewAny: `text`).
"""

from __future__ import annotations

import mimetypes
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

#: Read from this table and not from the machine's mime.types, which differs from image to image.
_TYPES = mimetypes.MimeTypes(filenames=())
for _suffix, _type in {
    ".avif": "image/avif", ".bmp": "image/bmp", ".exr": "image/x-exr", ".gif": "image/gif", ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg", ".jxl": "image/jxl", ".png": "image/png", ".svg": "image/svg+xml", ".webp": "image/webp",
    ".mkv": "video/x-matroska", ".mov": "video/quicktime", ".mp4": "video/mp4", ".webm": "video/webm",
    ".flac": "audio/flac", ".m4a": "audio/mp4", ".mp3": "audio/mpeg", ".ogg": "audio/ogg", ".opus": "audio/ogg",
    ".wav": "audio/wav",
    ".glb": "model/gltf-binary", ".gltf": "model/gltf+json", ".obj": "model/obj", ".ply": "application/octet-stream",
    ".json": "application/json", ".txt": "text/plain", ".zip": "application/zip",
}.items():  # fmt: skip
    _TYPES.add_type(_type, _suffix)

OCTETS = "application/octet-stream"
#: Which field of the response a file goes to, by the first half of its media type.
FIELDS = {"image": "images", "video": "videos", "audio": "audio"}
FILE_FIELDS = ("images", "videos", "audio", "files")


@dataclass(frozen=True)
class OutputFile:
    node_id: str
    filename: str
    #: Below `folder`, as ComfyUI names it (our per-job folder included); "" for none.
    subfolder: str
    #: ComfyUI's folder: "output", "temp" (previews) or "input".
    folder: str

    @property
    def media_type(self) -> str:
        return media_type_of(self.filename)

    @property
    def field(self) -> str:
        """The list of the response that it belongs to."""
        return field_of(self.media_type)


@dataclass(frozen=True)
class OutputText:
    node_id: str
    text: str


def media_type_of(filename: str) -> str:
    return _TYPES.guess_type("x" + PurePosixPath(filename).suffix.lower())[0] or OCTETS


def field_of(media_type: str) -> str:
    return FIELDS.get(media_type.partition("/")[0], "files")


def parse_output(node_id: str, output: Mapping[str, Any]) -> list[OutputFile | OutputText]:
    """Everything a node handed out, in its order. Entries that are neither file nor text (`animated`) are passed
    over.
    """
    return [item for values in output.values() for item in _items(node_id, values)]


def _items(node_id: str, value: Any) -> Iterator[OutputFile | OutputText]:
    if isinstance(value, str):
        yield OutputText(node_id, value)
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from _items(node_id, entry)
    elif isinstance(value, Mapping) and isinstance(value.get("filename"), str) and value["filename"]:
        subfolder, folder = value.get("subfolder"), value.get("type")
        yield OutputFile(
            node_id=node_id,
            filename=value["filename"],
            subfolder=subfolder.replace("\\", "/").strip("/") if isinstance(subfolder, str) else "",
            folder=folder if isinstance(folder, str) and folder else "output",
        )


def own_subfolder(subfolder: str, job_folder: str) -> str:
    """The workflow's own subfolder: without the per-job one that we put in front."""
    if subfolder == job_folder:
        return ""
    return subfolder.removeprefix(job_folder + "/")
