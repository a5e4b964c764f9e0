"""The request's images: base64, data URI or URL -> verified bytes. The one door to Pillow.

Any media type is taken (videos, audio, 3d models, latents); images are opened, so that a truncated or monstrous one is
refused here with a clear text and not by a node on the GPU.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import threading
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import PurePosixPath

from PIL import Image, UnidentifiedImageError

from comfy_worker.job import ImageEntry
from comfy_worker.outputs import media_type_of

#: ComfyUI refuses larger uploads (`--max-upload-size`, 100 MB).
LARGEST = 100 * 1024 * 1024

_DATA_URI = re.compile(r"\Adata:[^,]*?(;base64)?,", re.IGNORECASE)
_NOT_BASE64 = re.compile(r"[^A-Za-z0-9+/]")
#: The URL-safe alphabet to the standard one, and what `str.split` takes for white space.
_STANDARD = bytes.maketrans(b"-_", b"+/")
_BLANKS = b" \t\n\r\v\f\x1c\x1d\x1e\x1f"
#: What is opened as an image. Not all that Pillow knows: it takes MPEG video and HDF5 for images that it cannot load,
#: and hands EPS to Ghostscript.
_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "ICO", "PPM")
_IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif"})

#: Python's list of warnings to ignore belongs to all threads.
_OPENING = threading.Lock()

Fetch = Callable[[str], bytes]
Decode = Callable[[ImageEntry], "InputFile | str"]
#: `map`, or an executor's.
Spread = Callable[[Decode, Sequence[ImageEntry]], Iterable["InputFile | str"]]


@dataclass(frozen=True, kw_only=True)
class InputFile:
    #: As the workflow names it.
    name: str
    #: As it lies in ComfyUI's input folder.
    staged_name: str
    content: bytes = field(repr=False)
    media_type: str
    label: str


def decode_each(entries: Sequence[ImageEntry], fetch: Fetch, spread: Spread = map) -> Iterable[InputFile | str]:
    """Decode or fetch every entry: a file, or one line of text that says what is wrong with it."""

    def decoded(entry: ImageEntry) -> InputFile | str:
        try:
            return decode(entry, fetch)
        except ValueError as error:
            return f"{entry.label}: {error}"

    return spread(decoded, entries)


def decode(entry: ImageEntry, fetch: Fetch) -> InputFile:
    """One entry. Raises ValueError with the reason."""
    source = entry.source.strip()
    is_url = source[:8].lower().startswith(("http://", "https://"))
    content = fetch(source) if is_url else decode_base64(source)
    if not content:
        raise ValueError("holds no data")
    if len(content) > LARGEST:
        raise ValueError(f"is {len(content) / 1e6:.0f} MB; ComfyUI takes at most {LARGEST / 1e6:.0f} MB per file")
    return InputFile(
        name=entry.name,
        staged_name=_staged_name(entry.name, content),
        content=content,
        media_type=_verified_type(entry.name, content),
        label=entry.label,
    )


def decode_base64(text: str) -> bytes:
    """Base64 with or without data-URI prefix, white space, padding; either alphabet. Raises ValueError."""
    if match := _DATA_URI.match(text):
        if not match[1]:
            raise ValueError("is a data URI without ';base64': send base64 data")
        text = text[match.end() :]
    if not text.isascii():
        text = "".join(text.split())
    packed = text.encode(errors="replace")
    try:
        # Nearly always; all else takes as long again.
        return base64.b64decode(packed, validate=True)
    except binascii.Error:
        packed = packed.translate(_STANDARD, _BLANKS).rstrip(b"=")
    try:
        return base64.b64decode(packed + b"=" * (-len(packed) % 4), validate=True)
    except binascii.Error as error:
        raise ValueError(f"is not base64: {_flaw(text) or f'{error}; it may have been cut'}") from error


def _flaw(text: str) -> str | None:
    """Where the first character stands that no base64 has. Slow: for text that could not be decoded."""
    packed = "".join(text.split()).replace("-", "+").replace("_", "/").rstrip("=")
    bad = _NOT_BASE64.search(packed)
    return bad and f"character {bad[0]!a} at position {bad.start()}; send base64, a data URI or a URL"


def _staged_name(name: str, content: bytes) -> str:
    """The same folder and extension, with a tag of the content: two jobs' files of one name cannot meet, and the same
    content keeps its name, so that ComfyUI's cache still hits."""
    path = PurePosixPath(name)
    tag = hashlib.sha256(content).hexdigest()[:16]
    # No form field can carry a quotation mark as it is: ComfyUI would keep the file as `%22`.
    plain = f"{path.stem}.{tag}{path.suffix}".replace('"', "_")
    return str(path.with_name(plain))


def _verified_type(name: str, content: bytes) -> str:
    """The media type, by the content for images and by the name for all else. Raises ValueError for a broken image."""
    if (named := media_type_of(name)).startswith("text/"):
        # "P3" begins a picture as well as a prompt.
        return named
    try:
        with _opened(content) as image:
            # A JPEG can be read to its end at an eighth of its size: half a GB less for the largest that is taken.
            image.draft(None, (1, 1))
            # A PNG carries checksums: they tell damage ten times as fast as decoding does.
            image.verify() if image.format == "PNG" else image.load()
            return Image.MIME.get(image.format or "", named)
    except UnidentifiedImageError:
        if PurePosixPath(name).suffix.lower() in _IMAGE_SUFFIXES:
            raise ValueError("is not an image, or its data is damaged") from None
        return named
    except Image.DecompressionBombError as error:
        raise ValueError(f"is too large: {error}") from error
    except Exception as error:
        # Pillow's decoders raise what damaged data makes of them: OSError, SyntaxError, RuntimeError, IndexError ...
        raise ValueError(f"is a damaged image: {error}") from error


def _opened(content: bytes) -> Image.Image:
    with _OPENING, warnings.catch_warnings():
        # Pillow warns from half of its limit (179 million pixels) on and refuses beyond it, as LoadImage does.
        warnings.simplefilter("ignore")
        return Image.open(BytesIO(content), formats=_FORMATS)
