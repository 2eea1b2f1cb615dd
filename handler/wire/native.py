"""The native protocol.

    the text itself, as text/plain                       → map
    {"text": "…", "text_pair": "…"}                      → map
    {"texts": ["…", {"text": "…", "text_pair": "…"}]}    → [map, map]

Options beside `text` and `texts`: `top_k`, `max_length`, `truncate`, `details`. An optional key may be
null, which is the same as leaving it out.
"""

from __future__ import annotations

import json
from itertools import islice
from typing import Any, NoReturn

from ..errors import RequestError
from ..settings import Settings
from ..values import Prediction, Request, Text
from .rows import Body

_OPTIONS = ("top_k", "max_length", "truncate", "details")
_KEYS = frozenset({"text", "text_pair", "texts", *_OPTIONS})
_TEXT_KEYS = frozenset({"text", "text_pair"})
_SNIFFED = ("", "application/octet-stream")
_LONGEST_SHOWN_KEY = 40
_LARGEST_NUMBER = 2**31 - 1


def read(body: Body, settings: Settings) -> Request:
    """The Request that a body holds; RequestError where it is wrong as a whole."""
    is_json = body.media_type == "application/json" or body.media_type.endswith("+json")
    if not is_json and body.media_type not in ("text/plain", *_SNIFFED):
        raise RequestError(
            "unsupported_media_type",
            f"Content-Type {body.media_type[:80]} is not supported; "
            "send application/json or text/plain",
        )
    content = _decode(body.content)
    if is_json or (body.media_type in _SNIFFED and content.lstrip().startswith("{")):
        return _read_object(_parse(content), settings)
    return Request(texts=(Text(_checked(content, "the text", settings)),), single=True)


def write(
    request: Request, outcomes: list[Prediction | RequestError], description: dict[str, Any]
) -> tuple[int, Any]:
    """Status and JSON value of one request, given the outcome of each of its texts."""
    values = [
        _show(request, outcome, description, None if request.single else index)
        for index, outcome in enumerate(outcomes)
    ]
    errors = [outcome for outcome in outcomes if isinstance(outcome, RequestError)]
    status = errors[0].status if len(errors) == len(outcomes) else 200
    return status, values[0] if request.single else values


def _show(
    request: Request,
    outcome: Prediction | RequestError,
    description: dict[str, Any],
    index: int | None,
) -> dict[str, Any]:
    if isinstance(outcome, RequestError):
        shown = outcome.as_json()
        return shown if index is None else {"error": {**shown["error"], "index": index}}
    probabilities = dict(islice(outcome.probabilities.items(), request.top_k))
    if not request.details:
        return probabilities
    label, probability = next(iter(probabilities.items()))
    return {
        "model": description["model"],
        "version": description["version"],
        "label": label,
        "probability": probability,
        "probabilities": probabilities,
        "tokens": outcome.tokens,
        "truncated": outcome.truncated,
        "logits": dict(islice(outcome.logits.items(), request.top_k)),
    }


