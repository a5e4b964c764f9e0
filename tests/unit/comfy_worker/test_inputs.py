"""The request's images: every form of base64 that clients send, and what is refused in which words."""

from __future__ import annotations

import base64
import hashlib
import struct
import subprocess
import sys
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from comfy_worker import inputs
from comfy_worker.errors import InputUploadFailed
from comfy_worker.inputs import InputFile, decode, decode_base64, decode_each
from comfy_worker.job import ImageEntry


def encoded(format: str, size: tuple[int, int] = (24, 16), mode: str = "RGB", **options: Any) -> bytes:
    target = BytesIO()
    Image.effect_noise(size, 64).convert(mode).save(target, format, **options)
    return target.getvalue()


PNG = encoded("PNG")
JPEG = encoded("JPEG", (64, 64))
#: Every value of six bits, so that both alphabets differ; and lengths of all three remainders.
BYTES = bytes(range(256)) * 3 + b"\xfb\xff\xfe"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"/>'
MP4 = b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom" + bytes(64)
MPEG = b"\x00\x00\x01\xb3\x14\x00\xf0\x13" + bytes(64)
HDF5 = b"\x89HDF\r\n\x1a\n" + bytes(64)
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"


def b64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def no_fetch(url: str) -> bytes:
    raise AssertionError(f"fetched {url}")


def entry(source: str, name: str = "photo.png") -> ImageEntry:
    return ImageEntry(name=name, source=source, label=f"images[0] '{name}'")


def refusal(source: str, name: str = "photo.png") -> str:
    with pytest.raises(ValueError) as refused:
        decode(entry(source, name), no_fetch)
    return str(refused.value)


@pytest.mark.parametrize("content", [BYTES, BYTES[:-1], BYTES[:-2], b"\x00", b"\xff\xff"], ids=range(5))
@pytest.mark.parametrize(
    "written",
    [
        lambda text: text,
        lambda text: text.rstrip("="),
        lambda text: text + "==",
        lambda text: text.replace("+", "-").replace("/", "_"),
        lambda text: text.replace("+", "-").replace("/", "_").rstrip("="),
        lambda text: "\n".join(text[i : i + 76] for i in range(0, len(text), 76)) + "\n",
        lambda text: "\r\n".join(text[i : i + 76] for i in range(0, len(text), 76)),
        lambda text: f" \t{text}\u00a0\n",
        lambda text: f"data:image/png;base64,{text}",
        lambda text: f"data:image/png;base64, {text}",
        lambda text: f"data:video/mp4;base64,{text}",
        lambda text: f"data:application/octet-stream;base64,{text}",
        lambda text: f"data:image/svg+xml;charset=utf-8;base64,{text}",
        lambda text: f"data:;base64,{text}",
        lambda text: f"DATA:IMAGE/PNG;BASE64,{text}",
    ],
    ids=[
        *("plain", "no padding", "too much padding", "url-safe", "url-safe without padding", "76 columns", "crlf"),
        *(
            "white space around",
            "data uri",
            "space after the comma",
            "video",
            "octets",
            "charset",
            "no type",
            "capitals",
        ),
    ],
)
def test_trap_13_base64_in_every_form(content: bytes, written: Any) -> None:
    assert decode_base64(written(b64(content))) == content


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("not base64!", "is not base64: character '!' at position 9; send base64, a data URI or a URL"),
        ("photo.png", "is not base64: character '.' at position 5; send base64, a data URI or a URL"),
        ("ftp://host/a.png", "is not base64: character ':' at position 3; send base64, a data URI or a URL"),
        ("{}", "is not base64: character '{' at position 0; send base64, a data URI or a URL"),
        ("aGVs\\nbG8=", "is not base64: character '\\\\' at position 4; send base64, a data URI or a URL"),
        ("aGVsé", "is not base64: character '\\xe9' at position 4; send base64, a data URI or a URL"),
        ("aGk=aGk=", "is not base64: character '=' at position 3; send base64, a data URI or a URL"),
        ("data:image/png,aGk=", "is a data URI without ';base64': send base64 data"),
        ("data:,hello", "is a data URI without ';base64': send base64 data"),
        ("data:image/png;base64", "is not base64: character ':' at position 4; send base64, a data URI or a URL"),
        ("data:image/png;base64,", "holds no data"),
        ("====", "holds no data"),
    ],
)
def test_trap_13_what_is_no_base64(source: str, reason: str) -> None:
    assert refusal(source, "data.bin") == reason


