"""ComfyUI's input, output and temp folders, where they are on this machine: for reading files without HTTP and for
cleaning up, which ComfyUI's API cannot do.

ComfyUI's rules (its command line, 0.26.0): the folders are `input`, `output` and `temp` in its own folder or in
`--base-directory`; `--input-directory` and `--output-directory` replace one, `--temp-directory X` means X/temp.
"""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path


class Folders:
    def __init__(self, input_folder: Path, output_folder: Path, temp_folder: Path) -> None:
        self._roots = {"input": input_folder, "output": output_folder, "temp": temp_folder}

    @classmethod
    def of(cls, comfyui_path: Path, arguments: Sequence[str]) -> Folders:
        """The folders of the ComfyUI in `comfyui_path` when it is started with `arguments`."""
        parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        for name in ("base", "input", "output", "temp"):
            # Relative ones are below ComfyUI's own folder, in which it is started.
            parser.add_argument(f"--{name}-directory", type=lambda text: comfyui_path / text)
        given, _ = parser.parse_known_args(list(arguments))
        base = given.base_directory or comfyui_path
        temp = given.temp_directory or base
        return cls(given.input_directory or base / "input", given.output_directory or base / "output", temp / "temp")

    def find(self, folder: str, subfolder: str, filename: str) -> Path | None:
        """The file, if it is there and really inside that folder (links resolved)."""
        root = self._roots.get(folder)
        if root is None:
            return None
        try:
            path = Path(os.path.realpath(root / subfolder / filename))
            return path if path.is_relative_to(os.path.realpath(root)) and path.is_file() else None
        except (OSError, ValueError):
            # A name that no file can have: too long, or with NUL in it.
            return None

    def make_output_folder(self, name: str) -> None:
        """Some save nodes do not make the folder of their prefix themselves."""
        (self._roots["output"] / name).mkdir(parents=True, exist_ok=True)

    def remove_output_folder(self, name: str) -> None:
        shutil.rmtree(self._roots["output"] / name, ignore_errors=True)

    def remove(self, folder: str, subfolder: str, filename: str, newer_than: float = 0.0) -> None:
        """Delete a file that was last written after `newer_than` (seconds since the epoch), and folders left empty."""
        path = self.find(folder, subfolder, filename)
        if path is None:
            return
        root = Path(os.path.realpath(self._roots[folder]))
        # Another job may write or clean in the same folder meanwhile; a folder that is not empty stays by itself.
        with suppress(OSError):
            if path.stat().st_mtime < newer_than:
                return
            path.unlink()
            for parent in path.parents:
                if parent == root:
                    return
                parent.rmdir()
