"""Custom nodes at build time: installed, then imported by ComfyUI itself. One node that fails is named and ends it all.

ComfyUI-Manager's own command line goes on after a failure and exits with 0; then the image lacks the node and the first
job finds out. Here nothing goes on.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from comfy_image.install import Installation, NodeFailed
from comfy_image.loading import check
from comfy_image.snapshot import FileNode, GitNode, InvalidSnapshot, Node, RegistryNode, Snapshot, read


def restore(installation: Installation, snapshot: Snapshot) -> list[str]:
    """Install what the snapshot lists. The names in `custom_nodes` that have to be importable then."""
    commit = installation.comfyui_commit()
    if snapshot.comfyui and commit and not commit.startswith(snapshot.comfyui):
        _say(f"the snapshot was made with ComfyUI {snapshot.comfyui[:10]}, this one is {commit[:10]}: going on")
    for url in snapshot.disabled:
        _say(f"{url} is disabled in the snapshot: left out")
    installed = [_install(installation, node) for node in snapshot.nodes]
    installation.add_packages(snapshot.packages)
    return [name for name in installed if name]


def parse_name(text: str) -> Node:
    """`id`, `id@version`, a repository's URL or `URL@revision`."""
    head, at, tail = text.rpartition("@")
    if "://" in text or text.startswith("git@"):
        # The @ of git@host and of user@host comes before a slash or a colon.
        has_revision = at and "/" not in tail and ":" not in tail
        return GitNode(head, tail) if has_revision else GitNode(text)
    return RegistryNode(head, tail) if at else RegistryNode(text)


def _install(installation: Installation, node: Node) -> str | None:
    """The name in `custom_nodes` that is to be checked."""
    _say(f"installing {node}")
    try:
        match node:
            case GitNode():
                installation.clone(node)
            case RegistryNode():
                installation.download(node)
            case FileNode():
                installation.place_file(node)
                return None if node.disabled else node.folder
        installation.prepare(node.folder)
    except (NodeFailed, OSError, subprocess.SubprocessError, shutil.Error) as error:
        raise NodeFailed(f"node {node} failed: {error}") from error
    return node.folder


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            installation = Installation(options.comfyui, options.own, Path(scratch))
            expected = restore(installation, read(options.snapshot)) if options.snapshot else []
            expected += [name for text in options.names if (name := _install(installation, parse_name(text)))]
            expected = list(dict.fromkeys(expected + installation.place_own_nodes()))
            check(installation, expected)
    except (NodeFailed, InvalidSnapshot) as error:
        sys.stderr.write(f"comfy-node-install: {error}\n")
        return 1
    _say(f"all {len(expected)} custom nodes are there and can be imported")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="comfy-node-install", description="Install custom nodes, and fail when one of them does."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="id, id@version, repository URL or URL@commit")
    parser.add_argument("--snapshot", type=Path, help="restore this snapshot of ComfyUI-Manager")
    parser.add_argument("--own", type=Path, help="folder with nodes of your own, and with the snapshot's file nodes")
    parser.add_argument(
        "--comfyui", type=Path, default=Path(os.environ.get("COMFYUI_PATH", "/comfyui")), help="ComfyUI's folder"
    )
    return parser


def _say(text: str) -> None:
    sys.stdout.write(f"comfy-node-install: {text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
