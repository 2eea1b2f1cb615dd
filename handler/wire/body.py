"""The bytes of a body become a text or a JSON value, whatever sent them; wrong bytes become an error."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from ..errors import RequestError
from .rows import Body

# bodies without a type that says what they are: gRPC has none, curl's --data-binary may lack one
_UNTYPED = ("", "application/octet-stream")


def decode(body: Body, max_depth: int) -> Any:
    """The JSON value of a body, or its text: a `str`, which no protocol sends as JSON.

    `max_depth` is how many lists and objects may stand inside one another.
    """
    is_json = body.media_type == "application/json" or body.media_type.endswith("+json")
    if not is_json and body.media_type not in ("text/plain", *_UNTYPED):
        raise RequestError(
            "unsupported_media_type",
            f"Content-Type {body.media_type[:80]!a} is not supported; "
            "send application/json or text/plain",
        )
    content = _decode_utf8(body.content)
    if is_json or (body.media_type in _UNTYPED and content.lstrip().startswith("{")):
        value = _parse(content, max_depth)
        if not isinstance(value, dict):
            raise RequestError(
                "invalid_type",
                f'the body is {kind(value)}; send an object, {{"text": "…"}} or {{"texts": ["…"]}}',
            )
        return value
    return content


def kind(value: Any) -> str:
    """What JSON calls a value, for messages; the value itself is never repeated."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean"}
    return "null" if value is None else names.get(type(value), "a number")


def _decode_utf8(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")  # a byte order mark is no part of the text
    except UnicodeDecodeError as error:
        raise RequestError(
            "invalid_utf8", f"the body is not UTF-8 (byte {error.start}); send it as UTF-8"
        ) from None


def _parse(content: str, max_depth: int) -> Any:
    try:
        value = json.loads(content, parse_constant=_refuse_constant)
    except RecursionError:
        raise _too_deep(max_depth) from None
    except json.JSONDecodeError as error:
        raise RequestError(
            "invalid_json", f"the body is not JSON: {error.msg} at character {error.pos}"
        ) from None
    except ValueError:  # Python refuses to read an integer of more than 4,300 digits
        raise RequestError("invalid_json", "the body holds a number that is too long") from None
    if content.count("[") + content.count("{") > max_depth:  # else it cannot be too deep
        _check_depth(value, max_depth)
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise RequestError("invalid_json", f"the body holds {name}, which is not JSON")


def _check_depth(value: Any, max_depth: int) -> None:
    level = [value]
    for _ in range(max_depth):
        level = [
            child
            for parent in level
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, dict | list)
        ]
        if not level:
            return
    raise _too_deep(max_depth)


def _too_deep(max_depth: int) -> RequestError:
    return RequestError(
        "too_deep",
        f"the JSON is nested more than {max_depth} deep; send flat texts",
        max_depth=max_depth,
    )
