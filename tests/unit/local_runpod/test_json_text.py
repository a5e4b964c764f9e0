from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local_runpod.json_text import NotJson, cut, members, outline, parse

_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=60)
@given(st.dictionaries(st.text(), _VALUES), st.sampled_from([None, 2]), st.booleans())
def test_each_span_holds_the_value_of_its_key(document: dict[str, object], indent: int | None, ascii: bool) -> None:
    text = json.dumps(document, indent=indent, ensure_ascii=ascii).encode()
    assert parse(text) == document
    assert {key: json.loads(text[span]) for key, span in members(text).items()} == document


@pytest.mark.parametrize(
    "text", ['{"a":NaN}', '{"a":Infinity}', '{"a":-Infinity}', "{", "", '{"a":1} x', "{'a':1}", "\ufeff{}"]
)
def test_what_is_not_json_is_refused(text: str) -> None:
    with pytest.raises(NotJson):
        parse(text.encode())


def test_a_key_given_twice_counts_as_given_last() -> None:
    text = b'{"a":1,"a":[2]}'
    assert text[members(text)["a"]] == b"[2]"


def test_quotes_and_brackets_within_text_are_text() -> None:
    text = rb'{"a":"}]\"\\","b":{"c":["{"]}}'
    assert {key: bytes(text[span]) for key, span in members(text).items()} == {
        "a": rb'"}]\"\\"',
        "b": b'{"c":["{"]}',
    }


@pytest.mark.parametrize("string", ["}]{[,:", '"}', "\\", "x" * 256, "x" * 257 + "}", "é]" * 200])
def test_brackets_in_many_strings_and_between_them(string: str) -> None:
    document = {"a": [string] * 200 + [{string: [string]}, " " * 70, [1] * 100, string], "b": {"c": string}}
    text = json.dumps(document, ensure_ascii=False).encode()
    assert {key: json.loads(text[span]) for key, span in members(text).items()} == document


def test_a_large_value_is_a_view_of_its_body_and_a_small_one_is_not() -> None:
    body = bytearray(b'{"a":"' + b"x" * 100_000 + b'","b":1}')
    spans = members(body)
    large, small = cut(body, spans["a"]), cut(body, spans["b"])
    assert isinstance(large, memoryview)
    assert large.obj is body
    assert small == b"1"


_PIECES = st.sampled_from(
    [b"a", b"\\\\", b'\\"', b"\\u00e9", b"\\ud83d\\ude00", "\u00e9".encode(), "\U0001f600".encode(), b"\\"]
)
_BAD = [b"\n", b"\xff", b"\\x", b"\\u12", b"\xc3", b"\\ud83d"]


@settings(max_examples=60)
@given(st.lists(st.tuples(_PIECES, st.integers(1, 90_000)), min_size=1, max_size=5), st.none() | st.sampled_from(_BAD))
def test_an_outline_is_as_strict_as_parsing_all_of_it(runs: list[tuple[bytes, int]], bad: bytes | None) -> None:
    inside = b"".join(piece * count for piece, count in runs) + (bad or b"") + b"z" * 300_000
    text = b'{"long":"%b","n":[1,{"a":"b"}]}' % inside

    def outcome(read: Callable[[bytes], Any]) -> Any:
        try:
            document = read(text)
        except NotJson:
            return None
        return {**document, "long": ""}

    assert outcome(outline) == outcome(parse)


def test_an_outline_of_what_is_small_or_has_many_strings_is_all_of_it() -> None:
    many = ["a"] * 30_000 + ["x" * 100_000]
    assert outline(json.dumps(many).encode()) == many
    assert outline(b'{"a":"b"}') == {"a": "b"}
    assert outline(json.dumps({"a": "x" * 100_000, "b": 1}).encode()) == {"a": "", "b": 1}
