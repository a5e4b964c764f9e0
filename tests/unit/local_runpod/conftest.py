"""Endpoints whose time is set by the test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from runpod_desk import Desk

from local_runpod.settings import Settings


@pytest.fixture
def make_desk() -> Callable[..., Desk]:
    return lambda **knobs: Desk(replace(Settings(), **knobs))


@pytest.fixture
def desk(make_desk: Callable[..., Desk]) -> Desk:
    return make_desk()
