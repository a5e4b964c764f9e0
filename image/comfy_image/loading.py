"""Whether ComfyUI itself can import the custom nodes: it is started without a GPU, loads them, and ends."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from comfy_image.install import Installation, NodeFailed

TIMEOUT_S = 900
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
#: "   0.1 seconds: /comfyui/custom_nodes/name", "[INFO]    0.1 seconds (IMPORT FAILED): ..."
_LOADED = re.compile(r"^(?:\[\w+\])?\s*[0-9.]+ seconds( \(IMPORT FAILED\))?: (.+)$", re.MULTILINE)
_REASON = re.compile(r"Cannot import (\S+) module for custom nodes: (.*)$", re.MULTILINE)


def check(installation: Installation, expected: Sequence[str]) -> None:
    """Raises NodeFailed that names every node that is missing or cannot be imported."""
    missing = [name for name in expected if not (installation.custom_nodes / name).exists()]
    if missing:
        raise NodeFailed(f"not in {installation.custom_nodes}: {', '.join(missing)}")
    command = [installation.python, "main.py", "--cpu", "--quick-test-for-ci"]
    try:
        done = subprocess.run(command, cwd=installation.comfyui, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, timeout=TIMEOUT_S, check=False)  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise NodeFailed(f"ComfyUI did not load its nodes within {TIMEOUT_S} s") from error
    failed = failures(done.stdout, expected)
    if failed:
        # The names last: that is where one looks in the log of a failed build.
        raise NodeFailed(f"ComfyUI's output:\n{_end(done.stdout, 60)}\n" + "\n".join(failed))
    if done.returncode != 0:
        raise NodeFailed(f"ComfyUI ended with code {done.returncode}:\n{_end(done.stdout, 30)}")


def failures(output: str, expected: Sequence[str]) -> list[str]:
    """What ComfyUI's log says against the nodes: every failed import, and every expected node it does not mention."""
    output = _COLOUR.sub("", output)
    loaded = {Path(path).name: bool(failed) for failed, path in _LOADED.findall(output)}
    reasons = {Path(path).name: reason for path, reason in _REASON.findall(output)}
    failed = [
        f"node {name} cannot be imported: {reasons.get(name, 'see the log')}" for name, bad in loaded.items() if bad
    ]
    return failed + [f"node {name} was not loaded" for name in expected if name not in loaded]


def _end(text: str, lines: int) -> str:
    return "\n".join(text.strip().splitlines()[-lines:])
