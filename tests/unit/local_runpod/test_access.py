from __future__ import annotations

import pytest

from local_runpod.access import check_key
from local_runpod.problems import Problem


@pytest.mark.parametrize("header", ["key", "Bearer key", "bearer key", "Bearer  key "])
def test_the_key_is_taken_with_or_without_bearer(header: str) -> None:
    check_key(header, ["other", "key"])


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Bearer KEY", "Basic key", "keys", "Bearer ключ"])
def test_anything_else_is_unauthorized(header: str | None) -> None:
    with pytest.raises(Problem) as caught:
        check_key(header, ["key"])
    assert caught.value.body() == b'{"status":401,"title":"Unauthorized","detail":"unauthorized"}'


def test_without_keys_everybody_may_call() -> None:
    check_key(None, [])
