"""The files of a job's output, written into a folder and never outside of it."""

from __future__ import annotations

import base64
import binascii
import re
import shutil
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

KINDS = ("images", "videos", "audio", "files")
_DOWNLOAD_TIMEOUT_S = 60
_LONGEST_NAME = 200
_UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"|?*]')
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")


@dataclass(frozen=True)
class Written:
    """One file that is in the folder now."""

    path: Path
    size: int


class Delivery:
    """Writes the entries `{"filename", "type": "base64" | "s3_url", "data", "subfolder"?}` of an output."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._taken: set[str] = set()
        self.written: list[Written] = []
        self.notes: list[str] = []

    def write(self, output: Any) -> None:
        for entry in _entries(output):
            name = str(entry.get("filename") or "file")
            try:
                self._write_entry(entry, name)
            except (OSError, ValueError) as error:
                self.notes.append(f"{name} could not be written: {error}")

    def lines(self) -> Iterator[str]:
        for file in self.written:
            yield f"{file.path}  {_readable(file.size)}"
        yield from self.notes

    def _write_entry(self, entry: dict[str, Any], name: str) -> None:
        data = entry.get("data")
        if not isinstance(data, str):
            raise ValueError("it has no data")
        if entry.get("type") == "s3_url":
            self._download(entry, name, data)
            return
        content = _decoded(data)
        self._store(entry, name, lambda file: file.write(content))

    def _download(self, entry: dict[str, Any], name: str, url: str) -> None:
        if urlsplit(url).scheme not in ("http", "https"):
            raise ValueError(f"not an http or https URL: {url}")
        try:
            with urllib.request.urlopen(url, timeout=_DOWNLOAD_TIMEOUT_S) as answer:
                self._store(entry, name, lambda file: shutil.copyfileobj(answer, file))
        except OSError as error:
            self.notes.append(f"{name} could not be downloaded ({error}): {url}")

    def _store(self, entry: dict[str, Any], name: str, fill: Callable[[BinaryIO], object]) -> None:
        path = self._path(f"{entry.get('subfolder') or ''}/{name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.parent.resolve().is_relative_to(self._folder.resolve()):
            raise ValueError("its folder leads outside of the output folder")
        # A link left at this place must not be followed.
        with suppress(FileNotFoundError):
            path.unlink()
        with path.open("xb") as file:
            fill(file)
        self.written.append(Written(path, path.stat().st_size))

    def _path(self, name: str) -> Path:
        """Each part made harmless; a second file of one name gets a number, one of an earlier run is replaced."""
        parts = [part for part in map(_safe_part, re.split(r"[/\\]", name)) if part] or ["file"]
        path = self._folder.joinpath(*parts)
        number = 1
        unique = path
        while str(unique).lower() in self._taken:
            number += 1
            unique = path.with_name(f"{path.stem}-{number}{path.suffix}")
        self._taken.add(str(unique).lower())
        return unique


def _entries(output: Any) -> Iterator[dict[str, Any]]:
    if isinstance(output, dict):
        for kind in KINDS:
            entries = output.get(kind)
            yield from (entry for entry in entries if isinstance(entry, dict)) if isinstance(entries, list) else ()


def _safe_part(part: str) -> str:
    part = _UNSAFE.sub("_", part).strip(" ")
    if part.strip(".") == "":
        return ""
    if _RESERVED.fullmatch(part):
        part = f"_{part}"
    return part if len(part) <= _LONGEST_NAME else part[-_LONGEST_NAME:]


def _decoded(data: str) -> bytes:
    if data.startswith("data:"):
        data = data.partition(",")[2]
    try:
        return base64.b64decode(data, validate=True)
    except binascii.Error as error:
        raise ValueError(f"its data is not base64: {error}") from None


def _readable(size: int) -> str:
    if size < 1024:
        return f"{size} B"
    return f"{size / 1024:.1f} KiB" if size < 1024 * 1024 else f"{size / 1024 / 1024:.1f} MiB"