@pytest.mark.parametrize("source", ["a", "aGVsb", b64(PNG).rstrip("=")[: 4 * 10 + 1]])
def test_trap_13_base64_that_was_cut(source: str) -> None:
    reason = refusal(source)
    assert reason.startswith("is not base64: ")
    assert reason.endswith("; it may have been cut")


@given(st.text())
@settings(max_examples=200)
def test_trap_13_any_text_is_bytes_or_a_value_error(text: str) -> None:
    try:
        content = decode_base64(text)
    except ValueError as error:
        assert str(error)
    else:
        # Nothing was guessed: the same text comes back, less what base64 leaves open.
        plain = "".join(text.rpartition(",")[2].split()).replace("-", "+").replace("_", "/").rstrip("=")
        assert b64(content).rstrip("=")[:-1] == plain[:-1]


@given(st.binary(max_size=200))
@settings(max_examples=100)
def test_trap_13_bytes_come_back(content: bytes) -> None:
    assert decode_base64(b64(content)) == content
    assert decode_base64(base64.urlsafe_b64encode(content).decode().rstrip("=")) == content


def test_a_whole_file() -> None:
    assert decode(entry(b64(PNG), "jobs/one/photo.png"), no_fetch) == InputFile(
        name="jobs/one/photo.png",
        staged_name=f"jobs/one/photo.{hashlib.sha256(PNG).hexdigest()[:16]}.png",
        content=PNG,
        media_type="image/png",
        label="images[0] 'jobs/one/photo.png'",
    )


def test_bytes_are_not_in_the_repr() -> None:
    file = decode(entry(b64(PNG)), no_fetch)
    assert "IHDR" not in repr(file)


@pytest.mark.parametrize(
    ("name", "staged"),
    [
        ("photo.png", "photo.TAG.png"),
        ("a/b/photo.png", "a/b/photo.TAG.png"),
        ("photo", "photo.TAG"),
        ("archive.tar.gz", "archive.tar.TAG.gz"),
        (".hidden", ".hidden.TAG"),
        ("übung 写真.png", "übung 写真.TAG.png"),
        ("photo [1].png", "photo [1].TAG.png"),
        ('12" vinyl.png', "12_ vinyl.TAG.png"),
        ("x" * 196 + ".png", "x" * 196 + ".TAG.png"),
    ],
)
def test_trap_12_staged_names(name: str, staged: str) -> None:
    file = decode(entry(b64(PNG), name), no_fetch)
    assert file.staged_name.replace(hashlib.sha256(PNG).hexdigest()[:16], "TAG") == staged
    assert len(file.staged_name.rpartition("/")[2].encode()) <= 255


def test_trap_12_the_same_name_with_other_content_is_another_file() -> None:
    one, two, again = (decode(entry(b64(content)), no_fetch).staged_name for content in (PNG, JPEG, PNG))
    assert one != two
    assert one == again


