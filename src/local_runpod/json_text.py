"""Where the values of a JSON object lie in its text, so that they can be passed on byte for byte.

A result of 20 MB is accepted from the worker and handed to the client as the bytes it came in. Taking it apart and
writing it again would cost seconds of CPU on an endpoint that must answer polls meanwhile.
"""

from __future__ import annotations

import re
from typing import Any

from pydantic_core import from_json

RawJson = bytes | memoryview
_COPIED_BELOW = 64 * 1024
_LONG = 64 * 1024
_PIECE = 256 * 1024
# With more strings than this, looking for long ones takes longer than parsing.
_MOST_STRINGS = 20_000
# The longest sequence that must not be cut: a surrogate pair in two escapes of six bytes.
_LONGEST_ESCAPE = 12

_STRUCTURE = re.compile(rb'["{}\[\]]')
# Over short strings without escapes, many at a time: one by one, a body of many small values takes seconds. Bounded,
# because a match holds up all threads until it ends.
_PLAIN_STRINGS = re.compile(rb'(?:[^"{}\[\]]{0,64}"[^"\\]{0,256}"){0,64}')
_SPACE = b" \t\r\n"
_SCALAR_END = re.compile(rb"[,}\]\s]")


class NotJson(ValueError):
    """The text is not valid JSON (NaN and Infinity are not)."""


def parse(text: bytes | bytearray) -> Any:
    """Check and parse all of it. The parser is pydantic's, which comes with FastAPI and is several times as fast."""
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError as error:
        raise NotJson(str(error)) from None


def outline(text: bytes | bytearray) -> Any:
    """Check all of it and parse it, but with every string over 64 KiB left empty.

    Making one string of 20 MB holds up all threads of the process for 30 ms; checking it in pieces does not.
    """
    if len(text) <= _LONG:
        return parse(text)
    try:
        shortened = _shortened(text)
    except ValueError:
        shortened = None
    return parse(text if shortened is None else shortened)


def members(text: bytes | bytearray) -> dict[str, slice]:
    """The span of each top-level value of an object. The text must have passed `parse` or `outline` before."""
    spans: dict[str, slice] = {}
    at = _skip_space(text, text.index(b"{") + 1)
    while text[at : at + 1] == b'"':
        after_key = _end_of_string(text, at)
        key = from_json(bytes(text[at:after_key]))
        start = _skip_space(text, text.index(b":", after_key) + 1)
        end = _end_of_value(text, start)
        spans[key] = slice(start, end)
        at = _skip_space(text, end)
        if text[at : at + 1] == b",":
            at = _skip_space(text, at + 1)
    return spans


def cut(text: bytes | bytearray, span: slice) -> RawJson:
    """The bytes of one value; a large one stays a view of the body it came in instead of being copied."""
    if span.stop - span.start < _COPIED_BELOW:
        return bytes(text[span])
    return memoryview(text)[span]


def _shortened(text: bytes | bytearray) -> bytes | None:
    """The text with its long strings emptied after they were checked; None when there are too many strings to look."""
    parts: list[bytes | bytearray] = []
    at = kept = 0
    for _ in range(_MOST_STRINGS):
        start = text.find(b'"', at)
        if start < 0:
            return b"".join([*parts, text[kept:]])
        at = _end_of_string(text, start)
        if at - start > _LONG:
            _check_string(text, start + 1, at - 1)
            parts += [text[kept:start], b'""']
            kept = at
    return None


def _check_string(text: bytes | bytearray, at: int, end: int) -> None:
    """Parse the inside of a string piece by piece, cut where no escape and no character is cut in two."""
    while at < end:
        cut_at = min(at + _PIECE, end)
        while cut_at < end and cut_at > at:
            escape = text.rfind(b"\\", max(at, cut_at - _LONGEST_ESCAPE), cut_at)
            if escape >= 0:
                cut_at = escape
            elif text[cut_at] & 0xC0 == 0x80:
                cut_at -= 1
            else:
                break
        if cut_at == at:
            cut_at = end
        parse(b'"%b"' % bytes(text[at:cut_at]))
        at = cut_at


def _skip_space(text: bytes | bytearray, at: int) -> int:
    while text[at] in _SPACE:
        at += 1
    return at


def _end_of_string(text: bytes | bytearray, at: int) -> int:
    """One past the closing quote of the string whose opening quote is at `at`."""
    while True:
        at = text.index(b'"', at + 1)
        backslashes = 0
        while text[at - 1 - backslashes] == 0x5C:
            backslashes += 1
        if backslashes % 2 == 0:
            return at + 1


def _end_of_value(text: bytes | bytearray, at: int) -> int:
    if text[at] == 0x22:
        return _end_of_string(text, at)
    if text[at] not in b"{[":
        ended = _SCALAR_END.search(text, at)
        return ended.start() if ended else len(text)
    depth = 0
    while True:
        skipped = _PLAIN_STRINGS.match(text, at)
        found = _STRUCTURE.search(text, skipped.end() if skipped else at)
        if found is None:  # cannot be after `parse`
            raise NotJson("unbalanced brackets")
        at = found.end()
        if found.group() == b'"':
            at = _end_of_string(text, found.start())
        elif found.group() in b"{[":
            depth += 1
        else:
            depth -= 1
            if depth == 0:
                return at
