"""The files that lay in the folders of the recorded servers."""

from __future__ import annotations

from pathlib import Path

from PIL import Image


def furnish(directory: Path) -> None:
    (directory / "input").mkdir(parents=True)
    Image.new("RGB", (16, 16), (10, 20, 30)).save(directory / "input" / "example.png")
    (directory / "models" / "checkpoints").mkdir(parents=True)
    (directory / "models" / "checkpoints" / "random-sd15.safetensors").write_bytes(b"")
