"""A container without an engine: the image's file tree, with a process tree, mounts and a host name of its own.

Started as a container is: the image's entrypoint is process 1, gets the signals, and takes everything with it when it
ends. The network is this machine's, so each container is given a port of its own for ComfyUI.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Inside the new mount namespace, then chroot. $1 is the image's tree, the rest is the command.
_ENTER = """
set -eu
root=$1 directory=$2; shift 2
mount --make-rprivate /
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
for folder in tmp run comfyui; do
    # Only what the image itself has not put there: the worker image keeps ComfyUI in /comfyui.
    [ ! -e "$root/$folder/main.py" ] || continue
    mkdir -p "$root/$folder"; mount -t tmpfs tmpfs "$root/$folder"
done
if [ -n "${VOLUME:-}" ]; then mkdir -p "$root/runpod-volume"; mount --bind "$VOLUME" "$root/runpod-volume"; fi
hostname "$NAME"
unset VOLUME NAME
exec chroot "$root" env --chdir="$directory" "$@"
"""


@dataclass(frozen=True)
class Image:
    """A file tree and the configuration that belongs to it (`buildah mount`, `buildah inspect --type image`)."""

    tree: Path
    config: Mapping[str, Any]

    @classmethod
    def load(cls, tree: Path, inspected: str) -> Image:
        document = json.loads(inspected)
        return cls(tree, document["Docker"]["config"])

    @property
    def environment(self) -> dict[str, str]:
        return dict(entry.split("=", 1) for entry in self._list("Env"))

    @property
    def command(self) -> list[str]:
        return [*self._list("Entrypoint"), *self._list("Cmd")]

    @property
    def labels(self) -> Mapping[str, str]:
        return dict(self.config.get("Labels") or {})

    def _list(self, name: str) -> list[str]:
        return list(self.config.get(name) or [])


class Container:
    """A running container."""

    def __init__(
        self,
        image: Image,
        name: str,
        environment: Mapping[str, str],
        log: Path,
        command: list[str] | None = None,
        volume: Path | None = None,
    ) -> None:
        self.name = name
        self.log = log
        self.environment = environment
        settings = {**image.environment, **environment, "NAME": name, "VOLUME": str(volume or "")}
        directory = str(image.config.get("WorkingDir") or "/")
        with log.open("wb") as output:
            # --kill-child: the whole container ends with this process, whatever happens to the test.
            self._process = subprocess.Popen(
                ["unshare", "--pid", "--mount", "--uts", "--ipc", "--fork", "--kill-child", "sh", "-c", _ENTER, "enter",
                 str(image.tree), directory, *(command or image.command)],
                env=settings, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip

    def processes(self) -> dict[int, str]:
        """The container's processes by their number out here, with their command lines."""
        found = {}
        for pid in _descendants(self._process.pid):
            try:
                line = Path(f"/proc/{pid}/cmdline").read_bytes()
            except OSError:
                continue
            found[pid] = line.replace(b"\0", b" ").decode(errors="replace").strip()
        return found

    def find(self, part: str) -> int:
        """The one process whose command line contains `part`; of several the first, which is their parent."""
        return next(pid for pid, line in sorted(self.processes().items()) if part in line)

    def signal(self, number: signal.Signals) -> None:
        """What an engine does to stop a container: signal its process 1."""
        os.kill(_descendants(self._process.pid)[0], number)

    def wait(self, timeout: float) -> int:
        return self._process.wait(timeout)

    def stop(self) -> None:
        if self._process.poll() is None:
            self.signal(signal.SIGTERM)
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def text(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")


def _descendants(pid: int) -> list[int]:
    """Children belong to the thread that started them."""
    found = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(child) for child in children.read_text().split()]
        except OSError:
            continue
    return [each for child in found for each in (child, *_descendants(child))]