@pytest.mark.parametrize(
    ("content", "name", "media_type"),
    [
        (PNG, "a.png", "image/png"),
        (PNG, "a.jpg", "image/png"),
        (PNG, "a", "image/png"),
        (encoded("PNG", mode="L"), "a.png", "image/png"),
        (JPEG, "a.jpg", "image/jpeg"),
        (JPEG, "a.png", "image/jpeg"),
        (encoded("WEBP"), "a.webp", "image/webp"),
        (encoded("GIF", mode="P"), "a.gif", "image/gif"),
        (encoded("AVIF"), "a.avif", "image/avif"),
        (encoded("BMP"), "a.bmp", "image/bmp"),
        (encoded("TIFF"), "a.tiff", "image/tiff"),
        (SVG, "a.svg", "image/svg+xml"),
        (MP4, "a.mp4", "video/mp4"),
        (b"fLaC" + bytes(40), "a.flac", "audio/flac"),
        (b"glTF" + bytes(40), "a.glb", "model/gltf-binary"),
        (b"\x76/1\x01" + bytes(40), "a.exr", "image/x-exr"),
        (b"\x10\0\0\0\0\0\0\0{}", "a.safetensors", "application/octet-stream"),
        (b"plain", "a", "application/octet-stream"),
    ],
)
def test_content_types(content: bytes, name: str, media_type: str) -> None:
    file = decode(entry(b64(content), name), no_fetch)
    assert (file.media_type, file.content) == (media_type, content)


@pytest.mark.parametrize(
    ("content", "name", "media_type"),
    [(MPEG, "a.mpg", "video/mpeg"), (HDF5, "a.h5", None), (EPS, "a.eps", "application/postscript")],
)
def test_what_pillow_takes_for_an_image_and_cannot_load_passes(
    content: bytes, name: str, media_type: str | None
) -> None:
    """It would run Ghostscript for EPS, and refuse MPEG video and HDF5 as damaged."""
    with Image.open(BytesIO(content)) as image:
        assert image.format in ("MPEG", "HDF5", "EPS")
    file = decode(entry(b64(content), name), no_fetch)
    assert media_type in (None, file.media_type)


@pytest.mark.parametrize("text", ["P3 is a mode of PPM", "P5 9", "BMW", "GIF89a is old", "II*"])
def test_text_that_begins_like_a_picture_passes(text: str) -> None:
    assert decode(entry(b64(text.encode()), "prompts.txt"), no_fetch).media_type == "text/plain"


def test_every_image_format_that_is_opened_is_known_to_pillow() -> None:
    """An unknown name in the list makes Pillow raise KeyError for every file."""
    Image.init()
    assert [name for name in inputs._FORMATS if name not in Image.OPEN] == []


def test_animations_keep_all_their_frames() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]
    target = BytesIO()
    frames[0].save(target, "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    assert decode(entry(b64(target.getvalue()), "a.webp"), no_fetch).content == target.getvalue()


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_truncated_images_are_refused(format: str) -> None:
    content = encoded(format, (64, 64))
    for share in (0.5, 0.9):
        cut = content[: int(len(content) * share)]
        assert refusal(b64(cut)).startswith(("is a damaged image: ", "is not an image, or its data is damaged"))


@pytest.mark.parametrize("name", ["a.png", "a.JPG", "a.jpeg", "a.webp", "a.gif", "a.avif", "jobs/a.tif"])
def test_what_an_image_is_called_must_be_one(name: str) -> None:
    assert refusal(b64(b"this is no picture at all"), name) == "is not an image, or its data is damaged"


def test_trap_13_a_web_page_instead_of_a_picture_is_refused() -> None:
    assert refusal(b64(b"<!DOCTYPE html><title>404</title>")) == "is not an image, or its data is damaged"


def bomb(side: int) -> bytes:
    """A PNG that says it is `side` x `side`, with hardly any data."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_a_decompression_bomb_is_refused_before_it_is_unpacked() -> None:
    reason = refusal(b64(bomb(30_000)))
    assert reason.startswith("is too large: Image size (900000000 pixels) exceeds limit of 178956970 pixels")


def test_a_large_image_is_no_warning() -> None:
    """Pillow warns from 89 million pixels on, and warnings are errors here."""
    assert decode(entry(b64(bomb(12_000))), no_fetch).media_type == "image/png"


PEAK_OF_VERIFYING = """
import sys
from comfy_worker import inputs

def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))

