"""Errors of the HTTP API, in the form RunPod's own API gives them (live captures): problem JSON, numeric status."""

from __future__ import annotations

import json
from http import HTTPStatus

MIB = 1024 * 1024


class Problem(Exception):
    """An answer other than 200: `{"status": 404, "title": "Not Found", "detail": "job not found"}`."""

    def __init__(self, status: HTTPStatus, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail

    def body(self) -> bytes:
        document = {"status": self.status.value, "title": self.status.phrase, "detail": self.detail}
        return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def bad_request(detail: str) -> Problem:
    return Problem(HTTPStatus.BAD_REQUEST, detail)


def body_too_large(limit: int) -> Problem:
    """RunPod answers 400, not 413. The 10 MiB text is captured live; for 20 MiB the same wording is assumed."""
    return bad_request(f"bad request: body: exceeded max body size of {limit // MIB}MiB")


def job_not_found() -> Problem:
    return Problem(HTTPStatus.NOT_FOUND, "job not found")


def endpoint_not_found() -> Problem:
    return Problem(HTTPStatus.NOT_FOUND, "endpoint not found")


def unauthorized() -> Problem:
    """RunPod documents the code only; this body is an assumption."""
    return Problem(HTTPStatus.UNAUTHORIZED, "unauthorized")
