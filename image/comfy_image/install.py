"""The steps of installing one custom node into a ComfyUI: fetch, packages, install script."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Sequence
from pathlib import Path

from comfy_image.snapshot import FileNode, GitNode, RegistryNode

REGISTRY = os.environ.get("COMFY_REGISTRY_URL", "https://api.comfy.org")
TIMEOUT_S = 60
#: Built for the image's GPU: no node may replace them.
KEPT = frozenset({"torch", "torchvision", "torchaudio", "triton"})


class NodeFailed(Exception):
    """The text says which node and why."""


class Installation:
    """A ComfyUI with its Python. `scratch` is a folder for passing files."""

    def __init__(self, comfyui: Path, own_nodes: Path | None, scratch: Path) -> None:
        self.comfyui = comfyui
        self.python = next(
            (str(path) for name in (".venv", "venv") if (path := comfyui / name / "bin/python").exists()), "python3"
        )
        self.custom_nodes = comfyui / "custom_nodes"
        self._own_nodes = own_nodes
        self._scratch = scratch

    def comfyui_commit(self) -> str | None:
        try:
            return self.run("git", "-C", str(self.comfyui), "rev-parse", "HEAD").strip()
        except (NodeFailed, OSError):
            return None

    def clone(self, node: GitNode) -> None:
        """The node's repository at its commit, without history."""
        target = self._fresh_folder(node.folder)
        git = ("git", "-C", str(target))
        self.run("git", "init", "--quiet", str(target))
        self.run(*git, "remote", "add", "origin", node.url)
        revision = node.revision or "HEAD"
        try:
            self.run(*git, "fetch", "--quiet", "--depth", "1", "origin", revision)
        except NodeFailed:
            # Some servers hand out single commits only by branch.
            self.run(*git, "fetch", "--quiet", "--tags", "origin", "+refs/heads/*:refs/remotes/origin/*")
            self.run(*git, "checkout", "--quiet", revision)
        else:
            self.run(*git, "checkout", "--quiet", "FETCH_HEAD")
        if (target / ".gitmodules").exists():
            self.run(*git, "submodule", "update", "--quiet", "--init", "--recursive", "--depth", "1")

    def download(self, node: RegistryNode) -> None:
        """The node's archive from the Comfy registry."""
        query = f"?version={urllib.parse.quote(node.version)}" if node.version else ""
        answer = json.loads(_get(f"{REGISTRY}/nodes/{urllib.parse.quote(node.id)}/install{query}"))
        url = answer.get("downloadUrl") if isinstance(answer, dict) else None
        if not url:
            raise NodeFailed("the registry has no such version")
        archive = self._scratch / "node.zip"
        archive.write_bytes(_get(url))
        try:
            with zipfile.ZipFile(archive) as files:
                files.extractall(self._fresh_folder(node.folder))
                tracked = "\n".join(files.namelist())
        except zipfile.BadZipFile as error:
            raise NodeFailed(f"{url} is no zip archive") from error
        # By this file ComfyUI-Manager knows nodes of the registry from others.
        (self.custom_nodes / node.folder / ".tracking").write_text(tracked, encoding="utf-8")

    def place_file(self, node: FileNode) -> None:
        name = node.folder.removesuffix(".disabled")
        target = self.custom_nodes / name
        own = self._own_nodes / name if self._own_nodes else None
        if own and own.is_file():
            shutil.copy2(own, target)
        if not target.is_file() and not target.with_suffix(".py.disabled").is_file():
            raise NodeFailed("a snapshot has only its name; put the file into image/custom_nodes")
        if node.disabled and target.is_file():
            target.rename(target.with_suffix(".py.disabled"))

    def place_own_nodes(self) -> list[str]:
        """Copy and prepare everything in the folder of own nodes; the names it has in `custom_nodes`."""
        placed = []
        for source in sorted(self._own_nodes.iterdir()) if self._own_nodes and self._own_nodes.is_dir() else []:
            target = self.custom_nodes / source.name
            if source.is_dir() and not source.name.startswith((".", "__")):
                shutil.copytree(source, target, dirs_exist_ok=True)
                self.prepare(source.name)
            elif source.suffix == ".py" and not target.with_suffix(".py.disabled").is_file():
                shutil.copy2(source, target)
            else:
                continue
            placed.append(source.name)
        return placed

    def prepare(self, name: str) -> None:
        """What the node's authors want done after the download."""
        folder = self.custom_nodes / name
        if (folder / "requirements.txt").is_file():
            self.pip("--requirement", str(folder / "requirements.txt"))
        if (folder / "install.py").is_file():
            self.run(self.python, "install.py", directory=folder)

    def add_packages(self, packages: Sequence[str]) -> None:
        """A snapshot's packages, as they are: what they need is listed as well."""
        wanted = [package for package in packages if _name(package) not in KEPT and "@ file:" not in package]
        if wanted:
            listed = self._scratch / "pips.txt"
            listed.write_text("\n".join(wanted), encoding="utf-8")
            try:
                self.pip("--no-deps", "--requirement", str(listed))
            except NodeFailed as error:
                raise NodeFailed(f"the snapshot's pips failed: {error}") from error

    def pip(self, *arguments: str) -> None:
        frozen = self.run(self.python, "-m", "pip", "freeze")
        constraints = self._scratch / "constraints.txt"
        constraints.write_text("\n".join(line for line in frozen.splitlines() if _name(line) in KEPT), encoding="utf-8")
        self.run(self.python, "-m", "pip", "install", "--constraint", str(constraints), *arguments)

    def run(self, *command: str, directory: Path | None = None) -> str:
        """The command's output. Raises NodeFailed with the end of it."""
        done = subprocess.run(command, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              check=False, env={**os.environ, "GIT_TERMINAL_PROMPT": "0"})  # fmt: skip
        if done.returncode != 0:
            last = "\n".join(done.stdout.strip().splitlines()[-12:])
            raise NodeFailed(f"`{' '.join(command)}` ended with code {done.returncode}:\n{last}")
        return done.stdout

    def _fresh_folder(self, name: str) -> Path:
        target = self.custom_nodes / name
        if target.exists():
            shutil.rmtree(target)
        return target


def _get(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
            content: bytes = answer.read()
            return content
    except urllib.error.HTTPError as error:
        raise NodeFailed(f"{url} answered {error.code} {error.reason}") from error
    except OSError as error:
        raise NodeFailed(f"{url} cannot be reached: {error}") from error


def _name(requirement: str) -> str:
    """The package of `name==1.0`, `name[extra]` or `name @ URL`."""
    return requirement.partition("==")[0].partition("@")[0].partition("[")[0].strip().lower()
