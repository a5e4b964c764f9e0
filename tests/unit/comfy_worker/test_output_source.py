"""Outputs on their way out, where the file system goes wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfy_worker.comfyui.client import ComfyUIClient
from comfy_worker.comfyui.folders import Folders
from comfy_worker.delivery import OutputSource
from comfy_worker.errors import OutputUnavailable
from comfy_worker.outputs import OutputFile


class Unreadable(Folders):
    """Finds a folder where the file was: nobody can open it, root included."""

    def find(self, folder: str, subfolder: str, filename: str) -> Path | None:
        return self._roots[folder]


def test_a_file_that_cannot_be_opened_is_an_output_that_is_not_there(tmp_path: Path) -> None:
    source = OutputSource(ComfyUIClient("127.0.0.1:1"), Unreadable(tmp_path, tmp_path, tmp_path))
    with (
        pytest.raises(OutputUnavailable, match="IsADirectoryError"),
        source.open(OutputFile("1", "a.png", "", "output")),
    ):
        pass
