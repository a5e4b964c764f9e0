"""What goes out on websockets: text events and binary picture frames."""

from __future__ import annotations

import io
import json
import struct
from dataclasses import dataclass
from typing import Any

from PIL import Image

PREVIEW_IMAGE = 1
PREVIEW_IMAGE_WITH_METADATA = 4

_PNG = 2


@dataclass(frozen=True)
class Message:
    """`body` is text or bytes; `client_id` None means everybody."""

    body: str | bytes
    client_id: str | None


def text_body(event: str, data: dict[str, Any]) -> str:
    return json.dumps({"type": event, "data": data})


def preview_body(picture: Image.Image) -> bytes:
    """Recording `save_image_websocket`: event type 1, image type 2, then the PNG."""
    return struct.pack(">II", PREVIEW_IMAGE, _PNG) + _png(picture)


def preview_with_metadata_body(picture: Image.Image, metadata: dict[str, Any]) -> bytes:
    """Event type 4 for clients that announced `supports_preview_metadata` (recording `sampler_progress`)."""
    described = json.dumps(metadata | {"image_type": "image/png"}).encode()
    return struct.pack(">II", PREVIEW_IMAGE_WITH_METADATA, len(described)) + described + _png(picture)


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()
