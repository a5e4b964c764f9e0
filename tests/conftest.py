"""Shared by all tests: no setting of the machine that runs them reaches the code under test."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

from comfy_worker.config import VARIABLES

# The same examples in every run: it is to say something of the change at hand. HYPOTHESIS_PROFILE=explore takes others.
settings.register_profile("repeat", derandomize=True, database=None, deadline=None)
settings.register_profile("explore", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeat"))

RECORDINGS = Path(__file__).parent / "recordings"


# First: xdist reads the groups in the same hook.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With several processes (`-n`), tests that share started workers stay in one of them."""
    for item in items:
        for folder in ("contract/runpod", "e2e"):
            if f"tests/{folder}/" in item.path.as_posix():
                item.add_marker(pytest.mark.xdist_group(folder))


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*(variable.name for variable in VARIABLES), *(n for n in os.environ if n.startswith("RUNPOD_"))]:
        monkeypatch.delenv(name, raising=False)
