import json
from typing import Any

import pytest

from handler.errors import RequestError
from handler.wire.body import decode, kind
from handler.wire.rows import Body

DEPTH = 16


def refused(content: bytes, media_type: str = "application/json") -> RequestError:
    with pytest.raises(RequestError) as raised:
        decode(Body(content, media_type), DEPTH)
    return raised.value


@pytest.mark.parametrize("media_type", ["application/json", "application/vnd.api+json"])
def test_json_is_an_object(media_type: str) -> None:
    assert decode(Body(b' {"text": ["\xc3\xa4"]}\n', media_type), DEPTH) == {"text": ["ä"]}


def test_plain_text_is_never_json() -> None:
    assert decode(Body(b'{"text": "a"}', "text/plain"), DEPTH) == '{"text": "a"}'


@pytest.mark.parametrize("media_type", ["", "application/octet-stream"])
def test_a_body_without_a_type_is_json_where_it_begins_so(media_type: str) -> None:
    assert decode(Body(b'\n {"text": "a"}', media_type), DEPTH) == {"text": "a"}
    assert decode(Body(b'["a"]', media_type), DEPTH) == '["a"]'


@pytest.mark.parametrize("media_type", ["text/html", "application/jsonp", "json", "\x00\n" * 999])
def test_other_media_types_are_refused_by_name(media_type: str) -> None:
    error = refused(b"{}", media_type)
    assert (error.code, error.status) == ("unsupported_media_type", 415)
    assert error.message.isascii()
    assert error.message.isprintable()
    assert len(error.message) < 500


@pytest.mark.parametrize("media_type", ["", "text/plain", "application/json"])
def test_bytes_that_are_not_utf_8_are_refused_with_their_place(media_type: str) -> None:
    error = refused(b'{"a": "\xff"}', media_type)
    assert (error.code, error.status) == ("invalid_utf8", 400)
    assert "byte 7" in error.message


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "latin-1", "cp037"])
def test_other_encodings_are_refused(encoding: str) -> None:
    assert refused('{"text": "schön"}'.encode(encoding)).status == 400


def test_a_byte_order_mark_is_no_part_of_the_body() -> None:
    assert decode(Body(b'\xef\xbb\xbf{"text": "a"}', "application/json"), DEPTH) == {"text": "a"}


def as_lists(depth: int) -> bytes:
    return b'{"a":' + b"[" * (depth - 1) + b"1" + b"]" * (depth - 1) + b"}"


def as_objects(depth: int) -> bytes:
    return b'{"a":' * depth + b"1" + b"}" * depth


def as_both(depth: int) -> bytes:
    pairs, odd = divmod(depth, 2)
    return b'{"a":[' * pairs + b'{"b":1}' * odd + b"]}" * pairs


@pytest.mark.parametrize("make", [as_lists, as_objects, as_both])
@pytest.mark.parametrize("limit", [1, 2, 7, DEPTH])
def test_as_deep_as_the_limit_is_accepted_and_one_more_is_not(make: Any, limit: int) -> None:
    content = make(limit)
    assert decode(Body(content, "application/json"), limit) == json.loads(content)
    with pytest.raises(RequestError) as raised:
        decode(Body(make(limit + 1), "application/json"), limit)
    error = raised.value
    assert (error.code, error.status) == ("too_deep", 422)
    assert error.fields == {"max_depth": limit}
    assert f"more than {limit} deep" in error.message


@pytest.mark.parametrize("count", [DEPTH + 1, 1_000, 100_000])
def test_any_number_of_brackets_is_refused_alike(count: int) -> None:
    assert refused(b"[" * count + b"]" * count).code == "too_deep"
    assert refused(as_objects(count)).code == "too_deep"
    assert refused(b"[" * count).code in ("too_deep", "invalid_json")


def test_many_brackets_side_by_side_are_not_deep() -> None:
    value = {"texts": [[], {}] * 1_000, "text": "[" * 1_000}
    assert decode(Body(json.dumps(value).encode(), "application/json"), 3) == value


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity", "9" * 5_000])
def test_numbers_that_json_does_not_have_are_refused(literal: str) -> None:
    error = refused(f'{{"top_k": {literal}}}'.encode())
    assert (error.code, error.status) == ("invalid_json", 400)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (None, "null"),
        (True, "a boolean"),
        (1, "a number"),
        (1.5, "a number"),
        ("a", "a string"),
        ([], "a list"),
        ({}, "an object"),
    ],
)
def test_values_are_named_as_json_names_them(value: Any, name: str) -> None:
    assert kind(value) == name
    if not isinstance(value, dict):
        error = refused(json.dumps(value).encode())
        assert error.code == "invalid_type"
        assert f"the body is {name};" in error.message