content = sys.stdin.buffer.read()
inputs._verified_type("small.jpg", open(sys.argv[1], "rb").read())
before = peak()
assert inputs._verified_type("large.jpg", content) == "image/jpeg"
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_trap_20_a_large_jpeg_is_verified_without_being_unpacked(tmp_path: Path) -> None:
    """Eight of them side by side would take gigabytes."""
    small = tmp_path / "small.jpg"
    small.write_bytes(JPEG)
    large = BytesIO()
    Image.new("L", (13_000, 13_000), 9).save(large, "JPEG")
    child = subprocess.run(
        [sys.executable, "-c", PEAK_OF_VERIFYING, str(small)], input=large.getvalue(), capture_output=True, check=True
    )
    assert int(child.stdout) < 40_000, "kB; unpacked it has 169 MB"


def test_a_png_with_one_wrong_bit_is_damaged() -> None:
    for position in range(40, len(PNG) - 12):
        damaged = PNG[:position] + bytes([PNG[position] ^ 1]) + PNG[position + 1 :]
        assert refusal(b64(damaged))


FORMATS = [encoded(name, (12, 12)) for name in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "ICO", "PPM", "JPEG2000")]


@given(
    st.sampled_from(FORMATS),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=6),
    st.integers(1, 2000),
)
@settings(max_examples=150)
def test_damaged_images_raise_nothing_else(content: bytes, changes: list[tuple[int, int]], length: int) -> None:
    damaged = bytearray(content)
    for place, value in changes:
        damaged[place % len(damaged)] = value
    try:
        assert inputs._verified_type("a.png", bytes(damaged[:length])).startswith("image/")
    except ValueError as error:
        assert str(error).startswith(("is ", "holds"))


def test_a_url_is_fetched() -> None:
    asked = []

    def fetch(url: str) -> bytes:
        asked.append(url)
        return PNG

    for url in ("https://host/a.png?sig=1", "HTTP://host/a.png", "  http://host/a.png\n"):
        assert decode(entry(url), fetch).content == PNG
    assert asked == ["https://host/a.png?sig=1", "HTTP://host/a.png", "http://host/a.png"]


def test_what_was_fetched_is_verified_too() -> None:
    with pytest.raises(ValueError, match="is not an image"):
        decode(entry("https://host/a.png"), lambda url: b"<html>not found</html>")
    with pytest.raises(ValueError, match="holds no data"):
        decode(entry("https://host/a.png"), lambda url: b"")
    with pytest.raises(ValueError, match="is 105 MB; ComfyUI takes at most 105 MB per file"):
        decode(entry("https://host/a.bin", "a.bin"), lambda url: bytes(inputs.LARGEST + 1))


def test_every_input_that_fails_has_a_line() -> None:
    def fetch(url: str) -> bytes:
        raise ValueError("could not be fetched: host answered 404")

    sources = [b64(PNG), "!", "https://host/b.png", quote(b64(b"\xff\xff\xff"))]
    entries = [
        ImageEntry(name=f"{index}.png", source=source, label=f"images[{index}] '{index}.png'")
        for index, source in enumerate(sources)
    ]
    decoded, *problems = decode_each(entries, fetch)
    assert isinstance(decoded, InputFile)
    failed = InputUploadFailed([str(problem) for problem in problems])
    assert failed.message == "Failed to upload one or more input images"
    assert failed.details == [
        "images[1] '1.png': is not base64: character '!' at position 0; send base64, a data URI or a URL",
        "images[2] '2.png': could not be fetched: host answered 404",
        "images[3] '3.png': is not an image, or its data is damaged",
    ]


def test_all_inputs_in_their_order() -> None:
    entries = [entry(b64(PNG), "b.png"), entry(b64(JPEG), "a.jpg"), entry(b64(MP4), "c.mp4")]
    files = [file for file in decode_each(entries, no_fetch) if isinstance(file, InputFile)]
    assert [file.name for file in files] == ["b.png", "a.jpg", "c.mp4"]
    assert list(decode_each([], no_fetch)) == []
