"""Who may call: API keys of clients and the key of the workers."""

from __future__ import annotations

import hmac
from collections.abc import Iterable

from .problems import unauthorized


def check_key(header: str | None, keys: Iterable[str]) -> None:
    """`Authorization: Bearer <key>` and `Authorization: <key>` are both documented; no keys configured, no check."""
    keys = list(keys)
    if not keys:
        return
    given = (header or "").strip()
    scheme, _, rest = given.partition(" ")
    key = rest.strip() if scheme.lower() == "bearer" else given
    if not any(hmac.compare_digest(key.encode(), known.encode()) for known in keys):
        raise unauthorized()
