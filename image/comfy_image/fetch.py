"""Download the models of manifests: resumed after a break, checked, and put into their folders only when whole.

A manifest is a JSON file in image/models:

    {"about": "what it is, and its licence",
     "files": [{"folder": "checkpoints", "name": "x.safetensors", "url": "https://...", "sha256": "...", "size": 123}]}

`name` may be left out (the last part of the URL), and so may `size` and `sha256`; a file without a checksum is
compared by its size, and reported as unchecked with the sum it had. A Hugging Face token comes from the build secret
hf_token or from HF_TOKEN. It goes to huggingface.co alone, never to the servers that one redirects to.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import os
import re
import shutil
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SECRET = Path("/run/secrets/hf_token")
TOKEN_HOST = "huggingface.co"
CHUNK = 4 << 20
TRIES = 5
PAUSE_S = 1.0
TIMEOUT_S = 60


class FetchFailed(Exception):
    """The text says which file and why."""


@dataclass(frozen=True)
class ModelFile:
    folder: str
    name: str
    url: str
    sha256: str | None = None
    size: int | None = None


def read_manifest(path: Path) -> list[ModelFile]:
    """Raises FetchFailed with everything that is wrong."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FetchFailed(f"{path} cannot be read: {error}") from error
    wrong = list(manifest_problems(document))
    if wrong:
        raise FetchFailed("\n".join(f"{path.name}: {text}" for text in wrong))
    return [
        ModelFile(
            folder=entry["folder"],
            name=entry.get("name") or _last_part(entry["url"]),
            url=entry["url"],
            sha256=entry.get("sha256"),
            size=entry.get("size"),
        )
        for entry in document["files"]
    ]


def manifest_problems(document: Any) -> Iterator[str]:
    if not isinstance(document, dict) or not isinstance(document.get("files"), list) or not document["files"]:
        yield 'a manifest is {"about": "...", "files": [...]}'
        return
    if not isinstance(document.get("about"), str):
        yield "about: say in a sentence what it is, and its licence"
    yield from (f"{name}: no such field" for name in document if name not in ("about", "files"))
    for number, entry in enumerate(document["files"]):
        yield from (f"files[{number}].{text}" for text in _entry_problems(entry))


def _entry_problems(entry: dict[str, Any]) -> Iterator[str]:
    patterns = {"folder": r"[a-z0-9_]+(/[\w.-]+)*", "url": r"(https?|file)://\S+", "name": r"[\w.-]+",
                "sha256": r"[0-9a-f]{64}"}  # fmt: skip
    for name, pattern in patterns.items():
        value = entry.get(name)
        if value is None and name in ("folder", "url"):
            yield f"{name}: missing"
        elif value is not None and not (isinstance(value, str) and re.fullmatch(pattern, value)):
            yield f"{name}: {value!r} cannot be used"
    if not isinstance(entry.get("size", 0), int):
        yield f"size: {entry['size']!r} is not a number of bytes"
    yield from (f"{name}: no such field" for name in entry if name not in (*patterns, "size"))


def fetch(file: ModelFile, models: Path, partial: Path, token: str | None) -> None:
    """Bring one file into `models`. Raises FetchFailed."""
    target = models / file.folder / file.name
    if target.is_file() and not _difference(file, target):
        _say(f"{file.folder}/{file.name}: already there")
        return
    part = partial / f"{hashlib.sha256(file.url.encode()).hexdigest()[:16]}-{file.name}"
    part.parent.mkdir(parents=True, exist_ok=True)
    _download(file, part, token)
    if difference := _difference(file, part):
        part.unlink()
        raise FetchFailed(f"{file.name}: {difference}; the download was thrown away")
    verdict = "checked" if file.sha256 else f"unchecked (sha256 {_sha256(part)})"
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(part, target)
    _say(f"{file.folder}/{file.name}: {verdict}")