def _decode(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")  # a byte order mark is no part of the text
    except UnicodeDecodeError as error:
        raise RequestError(
            "invalid_utf8", f"the body is not UTF-8 (byte {error.start}); send it as UTF-8"
        ) from None


def _parse(content: str) -> Any:
    try:
        return json.loads(content, parse_constant=_refuse_constant)
    except RecursionError:
        raise RequestError("too_deep", "the JSON is nested too deeply; send flat texts") from None
    except json.JSONDecodeError as error:
        raise RequestError(
            "invalid_json", f"the body is not JSON: {error.msg} at character {error.pos}"
        ) from None
    except ValueError:  # Python refuses to read an integer of more than 4,300 digits
        raise RequestError("invalid_json", "the body holds a number that is too long") from None


def _refuse_constant(name: str) -> NoReturn:
    raise RequestError("invalid_json", f"the body holds {name}, which is not JSON")


def _read_object(value: Any, settings: Settings) -> Request:
    if not isinstance(value, dict):
        raise RequestError(
            "invalid_type",
            f'the body is {_kind(value)}; send an object, {{"text": "…"}} or {{"texts": ["…"]}}',
        )
    _refuse_unknown(value, _KEYS)
    value = {key: item for key, item in value.items() if item is not None}
    limits = {
        "max_length": _positive(value, "max_length"),
        "truncate": _boolean(value, "truncate", default=True),
    }
    top_k = _positive(value, "top_k")
    details = _boolean(value, "details", default=False)
    if "texts" in value:
        if clash := sorted(_TEXT_KEYS & value.keys()):
            raise RequestError(
                "conflicting_keys",
                f'the body holds both "texts" and "{clash[0]}"; send one of them',
            )
        texts = _read_texts(value["texts"], limits, settings)
        return Request(texts, single=False, top_k=top_k, details=details)
    return Request(
        (_read_text(value, limits, settings),), single=True, top_k=top_k, details=details
    )


def _read_texts(
    items: Any, limits: dict[str, Any], settings: Settings
) -> tuple[Text | RequestError, ...]:
    if not isinstance(items, list):
        raise RequestError("invalid_type", f'"texts" is {_kind(items)}; send a list of texts')
    if not items:
        raise RequestError("missing_text", '"texts" is empty; send at least one text')
    if len(items) > settings.max_texts:
        raise RequestError(
            "too_many_texts",
            f"the request holds {len(items)} texts, {settings.max_texts} are allowed; "
            "split it into several requests",
            texts=len(items),
            max_texts=settings.max_texts,
        )
    return tuple(_read_item(item, limits, settings) for item in items)


def _read_item(item: Any, limits: dict[str, Any], settings: Settings) -> Text | RequestError:
    try:
        if isinstance(item, str):
            return Text(_checked(item, "the text", settings), **limits)
        if not isinstance(item, dict):
            raise RequestError(
                "invalid_type",
                f'the text is {_kind(item)}; send a string, or {{"text": "…", "text_pair": "…"}}',
            )
        _refuse_unknown(item, _TEXT_KEYS)
        given = {key: value for key, value in item.items() if value is not None}
        return _read_text(given, limits, settings)
    except RequestError as error:
        return error


def _read_text(value: dict[str, Any], limits: dict[str, Any], settings: Settings) -> Text:
    if "text" not in value:
        raise RequestError("missing_text", 'there is no "text"; send {"text": "…"}')
    pair = value.get("text_pair")
    return Text(
        _checked(value["text"], '"text"', settings),
        None if pair is None else _checked(pair, '"text_pair"', settings),
        **limits,
    )


def _checked(text: Any, name: str, settings: Settings) -> str:
    """A text that a tokenizer can read, or the error that it gets."""
    if not isinstance(text, str):
        raise RequestError("invalid_type", f"{name} is {_kind(text)}; send a string")
    if len(text) > settings.max_characters:
        raise RequestError(
            "text_too_long",
            f"{name} has {len(text)} characters, {settings.max_characters} are allowed; shorten it",
            characters=len(text),
            max_characters=settings.max_characters,
        )
    if not text.strip():
        raise RequestError("empty_text", f"{name} is empty; send at least one word")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # JSON can hold it as \\ud800, a tokenizer fails on it
        raise RequestError(
            "invalid_text", f"{name} holds half of a surrogate pair; send whole characters"
        ) from None
    return text


def _refuse_unknown(value: dict[str, Any], known: frozenset[str]) -> None:
    if unknown := [key for key in value if key not in known]:
        shown = ", ".join(ascii(key[:_LONGEST_SHOWN_KEY]) for key in unknown[:3])
        raise RequestError(
            "unknown_key", f"unknown key {shown}; known are {', '.join(sorted(known))}"
        )


def _positive(value: dict[str, Any], key: str) -> int | None:
    number = value.get(key)
    if number is None:
        return None
    if isinstance(number, bool) or not isinstance(number, int):
        raise RequestError("invalid_type", f'"{key}" is {_kind(number)}; send a whole number')
    if not 1 <= number <= _LARGEST_NUMBER:
        raise RequestError("invalid_value", f'"{key}" is out of range; send 1 to {_LARGEST_NUMBER}')
    return number


def _boolean(value: dict[str, Any], key: str, *, default: bool) -> bool:
    flag = value.get(key, default)
    if not isinstance(flag, bool):
        raise RequestError("invalid_type", f'"{key}" is {_kind(flag)}; send true or false')
    return flag


def _kind(value: Any) -> str:
    """What JSON calls a value, for messages; the value itself is never repeated."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean"}
    return "null" if value is None else names.get(type(value), "a number")
