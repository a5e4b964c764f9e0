"""ComfyUI-Manager's snapshot: which custom nodes and packages belong to a ComfyUI.

    {"comfyui": "<commit>",
     "git_custom_nodes":  {"<repository URL>": {"hash": "<commit>", "disabled": false}},
     "cnr_custom_nodes":  {"<id in the Comfy registry>": "<version>"},
     "file_custom_nodes": [{"filename": "<name>.py", "disabled": false}],
     "pips":              {"<name>==<version>": "", "<name>": "<URL>"}}

`python -m comfy_image.snapshot FILE` says what is wrong with one.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SECTIONS = ("comfyui", "git_custom_nodes", "cnr_custom_nodes", "file_custom_nodes", "pips")
_COMMIT = re.compile(r"[0-9a-f]{7,40}")
_PACKAGE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?(\[[A-Za-z0-9,._-]+\])?")


class InvalidSnapshot(Exception):
    """The text says everything that is wrong, a line each."""


@dataclass(frozen=True)
class GitNode:
    url: str
    #: None: the newest.
    revision: str | None = None

    @property
    def folder(self) -> str:
        return self.url.rstrip("/").rpartition("/")[2].removesuffix(".git")

    def __str__(self) -> str:
        return f"{self.url}@{self.revision or 'newest'}"


@dataclass(frozen=True)
class RegistryNode:
    id: str
    #: None: the newest.
    version: str | None = None

    @property
    def folder(self) -> str:
        return self.id

    def __str__(self) -> str:
        return f"{self.id}@{self.version or 'newest'}"


@dataclass(frozen=True)
class FileNode:
    folder: str
    disabled: bool = False

    def __str__(self) -> str:
        return self.folder


Node = GitNode | RegistryNode | FileNode


@dataclass(frozen=True)
class Snapshot:
    comfyui: str | None = None
    nodes: tuple[Node, ...] = ()
    #: What pip installs, such as "name==1.0" or "name @ URL".
    packages: tuple[str, ...] = ()
    #: Nodes that the snapshot lists as switched off.
    disabled: tuple[str, ...] = field(default=())


def read(path: Path) -> Snapshot:
    """Raises InvalidSnapshot."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidSnapshot(f"{path} cannot be read: {error}") from error
    wrong = list(problems(document))
    if wrong:
        raise InvalidSnapshot("\n".join(f"{path.name}: {text}" for text in wrong))
    found = parse(document)
    # The second would take the place of the first, and nobody would miss it.
    folders = Counter(node.folder for node in found.nodes)
    if twice := [folder for folder, count in folders.items() if count > 1]:
        raise InvalidSnapshot(f"{path.name}: two nodes would be {', '.join(twice)} in custom_nodes: delete one")
    return found


def parse(document: dict[str, Any]) -> Snapshot:
    git = (document.get("git_custom_nodes") or {}).items()
    nodes: list[Node] = [GitNode(url, entry["hash"]) for url, entry in git if not entry.get("disabled")]
    nodes += [RegistryNode(id, version) for id, version in (document.get("cnr_custom_nodes") or {}).items()]
    nodes += [FileNode(e["filename"], e.get("disabled", False)) for e in document.get("file_custom_nodes") or []]
    pips = (document.get("pips") or {}).items()
    return Snapshot(
        comfyui=document.get("comfyui"),
        nodes=tuple(nodes),
        packages=tuple(f"{name} @ {url}" if url else name for name, url in pips),
        disabled=tuple(url for url, entry in git if entry.get("disabled")),
    )


def problems(document: Any) -> Iterator[str]:
    """What is wrong with a snapshot, a sentence each."""
    if not isinstance(document, dict):
        yield "a snapshot is a JSON object"
        return
    for name in document:
        if name not in SECTIONS:
            yield f"{name}: no such section (there are {', '.join(SECTIONS)})"
    commit = document.get("comfyui")
    if commit is not None and not (isinstance(commit, str) and _COMMIT.fullmatch(commit)):
        yield f"comfyui: {commit!r} is not a commit"
    checks = {"git_custom_nodes": _git, "cnr_custom_nodes": _registry, "pips": _pips}
    for name, check in checks.items():
        section = document.get(name) or {}
        if isinstance(section, dict):
            for key, value in section.items():
                yield from (f"{name}: {key}: {text}" for text in check(key, value))
        else:
            yield f"{name}: must be an object"
    files = document.get("file_custom_nodes") or []
    if not isinstance(files, list):
        yield "file_custom_nodes: must be a list"
    else:
        yield from (f"file_custom_nodes: {text}" for entry in files for text in _file(entry))


def _git(url: str, entry: Any) -> Iterator[str]:
    if not re.match(r"(https?|ssh|git|file)://|git@", url):
        yield "is not the URL of a repository"
    if not isinstance(entry, dict) or not isinstance(entry.get("hash"), str):
        yield 'needs {"hash": "<commit>", "disabled": false}'
    elif not _COMMIT.fullmatch(entry["hash"]):
        yield f"hash {entry['hash']!r} is not a commit: a branch or a tag may change"
    elif not isinstance(entry.get("disabled", False), bool):
        yield "disabled must be true or false"


def _registry(_: str, version: Any) -> Iterator[str]:
    if not isinstance(version, str) or not version or version in ("latest", "nightly", "unknown"):
        yield f"{version!r} is not a version"


def _file(entry: Any) -> Iterator[str]:
    name = entry.get("filename") if isinstance(entry, dict) else None
    if not isinstance(name, str) or not name.removesuffix(".disabled").endswith(".py") or "/" in name or "\\" in name:
        yield f'{entry!r} is not {{"filename": "<name>.py", "disabled": false}}'


def _pips(name: str, url: Any) -> Iterator[str]:
    package, equals, version = name.partition("==")
    if not _PACKAGE.fullmatch(package):
        yield "is not the name of a package"
    if not isinstance(url, str):
        yield 'needs "" or a URL'
    elif not url and not (equals and version):
        yield "needs a version: name==version"


def main(arguments: list[str]) -> int:
    try:
        for argument in arguments:
            found = read(Path(argument))
            sys.stdout.write(f"{argument}: nodes: {len(found.nodes)}, packages: {len(found.packages)}\n")
    except InvalidSnapshot as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