def _difference(file: ModelFile, path: Path) -> str | None:
    """What says that `path` is not the file. The checksum decides; the size does where there is none."""
    if file.sha256:
        digest = _sha256(path)
        return f"sha256 is {digest}, not {file.sha256}" if digest != file.sha256 else None
    size = path.stat().st_size
    return f"size is {size}, not {file.size} bytes" if file.size not in (None, size) else None


def _download(file: ModelFile, part: Path, token: str | None) -> None:
    """Fill `part`, going on after each break; giving up after TRIES breaks in a row without a byte more."""
    tries = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            if _transfer(file, part, before, token):
                return
            reason = "the connection ended early"
        except urllib.error.HTTPError as error:
            if error.code < 500 and error.code != 429:
                raise FetchFailed(_refusal(file, error.code)) from error
            reason = f"HTTP {error.code}"
        except (OSError, http.client.HTTPException) as error:
            reason = str(error)
        tries = 0 if part.exists() and part.stat().st_size > before else tries + 1
        if tries >= TRIES:
            raise FetchFailed(f"{file.name}: {file.url}: {reason}, {TRIES} times")
        _say(f"{file.name}: {reason}; going on")
        time.sleep(PAUSE_S * 2**tries)


def _transfer(file: ModelFile, part: Path, have: int, token: str | None) -> bool:
    """One request for what is missing. Whether the file is whole now."""
    request = urllib.request.Request(file.url, headers={"Range": f"bytes={have}-"} if have else {})
    if token and urllib.parse.urlsplit(file.url).hostname == TOKEN_HOST:
        # "Unredirected": not sent on to where the answer points.
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:
            return True  # nothing is missing; the checksum has the last word
        raise
    with answer, part.open("ab" if answer.status == 206 else "wb") as output:
        length = answer.headers.get("Content-Length")
        expected = output.tell() + int(length) if length else None
        if expected and expected - output.tell() > shutil.disk_usage(part.parent).free:
            raise FetchFailed(f"{file.name}: {expected / 1e9:.1f} GB do not fit on this disk")
        _say(f"{file.folder}/{file.name}: {(expected or file.size or 0) / 1e9:.2f} GB, from byte {output.tell()}")
        while chunk := answer.read(CHUNK):
            output.write(chunk)
        return expected is None or output.tell() == expected


def _refusal(file: ModelFile, code: int) -> str:
    if code in (401, 403):
        return (
            f"{file.name}: {file.url} answered {code}: accept the model's licence on its page, and give a token of "
            "that account as build secret (--secret id=hf_token,env=HF_TOKEN)"
        )
    return f"{file.name}: {file.url} answered {code}"


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as content:
        while chunk := content.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _last_part(url: str) -> str:
    return urllib.parse.unquote(urllib.parse.urlsplit(url).path.rpartition("/")[2])


def _token() -> str | None:
    text = SECRET.read_text(encoding="utf-8") if SECRET.is_file() else os.environ.get("HF_TOKEN", "")
    return text.strip() or None


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m comfy_image.fetch", description="Download models by manifest.")
    parser.add_argument("--manifests", type=Path, default=Path("image/models"), help="folder of the manifests")
    parser.add_argument("--partial", type=Path, help="where partial downloads are kept (default: in MODELS)")
    parser.add_argument("models", type=Path, metavar="MODELS", help="ComfyUI's models folder")
    parser.add_argument("names", nargs="*", metavar="NAME", help="manifests, such as sdxl")
    options = parser.parse_args(arguments)
    known = ", ".join(sorted(path.stem for path in options.manifests.glob("*.json")))
    options.models.mkdir(parents=True, exist_ok=True)
    if not options.names:
        _say(f"no models asked for; there are {known}")
    try:
        for name in options.names:
            path = options.manifests / f"{name}.json"
            if not path.is_file():
                raise FetchFailed(f"there is no manifest {name}; there are {known}")
            for file in read_manifest(path):
                fetch(file, options.models, options.partial or options.models / ".partial", _token())
    except FetchFailed as error:
        sys.stderr.write(f"fetch: {error}\n")
        return 1
    return 0


def _say(text: str) -> None:
    sys.stdout.write(f"fetch: {text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
