"""The built image, where .ci/image has made one: its file tree, its configuration and the compose file, resolved."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from container import Image
from image_stage import ROOT, Stage


@pytest.fixture(scope="session")
def image() -> Image:
    if "IMAGE_TREE" not in os.environ:
        pytest.skip("no image was built: .ci/image builds one and runs these tests")
    inspected = Path(os.environ["IMAGE_INSPECTED"]).read_text(encoding="utf-8")
    return Image.load(Path(os.environ["IMAGE_TREE"]), inspected)


@pytest.fixture(scope="session")
def compose(image: Image) -> Any:
    """The compose file as `docker compose config` resolves it."""
    return json.loads(Path(os.environ["COMPOSE_CONFIG"]).read_text(encoding="utf-8"))


@pytest.fixture
def stage(image: Image, compose: Any, tmp_path: Path) -> Iterator[Stage]:
    (tmp_path / "volume").mkdir()
    stage = Stage(image, compose, tmp_path)
    yield stage
    stage.stop()


@pytest.fixture(scope="session")
def test_input() -> Any:
    return json.loads((ROOT / "test_input.json").read_text(encoding="utf-8"))
